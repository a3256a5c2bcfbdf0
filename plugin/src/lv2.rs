//! The LV2 shell: the plugins `urn:driftmerge:merge`, `:merge4` and `:align` through crate `lv2`.
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
use std::marker::PhantomData;
use std::sync::Arc;

use lv2::lv2_core::prelude::*;
use lv2::lv2_sys::LV2_STATE__interface;
use lv2::urid::{Uri, UriBound};

use crate::instance::{Instance, Published};
use crate::layout::{self, Layout};
use crate::lv2_host::Host;
use crate::lv2_state::{self, Urids};
use crate::ports::Ports;

/// Which of the plugins.
trait Kind: Send + Sync + 'static {
    const URI: &'static CStr;
    const LAYOUT: &'static Layout;
}

/// Two microphones into one.
struct Merge;
/// Four microphones into one.
struct Merge4;
/// Two microphones, aligned.
struct Align;

impl Kind for Merge {
    const URI: &'static CStr = c"urn:driftmerge:merge";
    const LAYOUT: &'static Layout = &layout::MERGE;
}

impl Kind for Merge4 {
    const URI: &'static CStr = c"urn:driftmerge:merge4";
    const LAYOUT: &'static Layout = &layout::MERGE4;
}

impl Kind for Align {
    const URI: &'static CStr = c"urn:driftmerge:align";
    const LAYOUT: &'static Layout = &layout::ALIGN;
}

/// The instance as crate `lv2` holds it.
///
/// The crate makes a `&mut Shell` of it in `run`, while a host may be in `save` on another thread (the state
/// extension allows that). Therefore all that changes lies behind the `Arc`, and the `Shell` itself is only ever read.
#[repr(transparent)]
struct Shell<K>(Arc<Shared>, PhantomData<K>);

/// What the audio thread and a thread that saves have in common.
pub(crate) struct Shared {
    /// Touched by `run`, and by calls that LV2 forbids at the same time as `run`; never by `save`.
    pub instance: UnsafeCell<Instance>,
    /// The plugin's ports.
    pub layout: &'static Layout,
    /// What `save` takes.
    pub learnt: Published,
    /// The host's numbers for what is saved. None: the host has none, so there is no state.
    pub urids: Option<Urids>,
    /// Where messages go.
    pub host: Host,
}

// SAFETY: `instance` is reached only by calls that LV2's threading rules keep apart (the audio and the instantiation
// class), and `host` only by the latter; `learnt` is locked; `layout` and `urids` never change. None is tied to a thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The shared part of an instance of any kind, for the calls of an extension, which get the bare handle.
    ///
    /// # Safety
    /// `handle` was returned by a plugin's `instantiate` and is not cleaned up while the result is used.
    pub unsafe fn of<'a>(handle: *mut c_void) -> &'a Self {
        // SAFETY: `PluginInstance` is repr(C) and begins with its plugin, a `Shell`, which is nothing but the Arc. Everyone
        // only reads the Arc, which keeps what it points to for as long as the instance lives.
        unsafe { &*Arc::as_ptr(&*handle.cast::<Arc<Self>>()) }
    }
}

// SAFETY: the bytes end in NUL.
unsafe impl<K: Kind> UriBound for Shell<K> {
    const URI: &'static [u8] = K::URI.to_bytes_with_nul();
}

impl<K: Kind> Plugin for Shell<K> {
    type Ports = Connected<K>;
    type InitFeatures = Host;
    type AudioFeatures = ();

    fn new(info: &PluginInfo, host: &mut Host) -> Option<Self> {
        let instance = Instance::new(K::LAYOUT, info.sample_rate());
        let instance = UnsafeCell::new(instance.map_err(|error| host.warn(&error.to_string())).ok()?);
        let (learnt, urids) = (Published::default(), Urids::new(host));
        Some(Self(Arc::new(Shared { instance, layout: K::LAYOUT, learnt, urids, host: *host }), PhantomData))
    }

    fn run(&mut self, ports: &mut Connected<K>, (): &mut (), frames: u32) {
        // SAFETY: the audio thread has the instance to itself (see `Shared`). The ports are as the host connected them,
        // and an LV2 host must give each of them the memory that its type asks for.
        unsafe {
            let instance = &mut *self.0.instance.get();
            instance.run(&ports.0, frames as usize);
            self.0.learnt.publish(instance.learnt());
        }
    }

    fn extension_data(uri: &Uri) -> Option<&'static dyn Any> {
        (uri.to_bytes_with_nul() == LV2_STATE__interface).then_some(&lv2_state::INTERFACE as &dyn Any)
    }
}

/// The ports as crate `lv2` holds them.
struct Connected<K>(Ports, PhantomData<K>);

impl<K: Kind> Default for Connected<K> {
    fn default() -> Self {
        Self(Ports::new(K::LAYOUT), PhantomData)
    }
}

impl<K: Kind> PortPointerCache for Connected<K> {
    fn connect(&mut self, index: u32, pointer: *mut c_void) {
        self.0.connect(index as usize, pointer.cast());
    }
}

impl<K: Kind> PortCollection for Connected<K> {
    type Cache = Self;

    unsafe fn from_connections(cache: &Self, _frames: u32) -> Option<Self> {
        Some(Self(cache.0, PhantomData))
    }
}

/// A block of 0 frames takes the controls, writes the meters and forgets nothing.
unsafe extern "C" fn activate<K: Kind>(handle: *mut c_void) {
    // SAFETY: the host's handle; LV2 keeps `activate` apart from `run`.
    unsafe { PluginInstance::<Shell<K>>::run(handle, 0) }
}

// SAFETY: the functions are the crate's own, for this very type, but for `activate`, whose handle is the same.
unsafe impl<K: Kind> PluginInstanceDescriptor for Shell<K> {
    const DESCRIPTOR: LV2_Descriptor = LV2_Descriptor {
        URI: K::URI.as_ptr(),
        instantiate: Some(PluginInstance::<Self>::instantiate),
        connect_port: Some(PluginInstance::<Self>::connect_port),
        activate: Some(activate::<K>),
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
        0 => &<Shell<Merge> as PluginInstanceDescriptor>::DESCRIPTOR,
        1 => &<Shell<Merge4> as PluginInstanceDescriptor>::DESCRIPTOR,
        2 => &<Shell<Align> as PluginInstanceDescriptor>::DESCRIPTOR,
        _ => std::ptr::null(),
    }
}
