//! What the plugin has learnt, through LV2's state interface.
//!
//! The hosting library gives a state as a whole and as text of its own; here the one property is needed by itself, to be
//! kept by microphone and rate. So the two functions of the interface are called directly.

use super::plugin::HostError;
use driftmerge_dsp::Snapshot;
use livi::{Features, Instance};
use std::ffi::{CStr, c_void};
use std::ptr::null;

/// The property in which the plugin keeps its snapshot, as JSON.
const KEY: &CStr = c"urn:driftmerge:snapshot";
/// The type of a text.
const STRING: &CStr = c"http://lv2plug.in/ns/ext/atom#String";
/// Name of the interface.
const INTERFACE: &str = "http://lv2plug.in/ns/ext/state#interface";
/// Plain data that other machines can read (`LV2_STATE_IS_POD | LV2_STATE_IS_PORTABLE`).
const PLAIN: u32 = 1 | 2;
/// The callback's results (`LV2_STATE_SUCCESS`, `LV2_STATE_ERR_BAD_TYPE`).
const SUCCESS: i32 = 0;
const BAD_TYPE: i32 = 2;

type Store = unsafe extern "C" fn(*mut c_void, u32, *const c_void, usize, u32, u32) -> i32;
type Retrieve = unsafe extern "C" fn(*mut c_void, u32, *mut usize, *mut u32, *mut u32) -> *const c_void;

/// `LV2_State_Interface`.
#[repr(C)]
struct Interface {
    save: Option<unsafe extern "C" fn(*mut c_void, Option<Store>, *mut c_void, u32, *const *const c_void) -> i32>,
    restore: Option<unsafe extern "C" fn(*mut c_void, Option<Retrieve>, *mut c_void, u32, *const *const c_void) -> i32>,
}

/// The one property that is kept.
struct Property {
    key: u32,
    string: u32,
    /// Without the NUL at its end while it is being read out, with it while it is handed in.
    value: Vec<u8>,
}

impl Property {
    fn new(features: &Features, value: Vec<u8>) -> Self {
        Self { key: features.urid(KEY), string: features.urid(STRING), value }
    }
}

/// The plugin's callback to hand over a property.
unsafe extern "C" fn store(
    handle: *mut c_void,
    key: u32,
    value: *const c_void,
    size: usize,
    kind: u32,
    _flags: u32,
) -> i32 {
    // SAFETY: `handle` is the property that `save` lends to the plugin for the length of its call.
    let property = unsafe { &mut *handle.cast::<Property>() };
    if key != property.key {
        return SUCCESS;
    }
    if kind != property.string || value.is_null() {
        return BAD_TYPE;
    }
    // SAFETY: LV2 wants `value` to be `size` bytes long; they are copied before the plugin goes on.
    let bytes = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) };
    property.value = bytes.strip_suffix(b"\0").unwrap_or(bytes).to_vec();
    SUCCESS
}

/// The plugin's callback to ask for a property.
unsafe extern "C" fn retrieve(
    handle: *mut c_void,
    key: u32,
    size: *mut usize,
    kind: *mut u32,
    flags: *mut u32,
) -> *const c_void {
    // SAFETY: `handle` is the property that `restore` lends to the plugin for the length of its call.
    let property = unsafe { &*handle.cast::<Property>() };
    if key != property.key {
        return null();
    }
    // SAFETY: each is null or, as LV2 wants it, a place to write to.
    unsafe {
        if let Some(size) = size.as_mut() {
            *size = property.value.len();
        }
        if let Some(kind) = kind.as_mut() {
            *kind = property.string;
        }
        if let Some(flags) = flags.as_mut() {
            *flags = PLAIN;
        }
    }
    property.value.as_ptr().cast()
}

fn interface(instance: &Instance) -> Result<&Interface, HostError> {
    // SAFETY: extension_data may be called at any time. What it gives for this name is an LV2_State_Interface that lives
    // as long as the plugin's library, which the instance holds.
    let found = unsafe { instance.raw().instance().extension_data::<Interface>(INTERFACE) };
    // SAFETY: as above.
    found.map(|p| unsafe { p.as_ref() }).ok_or(HostError::Foreign("it has no state interface"))
}

/// What the plugin has learnt, if anything.
pub fn save(instance: &Instance, features: &Features) -> Result<Option<Snapshot>, HostError> {
    let save = interface(instance)?.save.ok_or(HostError::Foreign("it cannot save its state"))?;
    let mut property = Property::new(features, Vec::new());
    let handle = instance.raw().instance().handle();
    let features: [*const c_void; 1] = [null()];
    // SAFETY: the plugin's own handle; `store` and the property outlive the call; the list of features is empty and ends
    // with null. The instance is borrowed, and only its owner runs or restores it, so no call of those is under way.
    let _ = unsafe { save(handle.cast(), Some(store), (&raw mut property).cast(), PLAIN, features.as_ptr()) };
    if property.value.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(&property.value).map(Some).map_err(|_| HostError::Foreign("its state cannot be read"))
}

/// Gives the plugin what was learnt before.
pub fn restore(instance: &mut Instance, features: &Features, snapshot: &Snapshot) -> Result<(), HostError> {
    let restore = interface(instance)?.restore.ok_or(HostError::Foreign("it cannot restore its state"))?;
    let mut json = serde_json::to_vec(snapshot).map_err(|_| HostError::Foreign("its state cannot be written"))?;
    json.push(0);
    let mut property = Property::new(features, json);
    let handle = instance.raw().instance().handle();
    let features: [*const c_void; 1] = [null()];
    // SAFETY: as in `save`; the instance is borrowed alone.
    let result =
        unsafe { restore(handle.cast(), Some(retrieve), (&raw mut property).cast(), PLAIN, features.as_ptr()) };
    if result == SUCCESS { Ok(()) } else { Err(HostError::Foreign("it refused its saved state")) }
}
