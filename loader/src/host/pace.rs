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
/// A step of the difference beyond this, s, for [`STEP_LOOKS`] looks is real (a source lost sound): start anew.
const STEP_S: f64 = 0.02;
/// Looks that make a step real.
const STEP_LOOKS: u32 = 10;

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

    /// Takes the counts `a` and `b` taken at the time `at_s`.
    pub fn look(&mut self, at_s: f64, a: f64, b: f64) {
        let difference = b - a;
        let odd = self.looks >= SETTLE_LOOKS && (difference - self.frames).abs() > STEP_S * self.rate_hz;
        if odd {
            self.odd_looks += 1;
            if self.odd_looks < STEP_LOOKS {
                return;
            }
            self.looks = 0;
        }
        self.odd_looks = 0;
        let passed_s = (at_s - self.at_s).max(0.0);
        self.at_s = at_s;
        self.looks = self.looks.saturating_add(1);
        // At first the plain mean, then a fading one.
        let share = (1.0 / f64::from(self.looks)).max(1.0 - (-passed_s / MEMORY_S).exp());
        self.frames += share * (difference - self.frames);
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
    None,
    /// Take so many frames out.
    TakeOut(usize),
    /// Put so many in.
    PutIn(usize),
}

/// The offset between the streams as they are passed on, and when to move it.
#[derive(Clone, Debug)]
pub struct Pace {
    /// Next frame of B less next frame of A.
    offset_frames: i64,
    slack_frames: f64,
    far_frames: f64,
    moving: bool,
}

impl Pace {
    /// For streams at `rate_hz`, of which B's next frame is `offset_frames` further on than A's.
    pub fn new(rate_hz: f64, offset_frames: i64) -> Self {
        // Below the slack nothing is gained by moving. Beyond `far` single frames would take seconds.
        Self { offset_frames, slack_frames: 0.000_25 * rate_hz, far_frames: 0.01 * rate_hz, moving: false }
    }

    /// What to do before the next block, if the offset should be `wanted_frames`.
    pub fn plan(&mut self, wanted_frames: f64) -> Move {
        let error = wanted_frames - self.offset_frames as f64;
        self.moving = error.abs() > if self.moving { 0.5 } else { self.slack_frames };
        let frames = match error.abs() {
            _ if !self.moving => return Move::None,
            far if far > self.far_frames => far.round() as usize,
            _ => 1,
        };
        if error > 0.0 { Move::TakeOut(frames) } else { Move::PutIn(frames) }
    }

    /// `frames` of B were taken out (positive) or put in (negative), or, which is the same, put in or left out in A.
    pub fn moved(&mut self, frames: i64) {
        self.offset_frames += frames;
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
        let mut pace = Pace::new(RATE_HZ, 0);
        let mut worst: f64 = 0.0;
        for block in 0..100 * seconds {
            let at_s = f64::from(block) * 0.01;
            let truth = at_s * ppm * 1e-6 * RATE_HZ;
            clock.look(at_s, at_s * RATE_HZ, at_s * RATE_HZ + truth + random.between(-1.0, 1.0) * jitter_s * RATE_HZ);
            if let Some(wanted) = clock.difference_frames() {
                match pace.plan(wanted) {
                    Move::TakeOut(frames) => pace.moved(frames as i64),
                    Move::PutIn(frames) => pace.moved(-(frames as i64)),
                    Move::None => {}
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
    fn a_single_wrong_look_moves_nothing_but_a_lasting_step_does() {
        let mut clock = Clock::new(RATE_HZ);
        for i in 0..100 {
            clock.look(f64::from(i) * 0.01, 0.0, if i == 50 { 9000.0 } else { 0.0 });
        }
        assert_eq!(clock.difference_frames(), Some(0.0));
        for i in 100..130 {
            clock.look(f64::from(i) * 0.01, 0.0, 9000.0);
        }
        assert_eq!(clock.difference_frames(), Some(9000.0));
    }

    #[test]
    fn what_is_far_is_moved_at_once_and_what_is_near_by_single_frames() {
        let mut pace = Pace::new(RATE_HZ, 0);
        assert_eq!(pace.plan(5.0), Move::None);
        assert_eq!(pace.plan(-5000.0), Move::PutIn(5000));
        pace.moved(-5000);
        assert_eq!(pace.plan(-4980.0), Move::TakeOut(1));
        pace.moved(20);
        assert_eq!(pace.plan(-4980.0), Move::None);
    }
}
