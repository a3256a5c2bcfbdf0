//! What the engine tells about itself: the control outputs and the lag behind the sound being put out.

use crate::params::METERS;

/// What the tracker is doing (port `state`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// No lag is known; the better microphone alone plays.
    #[default]
    Searching,
    /// The lag is known and measured.
    Locked,
    /// The lag is known, but there is nothing to measure it by now.
    Holding,
}

/// A copy of what the engine knows, cheap enough to take in every block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Status {
    /// How late B is against A now, by the newest estimate, in milliseconds of the streams as the host passes them.
    pub lag_ms: f64,
    /// How fast the lag grows, in ppm.
    pub drift_ppm: f64,
    /// Normalised correlation at the lag in use, 0 to 1.
    pub confidence: f32,
    /// Share of B in the merge, 0 to 1.
    pub weight: f32,
    /// -1 where B is wired the other way round, else 1.
    pub polarity: i8,
    /// What the tracker is doing.
    pub state: State,
    /// Frames by which the output is later than A.
    pub latency_frames: u32,
    /// The lag by which B is read for the frame put out last, in milliseconds. It differs from `lag_ms` by the
    /// drift over the latency and while a correction slews in.
    pub applied_lag_ms: f64,
    /// The lag is known but larger than the delay allows to align: a larger `delay` is needed to merge.
    pub delay_too_small: bool,
}

impl Status {
    /// The values of the control outputs, in port order.
    pub fn meters(&self) -> [f32; METERS.len()] {
        [
            self.lag_ms as f32,
            self.drift_ppm as f32,
            self.confidence,
            self.weight,
            f32::from(self.polarity),
            match self.state {
                State::Searching => 0.0,
                State::Locked => 1.0,
                State::Holding => 2.0,
            },
            self.latency_frames as f32,
        ]
    }
}
