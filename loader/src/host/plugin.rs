//! The LV2 plugin in this process.

use super::plugin_state;
use crate::plan::controls::control_values;
use driftmerge_dsp::params::{CONTROLS, METERS};
use driftmerge_dsp::{Controls, Snapshot};
use livi::{EmptyPortConnections, Features, FeaturesBuilder, Instance, PortIndex, World};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The plugin's name.
pub const PLUGIN_URI: &str = "urn:driftmerge:merge";
/// Largest block handed to the plugin, frames.
pub const BLOCK_LIMIT_FRAMES: usize = 1024;

/// Why the plugin cannot be hosted.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The bundle does not hold it.
    #[error("the bundle {} does not hold the plugin {PLUGIN_URI}, or it cannot be read; make it anew with scripts/bundle", .0.display())]
    NotInBundle(PathBuf),
    /// The plugin does not start.
    #[error("the plugin of {} does not start: {reason}; make it anew with scripts/bundle", bundle.display())]
    NotStarted {
        /// The bundle.
        bundle: PathBuf,
        /// What the hosting library says.
        reason: String,
    },
    /// The plugin is not of this program's version.
    #[error("the plugin does not fit this program: {0}; make both anew with scripts/bundle")]
    Foreign(&'static str),
}

/// One instance of the plugin.
pub struct Hosted {
    instance: Instance,
    features: Arc<Features>,
    inputs: [PortIndex; CONTROLS.len()],
    outputs: [PortIndex; METERS.len()],
    controls: [f32; CONTROLS.len()],
}

impl Hosted {
    /// Loads the plugin of `bundle` for sound at `rate_hz`.
    ///
    /// # Errors
    /// The bundle is damaged, or of another version.
    pub fn load(bundle: &Path, rate_hz: f64) -> Result<Self, HostError> {
        let world = World::with_load_bundle(&folder_uri(bundle));
        let plugin = world.plugin_by_uri(PLUGIN_URI).ok_or_else(|| HostError::NotInBundle(bundle.into()))?;
        let not_started = |reason: String| HostError::NotStarted { bundle: bundle.into(), reason };
        let builder = FeaturesBuilder { min_block_length: 1, max_block_length: BLOCK_LIMIT_FRAMES };
        let features = world.try_build_features(builder).map_err(|e| not_started(e.to_string()))?;
        let index = |symbol: &str| plugin.ports().find(|p| p.symbol == symbol).map(|p| p.index);
        let foreign = HostError::Foreign("it lacks a port");
        let inputs = collect(CONTROLS.map(|p| index(p.symbol))).ok_or(foreign)?;
        let outputs = collect(METERS.map(|p| index(p.symbol))).ok_or(HostError::Foreign("it lacks a meter"))?;
        // SAFETY: the bundle is ours: its library keeps LV2's rules, and its metadata is checked against the same table
        // of ports by the plugin's own tests.
        let instance = unsafe { plugin.instantiate(Arc::clone(&features), rate_hz) };
        let mut instance = instance.map_err(|e| not_started(format!("{e:?}")))?;
        let controls = CONTROLS.map(|p| p.default);
        for (port, value) in inputs.iter().zip(controls) {
            instance.set_control_input(*port, value);
        }
        Ok(Self { instance, features, inputs, outputs, controls })
    }

    /// Sets the control inputs for the blocks that follow. No allocation.
    pub fn set_controls(&mut self, controls: &Controls) {
        for (i, value) in control_values(controls).into_iter().enumerate() {
            if value != self.controls[i] {
                self.controls[i] = value;
                self.instance.set_control_input(self.inputs[i], value);
            }
        }
    }

    /// Merges `a` and `b` into `out`: three slices of equal length, 1 to [`BLOCK_LIMIT_FRAMES`]. No allocation.
    ///
    /// # Panics
    /// The lengths differ, or are out of range.
    pub fn run(&mut self, a: &[f32], b: &[f32], out: &mut [f32]) {
        let frames = out.len();
        assert!(a.len() == frames && b.len() == frames, "A, B and the output are of one length");
        let ports =
            EmptyPortConnections::new().with_audio_inputs([a, b].into_iter()).with_audio_outputs(std::iter::once(out));
        // SAFETY: the buffers are as long as the block and outlive the call; see `load` for the plugin.
        unsafe { self.instance.run(frames, ports) }.expect("block and ports are as the plugin was made for");
    }

    /// The control outputs, in port order.
    pub fn meters(&self) -> [f32; METERS.len()] {
        self.outputs.map(|port| self.instance.control_output(port).unwrap_or(0.0))
    }

    /// What was learnt, if anything. Allocates.
    ///
    /// # Errors
    /// The plugin is of another version.
    pub fn snapshot(&self) -> Result<Option<Snapshot>, HostError> {
        plugin_state::save(&self.instance, &self.features)
    }

    /// Starts from what was learnt before. Allocates.
    ///
    /// # Errors
    /// The plugin is of another version.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), HostError> {
        plugin_state::restore(&mut self.instance, &self.features, snapshot)
    }
}

fn collect<const N: usize>(found: [Option<PortIndex>; N]) -> Option<[PortIndex; N]> {
    let found: Vec<PortIndex> = found.into_iter().collect::<Option<_>>()?;
    found.try_into().ok()
}

/// A folder as a URI, with the slash at its end that LV2 wants.
fn folder_uri(folder: &Path) -> String {
    use std::fmt::Write as _;
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = String::from("file://");
    for byte in folder.as_os_str().as_bytes() {
        match byte {
            b'/' | b'.' | b'-' | b'_' | b'~' => uri.push(char::from(*byte)),
            _ if byte.is_ascii_alphanumeric() => uri.push(char::from(*byte)),
            _ => write!(uri, "%{byte:02X}").expect("a text takes all"),
        }
    }
    uri.push('/');
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_blanks_and_umlauts_becomes_a_uri() {
        assert_eq!(folder_uri(Path::new("/a b/ü%")), "file:///a%20b/%C3%BC%25/");
    }
}
