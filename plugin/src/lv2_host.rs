//! What an LV2 host offers to the plugin: numbers for URIs and a log. All of it may be missing.

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

// SAFETY: the data of this feature is an `LV2_URID_Map`; it is only kept here.
unsafe impl Feature for Map {
    unsafe fn from_feature_ptr(data: *const c_void, _class: ThreadingClass) -> Option<Self> {
        NonNull::new(data.cast_mut().cast()).map(Self)
    }
}

// SAFETY: the data of this feature is an `LV2_Log_Log`; it is only kept here.
unsafe impl Feature for Log {
    unsafe fn from_feature_ptr(data: *const c_void, _class: ThreadingClass) -> Option<Self> {
        NonNull::new(data.cast_mut().cast()).map(Self)
    }
}

/// The host's features; they are valid for as long as the instance lives.
#[derive(Clone, Copy, FeatureCollection)]
pub(crate) struct Host {
    map: Option<Map>,
    log: Option<Log>,
}

impl Host {
    /// The number that the host has for a URI. None if it offers no numbers, or not this one. Instantiation only.
    pub fn urid(&self, uri: &CStr) -> Option<u32> {
        let map = self.map.as_ref()?;
        // SAFETY: an instance's features outlive it.
        let map = unsafe { map.0.as_ref() };
        // SAFETY: called as the feature asks for, with its own handle and a C string.
        let urid = unsafe { map.map?(map.handle, uri.as_ptr()) };
        (urid != 0).then_some(urid)
    }

    /// Tells people that something is not as it should be, through the host if it takes messages. Not on the audio thread.
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
        // SAFETY: called as the feature asks for: its own handle, a format, and the one string that the format takes.
        unsafe { log.printf?(log.handle, kind, c"%s".as_ptr(), line.as_ptr()) };
        Some(())
    }
}
