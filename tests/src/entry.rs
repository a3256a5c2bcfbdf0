//! The plugin called as a host calls it: through the C functions of its two descriptors.

use std::ffi::{CStr, c_char, c_void};
use std::sync::Mutex;

use driftmerge_plugin::ladspa::{self, ladspa_descriptor};
use driftmerge_plugin::layout::{ALIGN, DUAL, Layout, MERGE, MERGE4};
use driftmerge_plugin::lv2::lv2_descriptor;
use lv2::lv2_sys::{
    LV2_Descriptor, LV2_Feature, LV2_STATE__interface, LV2_State_Interface, LV2_State_Status, LV2_URID__map,
    LV2_URID_Map,
};

/// Which of the plugins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `urn:driftmerge:merge`
    Lv2,
    /// LADSPA label `driftmerge`
    Ladspa,
    /// LADSPA label `driftmerge_dual`
    LadspaDual,
    /// `urn:driftmerge:merge4`
    Lv2Merge4,
    /// LADSPA label `driftmerge_merge4`
    LadspaMerge4,
    /// `urn:driftmerge:align`
    Lv2Align,
    /// LADSPA label `driftmerge_align`
    LadspaAlign,
}

impl Entry {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Lv2,
        Self::Ladspa,
        Self::LadspaDual,
        Self::Lv2Merge4,
        Self::LadspaMerge4,
        Self::Lv2Align,
        Self::LadspaAlign,
    ];

    /// Those that merge two microphones.
    pub const MERGES: [Self; 3] = [Self::Lv2, Self::Ladspa, Self::LadspaDual];

    /// Those that hear two microphones.
    pub const PAIRS: [Self; 5] = [Self::Lv2, Self::Ladspa, Self::LadspaDual, Self::Lv2Align, Self::LadspaAlign];

    /// Its ports.
    pub fn layout(self) -> &'static Layout {
        match self {
            Self::Lv2 | Self::Ladspa => &MERGE,
            Self::LadspaDual => &DUAL,
            Self::Lv2Merge4 | Self::LadspaMerge4 => &MERGE4,
            Self::Lv2Align | Self::LadspaAlign => &ALIGN,
        }
    }

    /// Audio outputs.
    pub fn outs(self) -> usize {
        self.layout().outs.len()
    }

    fn lv2(self) -> Option<&'static LV2_Descriptor> {
        let index = match self {
            Self::Lv2 => 0,
            Self::Lv2Merge4 => 1,
            Self::Lv2Align => 2,
            _ => return None,
        };
        // SAFETY: the library hands out descriptors that stay.
        unsafe { lv2_descriptor(index).as_ref() }
    }

    fn ladspa(self) -> &'static ladspa::Descriptor {
        let index = match self {
            Self::Ladspa => 0,
            Self::LadspaDual => 1,
            Self::LadspaMerge4 => 2,
            Self::LadspaAlign => 3,
            _ => panic!("{self:?} is of LV2"),
        };
        // SAFETY: the library hands out descriptors that stay.
        unsafe { &*ladspa_descriptor(index) }
    }
}

/// An instance with nothing connected but what the test connects.
pub struct Driver {
    entry: Entry,
    handle: *mut c_void,
    controls: Vec<f32>,
    meters: Vec<f32>,
}

impl Driver {
    /// Makes an instance; the LV2 one gets no features (NULL). None where the plugin refuses.
    pub fn new(entry: Entry, rate_hz: u32) -> Option<Self> {
        Self::with_features(entry, rate_hz, None)
    }

    /// Makes an instance with LV2 features.
    pub fn with_features(entry: Entry, rate_hz: u32, features: Option<&Features>) -> Option<Self> {
        let features = features.map_or(std::ptr::null(), |features| features.list.as_ptr());
        // SAFETY: a descriptor's function with the descriptor, a path that is a C string, and valid features or NULL.
        let handle = unsafe {
            match entry.lv2() {
                Some(lv2) => {
                    let instantiate = lv2.instantiate.expect("LV2 demands it");
                    instantiate(lv2, f64::from(rate_hz), c"/".as_ptr(), features)
                }
                None => (entry.ladspa().instantiate)(entry.ladspa(), u64::from(rate_hz)),
            }
        };
        let controls = entry.layout().controls.iter().map(|port| port.default).collect();
        let meters = vec![f32::NAN; entry.layout().meters.len()];
        (!handle.is_null()).then(|| Self { entry, handle, controls, meters })
    }

    /// Makes an instance, connects its controls and meters, and activates it.
    pub fn ready(entry: Entry, rate_hz: u32) -> Self {
        let mut driver = Self::new(entry, rate_hz).expect("the plugin takes the rate");
        driver.connect_controls();
        driver.activate();
        driver
    }

    /// Connects port `index` (NULL: nothing).
    #[allow(clippy::not_unsafe_ptr_arg_deref, reason = "connecting keeps the pointer; running is what is unsafe")]
    pub fn connect(&mut self, index: usize, data: *mut f32) {
        // SAFETY: the instance's own handle; `data` is used by later calls only, which say what they need.
        unsafe {
            match self.entry.lv2() {
                Some(lv2) => lv2.connect_port.expect("LV2 demands it")(self.handle, index as u32, data.cast()),
                None => (self.entry.ladspa().connect_port)(self.handle, index as u64, data),
            }
        }
    }

    /// Connects every control and meter to the driver's own.
    pub fn connect_controls(&mut self) {
        for i in 0..self.controls.len() {
            let data = &raw mut self.controls[i];
            self.connect(i, data);
        }
        for i in 0..self.meters.len() {
            let data = &raw mut self.meters[i];
            self.connect(self.entry.layout().first_meter() + i, data);
        }
    }

    /// Sets a control by its symbol.
    pub fn set(&mut self, symbol: &str, value: f32) {
        let index = self.entry.layout().controls.iter().position(|port| port.symbol == symbol).expect("a control");
        self.controls[index] = value;
    }

    /// Reads a meter by its symbol.
    pub fn meter(&self, symbol: &str) -> f32 {
        self.meters[self.entry.layout().meters.iter().position(|port| port.symbol == symbol).expect("a meter")]
    }

    /// All meters.
    pub fn meters(&self) -> &[f32] {
        &self.meters
    }

    /// Activates.
    pub fn activate(&mut self) {
        let function = self.entry.lv2().map_or_else(|| self.entry.ladspa().activate, |lv2| lv2.activate);
        // SAFETY: the instance's own handle; what is connected lives in `self`.
        unsafe { function.expect("offered")(self.handle) };
    }

    /// Deactivates, if the plugin wants to know.
    pub fn deactivate(&mut self) {
        let function = self.entry.lv2().map_or_else(|| self.entry.ladspa().deactivate, |lv2| lv2.deactivate);
        if let Some(function) = function {
            // SAFETY: the instance's own handle.
            unsafe { function(self.handle) };
        }
    }

    /// Runs `frames` frames on what is connected.
    ///
    /// # Safety
    /// Connected audio ports hold that many.
    pub unsafe fn run(&mut self, frames: usize) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.entry.lv2() {
                Some(lv2) => lv2.run.expect("LV2 demands it")(self.handle, frames as u32),
                None => (self.entry.ladspa().run)(self.handle, frames as u64),
            }
        }
    }

    /// Runs over `a` and `b`, all other microphones unconnected, in blocks of the given sizes, again and again; gives
    /// what comes out, per output.
    pub fn process(&mut self, a: &[f32], b: &[f32], blocks: &[usize]) -> Vec<Vec<f32>> {
        self.process_all(&[a, b], blocks)
    }

    /// The same with any number of microphones.
    pub fn process_all(&mut self, microphones: &[&[f32]], blocks: &[usize]) -> Vec<Vec<f32>> {
        // The plugin is given buffers that end where the block ends: a tool that watches memory sees one step too far.
        let frames = microphones[0].len();
        let mut outs = vec![Vec::with_capacity(frames); self.entry.outs()];
        let mut at = 0;
        for block in blocks.iter().cycle() {
            let n = (*block).min(frames - at);
            let mut ins: Vec<_> = microphones.iter().map(|sound| sound[at..at + n].to_vec()).collect();
            let mut block_outs = vec![vec![f32::NAN; n]; outs.len()];
            self.connect_audio(ins.iter_mut().map(Vec::as_mut_slice), &mut block_outs);
            // SAFETY: n frames are connected to each audio port.
            unsafe { self.run(n) };
            for (out, block_out) in outs.iter_mut().zip(block_outs) {
                out.extend(block_out);
            }
            at += n;
            if at == frames {
                return outs;
            }
        }
        unreachable!("there are blocks")
    }

    /// Connects audio buffers; inputs that are not given are unconnected.
    pub fn connect_audio<'a>(&mut self, ins: impl IntoIterator<Item = &'a mut [f32]>, outs: &mut [Vec<f32>]) {
        let layout = self.entry.layout();
        let given = ins.into_iter().map(<[f32]>::as_mut_ptr).chain(std::iter::repeat(std::ptr::null_mut()));
        for (i, pointer) in given.take(layout.ins.len()).enumerate() {
            self.connect(layout.first_in() + i, pointer);
        }
        for (i, out) in outs.iter_mut().enumerate() {
            self.connect(layout.first_out() + i, out.as_mut_ptr());
        }
    }

    /// Runs over `a` and `b` with each output in the memory of an input, `inputs` saying which; gives what comes out.
    pub fn process_in_place(&mut self, a: &[f32], b: &[f32], inputs: &[usize], block: usize) -> Vec<Vec<f32>> {
        let mut buffers = [a.to_vec(), b.to_vec()];
        let (first_in, first_out) = (self.entry.layout().first_in(), self.entry.layout().first_out());
        for at in (0..a.len()).step_by(block) {
            let pointers = buffers.each_mut().map(|buffer| buffer[at..].as_mut_ptr());
            for (i, pointer) in pointers.iter().enumerate() {
                self.connect(first_in + i, *pointer);
            }
            for (i, input) in inputs.iter().enumerate() {
                self.connect(first_out + i, pointers[*input]);
            }
            // SAFETY: every buffer has `a.len() - at` frames from here on.
            unsafe { self.run(block.min(a.len() - at)) };
        }
        inputs.iter().map(|input| buffers[*input].clone()).collect()
    }

    /// Saves through the state extension: the properties that the plugin stores.
    pub fn save(&self, flags: u32) -> (LV2_State_Status, Vec<Property>) {
        self.saver().save_with(flags)
    }

    /// The handle, for calls from another thread.
    pub fn saver(&self) -> Saver {
        Saver(state(self.entry), self.handle)
    }

    /// Restores through the state extension, from at most one property.
    pub fn restore(&mut self, property: Option<&Property>) -> LV2_State_Status {
        let restore = state(self.entry).restore.expect("offered");
        let handle = property.map_or(std::ptr::null_mut(), |p| std::ptr::from_ref(p).cast_mut().cast());
        // SAFETY: the instance's own handle; `retrieve` takes what `handle` is.
        unsafe { restore(self.handle, Some(retrieve), handle, 0, std::ptr::null()) }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        // SAFETY: the instance's own handle, used no more.
        unsafe {
            match self.entry.lv2() {
                Some(lv2) => lv2.cleanup.expect("LV2 demands it")(self.handle),
                None => (self.entry.ladspa().cleanup)(self.handle),
            }
        }
    }
}

/// Saves from another thread than the one that runs the plugin.
pub struct Saver(&'static LV2_State_Interface, *mut c_void);

// SAFETY: the state extension lets a host call `save` beside `run`; that is what is tested.
unsafe impl Sync for Saver {}

impl Saver {
    /// Saves. The driver must still exist.
    pub fn save(&self) -> (LV2_State_Status, Vec<Property>) {
        self.save_with(0)
    }

    fn save_with(&self, flags: u32) -> (LV2_State_Status, Vec<Property>) {
        let mut kept: Vec<Property> = Vec::new();
        let save = self.0.save.expect("offered");
        // SAFETY: the instance's own handle; `store` takes what `handle` is.
        let status = unsafe { save(self.1, Some(store), (&raw mut kept).cast(), flags, std::ptr::null()) };
        (status, kept)
    }
}

/// A property as a host keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// What it is.
    pub key: String,
    /// Its type; empty: the host names none.
    pub kind: String,
    /// Its bytes.
    pub value: Vec<u8>,
    /// What may be done with it.
    pub flags: u32,
}

fn state(entry: Entry) -> &'static LV2_State_Interface {
    let extension_data = entry.lv2().expect("of LV2").extension_data.expect("offered");
    // SAFETY: the URI is a C string; the result is what the URI names.
    unsafe { &*extension_data(LV2_STATE__interface.as_ptr().cast()).cast() }
}

unsafe extern "C" fn store(
    handle: *mut c_void,
    key: u32,
    value: *const c_void,
    size: usize,
    kind: u32,
    flags: u32,
) -> LV2_State_Status {
    // SAFETY: `save` above passes a vector; the plugin passes `size` bytes.
    let (kept, value) =
        unsafe { (&mut *handle.cast::<Vec<Property>>(), std::slice::from_raw_parts(value.cast::<u8>(), size)) };
    kept.push(Property { key: uri(key), kind: uri(kind), value: value.to_vec(), flags });
    0
}

unsafe extern "C" fn retrieve(
    handle: *mut c_void,
    key: u32,
    size: *mut usize,
    kind: *mut u32,
    flags: *mut u32,
) -> *const c_void {
    // SAFETY: `restore` above passes a property or NULL.
    match unsafe { handle.cast::<Property>().as_ref() } {
        Some(property) if property.key == uri(key) => {
            // SAFETY: the state extension demands a place for each.
            unsafe {
                *size = property.value.len();
                *kind = if property.kind.is_empty() { 0 } else { urid(&property.kind) };
                *flags = property.flags;
            }
            property.value.as_ptr().cast()
        }
        _ => std::ptr::null(),
    }
}

/// URIs in the order of their numbers, from 1 on.
static URIS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn urid(uri: &str) -> u32 {
    let mut uris = URIS.lock().expect("no panic while held");
    let index = uris.iter().position(|known| known == uri).unwrap_or_else(|| {
        uris.push(uri.to_owned());
        uris.len() - 1
    });
    index as u32 + 1
}

fn uri(urid: u32) -> String {
    URIS.lock().expect("no panic while held")[urid as usize - 1].clone()
}

unsafe extern "C" fn map(_handle: *mut c_void, uri: *const c_char) -> u32 {
    // SAFETY: the plugin passes a C string.
    urid(unsafe { CStr::from_ptr(uri) }.to_str().expect("ASCII"))
}

/// The features of a host that has numbers for URIs and nothing else: a list that ends in NULL.
pub struct Features {
    list: [*const LV2_Feature; 2],
    _feature: Box<LV2_Feature>,
    _map: Box<LV2_URID_Map>,
}

impl Features {
    /// Makes the list.
    pub fn with_map() -> Self {
        let mut urid_map = Box::new(LV2_URID_Map { handle: std::ptr::null_mut(), map: Some(map) });
        let data = (&raw mut *urid_map).cast();
        let feature = Box::new(LV2_Feature { URI: LV2_URID__map.as_ptr().cast(), data });
        Self { list: [&raw const *feature, std::ptr::null()], _feature: feature, _map: urid_map }
    }
}
