//! The merge inside PipeWire itself: a configuration for a PipeWire process of its own (`pipewire -c FILE`) that joins the
//! running server with a filter-chain in which the plugin works.
//!
//! ```text
//! microphone A ─ loopback ─► NAME_in, channel 1 ┐
//! microphone B ─ loopback ─► NAME_in, channel 2 ┴► filter-chain: plugin ─► NAME (a source)
//! ```
//!
//! A filter-chain records one node, so each microphone comes through a loopback of its own. All of them become one graph of
//! PipeWire's with one clock; the adapter of each microphone that is not that clock resamples to it. So the plugin hears
//! what those resamplers leave of the drift, not the drift itself. More than two microphones: one more plugin for each, which
//! merges it into what came before. Everything rests while nobody records NAME (`node.passive`).
//!
//! What an earlier run learnt stands in the node's `config`, as the plugin's LV2 state. PipeWire 0.3 to 1.2 hands no
//! state to LV2 plugins and passes over it, newer ones hand it over as text; what a control can carry, the latency, is given
//! to all. Pure.

use super::controls::control_values;
use driftmerge_dsp::params::CONTROLS;
use driftmerge_dsp::{Controls, Snapshot};
use std::fmt::Write as _;

/// The plugin's LV2 state: the property that holds a snapshot.
const STATE: &str = "urn:driftmerge:snapshot";

/// What the configuration is about.
#[derive(Clone, Debug)]
pub struct Chain<'a> {
    /// Name of the merged source.
    pub name: &'a str,
    /// The microphones' nodes, A first.
    pub mics: Vec<String>,
    /// Sample rate of the chain, Hz.
    pub rate_hz: u32,
    /// For each microphone after A: the controls of its plugin.
    pub controls: Vec<Controls>,
    /// For each microphone after A: what is known about it.
    pub learnt: Vec<Option<Snapshot>>,
}

/// A text as PipeWire reads it, whatever is in it: it reads JSON.
fn quote(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The items of an array.
fn list(range: std::ops::Range<usize>, item: impl Fn(usize) -> String) -> String {
    range.map(item).collect::<Vec<_>>().join(" ")
}

impl Chain<'_> {
    /// Name of the node that the microphones are played into.
    pub fn in_node(&self) -> String {
        format!("{}_in", self.name)
    }

    /// The file for `pipewire -c`.
    pub fn configuration(&self) -> String {
        let mut text = format!(
            "# driftmerge: the microphones {} become the source {}.\n\
             # To be given to `pipewire -c`; LV2_PATH must name the folder that holds driftmerge.lv2.\n",
            self.mics.iter().map(|mic| quote(mic)).collect::<Vec<_>>().join(", "),
            quote(self.name)
        );
        text.push_str(
            "context.spa-libs = {
    audio.convert.* = audioconvert/libspa-audioconvert
    support.*       = support/libspa-support
}
context.modules = [
    { name = libpipewire-module-rt flags = [ ifexists nofail ] }
    { name = libpipewire-module-protocol-native }
    { name = libpipewire-module-client-node }
    { name = libpipewire-module-adapter }
",
        );
        text.push_str(&self.filter_chain());
        for i in 0..self.mics.len() {
            text.push_str(&self.loopback(i));
        }
        text.push_str("]\n");
        text
    }

    /// The place of microphone `i` among the chain's channels.
    fn position(&self, i: usize) -> String {
        match (self.mics.len(), i) {
            (2, 0) => "FL".into(),
            (2, _) => "FR".into(),
            _ => format!("AUX{i}"),
        }
    }

    /// The plugins, and the nodes at both ends.
    fn filter_chain(&self) -> String {
        let stages = self.mics.len() - 1;
        let mut nodes = String::new();
        for (i, (controls, learnt)) in self.controls.iter().zip(&self.learnt).enumerate() {
            let mut settings = String::new();
            for (port, value) in CONTROLS.iter().zip(control_values(controls)) {
                if value != port.default {
                    write!(settings, " \"{}\" = {value}", port.symbol).expect("a text takes all");
                }
            }
            let state = learnt.and_then(|learnt| serde_json::to_string(&learnt).ok());
            let state = state.map_or(String::new(), |json| format!(" config = {{ \"{STATE}\" = {} }}", quote(&json)));
            writeln!(
                nodes,
                "                    {{ type = lv2 name = merge{i} plugin = \"urn:driftmerge:merge\" control = {{{settings} }}{state} }}"
            )
            .expect("a text takes all");
        }
        let links = list(1..stages, |i| format!("{{ output = \"merge{}:out\" input = \"merge{i}:in_a\" }}", i - 1));
        let links = if links.is_empty() { links } else { format!("                links = [ {links} ]\n") };
        let inputs = list(0..stages, |i| format!("\"merge{i}:in_b\""));
        let positions = list(0..self.mics.len(), |i| self.position(i));
        let (name, input) = (quote(self.name), quote(&self.in_node()));
        let (rate_hz, channels, last) = (self.rate_hz, self.mics.len(), stages - 1);
        format!(
            "    {{ name = libpipewire-module-filter-chain
        args = {{
            node.description = {name}
            media.name = {name}
            audio.rate = {rate_hz}
            filter.graph = {{
                nodes = [
{nodes}                ]
{links}                inputs = [ \"merge0:in_a\" {inputs} ]
                outputs = [ \"merge{last}:out\" ]
            }}
            capture.props = {{
                node.name = {input}
                node.description = {input}
                media.class = Audio/Sink
                audio.channels = {channels}
                audio.position = [ {positions} ]
            }}
            playback.props = {{
                node.name = {name}
                node.description = {name}
                media.class = Audio/Source
                audio.channels = 1
                audio.position = [ MONO ]
            }}
        }}
    }}
"
        )
    }

    /// What brings microphone `i` to its channel.
    fn loopback(&self, i: usize) -> String {
        // Where the session manager kept another target, or would fall back to the default source, that could be our own.
        const PINNED: &str = "node.dont-fallback = true node.dont-reconnect = false node.linger = true node.passive = true \
                              state.restore-target = false state.restore-props = false";
        let (mic, input) = (quote(&self.mics[i]), quote(&self.in_node()));
        let (capture, playback) =
            (quote(&format!("{}_mic{i}_capture", self.name)), quote(&format!("{}_mic{i}", self.name)));
        let position = self.position(i);
        format!(
            "    {{ name = libpipewire-module-loopback
        args = {{
            node.description = {playback}
            capture.props = {{
                node.name = {capture} target.object = {mic}
                audio.channels = 1 audio.position = [ MONO ]
                {PINNED}
            }}
            playback.props = {{
                node.name = {playback} target.object = {input}
                audio.channels = 1 audio.position = [ {position} ] stream.dont-remix = true
                {PINNED}
            }}
        }}
    }}
"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(mics: &[&str]) -> String {
        let others = mics.len() - 1;
        let snapshot =
            Snapshot { version: 1, rate_hz: 48_000.0, lag_s: 0.012, drift_ppm: 0.0, drift_sd_ppm: 1.0, polarity: 1 };
        let chain = Chain {
            name: "driftmerge",
            mics: mics.iter().map(|&mic| mic.to_owned()).collect(),
            rate_hz: 48_000,
            controls: vec![Controls { delay_ms: 42.0, ..Controls::default() }; others],
            learnt: vec![Some(snapshot); others],
        };
        chain.configuration()
    }

    #[test]
    fn names_with_quotes_and_braces_stay_texts() {
        let text = chain(&[r#"it's "a" }] \ # b"#, "mic_b"]);
        assert!(text.contains(r#"target.object = "it's \"a\" }] \\ # b""#), "{text}");
        assert_eq!(text.lines().filter(|line| line.starts_with('#')).count(), 2);
    }

    #[test]
    fn each_further_microphone_is_merged_by_a_plugin_of_its_own() {
        let text = chain(&["a", "b", "c", "d"]);
        for words in [
            r#"inputs = [ "merge0:in_a" "merge0:in_b" "merge1:in_b" "merge2:in_b" ]"#,
            r#"links = [ { output = "merge0:out" input = "merge1:in_a" } { output = "merge1:out" input = "merge2:in_a" } ]"#,
            r#"outputs = [ "merge2:out" ]"#,
            "audio.position = [ AUX0 AUX1 AUX2 AUX3 ]",
        ] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert_eq!(text.matches(r#"control = { "delay" = 42 }"#).count(), 3);
        assert_eq!(text.matches(r#"config = { "urn:driftmerge:snapshot" = "{\"version\":1"#).count(), 3);
    }
}
