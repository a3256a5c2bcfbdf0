//! The LADSPA shell, by hand: the standard is one C structure, and the crates for it are old, print from panics and make
//! slices that alias.
//!
//! Four labels: `driftmerge` (2 in, 1 out); `driftmerge_dual` (2 in, the same sound on 2 outs), the one for
//! `module-ladspa-sink`, which takes no other on `pipewire-pulse` and leaves the second channel of the first
//! uninitialised on `PulseAudio`; `driftmerge_merge4` (4 in, 1 out); `driftmerge_align` (2 in, 2 out). LADSPA keeps no
//! state: what was learnt lives as long as the instance.
//!
//! Port names are the symbols of the table, the same as in LV2. The latency port has to be called `latency` anyway.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};

use driftmerge_dsp::params::{Kind, Port};

use crate::instance::Instance;
use crate::layout::{ALIGN, DUAL, Layout, MERGE, MERGE4};
use crate::ports::Ports;

/// `LADSPA_PortRangeHint`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RangeHint {
    /// Which of the bounds count, how to read the number, and where its default is.
    pub hint: c_int,
    /// Smallest value.
    pub lower: f32,
    /// Largest value.
    pub upper: f32,
}

/// `LADSPA_Descriptor`.
#[repr(C)]
pub struct Descriptor {
    /// The plugin's number in the world.
    pub unique_id: c_ulong,
    /// Name in the file, without spaces.
    pub label: *const c_char,
    /// What the plugin promises.
    pub properties: c_int,
    /// Name shown to people.
    pub name: *const c_char,
    /// Who made it.
    pub maker: *const c_char,
    /// Its licence.
    pub copyright: *const c_char,
    /// How many ports.
    pub port_count: c_ulong,
    /// What each port is.
    pub port_descriptors: *const c_int,
    /// What each port is called.
    pub port_names: *const *const c_char,
    /// What each port takes.
    pub port_range_hints: *const RangeHint,
    /// The [`Layout`] of the plugin.
    pub implementation_data: *mut c_void,
    /// Makes an instance for a sample rate, Hz; NULL where it cannot.
    pub instantiate: unsafe extern "C" fn(*const Descriptor, c_ulong) -> *mut c_void,
    /// Says where a port's data is.
    pub connect_port: unsafe extern "C" fn(*mut c_void, c_ulong, *mut f32),
    /// Before the first block.
    pub activate: Option<unsafe extern "C" fn(*mut c_void)>,
    /// One block.
    pub run: unsafe extern "C" fn(*mut c_void, c_ulong),
    /// Not offered.
    pub run_adding: Option<unsafe extern "C" fn(*mut c_void, c_ulong)>,
    /// Not offered.
    pub set_run_adding_gain: Option<unsafe extern "C" fn(*mut c_void, f32)>,
    /// After the last block.
    pub deactivate: Option<unsafe extern "C" fn(*mut c_void)>,
    /// Frees the instance.
    pub cleanup: unsafe extern "C" fn(*mut c_void),
}

/// `LADSPA_PORT_*` and `LADSPA_HINT_*`, as the standard numbers them.
pub mod bits {
    #![allow(missing_docs, reason = "the names are the standard's")]
    use std::ffi::c_int;

    pub const PROPERTY_HARD_RT_CAPABLE: c_int = 0x4;
    pub const PORT_INPUT: c_int = 0x1;
    pub const PORT_OUTPUT: c_int = 0x2;
    pub const PORT_CONTROL: c_int = 0x4;
    pub const PORT_AUDIO: c_int = 0x8;
    pub const HINT_BOUNDED_BELOW: c_int = 0x1;
    pub const HINT_BOUNDED_ABOVE: c_int = 0x2;
    pub const HINT_TOGGLED: c_int = 0x4;
    pub const HINT_LOGARITHMIC: c_int = 0x10;
    pub const HINT_INTEGER: c_int = 0x20;
    pub const HINT_DEFAULT_MASK: c_int = 0x3C0;
    pub const HINT_DEFAULT_LOW: c_int = 0x80;
    pub const HINT_DEFAULT_MIDDLE: c_int = 0xC0;
    pub const HINT_DEFAULT_HIGH: c_int = 0x100;
    pub const HINT_DEFAULT_0: c_int = 0x200;
    pub const HINT_DEFAULT_1: c_int = 0x240;
    pub const HINT_DEFAULT_100: c_int = 0x280;
}

use bits::{
    HINT_BOUNDED_ABOVE, HINT_BOUNDED_BELOW, HINT_DEFAULT_0, HINT_DEFAULT_1, HINT_DEFAULT_100, HINT_DEFAULT_HIGH,
    HINT_DEFAULT_LOW, HINT_DEFAULT_MIDDLE, HINT_INTEGER, HINT_LOGARITHMIC, HINT_TOGGLED, PORT_AUDIO, PORT_CONTROL,
    PORT_INPUT, PORT_OUTPUT, PROPERTY_HARD_RT_CAPABLE,
};

/// The hint for a control input.
///
/// LADSPA has no number for a default, only a few places in the range. Hosts (`module-ladspa-sink` among them) refuse
/// values outside the bounds, so a range is widened, where no place fits, until one does: never narrowed, so that
/// what the table allows is allowed here. The engine brings what lies beyond the table to its bounds.
const fn control_hint(port: &Port) -> RangeHint {
    let bounded = HINT_BOUNDED_BELOW | HINT_BOUNDED_ABOVE;
    let toggle = matches!(port.kind, Kind::Toggle | Kind::Trigger);
    let (hint, lower, upper) = match port.symbol.as_bytes() {
        // A quarter and three quarters of the way up, geometric mean.
        b"threshold" => (bounded | HINT_DEFAULT_LOW, -0.32, port.max),
        b"lag_limit" => (bounded | HINT_DEFAULT_HIGH, 0.0, port.max),
        b"half_life" => (bounded | HINT_LOGARITHMIC | HINT_DEFAULT_MIDDLE, port.min, 1800.0),
        // A toggle that is on by default is a number from 0 to 1: `GStreamer` takes every toggle to be off at first.
        _ if toggle && port.default == 0.0 => (HINT_TOGGLED | HINT_DEFAULT_0, port.min, port.max),
        _ if matches!(port.kind, Kind::Continuous) => (bounded | default_hint(port), port.min, port.max),
        _ => (bounded | HINT_INTEGER | default_hint(port), port.min, port.max),
    };
    RangeHint { hint, lower, upper }
}

/// The hint for a control output: its bounds, as in the LV2 file. Carla clamps an output without bounds to 0 to 1.
const fn meter_hint(port: &Port) -> RangeHint {
    let integer = if matches!(port.kind, Kind::Continuous) { 0 } else { HINT_INTEGER };
    RangeHint { hint: HINT_BOUNDED_BELOW | HINT_BOUNDED_ABOVE | integer, lower: port.min, upper: port.max }
}

/// The hint for a default that LADSPA has a name for. (Another one would be seen by the test of the defaults.)
const fn default_hint(port: &Port) -> c_int {
    match port.default {
        100.0 => HINT_DEFAULT_100,
        1.0 => HINT_DEFAULT_1,
        _ => HINT_DEFAULT_0,
    }
}

/// Bytes of a port's name with the NUL that ends it, at most.
const NAME_BYTES: usize = 16;

/// What a descriptor of `N` ports points to. It is worked out by the compiler and stands in the library itself: hosts that
/// look at one library after the other load and unload them, and memory taken for this would not come back.
struct Tables<const N: usize> {
    names: [[u8; NAME_BYTES]; N],
    kinds: [c_int; N],
    hints: [RangeHint; N],
}

impl<const N: usize> Tables<N> {
    const fn new(layout: &Layout) -> Self {
        let none = RangeHint { hint: 0, lower: 0.0, upper: 0.0 };
        let mut tables = Self { names: [[0; NAME_BYTES]; N], kinds: [0; N], hints: [none; N] };
        let mut i = 0;
        while i < N {
            let (name, kind) = if i < layout.first_meter() {
                tables.hints[i] = control_hint(&layout.controls[i]);
                (layout.controls[i].symbol, PORT_CONTROL | PORT_INPUT)
            } else if i < layout.first_out() {
                tables.hints[i] = meter_hint(&layout.meters[i - layout.first_meter()]);
                (layout.meters[i - layout.first_meter()].symbol, PORT_CONTROL | PORT_OUTPUT)
            } else if i < layout.first_in() {
                (layout.outs[i - layout.first_out()], PORT_AUDIO | PORT_OUTPUT)
            } else {
                (layout.ins[i - layout.first_in()], PORT_AUDIO | PORT_INPUT)
            };
            assert!(name.len() < NAME_BYTES, "the name has room");
            let mut at = 0;
            while at < name.len() {
                tables.names[i][at] = name.as_bytes()[at];
                at += 1;
            }
            tables.kinds[i] = kind;
            i += 1;
        }
        tables
    }

    /// Where each name is.
    const fn pointers(&'static self) -> Pointers<N> {
        let mut pointers = [std::ptr::null(); N];
        let mut i = 0;
        while i < N {
            pointers[i] = self.names[i].as_ptr().cast();
            i += 1;
        }
        Pointers(pointers)
    }
}

struct Pointers<const N: usize>([*const c_char; N]);

// SAFETY: they lead to constants.
unsafe impl<const N: usize> Sync for Pointers<N> {}

/// A descriptor as the library keeps it.
struct Plugin(Descriptor);

// SAFETY: nothing in it is ever written; the pointers lead to constants.
unsafe impl Sync for Plugin {}

impl Plugin {
    const fn new<const N: usize>(
        (unique_id, label, name): (c_ulong, &'static CStr, &'static CStr),
        layout: &'static Layout,
        tables: &'static Tables<N>,
        names: &'static Pointers<N>,
    ) -> Self {
        Self(Descriptor {
            unique_id,
            label: label.as_ptr(),
            properties: PROPERTY_HARD_RT_CAPABLE,
            name: name.as_ptr(),
            maker: c"The driftmerge developers".as_ptr(),
            copyright: c"MIT OR Apache-2.0".as_ptr(),
            port_count: N as c_ulong,
            port_descriptors: tables.kinds.as_ptr(),
            port_names: names.0.as_ptr(),
            port_range_hints: tables.hints.as_ptr(),
            implementation_data: std::ptr::from_ref(layout).cast_mut().cast(),
            instantiate,
            connect_port,
            activate: Some(activate),
            run,
            run_adding: None,
            set_run_adding_gain: None,
            deactivate: None,
            cleanup,
        })
    }
}

/// A descriptor and all that it points to.
macro_rules! plugin {
    ($number:literal, $label:literal, $name:literal, $layout:ident) => {{
        static LAYOUT: Layout = $layout;
        static TABLES: Tables<{ $layout.count() }> = Tables::new(&LAYOUT);
        static NAMES: Pointers<{ $layout.count() }> = TABLES.pointers();
        Plugin::new(($number, $label, $name), &LAYOUT, &TABLES, &NAMES)
    }};
}

/// The numbers must differ from those of every other plugin in the world, and from 1 to 1000, which are for trying out.
static PLUGINS: [Plugin; 4] = [
    plugin!(4_417_281, c"driftmerge", c"Driftmerge", MERGE),
    plugin!(4_417_282, c"driftmerge_dual", c"Driftmerge Dual", DUAL),
    plugin!(4_417_283, c"driftmerge_merge4", c"Driftmerge Four", MERGE4),
    plugin!(4_417_284, c"driftmerge_align", c"Driftmerge Align", ALIGN),
];

/// Where a LADSPA host finds the plugins of this library: one by one, then NULL.
#[unsafe(no_mangle)]
pub extern "C" fn ladspa_descriptor(index: c_ulong) -> *const Descriptor {
    usize::try_from(index).ok().and_then(|i| PLUGINS.get(i)).map_or(std::ptr::null(), |plugin| &raw const plugin.0)
}

/// One plugin as the host holds it.
struct Shell {
    instance: Instance,
    ports: Ports,
}

unsafe extern "C" fn instantiate(descriptor: *const Descriptor, rate_hz: c_ulong) -> *mut c_void {
    // SAFETY: a host passes one of the descriptors above, whose data is a layout that stays.
    let layout: &'static Layout = unsafe { &*(*descriptor).implementation_data.cast() };
    match Instance::new(layout, rate_hz as f64) {
        Ok(instance) => Box::into_raw(Box::new(Shell { instance, ports: Ports::new(layout) })).cast(),
        Err(error) => {
            eprintln!("driftmerge: {error}");
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn connect_port(handle: *mut c_void, port: c_ulong, data: *mut f32) {
    // SAFETY: the host's handle, made above; LADSPA hosts make one call at a time on an instance.
    let shell = unsafe { &mut *handle.cast::<Shell>() };
    shell.ports.connect(usize::try_from(port).unwrap_or(usize::MAX), data);
}

unsafe extern "C" fn activate(handle: *mut c_void) {
    // SAFETY: as for `run`. A block of 0 frames takes the controls, writes the meters (`PipeWire` reads the latency
    // here) and forgets nothing: `module-ladspa-sink` activates anew whenever a stream comes or goes.
    unsafe { run(handle, 0) }
}

unsafe extern "C" fn run(handle: *mut c_void, frames: c_ulong) {
    // SAFETY: the host's handle, made above; LADSPA hosts make one call at a time on an instance.
    let shell = unsafe { &mut *handle.cast::<Shell>() };
    // SAFETY: the ports are as the host connected them; it must give audio ports `frames` of memory, controls one.
    unsafe { shell.instance.run(&shell.ports, frames as usize) };
}

unsafe extern "C" fn cleanup(handle: *mut c_void) {
    // SAFETY: the host's handle, made above, which it gives up here.
    drop(unsafe { Box::from_raw(handle.cast::<Shell>()) });
}
