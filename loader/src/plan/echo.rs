//! Echo cancellation: what is played on this machine is taken out of the microphones before they are merged.
//!
//! Each microphone gets a `module-echo-cancel` of its own. Such a module makes a sink, takes what is played into it as
//! the reference, and passes it on to another sink. They are put in a row, so that sound played into the first, `NAME_far`,
//! is every microphone's reference and is heard at the end, each at its right time:
//!
//! ```text
//! far end → NAME_far (for A) → NAME_far1 (for B) → the real sink, a tunnel to another machine's,
//!                                                  or a null sink where it is heard elsewhere,
//!                                                  or several of these put together
//! ```
//!
//! Taking the reference from the real sink's monitor instead would bring it later than the echo, which no canceller mends.
//! The server hangs if a microphone hears the sink at the end by its monitor, so that is refused ([`hears`]). Pure.

use super::arguments::pairs;
use super::{Present, Source};

/// The name that stands for a null sink of our own, where the far end is heard by another machine's loudspeakers.
pub const NULL_SINK: &str = "null";
/// No chain of modules is longer.
const CHAIN: usize = 8;

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Echo {
    /// The sinks that are heard, each a name or `tunnel:HOST/SINK`; or [`NULL_SINK`] alone.
    pub sinks: Vec<String>,
    /// Arguments of the canceller.
    pub arguments: String,
}

/// The canceller's arguments that suit the server: no gain control, which would move the microphones against each other,
/// and no noise suppression, which would leave nothing to merge by; a long filter for rooms. PulseAudio 17 refuses
/// arguments that older ones know, so each server is told only what it knows.
pub fn arguments(server: &(String, String)) -> String {
    let (name, version) = server;
    if name.contains("PipeWire") {
        return "webrtc.gain_control=false webrtc.noise_suppression=false webrtc.extended_filter=true".into();
    }
    let major: u32 = version.split(['.', '-']).next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let known = "analog_gain_control=0 digital_gain_control=0 noise_suppression=0";
    // The argument came with 9; a version that is not known is told only what all know.
    if (9..17).contains(&major) { format!("{known} extended_filter=1") } else { known.into() }
}

/// A rate that the canceller works at, Hz, for microphones merged at `rate_hz`.
pub fn rate_hz(rate_hz: u32) -> u32 {
    match rate_hz {
        0..=16_000 => 16_000,
        16_001..=32_000 => 32_000,
        _ => 48_000,
    }
}

/// Whether what is played into `sink` comes out of `source` inside the server: by its monitor, or a module behind that.
pub fn hears(present: &Present, source: &Source, sink: &str) -> bool {
    let mut source = source;
    for _ in 0..CHAIN {
        if source.monitor_of.as_deref() == Some(sink) {
            return true;
        }
        let module = source.module.and_then(|index| present.modules.iter().find(|m| m.index == index));
        let arguments = module.map(|m| pairs(&m.arguments)).unwrap_or_default();
        let master =
            arguments.into_iter().find(|(key, _)| matches!(key.as_str(), "master" | "source_master" | "source"));
        match master.and_then(|(_, name)| present.sources.iter().find(|s| s.name == name)) {
            Some(master) => source = master,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Module;

    #[test]
    fn each_server_is_told_only_what_it_knows() {
        let told = |name: &str, version: &str| arguments(&(name.into(), version.into()));
        for version in ["14.2", "15.0", "16.1-rebootstrapped"] {
            assert!(told("pulseaudio", version).ends_with("extended_filter=1"), "{version}");
        }
        for version in ["17.0", "18.1", "", "of tomorrow"] {
            let told = told("pulseaudio", version);
            for gone in ["extended_filter", "experimental_agc", "beamforming", "mic_geometry"] {
                assert!(!told.contains(gone), "{version}: {told}");
            }
        }
        assert!(told("PulseAudio (on PipeWire 1.0.5)", "15.0.0").starts_with("webrtc."));
    }

    #[test]
    fn a_source_that_hears_the_sink_is_known_through_every_module_behind_it() {
        let source = |name: &str, monitor_of: Option<&str>, module| Source {
            name: name.into(),
            monitor_of: monitor_of.map(Into::into),
            module,
            ..Source::default()
        };
        let module = |index, arguments: &str| Module { index, name: "m".into(), arguments: arguments.into() };
        let present = Present {
            modules: vec![
                module(1, "master=speaker.monitor source_name=one"),
                module(2, "source_name=two source_master=\"one\""),
                module(3, "master=three source_name=three"),
            ],
            sources: vec![
                source("speaker.monitor", Some("speaker"), None),
                source("one", None, Some(1)),
                source("two", None, Some(2)),
                source("three", None, Some(3)),
                source("mic", None, None),
            ],
            ..Present::default()
        };
        let hears = |i: usize| hears(&present, &present.sources[i], "speaker");
        assert_eq!([0, 1, 2, 3, 4].map(hears), [true, true, true, false, false]);
    }
}
