//! What was learnt, kept by the host: the state extension of LV2, by hand.
//!
//! One property, `urn:driftmerge:snapshot`: the engine's snapshot as JSON in an `atom:String`, so that a session file
//! can be read by people and moved to another machine; of several engines, a list, with `null` where nothing is known.
//! Lags are against microphone A, so that a session may be restored with another delay. It is stored as plain and portable data whatever the host asks
//! for. A snapshot that does not fit (other rate, other version, damaged) is reported and ignored: an instance that
//! has learnt nothing is as good as a new one. Control ports are the host's to save; they are not touched.
//!
//! Crate `lv2-state` is not used: it passes NULL where hosts write flags to, and refuses to save where a host asks for
//! no flags.
//!
//! Threads: a host may call `save` while the plugin runs, so `save` only takes what the audio thread has published.
//! It may not call `restore` while the plugin runs (the plugin does not offer `state:threadSafeRestore`).

use std::ffi::{CStr, CString, c_void};

use driftmerge_dsp::Snapshot;
use lv2::lv2_sys::{
    LV2_ATOM__String, LV2_Feature, LV2_State_Flags, LV2_State_Handle, LV2_State_Interface, LV2_State_Retrieve_Function,
    LV2_State_Status, LV2_State_Status_LV2_STATE_ERR_NO_FEATURE as ERR_NO_FEATURE,
    LV2_State_Status_LV2_STATE_ERR_UNKNOWN as ERR_UNKNOWN, LV2_State_Status_LV2_STATE_SUCCESS as SUCCESS,
    LV2_State_Store_Function,
};

use crate::chain::Learnt;
use crate::lv2::Shared;
use crate::lv2_host::Host;

/// The property's key.
const KEY: &CStr = c"urn:driftmerge:snapshot";

/// A number that stands for nothing: PipeWire's filter-chain hands over what its configuration has without a type, where it hands over state at all (not 1.2).
const NO_TYPE: u32 = 0;

/// The extension, as `extension_data` hands it out.
pub(crate) static INTERFACE: LV2_State_Interface = LV2_State_Interface { save: Some(save), restore: Some(restore) };

/// The host's numbers for what is saved. They are asked for once, as LV2 hosts expect it, when the instance is made.
pub(crate) struct Urids {
    key: u32,
    string: u32,
}

impl Urids {
    /// None where the host has no numbers.
    pub fn new(host: &Host) -> Option<Self> {
        let string = CStr::from_bytes_with_nul(LV2_ATOM__String).ok()?;
        Some(Self { key: host.urid(KEY)?, string: host.urid(string)? })
    }
}

/// Stores the newest snapshot, or nothing where nothing is known yet. Runs beside the audio thread.
unsafe extern "C" fn save(
    instance: *mut c_void,
    store: LV2_State_Store_Function,
    handle: LV2_State_Handle,
    _flags: u32,
    _features: *const *const LV2_Feature,
) -> LV2_State_Status {
    // SAFETY: the host's handle.
    let shared = unsafe { Shared::of(instance) };
    let (Some(urids), Some(store)) = (&shared.urids, store) else { return ERR_NO_FEATURE };
    let learnt = shared.learnt.newest();
    if learnt == Learnt::default() {
        return SUCCESS;
    }
    let Some(json) = write(&learnt, shared.layout.links()).and_then(|json| CString::new(json).ok()) else {
        return ERR_UNKNOWN;
    };
    let value = json.to_bytes_with_nul();
    let flags = u32::from(LV2_State_Flags::LV2_STATE_IS_POD | LV2_State_Flags::LV2_STATE_IS_PORTABLE);
    // SAFETY: the host's function with the host's handle, and a value that outlives the call.
    unsafe { store(handle, urids.key, value.as_ptr().cast(), value.len(), urids.string, flags) }
}

/// Takes a snapshot back, before or after `activate`. Never beside the audio thread.
unsafe extern "C" fn restore(
    instance: *mut c_void,
    retrieve: LV2_State_Retrieve_Function,
    handle: LV2_State_Handle,
    _flags: u32,
    _features: *const *const LV2_Feature,
) -> LV2_State_Status {
    // SAFETY: the host's handle.
    let shared = unsafe { Shared::of(instance) };
    let (Some(urids), Some(retrieve)) = (&shared.urids, retrieve) else { return ERR_NO_FEATURE };
    let (mut size, mut kind, mut flags) = (0, 0, 0);
    // SAFETY: the host's function with the host's handle; all three results have a place to go to.
    let value = unsafe { retrieve(handle, urids.key, &raw mut size, &raw mut kind, &raw mut flags) };
    if value.is_null() {
        return SUCCESS;
    }
    let json = [urids.string, NO_TYPE].contains(&kind).then(|| {
        // SAFETY: the host's value is `size` bytes long and stays until `restore` returns.
        unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) }
    });
    // SAFETY: LV2 keeps `restore` apart from all other calls on this instance but `save`, which leaves it alone.
    let instance = unsafe { &mut *shared.instance.get() };
    let read = read(json, shared.layout.links());
    let restored = read.and_then(|learnt| instance.restore(&learnt).map_err(|error| error.to_string()));
    shared.learnt.publish(instance.learnt());
    if let Err(why) = restored {
        shared.host.warn(&format!("the saved state is ignored, and the lag is searched anew: {why}"));
    }
    SUCCESS
}

/// What the first `links` engines have learnt, as text.
fn write(learnt: &Learnt, links: usize) -> Option<String> {
    if links == 1 { serde_json::to_string(&learnt[0]) } else { serde_json::to_string(&learnt[..links]) }.ok()
}

/// Reads that from the host's value, which ends in NUL or not; None stands for a value of another type.
fn read(json: Option<&[u8]>, links: usize) -> Result<Learnt, String> {
    let json = json.ok_or("it is not text")?;
    let json = json.strip_suffix(b"\0").unwrap_or(json);
    let read: Vec<Option<Snapshot>> = if links == 1 {
        serde_json::from_slice(json).map(|snapshot| vec![Some(snapshot)])
    } else {
        serde_json::from_slice(json)
    }
    .map_err(|error| error.to_string())?;
    if read.len() != links {
        return Err(format!("it is of {} engines, here are {links}", read.len()));
    }
    let mut learnt = Learnt::default();
    learnt[..links].copy_from_slice(&read);
    Ok(learnt)
}
