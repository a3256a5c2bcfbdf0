//! The LV2 shell: the plugins `urn:driftmerge:merge`, `:merge4` and `:align` through crate `lv2`.
//!
//! The crate creates and frees the instance, reads the host's features and stores the port pointers. Three things are
//! implemented here, because the crate cannot do them, or not soundly:
//!
//! - **Ports.** Its audio ports are slices over the host's buffers, which may alias, and it skips the whole block if a
//!   port that is not `Option` is unconnected. [`Ports`] replaces its port collection.
//! - **The descriptor.** Its macro emits `#[no_mangle]`, which the 2024 edition of Rust rejects.
//! - **`activate`** has no access to ports there, but must write the meters here: `PipeWire` reads the latency after
//!   `activate` and before the first block.
//!
//! The state extension, in `lv2_state.rs`, is implemented by hand for similar reasons.

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

/// One of the plugins.
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

/// The instance, as crate `lv2` stores it.
///
/// The crate forms a `&mut Shell` in `run`, while the host may be in `save` on another thread, which the state
/// extension allows. Everything mutable therefore lives behind the `Arc`, and the `Shell` itself is only ever read.
#[repr(transparent)]
struct Shell<K>(Arc<Shared>, PhantomData<K>);

/// State shared by the audio thread and a thread that saves.
pub(crate) struct Shared {
    /// Used by `run` and by calls that LV2 keeps apart from `run`; never by `save`.
    pub instance: UnsafeCell<Instance>,
    /// The plugin's ports.
    pub layout: &'static Layout,
    /// What `save` reads.
    pub learnt: Published,
    /// The host's URIDs for the saved property. None: the host has no `urid:map`, so there is no state.
    pub urids: Option<Urids>,
    /// The host's log.
    pub host: Host,
}

// SAFETY: only calls of LV2's audio and instantiation classes use `instance`, and the threading rules keep those apart;
// only the latter use `host`. `learnt` is locked, `layout` and `urids` never change. Nothing is tied to a thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    /// The shared state behind a handle, for extension calls, which receive nothing but the handle.
    ///
    /// # Safety
    /// `handle` comes from a plugin's `instantiate` and is not cleaned up while the result is in use.
    pub unsafe fn of<'a>(handle: *mut c_void) -> &'a Self {
        // SAFETY: `PluginInstance` is repr(C) and starts with its plugin, a `Shell`, which is a transparent wrapper of
        // the Arc. The Arc is only read, and keeps its target alive as long as the instance.
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
        // SAFETY: no other call uses the instance meanwhile (see `Shared`). The host connected the ports, and LV2 has
        // it provide the memory that the type of each port requires.
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

/// The ports, as crate `lv2` stores them.
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

/// Runs a block of 0 frames, which reads the controls, writes the meters and keeps the state.
unsafe extern "C" fn activate<K: Kind>(handle: *mut c_void) {
    // SAFETY: the host's handle; LV2 keeps `activate` apart from `run`.
    unsafe { PluginInstance::<Shell<K>>::run(handle, 0) }
}

// SAFETY: the functions are the crate's own for this type; `activate` uses the handle in the same way.
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

/// Entry point for LV2 hosts: returns the plugins by index, then NULL.
#[unsafe(no_mangle)]
pub extern "C" fn lv2_descriptor(index: u32) -> *const LV2_Descriptor {
    match index {
        0 => &<Shell<Merge> as PluginInstanceDescriptor>::DESCRIPTOR,
        1 => &<Shell<Merge4> as PluginInstanceDescriptor>::DESCRIPTOR,
        2 => &<Shell<Align> as PluginInstanceDescriptor>::DESCRIPTOR,
        _ => std::ptr::null(),
    }
}
