//! LV2's state extension: saves and restores what the engine has learnt.
//!
//! There is one property, `urn:driftmerge:snapshot`: the engine's snapshot as JSON in an `atom:String`, which people
//! and other machines can read. merge4 stores a list for B, C and D, with `null` for a microphone of which
//! nothing is known. Lags are against microphone A, so that a session can be restored with another delay, and in seconds, so
//! that it can be restored at another sample rate. The property is always stored as portable plain data. A snapshot
//! that is damaged or of another version is reported and ignored, and the lag is acquired from scratch. Control ports
//! are the host's to save.
//!
//! Crate `lv2-state` is not used: it passes NULL where hosts write flags, and does not save for hosts that pass no
//! flags.
//!
//! Threads: a host may call `save` while the plugin runs, so `save` only reads what the audio thread has published. It
//! may not call `restore` meanwhile, because the plugin does not offer `state:threadSafeRestore`.

use std::ffi::{CStr, CString, c_void};

use driftmerge_dsp::Snapshot;
use lv2::lv2_sys::{
    LV2_ATOM__String, LV2_Feature, LV2_State_Flags, LV2_State_Handle, LV2_State_Interface, LV2_State_Retrieve_Function,
    LV2_State_Status, LV2_State_Status_LV2_STATE_ERR_NO_FEATURE as ERR_NO_FEATURE,
    LV2_State_Status_LV2_STATE_ERR_UNKNOWN as ERR_UNKNOWN, LV2_State_Status_LV2_STATE_SUCCESS as SUCCESS,
    LV2_State_Store_Function,
};

use crate::lv2::Shared;
use crate::lv2_host::Host;
use crate::processor::Learnt;

/// The property's key.
const KEY: &CStr = c"urn:driftmerge:snapshot";

/// The null URID. Filter-chains of newer PipeWire versions pass state from their configuration without a type.
const NO_TYPE: u32 = 0;

/// The extension, as `extension_data` returns it.
pub(crate) static INTERFACE: LV2_State_Interface = LV2_State_Interface { save: Some(save), restore: Some(restore) };

/// The host's URIDs for the saved property, mapped once at instantiation as the standard demands.
pub(crate) struct Urids {
    key: u32,
    string: u32,
}

impl Urids {
    /// None if the host has no `urid:map`.
    pub fn new(host: &Host) -> Option<Self> {
        let string = CStr::from_bytes_with_nul(LV2_ATOM__String).ok()?;
        Some(Self { key: host.urid(KEY)?, string: host.urid(string)? })
    }
}

/// Stores the newest snapshot, or nothing if nothing is known yet. May run concurrently with the audio thread.
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
    let Some(json) = write(&learnt, shared.layout.others()).and_then(|json| CString::new(json).ok()) else {
        return ERR_UNKNOWN;
    };
    let value = json.to_bytes_with_nul();
    let flags = u32::from(LV2_State_Flags::LV2_STATE_IS_POD | LV2_State_Flags::LV2_STATE_IS_PORTABLE);
    // SAFETY: the host's function with its own handle, and a value that outlives the call.
    unsafe { store(handle, urids.key, value.as_ptr().cast(), value.len(), urids.string, flags) }
}

/// Restores a snapshot, before or after `activate`. Never concurrently with the audio thread.
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
    // SAFETY: the host's function with its own handle and three valid places for results.
    let value = unsafe { retrieve(handle, urids.key, &raw mut size, &raw mut kind, &raw mut flags) };
    if value.is_null() {
        return SUCCESS;
    }
    let json = [urids.string, NO_TYPE].contains(&kind).then(|| {
        // SAFETY: the host's value has `size` bytes and stays valid until `restore` returns.
        unsafe { std::slice::from_raw_parts(value.cast::<u8>(), size) }
    });
    // SAFETY: LV2 keeps `restore` apart from all other calls on this instance except `save`, which does not use it.
    let instance = unsafe { &mut *shared.instance.get() };
    let read = read(json, shared.layout.others());
    let restored = read.and_then(|learnt| instance.restore(&learnt).map_err(|error| error.to_string()));
    shared.learnt.publish(instance.learnt());
    if let Err(why) = restored {
        shared.host.warn(&format!("the saved state is ignored and the lag is acquired from scratch: {why}"));
    }
    SUCCESS
}

/// Serialises what is known of the first `others` microphones after A.
fn write(learnt: &Learnt, others: usize) -> Option<String> {
    if others == 1 { serde_json::to_string(&learnt[0]) } else { serde_json::to_string(&learnt[..others]) }.ok()
}

/// Parses the host's value, with or without a NUL at the end; None stands for a value of another type.
fn read(json: Option<&[u8]>, others: usize) -> Result<Learnt, String> {
    let json = json.ok_or("it is not an atom:String; save the session again")?;
    let json = json.strip_suffix(b"\0").unwrap_or(json);
    let read: Vec<Option<Snapshot>> = if others == 1 {
        serde_json::from_slice(json).map(|snapshot| vec![Some(snapshot)])
    } else {
        serde_json::from_slice(json)
    }
    .map_err(|error| error.to_string())?;
    if read.len() != others {
        return Err(format!("it is about {} microphones besides A, this plugin has {others}", read.len()));
    }
    let mut learnt = Learnt::default();
    learnt[..others].copy_from_slice(&read);
    Ok(learnt)
}
