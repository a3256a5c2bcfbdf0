//! The plugins of this library and their ports. Each instance has one engine for all its microphones.
//!
//! - **merge**: two microphones. **dual** is the same with the output on two ports.
//! - **merge4**: four microphones, with one set of controls and a set of meters for each of B, C and D. It lacks
//!   `lag_trim`, which counts frames of one microphone only.
//! - **align**: two microphones and an output for each. It has neither `mode` nor `post_filter`.
//!
//! Port order and symbols are an interface: LADSPA hosts pass controls by position, LV2 hosts save them by symbol.

use driftmerge_dsp::params::{CONTROLS, METERS, Port};

/// What the audio outputs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// The merge, the same on every output.
    Merged,
    /// One microphone per output.
    Apart,
}

/// One plugin's ports.
#[derive(Debug)]
pub struct Layout {
    /// Control inputs: a subset of [`CONTROLS`] in the same order, possibly with other descriptions or narrower bounds.
    pub controls: &'static [Port],
    /// Control outputs: the meters of each microphone after A in turn, then `latency`.
    pub meters: &'static [Port],
    /// Symbols of the audio outputs.
    pub outs: &'static [&'static str],
    /// Symbols of the audio inputs, the reference first.
    pub ins: &'static [&'static str],
    /// What the outputs carry.
    pub sound: Sound,
}

impl Layout {
    /// Index of the first control output.
    pub const fn first_meter(&self) -> usize {
        self.controls.len()
    }

    /// Index of the first audio output.
    pub const fn first_out(&self) -> usize {
        self.first_meter() + self.meters.len()
    }

    /// Index of the first audio input.
    pub const fn first_in(&self) -> usize {
        self.first_out() + self.outs.len()
    }

    /// Number of ports.
    pub const fn count(&self) -> usize {
        self.first_in() + self.ins.len()
    }

    /// Number of microphones after A.
    pub const fn others(&self) -> usize {
        self.ins.len() - 1
    }
}

/// Largest number of microphones of a plugin.
pub const MAX_INS: usize = 4;
/// Largest number of audio outputs.
pub const MAX_OUTS: usize = 2;
/// Largest number of microphones after A.
pub const MAX_OTHERS: usize = MAX_INS - 1;
/// Largest number of ports.
pub const MAX_PORTS: usize = MERGE4.count();
/// Largest number of control outputs.
pub const MAX_METERS: usize = MERGE4.meters.len();

/// Control outputs per microphone after A: all meters of the table except `latency`, which is the last.
pub const MICROPHONE_METERS: usize = METERS.len() - 1;

const LATENCY: Port = METERS[MICROPHONE_METERS];

/// Two microphones into one: `urn:driftmerge:merge`, LADSPA label `driftmerge`.
pub const MERGE: Layout =
    Layout { controls: &CONTROLS, meters: &METERS, outs: &["out"], ins: &["in_a", "in_b"], sound: Sound::Merged };

/// The same on two channels: LADSPA label `driftmerge_dual`.
pub const DUAL: Layout = Layout { outs: &["out_left", "out_right"], ..MERGE };

/// Four microphones into one: `urn:driftmerge:merge4`, LADSPA label `driftmerge_merge4`.
pub const MERGE4: Layout = Layout {
    controls: &[
        CONTROLS[0],
        Port {
            about: "Latency of the output, at least 32 ms. B, C and D can be aligned up to a lag of 36 ms less.",
            ..CONTROLS[1]
        },
        CONTROLS[2],
        CONTROLS[3],
        CONTROLS[4],
        CONTROLS[5],
        CONTROLS[6],
        CONTROLS[7],
        CONTROLS[9],
    ],
    meters: &MERGE4_METERS,
    outs: &["out"],
    ins: &["in_a", "in_b", "in_c", "in_d"],
    sound: Sound::Merged,
};

/// Two microphones, aligned: `urn:driftmerge:align`, LADSPA label `driftmerge_align`.
pub const ALIGN: Layout = Layout {
    controls: &[
        Port { about: "Off: both microphones keep their own timing, with the same latency.", ..CONTROLS[0] },
        CONTROLS[1],
        CONTROLS[2],
        CONTROLS[3],
        CONTROLS[4],
        CONTROLS[6],
        CONTROLS[7],
        CONTROLS[8],
    ],
    meters: &[
        METERS[0],
        METERS[1],
        METERS[2],
        Port { about: "Share of B if both were merged.", ..METERS[3] },
        METERS[4],
        METERS[5],
        LATENCY,
    ],
    outs: &["out_a", "out_b"],
    ins: &["in_a", "in_b"],
    sound: Sound::Apart,
};

/// The meters of one microphone of merge4.
macro_rules! meters_of {
    ($symbol:literal, $name:literal) => {
        [
            Port {
                symbol: concat!("lag_", $symbol),
                name: concat!("Lag of ", $name),
                about: concat!("How late ", $name, " is against A."),
                ..METERS[0]
            },
            Port {
                symbol: concat!("drift_", $symbol),
                name: concat!("Drift of ", $name),
                about: concat!("How fast the lag of ", $name, " grows."),
                ..METERS[1]
            },
            Port {
                symbol: concat!("confidence_", $symbol),
                name: concat!("Confidence of ", $name),
                about: concat!("Normalised correlation of ", $name, " with A at the lag in use."),
                ..METERS[2]
            },
            Port {
                symbol: concat!("weight_", $symbol),
                name: concat!("Weight of ", $name),
                about: concat!("Share of ", $name, " in the output."),
                ..METERS[3]
            },
            Port {
                symbol: concat!("polarity_", $symbol),
                name: concat!("Polarity of ", $name),
                about: concat!("-1 if ", $name, " has the opposite polarity."),
                ..METERS[4]
            },
            Port {
                symbol: concat!("state_", $symbol),
                name: concat!("State of ", $name),
                about: concat!($name, ": searching, locked, or holding (locked, but nothing to measure)."),
                ..METERS[5]
            },
        ]
    };
}

const MERGE4_METERS: [Port; MAX_OTHERS * MICROPHONE_METERS + 1] = {
    let others = [meters_of!("b", "B"), meters_of!("c", "C"), meters_of!("d", "D")];
    let mut all = [LATENCY; MAX_OTHERS * MICROPHONE_METERS + 1];
    let mut i = 0;
    while i < MAX_OTHERS * MICROPHONE_METERS {
        all[i] = others[i / MICROPHONE_METERS][i % MICROPHONE_METERS];
        i += 1;
    }
    all
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_stand_in_the_order_of_the_table_and_mean_the_same() {
        for layout in [MERGE, DUAL, MERGE4, ALIGN] {
            let mut table = CONTROLS.iter();
            for port in layout.controls {
                let known = table.find(|known| known.symbol == port.symbol).expect("in the table, and after the last");
                assert_eq!((port.unit, port.default, port.max), (known.unit, known.default, known.max));
            }
            assert_eq!(layout.meters.last().map(|port| port.symbol), Some("latency"));
            assert_eq!(layout.meters.len(), layout.others() * MICROPHONE_METERS + 1);
            assert!(layout.count() <= MAX_PORTS && layout.outs.len() <= MAX_OUTS && layout.ins.len() <= MAX_INS);
        }
    }
}
