//! The plugin's bundle hosted through lilv, the library that most LV2 hosts are built on, in this process.

use std::path::Path;
use std::sync::Arc;

use livi::{EmptyPortConnections, Features, FeaturesBuilder, Instance, Plugin, PortIndex, World};

use crate::hosts::{CHANGED, URI, bundle};
use crate::two_clocks::Pair;

/// Largest block, frames.
const BLOCK_LIMIT: usize = 4096;

/// A host with one instance.
pub struct LilvHost {
    world: World,
    plugin: Plugin,
    features: Arc<Features>,
    instance: Instance,
}

impl LilvHost {
    /// Loads the bundle and makes an instance with the settings of [`crate::hosts::Settings`].
    pub fn new(rate_hz: u32) -> Self {
        let world = World::with_load_bundle(&format!("file://{}/", bundle().folder().display()));
        let plugin = world.plugin_by_uri(URI).expect("the bundle has the plugin");
        let features = world.try_build_features(FeaturesBuilder { min_block_length: 1, max_block_length: BLOCK_LIMIT });
        let features = features.expect("the bounds are good");
        // SAFETY: the bundle is the one under test; its metadata is checked against its code by tests of their own.
        let instance = unsafe { plugin.instantiate(features.clone(), f64::from(rate_hz)) }.expect("it can be made");
        let mut host = Self { world, plugin, features, instance };
        for (symbol, _, value) in CHANGED {
            host.set(symbol, value);
        }
        host
    }

    fn port(&self, symbol: &str) -> PortIndex {
        self.plugin.ports().find(|port| port.symbol == symbol).expect("the plugin has the port").index
    }

    /// Sets a control.
    pub fn set(&mut self, symbol: &str, value: f32) {
        let port = self.port(symbol);
        self.instance.set_control_input(port, value);
    }

    /// Reads a control.
    pub fn get(&self, symbol: &str) -> f32 {
        self.instance.control_input(self.port(symbol)).expect("a control")
    }

    /// Reads a meter.
    pub fn meter(&self, symbol: &str) -> f32 {
        self.instance.control_output(self.port(symbol)).expect("a meter")
    }

    /// Merges the pair in blocks.
    pub fn process(&mut self, pair: &Pair, block: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; pair.a.len()];
        for ((a, b), out) in pair.a.chunks(block).zip(pair.b.chunks(block)).zip(out.chunks_mut(block)) {
            let frames = out.len();
            let ports = EmptyPortConnections::new()
                .with_audio_inputs([a, b].into_iter())
                .with_audio_outputs(std::iter::once(out));
            // SAFETY: the buffers are as long as the block and outlive the call.
            unsafe { self.instance.run(frames, ports) }.expect("block and ports fit");
        }
        out
    }

    /// Saves controls and state as `state.ttl` in `folder`.
    pub fn save(&self, folder: &Path) {
        let state = self.instance.state().expect("lilv can take it");
        state.save(folder, "state.ttl", None).expect("the folder can be written");
    }

    /// Restores controls and state from `state.ttl` in `folder`.
    pub fn restore(&mut self, folder: &Path) {
        let state =
            self.world.state_from_file(&self.features, None, &folder.join("state.ttl")).expect("it can be read");
        self.instance.restore_state(&state).expect("it is of this plugin");
    }

    /// Loads the plugin's default state if the plugin asks for that, as Carla's plugin bridge does after it has restored a
    /// session.
    pub fn load_default_state(&mut self) {
        let feature = self.world.raw().new_uri("http://lv2plug.in/ns/ext/state#loadDefaultState");
        if self.plugin.raw().has_feature(&feature) {
            let state = self.world.state_from_uri(&self.features, URI).expect("a plugin's own description is a state");
            self.instance.restore_state(&state).expect("it is of this plugin");
        }
    }

    /// Takes a preset of the bundle.
    pub fn preset(&mut self, uri: &str) {
        let node = self.world.raw().new_uri(uri);
        self.world.raw().load_resource(&node).expect("the bundle has it");
        let state = self.world.state_from_uri(&self.features, uri).expect("the bundle has it");
        self.instance.restore_state(&state).expect("it is for this plugin");
    }
}
