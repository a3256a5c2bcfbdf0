//! The library loaded and unloaded again and again, as hosts do that look through all there is.
//!
//! Alone in its file: what the process holds is counted, and another test would be counted, too.

use std::ffi::{CStr, c_ulong, c_void};

use driftmerge_plugin::ladspa::Descriptor;
use driftmerge_tests::hosts::bundle;
use libloading::Library;
use lv2::lv2_sys::LV2_Descriptor;

/// `struct mallinfo2` of the C library.
#[repr(C)]
struct Held {
    others: [usize; 4],
    /// Bytes in memory mapped for single large pieces.
    mapped: usize,
    more: [usize; 2],
    /// Bytes in all other pieces that are not free.
    in_use: usize,
    rest: [usize; 2],
}

/// Looks at every plugin as a host does: its names, an instance of it, and the end of that.
fn look_at_all() {
    // SAFETY: the library under test; what it hands out is used while it is loaded, as its standards say.
    unsafe {
        let library = Library::new(bundle().ladspa_file()).expect("it loads");
        let ladspa =
            library.get::<extern "C" fn(c_ulong) -> *const Descriptor>(b"ladspa_descriptor").expect("is there");
        for descriptor in (0..).map_while(|i| ladspa(i).as_ref()) {
            let names = std::slice::from_raw_parts(descriptor.port_names, descriptor.port_count as usize);
            assert!(names.iter().all(|name| !CStr::from_ptr(*name).is_empty()));
            let handle = (descriptor.instantiate)(descriptor, 48_000);
            assert!(!handle.is_null());
            descriptor.activate.expect("offered")(handle);
            (descriptor.cleanup)(handle);
        }
        let lv2 = library.get::<extern "C" fn(u32) -> *const LV2_Descriptor>(b"lv2_descriptor").expect("is there");
        for descriptor in (0..).map_while(|i| lv2(i).as_ref()) {
            let features: *const c_void = std::ptr::null();
            let instantiate = descriptor.instantiate.expect("LV2 demands it");
            let handle = instantiate(descriptor, 48_000.0, c"/".as_ptr(), features.cast());
            assert!(!handle.is_null());
            descriptor.activate.expect("offered")(handle);
            descriptor.cleanup.expect("LV2 demands it")(handle);
        }
        library.close().expect("it is unloaded");
    }
}

#[test]
fn the_library_leaves_less_than_164_bytes_behind_each_time_that_it_is_unloaded() {
    // SAFETY: the C library is loaded anyway, and the function is as its header declares it.
    let held = || unsafe {
        let library = Library::new("libc.so.6").expect("it is loaded");
        let held = library.get::<extern "C" fn() -> Held>(b"mallinfo2").expect("part of it")();
        held.in_use + held.mapped
    };
    let after_rounds = |rounds| {
        (0..rounds).for_each(|_| look_at_all());
        held()
    };
    // The C library counts as held the freed pieces that it keeps at hand, and takes some tens of rounds to have them all.
    let before = after_rounds(50);
    let more = after_rounds(50).saturating_sub(before);
    println!("{more} bytes more after 50 rounds");
    assert!(more < 8192, "{more} bytes more after 50 rounds");
}
