//! The LADSPA shell. It is written by hand, because the standard is a single C structure and the crates for it are
//! outdated, print when they panic and create aliasing slices.
//!
//! | label | in | out | |
//! |---|---|---|---|
//! | `driftmerge` | 2 | 1 | |
//! | `driftmerge_dual` | 2 | 2 | the same signal twice, for `module-ladspa-sink`: `pipewire-pulse` demands as many outputs as inputs, and `PulseAudio` leaves the second channel of a mono output uninitialised |
//! | `driftmerge_merge4` | 4 | 1 | |
//! | `driftmerge_align` | 2 | 2 | |
//!
//! LADSPA has no state: what was learnt lives as long as the instance. Port names are the symbols of the table, as in
//! LV2; hosts recognise the latency port by the name `latency`.

use std::ffi::{CStr, c_char, c_int, c_ulong, c_void};

use driftmerge_dsp::params::{Kind, Port};

use crate::instance::Instance;
use crate::layout::{ALIGN, DUAL, Layout, MERGE, MERGE4};
use crate::ports::Ports;

/// `LADSPA_PortRangeHint`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct RangeHint {
    /// Which bounds apply, how to interpret the value, and its default.
    pub hint: c_int,
    /// Smallest value.
    pub lower: f32,
    /// Largest value.
    pub upper: f32,
}

/// `LADSPA_Descriptor`.
#[repr(C)]
pub struct Descriptor {
    /// The plugin's globally unique number.
    pub unique_id: c_ulong,
    /// Identifier within the file, without spaces.
    pub label: *const c_char,
    /// The plugin's guarantees.
    pub properties: c_int,
    /// Display name.
    pub name: *const c_char,
    /// Maker.
    pub maker: *const c_char,
    /// Licence.
    pub copyright: *const c_char,
    /// Number of ports.
    pub port_count: c_ulong,
    /// Type of each port.
    pub port_descriptors: *const c_int,
    /// Name of each port.
    pub port_names: *const *const c_char,
    /// Range of each port.
    pub port_range_hints: *const RangeHint,
    /// The [`Layout`] of the plugin.
    pub implementation_data: *mut c_void,
    /// Creates an instance for a sample rate in Hz, or returns NULL.
    pub instantiate: unsafe extern "C" fn(*const Descriptor, c_ulong) -> *mut c_void,
    /// Connects a port to memory of the host.
    pub connect_port: unsafe extern "C" fn(*mut c_void, c_ulong, *mut f32),
    /// Called before the first block.
    pub activate: Option<unsafe extern "C" fn(*mut c_void)>,
    /// Processes one block.
    pub run: unsafe extern "C" fn(*mut c_void, c_ulong),
    /// Not offered.
    pub run_adding: Option<unsafe extern "C" fn(*mut c_void, c_ulong)>,
    /// Not offered.
    pub set_run_adding_gain: Option<unsafe extern "C" fn(*mut c_void, f32)>,
    /// Called after the last block.
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
/// LADSPA cannot express an arbitrary default, only a few positions within the range. Where none fits, the range is
/// widened until one does. It is never narrowed, because some hosts (`module-ladspa-sink` for one) reject values
/// outside of it. The engine clamps values beyond the table.
const fn control_hint(port: &Port) -> RangeHint {
    let bounded = HINT_BOUNDED_BELOW | HINT_BOUNDED_ABOVE;
    let toggle = matches!(port.kind, Kind::Toggle | Kind::Trigger);
    let (hint, lower, upper) = match port.symbol.as_bytes() {
        // The default is a quarter up, three quarters up, and the geometric mean of the bounds.
        b"threshold" => (bounded | HINT_DEFAULT_LOW, -0.32, port.max),
        b"lag_limit" => (bounded | HINT_DEFAULT_HIGH, 0.0, port.max),
        b"half_life" => (bounded | HINT_LOGARITHMIC | HINT_DEFAULT_MIDDLE, port.min, 1800.0),
        // `GStreamer` takes every toggle to be off by default, so one that is on is declared as a number from 0 to 1.
        _ if toggle && port.default == 0.0 => (HINT_TOGGLED | HINT_DEFAULT_0, port.min, port.max),
        _ if matches!(port.kind, Kind::Continuous) => (bounded | default_hint(port), port.min, port.max),
        _ => (bounded | HINT_INTEGER | default_hint(port), port.min, port.max),
    };
    RangeHint { hint, lower, upper }
}

/// The hint for a control output: its bounds, as in the LV2 file. Carla clamps outputs without bounds to 0 to 1.
const fn meter_hint(port: &Port) -> RangeHint {
    let integer = if matches!(port.kind, Kind::Continuous) { 0 } else { HINT_INTEGER };
    RangeHint { hint: HINT_BOUNDED_BELOW | HINT_BOUNDED_ABOVE | integer, lower: port.min, upper: port.max }
}

/// The hint for a default that LADSPA can express. (A test of all defaults catches any other.)
const fn default_hint(port: &Port) -> c_int {
    match port.default {
        100.0 => HINT_DEFAULT_100,
        1.0 => HINT_DEFAULT_1,
        0.0 => HINT_DEFAULT_0,
        // Halfway between the bounds.
        _ => HINT_DEFAULT_MIDDLE,
    }
}

/// Longest port name, bytes including the NUL.
const NAME_BYTES: usize = 16;

/// The tables that a descriptor of `N` ports points to. They are constants of the library, because hosts that scan for
/// plugins load and unload it, and memory allocated for descriptors would leak each time.
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
            assert!(name.len() < NAME_BYTES, "the port name is too long: raise NAME_BYTES");
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

    /// Pointers to the names.
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

// SAFETY: the pointers lead to constants.
unsafe impl<const N: usize> Sync for Pointers<N> {}

/// A descriptor that can be a static.
struct Plugin(Descriptor);

// SAFETY: it is never written, and its pointers lead to constants.
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

/// A descriptor with everything it points to.
macro_rules! plugin {
    ($number:literal, $label:literal, $name:literal, $layout:ident) => {{
        static LAYOUT: Layout = $layout;
        static TABLES: Tables<{ $layout.count() }> = Tables::new(&LAYOUT);
        static NAMES: Pointers<{ $layout.count() }> = TABLES.pointers();
        Plugin::new(($number, $label, $name), &LAYOUT, &TABLES, &NAMES)
    }};
}

/// The numbers must be globally unique; 1 to 1000 are reserved for experiments.
static PLUGINS: [Plugin; 4] = [
    plugin!(4_417_281, c"driftmerge", c"Driftmerge", MERGE),
    plugin!(4_417_282, c"driftmerge_dual", c"Driftmerge Dual", DUAL),
    plugin!(4_417_283, c"driftmerge_merge4", c"Driftmerge Four", MERGE4),
    plugin!(4_417_284, c"driftmerge_align", c"Driftmerge Align", ALIGN),
];

/// Entry point for LADSPA hosts: returns the plugins by index, then NULL.
#[unsafe(no_mangle)]
pub extern "C" fn ladspa_descriptor(index: c_ulong) -> *const Descriptor {
    usize::try_from(index).ok().and_then(|i| PLUGINS.get(i)).map_or(std::ptr::null(), |plugin| &raw const plugin.0)
}

/// The instance behind a host's handle.
struct Shell {
    instance: Instance,
    ports: Ports,
}

unsafe extern "C" fn instantiate(descriptor: *const Descriptor, rate_hz: c_ulong) -> *mut c_void {
    // SAFETY: a host passes one of the descriptors above, whose implementation data is a static layout.
    let layout: &'static Layout = unsafe { &*(*descriptor).implementation_data.cast() };
    match Instance::new(layout, rate_hz as f64) {
        Ok(instance) => Box::into_raw(Box::new(Shell { instance, ports: Ports::new(layout) })).cast(),
        Err(error) => {
            eprintln!("driftmerge: cannot create the LADSPA plugin: {error}; choose another sample rate in the host");
            std::ptr::null_mut()
        }
    }
}

unsafe extern "C" fn connect_port(handle: *mut c_void, port: c_ulong, data: *mut f32) {
    // SAFETY: the host's handle, created in `instantiate`; LADSPA hosts make one call at a time on an instance.
    let shell = unsafe { &mut *handle.cast::<Shell>() };
    shell.ports.connect(usize::try_from(port).unwrap_or(usize::MAX), data);
}

unsafe extern "C" fn activate(handle: *mut c_void) {
    // SAFETY: as for `run`. A block of 0 frames reads the controls, writes the meters (`PipeWire` reads the latency
    // here) and keeps the state: `module-ladspa-sink` reactivates the plugin whenever a stream starts or ends.
    unsafe { run(handle, 0) }
}

unsafe extern "C" fn run(handle: *mut c_void, frames: c_ulong) {
    // SAFETY: the host's handle, created in `instantiate`; LADSPA hosts make one call at a time on an instance.
    let shell = unsafe { &mut *handle.cast::<Shell>() };
    // SAFETY: the host connected the ports; the standard has it provide `frames` values per audio port and one per
    // control.
    unsafe { shell.instance.run(&shell.ports, frames as usize) };
}

unsafe extern "C" fn cleanup(handle: *mut c_void) {
    // SAFETY: the host's handle, created in `instantiate`, which the host no longer uses.
    drop(unsafe { Box::from_raw(handle.cast::<Shell>()) });
}
