//! The plugins of this library: what ports each has, and how many engines stand behind them.
//!
//! - **merge** (and **dual**, which differs only in having the sound on two outputs): two microphones, one engine.
//! - **merge4**: four microphones, three engines in a chain (`chain.rs`). One set of controls for all links, and a set
//!   of meters for each of B, C and D. Two controls are not as in merge: there is no `lag_trim`, for a host that takes
//!   frames out can as well chain merges itself; and no mode `average`, for half of each link would be an eighth of A.
//! - **align**: two microphones, one engine, and both of them put out side by side. There is no `mode` and no
//!   `post_filter`.
//!
//! The order of ports is an interface, as are the symbols: LADSPA hosts pass controls by position, LV2 hosts save them
//! by symbol.

use driftmerge_dsp::params::{CONTROLS, Kind, METERS, Port};

/// What the audio outputs carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sound {
    /// The merge, the same on every output.
    Merged,
    /// Each microphone on an output of its own.
    Apart,
}

/// One plugin's ports.
#[derive(Debug)]
pub struct Layout {
    /// Control inputs: a part of [`CONTROLS`] in its order and with its meaning, perhaps with other words or bounds.
    pub controls: &'static [Port],
    /// Control outputs: those of the engine, one link after the other, and `latency` last.
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

    /// Number of engines: one for each microphone after the first.
    pub const fn links(&self) -> usize {
        self.ins.len() - 1
    }
}

/// Most microphones that a plugin has.
pub const MAX_INS: usize = 4;
/// Most outputs.
pub const MAX_OUTS: usize = 2;
/// Most engines.
pub const MAX_LINKS: usize = MAX_INS - 1;
/// Most ports.
pub const MAX_PORTS: usize = MERGE4.count();
/// Most control outputs.
pub const MAX_METERS: usize = MERGE4.meters.len();

/// Control outputs of a link: those of the engine but for the last, the latency.
pub const LINK_METERS: usize = METERS.len() - 1;

/// Delay of every link after the first, ms: the smallest that the engine has, for what is late waits in the first.
pub const LINK_DELAY_MS: f32 = CONTROLS[1].min;

const LATENCY: Port = METERS[LINK_METERS];

/// Two microphones into one: `urn:driftmerge:merge`, LADSPA label `driftmerge`.
pub const MERGE: Layout =
    Layout { controls: &CONTROLS, meters: &METERS, outs: &["out"], ins: &["in_a", "in_b"], sound: Sound::Merged };

/// The same on two channels: LADSPA label `driftmerge_dual`.
pub const DUAL: Layout = Layout { outs: &["out_left", "out_right"], ..MERGE };

/// Four microphones into one: `urn:driftmerge:merge4`, LADSPA label `driftmerge_merge4`.
pub const MERGE4: Layout = Layout {
    controls: &[
        Port { about: "Off: microphone A alone, with the same latency.", ..CONTROLS[0] },
        Port { about: "How much A is delayed for the latest of the others; the latency is 10 ms more.", ..CONTROLS[1] },
        CONTROLS[2],
        CONTROLS[3],
        CONTROLS[4],
        Port { kind: Kind::Enumeration(&MERGE4_MODES), min: 1.0, ..CONTROLS[5] },
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
        Port { about: "Off: both microphones as late as they came, with the same latency.", ..CONTROLS[0] },
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
        Port { about: "Share that B would have in the merge.", ..METERS[3] },
        METERS[4],
        METERS[5],
        LATENCY,
    ],
    outs: &["out_a", "out_b"],
    ins: &["in_a", "in_b"],
    sound: Sound::Apart,
};

/// Names of merge4's `mode`, from 1 on.
const MERGE4_MODES: [&str; 4] = ["merge", "merge, dereverberated", "only A", "only B aligned"];

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
                about: concat!("Normalised correlation of ", $name, " with those before it."),
                ..METERS[2]
            },
            Port {
                symbol: concat!("weight_", $symbol),
                name: concat!("Weight of ", $name),
                about: concat!("Share of ", $name, " in the merge of all four."),
                ..METERS[3]
            },
            Port {
                symbol: concat!("polarity_", $symbol),
                name: concat!("Polarity of ", $name),
                about: concat!("-1 where ", $name, " is wired the other way round."),
                ..METERS[4]
            },
            Port {
                symbol: concat!("state_", $symbol),
                name: concat!("State of ", $name),
                about: concat!($name, ": searching, locked, or holding (locked, but nothing to measure now)."),
                ..METERS[5]
            },
        ]
    };
}

const MERGE4_METERS: [Port; MAX_LINKS * LINK_METERS + 1] = {
    let links: [[Port; LINK_METERS]; MAX_LINKS] = [meters_of!("b", "B"), meters_of!("c", "C"), meters_of!("d", "D")];
    // Two links more than the merge, at 192 kHz.
    let most_frames = LATENCY.max + (MAX_LINKS - 1) as f32 * LINK_DELAY_MS * 192.0;
    let mut all = [Port { max: most_frames, ..LATENCY }; MAX_LINKS * LINK_METERS + 1];
    let mut i = 0;
    while i < MAX_LINKS * LINK_METERS {
        all[i] = links[i / LINK_METERS][i % LINK_METERS];
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
            assert_eq!(layout.meters.len(), layout.links() * LINK_METERS + 1);
            assert!(layout.count() <= MAX_PORTS && layout.outs.len() <= MAX_OUTS && layout.ins.len() <= MAX_INS);
        }
    }
}
