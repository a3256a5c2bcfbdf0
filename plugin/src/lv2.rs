//! The LV2 shell: `urn:driftmerge:merge` through crate `lv2`.
//!
//! The crate makes and frees the instance, reads the host's features and keeps the port pointers. Three things are
//! done here by hand, since the crate cannot do them soundly or at all:
//!
//! - **Ports.** Its audio ports are slices over the host's buffers, two of which may be the same memory; and where a
//!   port that is not `Option` is unconnected it leaves the whole block out. [`Ports`] stands in for its collection.
//! - **The descriptor.** Its macro writes `#[no_mangle]`, which this edition of Rust does not take.
//! - **Activate** has no ports there, but here it writes the meters: `PipeWire` reads the latency between activating
//!   and the first block.
//!
//! State is in `lv2_state.rs`, for the same kind of reasons.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ffi::{CStr, c_void};
use std::sync::Arc;

use lv2::lv2_core::prelude::*;
use lv2::lv2_sys::LV2_STATE__interface;
use lv2::urid::{Uri, UriBound};

use crate::instance::{Instance, Learnt};
use crate::lv2_host::Host;
use crate::lv2_state::{self, Urids};
use crate::ports::Ports;

/// The plugin's URI.
pub const URI: &CStr = c"urn:driftmerge:merge";

/// The instance as crate `lv2` holds it.
///
/// The crate makes a `&mut Merge` of it in `run`, while a host may be in `save` on another thread (the state
/// extension allows that). Therefore all that changes lies behind the `Arc`, and the `Merge` itself is only ever read.
pub(crate) struct Merge(Arc<Shared>);

/// What the audio thread and a thread that saves have in common.
pub(crate) struct Shared {
    /// Touched by `run`, and by calls that LV2 forbids at the same time as `run`; never by `save`.
    pub instance: UnsafeCell<Instance>,
    /// What `save` takes.
    pub learnt: Learnt,
    /// The host's numbers for what is saved. None: the host has none, so there is no state.
    pub urids: Option<Urids>,
    /// Where messages go.
    pub host: Host,
}

// SAFETY: `instance` is reached only by calls that LV2's threading rules keep apart (the audio and the instantiation
// class), and `host` only by the latter; `learnt` is locked; `urids` never changes. None is tied to a thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Merge {
    /// The shared part of an instance, for the calls of an extension, which get the bare handle.
    ///
    /// # Safety
    /// `handle` was returned by this plugin's `instantiate` and is not cleaned up while the result is used.
    pub unsafe fn shared<'a>(handle: *mut c_void) -> &'a Shared {
        // SAFETY: `PluginInstance` is repr(C) and begins with its plugin. Everyone only reads the Arc, which keeps what
        // it points to for as long as the instance lives.
        unsafe { &*Arc::as_ptr(&(*handle.cast::<Self>()).0) }
    }
}

// SAFETY: the bytes end in NUL.
unsafe impl UriBound for Merge {
    const URI: &'static [u8] = URI.to_bytes_with_nul();
}

impl Plugin for Merge {
    type Ports = Ports<1>;
    type InitFeatures = Host;
    type AudioFeatures = ();

    fn new(info: &PluginInfo, host: &mut Host) -> Option<Self> {
        let instance = Instance::new(info.sample_rate()).map_err(|error| host.warn(&error.to_string())).ok()?;
        let instance = UnsafeCell::new(instance);
        Some(Self(Arc::new(Shared { instance, learnt: Learnt::default(), urids: Urids::new(host), host: *host })))
    }

    fn run(&mut self, ports: &mut Ports<1>, (): &mut (), frames: u32) {
        // SAFETY: the audio thread has the instance to itself (see `Shared`). The ports are as the host connected them,
        // and an LV2 host must give each of them the memory that its type asks for.
        unsafe {
            let instance = &mut *self.0.instance.get();
            instance.run(ports, frames as usize);
            self.0.learnt.publish(instance.learnt());
        }
    }

    fn extension_data(uri: &Uri) -> Option<&'static dyn Any> {
        (uri.to_bytes_with_nul() == LV2_STATE__interface).then_some(&lv2_state::INTERFACE as &dyn Any)
    }
}

impl PortPointerCache for Ports<1> {
    fn connect(&mut self, index: u32, pointer: *mut c_void) {
        Self::connect(self, index as usize, pointer.cast());
    }
}

impl PortCollection for Ports<1> {
    type Cache = Self;

    unsafe fn from_connections(cache: &Self, _frames: u32) -> Option<Self> {
        Some(*cache)
    }
}

/// A block of 0 frames takes the controls, writes the meters and forgets nothing.
unsafe extern "C" fn activate(handle: *mut c_void) {
    // SAFETY: the host's handle; LV2 keeps `activate` apart from `run`.
    unsafe { PluginInstance::<Merge>::run(handle, 0) }
}

// SAFETY: the functions are the crate's own, for this very type, but for `activate`, whose handle is the same.
unsafe impl PluginInstanceDescriptor for Merge {
    const DESCRIPTOR: LV2_Descriptor = LV2_Descriptor {
        URI: URI.as_ptr(),
        instantiate: Some(PluginInstance::<Self>::instantiate),
        connect_port: Some(PluginInstance::<Self>::connect_port),
        activate: Some(activate),
        run: Some(PluginInstance::<Self>::run),
        deactivate: Some(PluginInstance::<Self>::deactivate),
        cleanup: Some(PluginInstance::<Self>::cleanup),
        extension_data: Some(PluginInstance::<Self>::extension_data),
    };
}

/// Where an LV2 host finds the plugins of this library: one by one, then NULL.
#[unsafe(no_mangle)]
pub extern "C" fn lv2_descriptor(index: u32) -> *const LV2_Descriptor {
    match index {
        0 => &<Merge as PluginInstanceDescriptor>::DESCRIPTOR,
        _ => std::ptr::null(),
    }
}
