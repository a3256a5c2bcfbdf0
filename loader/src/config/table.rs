//! THE table of settings: key in the file, flag, variable, default. The README's table is checked against it.

use super::layers::{Layer, Origin, Raw, Value};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key in `config.toml`.
    pub key: &'static str,
    /// The flag, with its dashes.
    pub flag: &'static str,
    /// The environment variable; the original's name where it had one.
    pub variable: &'static str,
    /// The default as one would write it; empty: there is none, or it depends on others.
    pub default: &'static str,
}

impl Setting {
    /// All its names, for messages.
    pub fn names(&self) -> String {
        format!("{} ({}, `{}` in config.toml)", self.variable, self.flag, self.key)
    }
}

const fn setting(key: &'static str, flag: &'static str, variable: &'static str, default: &'static str) -> Setting {
    Setting { key, flag, variable, default }
}

/// Every setting.
pub const SETTINGS: [Setting; 22] = [
    setting("microphones", "--mic", "RECORD_DEVICE_NAMES", ""),
    setting("play_device", "--play-device", "PLAY_DEVICE_NAME", "driftmerge"),
    setting("server", "--server", "PULSE_SERVER", ""),
    setting("route", "--route", "DRIFTMERGE_ROUTE", "direct"),
    setting("latency", "--latency", "DRIFTMERGE_LATENCY", "auto"),
    setting("lag_limit", "--lag-limit", "LAG_LIMIT_MS", "750"),
    setting("threshold", "--threshold", "CORRELATION_THRESHOLD", "0.01"),
    setting("half_life", "--half-life", "DECAY_HALF_LIFE_SEC", "30"),
    setting("mode", "--mode", "DRIFTMERGE_MODE", "dereverberate"),
    setting("post_filter", "--post-filter", "DRIFTMERGE_POST_FILTER", "no"),
    setting("rate", "--rate", "RECORD_RATE", "48000"),
    setting("chunk", "--chunk", "RECORD_CHUNK_SIZE", "1024"),
    setting("max_size", "--max-size", "MAX_SIZE", ""),
    setting("play_buffer", "--play-buffer", "play_buffer_size", "2048"),
    setting("echo_sink", "--echo-sink", "DRIFTMERGE_ECHO_SINK", ""),
    setting("echo_mics", "--echo-mics", "DRIFTMERGE_ECHO_MICS", ""),
    setting("echo_args", "--echo-args", "DRIFTMERGE_ECHO_ARGS", ""),
    setting("echo_rtp", "--echo-rtp", "DRIFTMERGE_ECHO_RTP", ""),
    setting("default_source", "--default-source", "DRIFTMERGE_DEFAULT_SOURCE", "no"),
    setting("default_sink", "--default-sink", "DRIFTMERGE_DEFAULT_SINK", "no"),
    setting("bundle", "--bundle", "DRIFTMERGE_BUNDLE", ""),
    setting("state_dir", "--state-dir", "DRIFTMERGE_STATE_DIR", ""),
];

/// The defaults as the weakest layer.
pub(super) fn defaults() -> Layer {
    let with_default = SETTINGS.iter().filter(|s| !s.default.is_empty());
    with_default.map(|s| (s.key, Value { raw: Raw::Text(s.default.into()), origin: Origin::Default })).collect()
}
