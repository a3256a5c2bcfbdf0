//! Keeps two microphones on two clocks side by side in the server's time.
//!
//! Problem: equal counts go to the plugin, but the microphones deliver unequal counts. Signal model: `taken` is how many
//! frames a source has taken up to now; the two streams stand side by side while B's next frame was taken at the
//! same time as A's, that is while (next of B − next of A) = (taken by B − taken by A). The right side is known from the
//! streams' times ([`Clock`]), roughly at any moment and well over seconds; the left side is moved by single frames of
//! B ([`Pace`]), each told to the plugin, for which a told frame is no event at all.
//!
//! So drift never piles up, nor does what the server buffers at a start count: the lag that the plugin sees is the
//! acoustic one plus what the sources report wrongly, and the one saved by an earlier run still holds.

/// Memory of the clocks' difference, s, once it is settled.
const MEMORY_S: f64 = 4.0;
/// Looks at the clocks before their difference is used at all.
const SETTLE_LOOKS: u32 = 8;
/// A look that differs from the rest by more than this, s, is odd.
const ODD_S: f64 = 0.02;
/// So many odd looks in a row mean that a source has lost sound: what was known is void.
const ODD_LOOKS: u32 = 4;
/// Below this offset, s, nothing is gained by moving.
const SLACK_S: f64 = 0.000_25;

/// The difference of what two sources have taken, smoothed.
#[derive(Clone, Debug)]
pub struct Clock {
    rate_hz: f64,
    looks: u32,
    odd_looks: u32,
    frames: f64,
    at_s: f64,
}

impl Clock {
    /// For streams at `rate_hz`.
    pub fn new(rate_hz: f64) -> Self {
        Self { rate_hz, looks: 0, odd_looks: 0, frames: 0.0, at_s: 0.0 }
    }

    /// Takes a look: at the time `at_s`, B had taken so many frames more than A.
    pub fn look(&mut self, at_s: f64, frames: f64) {
        let odd = self.looks >= SETTLE_LOOKS && (frames - self.frames).abs() > ODD_S * self.rate_hz;
        self.odd_looks = if odd { self.odd_looks + 1 } else { 0 };
        if self.odd_looks >= ODD_LOOKS {
            *self = Self::new(self.rate_hz);
        } else if odd {
            return;
        }
        let passed_s = (at_s - self.at_s).max(0.0);
        self.at_s = at_s;
        self.looks = self.looks.saturating_add(1);
        // At first the plain mean, then a fading one.
        let share = (1.0 / f64::from(self.looks)).max(1.0 - (-passed_s / MEMORY_S).exp());
        self.frames += share * (frames - self.frames);
    }

    /// How many frames more B has taken than A; None while that is not settled.
    pub fn difference_frames(&self) -> Option<f64> {
        (self.looks >= SETTLE_LOOKS).then_some(self.frames)
    }
}

/// What to do to B before the next block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// Nothing.
    Stay,
    /// Take one frame out.
    TakeOut,
    /// Put one in.
    PutIn,
}

/// The offset between the streams as they are passed on, and when to move it.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Next frame of B less next frame of A.
    offset_frames: i64,
    slack_frames: f64,
    moving: bool,
}

impl Pace {
    /// For streams at `rate_hz` that both begin with frame 0.
    pub fn new(rate_hz: f64) -> Self {
        Self { offset_frames: 0, slack_frames: SLACK_S * rate_hz, moving: false }
    }

    /// By how much the offset is short of `wanted_frames`.
    pub fn short_frames(&self, wanted_frames: f64) -> f64 {
        wanted_frames - self.offset_frames as f64
    }

    /// What to do before the next block, if the offset should be `wanted_frames`.
    pub fn plan(&mut self, wanted_frames: f64) -> Move {
        let short = self.short_frames(wanted_frames);
        self.moving = short.abs() > if self.moving { 0.5 } else { self.slack_frames };
        match self.moving {
            false => Move::Stay,
            true if short > 0.0 => Move::TakeOut,
            true => Move::PutIn,
        }
    }

    /// So many frames were taken from A's and from B's stream, used or not.
    pub fn passed(&mut self, a: usize, b: usize) {
        self.offset_frames += b as i64 - a as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f64 = 48_000.0;

    /// The offset by which two streams are apart from their right places, at worst, over `seconds` of blocks of 10 ms
    /// where B's clock is `ppm` fast and each look at the clocks errs by up to `jitter_s`.
    fn worst_s(ppm: f64, jitter_s: f64, seconds: u32) -> f64 {
        let mut random = crate::rig::random::Random::new(3);
        let mut clock = Clock::new(RATE_HZ);
        let mut pace = Pace::new(RATE_HZ);
        let mut worst: f64 = 0.0;
        for block in 0..100 * seconds {
            let at_s = f64::from(block) * 0.01;
            let truth = at_s * ppm * 1e-6 * RATE_HZ;
            if block % 10 == 0 {
                clock.look(at_s, truth + random.between(-1.0, 1.0) * jitter_s * RATE_HZ);
            }
            if let Some(wanted) = clock.difference_frames() {
                match pace.plan(wanted) {
                    Move::TakeOut => pace.passed(0, 1),
                    Move::PutIn => pace.passed(1, 0),
                    Move::Stay => {}
                }
                worst = worst.max((truth - pace.offset_frames as f64).abs() / RATE_HZ);
            }
        }
        worst
    }

    #[test]
    fn clocks_300_ppm_apart_stay_within_2_ms_for_an_hour_though_each_look_errs_by_2_ms() {
        for ppm in [-300.0, 0.0, 300.0] {
            let worst_s = worst_s(ppm, 0.002, 3600);
            assert!(worst_s < 0.002, "{ppm} ppm: {worst_s}");
        }
    }

    #[test]
    fn a_single_wrong_look_moves_nothing_and_a_lasting_step_makes_the_difference_unknown() {
        let mut clock = Clock::new(RATE_HZ);
        let mut look = |i: u32, frames| {
            clock.look(f64::from(i) * 0.1, frames);
            clock.difference_frames()
        };
        for i in 0..100 {
            look(i, if i == 50 { 9000.0 } else { 0.0 });
        }
        assert_eq!(look(100, 0.0), Some(0.0));
        let after: Vec<_> = (101..120).map(|i| look(i, 9000.0)).collect();
        assert_eq!((after[0], after[5], after[18]), (Some(0.0), None, Some(9000.0)));
    }

    #[test]
    fn an_offset_is_left_within_its_slack_and_then_mended_to_the_frame() {
        let mut pace = Pace::new(RATE_HZ);
        assert_eq!(pace.plan(11.0), Move::Stay);
        for _ in 0..13 {
            assert_eq!(pace.plan(13.0), Move::TakeOut);
            pace.passed(0, 1);
        }
        assert_eq!(pace.plan(13.0), Move::Stay);
        assert_eq!(pace.plan(0.0), Move::PutIn);
    }
}
