//! The LV2 host's features that the plugin uses: `urid:map` and `log:log`. Both are optional.

use std::ffi::{CStr, CString, c_void};
use std::ptr::NonNull;

use lv2::lv2_core::feature::Feature;
use lv2::lv2_core::prelude::*;
use lv2::lv2_sys::{LV2_LOG__Warning, LV2_LOG__log, LV2_Log_Log, LV2_URID__map, LV2_URID_Map};
use lv2::urid::UriBound;

/// `urid:map`.
#[derive(Clone, Copy)]
struct Map(NonNull<LV2_URID_Map>);

/// `log:log`.
#[derive(Clone, Copy)]
struct Log(NonNull<LV2_Log_Log>);

// SAFETY: the bytes end in NUL.
unsafe impl UriBound for Map {
    const URI: &'static [u8] = LV2_URID__map;
}

// SAFETY: the bytes end in NUL.
unsafe impl UriBound for Log {
    const URI: &'static [u8] = LV2_LOG__log;
}

// SAFETY: the data of this feature is an `LV2_URID_Map`; only the pointer is stored.
unsafe impl Feature for Map {
    unsafe fn from_feature_ptr(data: *const c_void, _class: ThreadingClass) -> Option<Self> {
        NonNull::new(data.cast_mut().cast()).map(Self)
    }
}

// SAFETY: the data of this feature is an `LV2_Log_Log`; only the pointer is stored.
unsafe impl Feature for Log {
    unsafe fn from_feature_ptr(data: *const c_void, _class: ThreadingClass) -> Option<Self> {
        NonNull::new(data.cast_mut().cast()).map(Self)
    }
}

/// The host's features, which stay valid as long as the instance exists.
#[derive(Clone, Copy, FeatureCollection)]
pub(crate) struct Host {
    map: Option<Map>,
    log: Option<Log>,
}

impl Host {
    /// The host's URID for a URI. None if the host cannot map it. Only while the plugin is instantiated.
    pub fn urid(&self, uri: &CStr) -> Option<u32> {
        let map = self.map.as_ref()?;
        // SAFETY: an instance's features outlive it.
        let map = unsafe { map.0.as_ref() };
        // SAFETY: called with the feature's own handle and a C string, as the standard demands.
        let urid = unsafe { map.map?(map.handle, uri.as_ptr()) };
        (urid != 0).then_some(urid)
    }

    /// Logs a warning to the host, or to standard error if the host has no log. Not on the audio thread.
    pub fn warn(&self, message: &str) {
        let line = format!("driftmerge: {message}\n");
        if self.warn_through_host(&line).is_none() {
            eprint!("{line}");
        }
    }

    fn warn_through_host(&self, line: &str) -> Option<()> {
        let kind = self.urid(CStr::from_bytes_with_nul(LV2_LOG__Warning).ok()?)?;
        // SAFETY: an instance's features outlive it.
        let log = unsafe { self.log.as_ref()?.0.as_ref() };
        let line = CString::new(line).ok()?;
        // SAFETY: called with the feature's own handle, a format, and the one string that the format consumes.
        unsafe { log.printf?(log.handle, kind, c"%s".as_ptr(), line.as_ptr()) };
        Some(())
    }
}
