//! The settings. The problem: a value may come from a flag, the environment, `.env`, a file or the defaults, and a
//! wrong one must be named with the place it came from. Each place becomes a [`Layer`] of texts; [`resolve`] takes
//! for each setting the first layer that has it, reads and checks it. It does no I/O; [`load`] does.

mod layers;
mod table;

pub use layers::{Layer, Origin, Raw, Value, dotenv_layer, environment_layer, flags_layer, toml_layer};
pub use table::{SETTINGS, Setting};

use crate::plan::echo::NULL_SINK;
use driftmerge_dsp::params::{CONTROLS, Controls, Mode};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;

/// A setting that cannot be used; the text says which, from where, and what would do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// How the microphones reach the plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Each is recorded on its own clock; surplus frames are dropped and reported to the plugin.
    Direct,
    /// The server brings each to the clock of one sink with `module-loopback`.
    Loopback,
    /// A PipeWire process of its own runs the plugin in a filter-chain.
    Pipewire,
}

/// How much microphone A is delayed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Latency {
    /// As small as the first lock allows, then fixed.
    Auto,
    /// A fixed delay, ms.
    Fixed(f32),
}

/// The settings, each in its range. [`Config::check`] looks at what they must be to each other.
#[derive(Clone, Debug)]
pub struct Config {
    /// Names of the microphones; the first is the reference.
    pub microphones: Vec<String>,
    /// How the microphones reach the plugin.
    pub route: Route,
    /// How much A is delayed.
    pub latency: Latency,
    /// Sample rate, Hz, 8000 to 192000.
    pub rate_hz: u32,
    /// Frames recorded at a time.
    pub chunk_frames: u32,
    /// The original's analysis window, frames; it bounds the lag limit. None: as large as the checks ask for.
    pub max_size_given_frames: Option<u32>,
    /// Largest lag searched, ms.
    pub lag_limit_ms: f32,
    /// Correlation below which a measurement is not used.
    pub threshold: f32,
    /// Memory of the correlation, s.
    pub half_life_s: f32,
    /// How the aligned microphones are put together.
    pub mode: Mode,
    /// Lower the steady noise that the merge leaves.
    pub post_filter: bool,
    /// Name of the source that applications see.
    pub play_device: String,
    /// Frames buffered for playback.
    pub play_buffer_frames: u32,
    /// The sinks that play the far end where echoes are cancelled, or `null`; none: no cancellation.
    pub echo_sinks: Vec<String>,
    /// The microphones whose echoes are cancelled, counted from 1; empty: all.
    pub echo_mics: Vec<usize>,
    /// Arguments of the echo canceller; None: those that suit the server.
    pub echo_args: Option<String>,
    /// UDP port at which another machine's sound is received, to be taken out of the microphones.
    pub echo_rtp: Option<u16>,
    /// Make the merged source the server's default while it is there.
    pub default_source: bool,
    /// Make the far-end sink, whose sound is cancelled from the microphones, the default one.
    pub default_sink: bool,
    /// The sound server's address; None: the client library's choice.
    pub server: Option<String>,
    /// The LV2 bundle's folder; None: searched in the usual places.
    pub bundle: Option<PathBuf>,
    /// Where learnt lags are kept; empty: nowhere, for there is no home.
    pub state_dir: PathBuf,
    origins: BTreeMap<&'static str, Origin>,
}

/// The smallest `MAX_SIZE` taken without being asked for, frames: the original's value.
const USUAL_MAX_SIZE_FRAMES: u32 = 65_536;
/// The smallest chunk, frames; smaller ones starved the original, and scripts rely on the refusal.
const LEAST_CHUNK_FRAMES: u32 = 512;

/// No settings file is larger, bytes.
const LARGEST_FILE: u64 = 1 << 20;

/// The settings that a running service can change.
pub const CHANGEABLE: [&str; 6] = ["latency", "lag_limit", "threshold", "half_life", "mode", "post_filter"];

impl Config {
    /// The engine's controls for these settings; with latency `auto` the delay is the port's default.
    pub fn controls(&self) -> Controls {
        let usual = Controls::default();
        Controls {
            delay_ms: match self.latency {
                Latency::Auto => usual.delay_ms,
                Latency::Fixed(ms) => ms,
            },
            lag_limit_ms: self.lag_limit_ms,
            threshold: self.threshold,
            half_life_s: self.half_life_s,
            mode: self.mode,
            post_filter: self.post_filter,
            ..usual
        }
    }

    /// The lag limit in frames at [`Config::rate_hz`], rounded up.
    pub fn lag_limit_frames(&self) -> u32 {
        (f64::from(self.lag_limit_ms) * 1e-3 * f64::from(self.rate_hz)).ceil() as u32
    }

    /// `MAX_SIZE` as given, or the smallest usual one that satisfies the checks.
    pub fn max_size_frames(&self) -> u32 {
        let needed = 2 * self.lag_limit_frames().max(self.chunk_frames);
        self.max_size_given_frames.unwrap_or_else(|| needed.next_power_of_two().max(USUAL_MAX_SIZE_FRAMES))
    }

    /// These settings with `changes` (key and text) in their place, of those that a running service can change.
    ///
    /// # Errors
    /// A key that is not in [`CHANGEABLE`], a value out of its range, or a rule that is broken by them.
    pub fn changed(&self, changes: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut layer = Layer::new();
        for (key, text) in changes {
            let Some(key) = CHANGEABLE.iter().find(|known| *known == key) else {
                let known = CHANGEABLE.join(", ");
                return Err(ConfigError(format!("`{key}` cannot be changed while it runs; these can: {known}")));
            };
            layer.insert(key, Value { raw: Raw::Text(text.clone()), origin: Origin::Set });
        }
        let read = resolve(std::slice::from_ref(&layer))?;
        let mut changed = self.clone();
        for (key, value) in layer {
            match key {
                "latency" => changed.latency = read.latency,
                "lag_limit" => changed.lag_limit_ms = read.lag_limit_ms,
                "threshold" => changed.threshold = read.threshold,
                "half_life" => changed.half_life_s = read.half_life_s,
                "mode" => changed.mode = read.mode,
                _ => changed.post_filter = read.post_filter,
            }
            changed.origins.insert(key, value.origin);
        }
        changed.check()?;
        Ok(changed)
    }

    /// The rules between settings that hold for everything that records: two microphones or more, chunks that are
    /// not too small, and a `MAX_SIZE` that holds two lag limits and two chunks.
    ///
    /// # Errors
    /// A rule is broken; the text has the values and where they came from.
    pub fn check(&self) -> Result<(), ConfigError> {
        let from = |key| self.origins.get(key).map_or(String::new(), |origin| format!(" ({origin})"));
        let refuse = |text: String| Err(ConfigError(text));
        match self.microphones.len() {
            2..=8 => {}
            1 => {
                let (only, origin) = (&self.microphones[0], from("microphones"));
                return refuse(format!(
                    "one microphone is not enough: only `{only}` was given{origin}; give --mic twice or name two in \
                     RECORD_DEVICE_NAMES; `driftmerge list` shows them"
                ));
            }
            0 => {
                return refuse(
                    "no microphones were given: at least 2 are needed; give --mic twice or name them in \
                     RECORD_DEVICE_NAMES; `driftmerge list` shows them"
                        .into(),
                );
            }
            n => return refuse(format!("{n} microphones were given{}; at most 8 can be merged", from("microphones"))),
        }
        if let Some(twice) = self.microphones.iter().enumerate().find(|(i, m)| self.microphones[..*i].contains(m)) {
            return refuse(format!(
                "microphone `{}` was given twice{}; they must differ",
                twice.1,
                from("microphones")
            ));
        }
        for (given, key, names) in [
            (self.echo_rtp.is_some(), "echo_rtp", "DRIFTMERGE_ECHO_RTP (--echo-rtp)"),
            (self.default_sink, "default_sink", "DRIFTMERGE_DEFAULT_SINK (--default-sink)"),
        ] {
            if given && self.echo_sinks.is_empty() {
                return refuse(format!(
                    "{names} is given{} without DRIFTMERGE_ECHO_SINK (--echo-sink): name the sink on which what is played \
                     is heard, or `null` if it is heard elsewhere",
                    from(key)
                ));
            }
        }
        if self.echo_sinks.len() > 1 && self.echo_sinks.iter().any(|sink| sink == NULL_SINK) {
            return refuse(format!(
                "DRIFTMERGE_ECHO_SINK (--echo-sink) names `{NULL_SINK}` among others{}: that is for a far end that no sink \
                 plays; name it alone, or leave it out",
                from("echo_sink")
            ));
        }
        if let Some(none) = self.echo_mics.iter().find(|number| **number > self.microphones.len()) {
            return refuse(format!(
                "DRIFTMERGE_ECHO_MICS (--echo-mics) names microphone {none}{}; there are {}",
                from("echo_mics"),
                self.microphones.len()
            ));
        }
        let chunk = self.chunk_frames;
        if chunk < LEAST_CHUNK_FRAMES {
            return refuse(format!(
                "RECORD_CHUNK_SIZE (--chunk) is {chunk} frames{}; it must be at least {LEAST_CHUNK_FRAMES}",
                from("chunk")
            ));
        }
        let (max_size, lag) = (self.max_size_frames(), self.lag_limit_frames());
        if max_size < 2 * lag {
            return refuse(format!(
                "MAX_SIZE (--max-size) is {max_size} frames{}; it must be at least 2 x the lag limit, which is \
                 {lag} frames ({} ms at {} Hz{}): give {} or more, or a smaller LAG_LIMIT_MS",
                from("max_size"),
                self.lag_limit_ms,
                self.rate_hz,
                from("lag_limit").replace(" (", ", ").replace(')', ""),
                2 * lag
            ));
        }
        if max_size < 2 * chunk {
            return refuse(format!(
                "MAX_SIZE (--max-size) is {max_size} frames{}; it must be at least 2 x RECORD_CHUNK_SIZE, which is \
                 {chunk} frames{}: give {} or more, or a smaller chunk",
                from("max_size"),
                from("chunk"),
                2 * chunk
            ));
        }
        Ok(())
    }
}

/// Reads the settings from `layers`, the strongest first; the defaults come last by themselves.
///
/// # Errors
/// A value that cannot be read or is out of its range.
pub fn resolve(layers: &[Layer]) -> Result<Config, ConfigError> {
    let defaults = table::defaults();
    let found = Found(
        SETTINGS
            .iter()
            .filter_map(|s| Some((s.key, layers.iter().chain([&defaults]).find_map(|layer| layer.get(s.key))?)))
            .collect(),
    );
    Ok(Config {
        microphones: found.list("microphones"),
        route: found.choice("route", &ROUTES)?,
        latency: match found.text("latency").unwrap_or("auto") {
            "auto" => Latency::Auto,
            _ => Latency::Fixed(found.port("latency", "delay", "ms, or `auto`")?),
        },
        rate_hz: found.number("rate", 8000, 192_000, "Hz")?,
        chunk_frames: found.number("chunk", 1, 1 << 20, "frames")?,
        max_size_given_frames: found
            .text("max_size")
            .map(|_| found.number("max_size", 1, 1 << 28, "frames"))
            .transpose()?,
        lag_limit_ms: found.port("lag_limit", "lag_limit", "ms")?,
        threshold: found.port("threshold", "threshold", "")?,
        half_life_s: found.port("half_life", "half_life", "s")?,
        mode: found.choice("mode", &MODES)?,
        post_filter: found.choice("post_filter", &SWITCH)?,
        play_device: found.text("play_device").unwrap_or_default().to_owned(),
        play_buffer_frames: found.number("play_buffer", 64, 1 << 20, "frames")?,
        echo_sinks: found.between_commas("echo_sink"),
        echo_mics: found.numbers("echo_mics", 1, 8)?,
        echo_args: found.text("echo_args").map(str::to_owned),
        echo_rtp: found.text("echo_rtp").map(|_| found.number("echo_rtp", 1, u16::MAX, "(a UDP port)")).transpose()?,
        default_source: found.choice("default_source", &SWITCH)?,
        default_sink: found.choice("default_sink", &SWITCH)?,
        server: found.text("server").map(str::to_owned),
        bundle: found.text("bundle").map(PathBuf::from),
        state_dir: found.text("state_dir").unwrap_or(".").into(),
        origins: found.0.iter().map(|(key, value)| (*key, value.origin.clone())).collect(),
    })
}

/// Names of the routes.
const ROUTES: [(&str, Route); 3] =
    [("direct", Route::Direct), ("loopback", Route::Loopback), ("pipewire", Route::Pipewire)];

/// What can be said of a switch.
const SWITCH: [(&str, bool); 6] =
    [("yes", true), ("no", false), ("true", true), ("false", false), ("1", true), ("0", false)];

/// Names of the modes, each with the port's number as a second name, and names of former versions.
const MODES: [(&str, Mode); 12] = [
    ("average", Mode::Average),
    ("merge", Mode::Merge),
    ("dereverberate", Mode::Dereverberate),
    ("only-a", Mode::OnlyA),
    ("only-b", Mode::OnlyB),
    ("0", Mode::Average),
    ("1", Mode::Merge),
    ("2", Mode::Dereverberate),
    ("3", Mode::OnlyA),
    ("4", Mode::OnlyB),
    ("weighted", Mode::Merge),
    ("banded", Mode::Merge),
];

/// The value in force of each setting that has one.
struct Found<'a>(BTreeMap<&'static str, &'a Value>);

impl Found<'_> {
    fn text(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(|value| match &value.raw {
            Raw::Text(text) => text.as_str(),
            Raw::List(items) => items.first().map_or("", String::as_str),
        })
    }

    fn list(&self, key: &str) -> Vec<String> {
        match self.0.get(key).map(|value| &value.raw) {
            None => Vec::new(),
            Some(Raw::List(items)) => items.clone(),
            Some(Raw::Text(text)) => split_names(text),
        }
    }

    /// Texts in which spaces count.
    fn between_commas(&self, key: &str) -> Vec<String> {
        let texts = self.text(key).unwrap_or_default().split(',').map(str::trim);
        texts.filter(|text| !text.is_empty()).map(str::to_owned).collect()
    }

    fn refuse<T>(&self, key: &str, wanted: &str) -> Result<T, ConfigError> {
        let (value, setting) = (self.0[key], SETTINGS.iter().find(|s| s.key == key).expect("key of the table"));
        Err(ConfigError(format!(
            "{} is `{}` ({}); it must be {wanted}",
            setting.names(),
            self.text(key).unwrap_or_default(),
            value.origin
        )))
    }

    fn number<T>(&self, key: &str, min: T, max: T, unit: &str) -> Result<T, ConfigError>
    where
        T: FromStr + PartialOrd + Display + Copy,
    {
        match self.text(key).and_then(|text| text.trim().parse().ok()) {
            Some(number) if number >= min && number <= max => Ok(number),
            _ => self.refuse(key, format!("a number from {min} to {max} {unit}").trim_end()),
        }
    }

    /// Whole numbers, separated by commas.
    fn numbers(&self, key: &str, min: usize, max: usize) -> Result<Vec<usize>, ConfigError> {
        let read = |text: &String| text.parse().ok().filter(|number| (min..=max).contains(number));
        match self.list(key).iter().map(read).collect() {
            Some(numbers) => Ok(numbers),
            None => self.refuse(key, &format!("whole numbers from {min} to {max}, separated by commas")),
        }
    }

    /// A number in the range of the port `symbol`.
    fn port(&self, key: &str, symbol: &str, unit: &str) -> Result<f32, ConfigError> {
        let port = CONTROLS.iter().find(|port| port.symbol == symbol).expect("the engine has this port");
        self.number(key, port.min, port.max, unit)
    }

    fn choice<T: Copy>(&self, key: &str, choices: &[(&str, T)]) -> Result<T, ConfigError> {
        let text = self.text(key).unwrap_or_default().trim().to_ascii_lowercase();
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(*value);
        }
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).filter(|n| n.parse::<u8>().is_err()).collect();
        self.refuse(key, &format!("one of {}", names.join(", ")))
    }
}

/// `a, b` or `a b` or `["a", "b"]`; names that contain blanks need the commas.
fn split_names(text: &str) -> Vec<String> {
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let parts: Vec<_> =
        if text.contains(',') { text.split(',').collect() } else { text.split_ascii_whitespace().collect() };
    let bare = |part: &str| part.trim().trim_matches(['"', '\'']).trim().to_owned();
    parts.into_iter().map(bare).filter(|name| !name.is_empty()).collect()
}

/// Reads the settings of this process: `flags`, the environment, `.env` in the working folder, the user's file.
///
/// # Errors
/// A file that exists but cannot be read, or a value that cannot be used.
pub fn load(flags: Layer) -> Result<Config, ConfigError> {
    let mut layers = vec![flags, environment_layer(|name| std::env::var_os(name))?];
    let read = |path: &PathBuf| match crate::files::read_text(path, LARGEST_FILE) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(ConfigError(format!("settings file {} cannot be read: {e}", path.display()))),
    };
    let dotenv = PathBuf::from(".env");
    if let Some(text) = read(&dotenv)? {
        layers.push(dotenv_layer(&dotenv, &text)?);
    }
    if let Some(folder) = xdg("XDG_CONFIG_HOME", ".config") {
        let file = folder.join("driftmerge/config.toml");
        if let Some(text) = read(&file)? {
            layers.push(toml_layer(&file, &text)?);
        }
    }
    let mut config = resolve(&layers)?;
    if !config.origins.contains_key("state_dir") {
        let folder = xdg("XDG_STATE_HOME", ".local/state").map(|folder| folder.join("driftmerge"));
        config.state_dir = folder.unwrap_or_default();
    }
    Ok(config)
}

/// A folder of the XDG base directories; a relative value is to be ignored, says their specification.
fn xdg(variable: &str, below_home: &str) -> Option<PathBuf> {
    let given = std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(below_home)))
}
