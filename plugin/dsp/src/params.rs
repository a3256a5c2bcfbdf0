//! THE table of ports: every control and every meter, with symbol, unit and range.
//!
//! The LV2 file, the LADSPA descriptor, the program's flags and the configuration keys are all made from this
//! table or checked against it. The order is an interface: LADSPA hosts pass controls by position.

use crate::combining::spatial_filter::MAX_MICROPHONES;

/// What a port's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A plain number, an enumeration or a switch.
    None,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Samples per channel.
    Frames,
    /// Parts per million.
    Ppm,
}

/// How a port's number is to be read.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Any value of the range.
    Continuous,
    /// Whole numbers of the range.
    Integer,
    /// Off (0) or on (1).
    Toggle,
    /// Acts when it goes from 0 to 1.
    Trigger,
    /// One of the named values, counted from the port's minimum.
    Enumeration(&'static [&'static str]),
}

/// One control or meter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Port {
    /// LV2 symbol, configuration key and flag.
    pub symbol: &'static str,
    /// Name shown to people.
    pub name: &'static str,
    /// What is counted.
    pub unit: Unit,
    /// How the number is read.
    pub kind: Kind,
    /// Smallest value.
    pub min: f32,
    /// Value when nothing is said (for meters: before anything is known).
    pub default: f32,
    /// Largest value.
    pub max: f32,
    /// One sentence for people.
    pub about: &'static str,
}

/// Names of `mode`, in the order of their values.
pub const MODE_NAMES: [&str; 5] = ["average", "merge", "merge, dereverberated", "only A", "only B aligned"];
/// Names of `state`, in the order of their values.
pub const STATE_NAMES: [&str; 3] = ["searching", "locked", "holding"];

/// Control inputs, in port order.
pub const CONTROLS: [Port; 10] = [
    Port {
        symbol: "enabled",
        name: "Enabled",
        unit: Unit::None,
        kind: Kind::Toggle,
        min: 0.0,
        default: 1.0,
        max: 1.0,
        about: "Off: microphone A alone, with the same latency.",
    },
    Port {
        symbol: "delay",
        name: "Delay",
        unit: Unit::Milliseconds,
        kind: Kind::Continuous,
        min: 5.0,
        default: 100.0,
        max: 1000.0,
        about: "Latency of the output, at least 32 ms. B can be aligned up to a lag of 36 ms less.",
    },
    Port {
        symbol: "lag_limit",
        name: "Lag Limit",
        unit: Unit::Milliseconds,
        kind: Kind::Continuous,
        min: 1.0,
        default: 750.0,
        max: 1000.0,
        about: "Largest lag searched, either way.",
    },
    Port {
        symbol: "threshold",
        name: "Correlation Threshold",
        unit: Unit::None,
        kind: Kind::Continuous,
        min: 0.0,
        default: 0.01,
        max: 1.0,
        about: "Correlation below which a measurement is not used.",
    },
    Port {
        symbol: "half_life",
        name: "Half-Life",
        unit: Unit::Seconds,
        kind: Kind::Continuous,
        min: 0.5,
        default: 30.0,
        max: 600.0,
        about: "Memory of the correlation.",
    },
    Port {
        symbol: "mode",
        name: "Mode",
        unit: Unit::None,
        kind: Kind::Enumeration(&MODE_NAMES),
        min: 0.0,
        default: 2.0,
        max: 4.0,
        about: "How the aligned microphones are put together.",
    },
    Port {
        symbol: "hold",
        name: "Hold",
        unit: Unit::None,
        kind: Kind::Toggle,
        min: 0.0,
        default: 0.0,
        max: 1.0,
        about: "Keep lag and drift as they are and measure nothing.",
    },
    Port {
        symbol: "reset",
        name: "Reset",
        unit: Unit::None,
        kind: Kind::Trigger,
        min: 0.0,
        default: 0.0,
        max: 1.0,
        about: "Forget everything learnt and search again.",
    },
    Port {
        symbol: "lag_trim",
        name: "Lag Trim",
        unit: Unit::Frames,
        kind: Kind::Integer,
        min: -16_777_216.0,
        default: 0.0,
        max: 16_777_216.0,
        about: "Running total of frames that the host has taken out of B (negative: put in).",
    },
    Port {
        symbol: "post_filter",
        name: "Noise Filter",
        unit: Unit::None,
        kind: Kind::Toggle,
        min: 0.0,
        default: 0.0,
        max: 1.0,
        about: "Lower the steady noise that the merge leaves, by 12 dB at most; the latency is 32 ms more.",
    },
];

/// Control outputs, in port order.
pub const METERS: [Port; 7] = [
    Port {
        symbol: "lag",
        name: "Lag",
        unit: Unit::Milliseconds,
        kind: Kind::Continuous,
        min: -1000.0,
        default: 0.0,
        max: 1000.0,
        about: "How late B is against A.",
    },
    Port {
        symbol: "drift",
        name: "Drift",
        unit: Unit::Ppm,
        kind: Kind::Continuous,
        min: -1000.0,
        default: 0.0,
        max: 1000.0,
        about: "How fast the lag grows.",
    },
    Port {
        symbol: "confidence",
        name: "Confidence",
        unit: Unit::None,
        kind: Kind::Continuous,
        min: 0.0,
        default: 0.0,
        max: 1.0,
        about: "Normalised correlation at the lag in use.",
    },
    Port {
        symbol: "weight",
        name: "Weight of B",
        unit: Unit::None,
        kind: Kind::Continuous,
        min: 0.0,
        default: 0.0,
        max: 1.0,
        about: "Share of B in the merge.",
    },
    Port {
        symbol: "polarity",
        name: "Polarity",
        unit: Unit::None,
        kind: Kind::Integer,
        min: -1.0,
        default: 1.0,
        max: 1.0,
        about: "-1 where B is wired the other way round.",
    },
    Port {
        symbol: "state",
        name: "State",
        unit: Unit::None,
        kind: Kind::Enumeration(&STATE_NAMES),
        min: 0.0,
        default: 0.0,
        max: 2.0,
        about: "Searching, locked, or holding (locked, but nothing to measure now).",
    },
    Port {
        symbol: "latency",
        name: "Latency",
        unit: Unit::Frames,
        kind: Kind::Integer,
        min: 0.0,
        default: 0.0,
        // One second of delay and the 32 ms of the noise filter, at 192 kHz.
        max: 198_144.0,
        about: "Frames by which the output is later than A.",
    },
];

/// How the aligned microphones are put together (port `mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Equal shares.
    Average,
    /// One filter per frequency over all microphones.
    Merge,
    /// The same, after late reverberation has been subtracted.
    #[default]
    Dereverberate,
    /// Only A.
    OnlyA,
    /// Only B, aligned to A.
    OnlyB,
}

/// The control inputs as the engine takes them: inside their ranges, never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each switch among the ports")]
pub struct Controls {
    /// Merge (true) or microphone A alone.
    pub enabled: bool,
    /// Delay of A, 5 to 1000 ms.
    pub delay_ms: f32,
    /// Largest lag searched, 1 to 1000 ms.
    pub lag_limit_ms: f32,
    /// Correlation below which a measurement is not used, 0 to 1.
    pub threshold: f32,
    /// Memory of the correlation, 0.5 to 600 s.
    pub half_life_s: f32,
    /// How the microphones are put together.
    pub mode: Mode,
    /// Keep lag and drift, measure nothing.
    pub hold: bool,
    /// The trigger's present value; the engine acts on its rise.
    pub reset: bool,
    /// Running totals of frames that the host has dropped from B, C, ….
    pub lag_trim_frames: [i32; MAX_OTHERS],
    /// Lower the steady noise that the merge leaves.
    pub post_filter: bool,
}

impl Default for Controls {
    fn default() -> Self {
        Self::from_values(&CONTROLS.map(|p| p.default))
    }
}

impl Controls {
    /// Reads the values of the control ports, in port order. A value outside its range is brought to the nearest
    /// bound; a value that is not a number becomes the default.
    pub fn from_values(values: &[f32; CONTROLS.len()]) -> Self {
        let get = |i: usize| {
            let port = &CONTROLS[i];
            if values[i].is_nan() { port.default } else { values[i].clamp(port.min, port.max) }
        };
        Self {
            enabled: get(0) > 0.5,
            delay_ms: get(1),
            lag_limit_ms: get(2),
            threshold: get(3),
            half_life_s: get(4),
            mode: match get(5).round() as u8 {
                0 => Mode::Average,
                1 => Mode::Merge,
                3 => Mode::OnlyA,
                4 => Mode::OnlyB,
                _ => Mode::Dereverberate,
            },
            hold: get(6) > 0.5,
            reset: get(7) > 0.5,
            lag_trim_frames: std::array::from_fn(|i| if i == 0 { get(8).round() as i32 } else { 0 }),
            post_filter: get(9) > 0.5,
        }
    }

    /// What link `link` (from 0) of a chain of `links` plugins gets, each of which merges one more microphone into what the ones before
    /// it gave: noise is lowered in what all have put together, once.
    #[must_use]
    pub fn of_link(self, link: usize, links: usize) -> Self {
        Self { post_filter: self.post_filter && link + 1 == links, ..self }
    }
}

/// Microphones besides the reference, at most.
pub const MAX_OTHERS: usize = MAX_MICROPHONES - 1;

/// What a delay chosen by [`delay_for_lag_ms`] adds to the lag, ms: a frame of the combiner, and room for later changes of the lag
/// (another place of the talker, a lost buffer, an hour of drift).
const DELAY_MARGIN_MS: f64 = 32.0 + 12.0;

/// The `delay` that a lag found at the first lock asks for, ms.
pub fn delay_for_lag_ms(lag_ms: f64) -> f32 {
    let delay = &CONTROLS[1];
    ((lag_ms.max(0.0) + DELAY_MARGIN_MS) as f32).clamp(delay.min, delay.max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_lies_in_its_range() {
        for p in CONTROLS.iter().chain(&METERS) {
            assert!(p.min <= p.default && p.default <= p.max, "{}", p.symbol);
        }
    }

    #[test]
    fn values_out_of_range_or_not_a_number_become_usable_controls() {
        let mut v = CONTROLS.map(|p| p.max * 10.0);
        v[4] = f32::NAN;
        let c = Controls::from_values(&v);
        assert_eq!((c.delay_ms, c.half_life_s, c.mode), (1000.0, 30.0, Mode::OnlyB));
    }
}
