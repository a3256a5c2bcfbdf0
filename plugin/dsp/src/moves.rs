//! Moves the lag: to a talker known or new, to the direct sound, to where the sums say that the sound is.

use crate::direct;
use crate::follow::{EDGE, Follower, Stage};
use crate::jumps::{Jump, Reason, Watch};
use crate::measure::energy;
use crate::talkers::Whose;

/// A stranger's lag is looked for within this of the one tracked, us (a path difference of 7 m), and is believed from this
/// height on, standard deviations (noise reaches 5); within the same of it, it is the same talker's.
const STRANGER_REACH_US: f64 = 20_000.0;
const STRANGER_Z: f32 = 6.0;
const SAME_LAG_US: f64 = 300.0;
/// The direct sound is believed where it is farther off than this, us, and found so often in a row, within this, us.
const DIRECT_OFF_US: f64 = 400.0;
const DIRECT_TIMES: u32 = 2;
const DIRECT_WITHIN_US: f64 = 200.0;

impl Follower {
    /// Looks for the lag of a sound that fits no print.
    pub(crate) fn detect_stranger(&mut self) -> Option<Jump> {
        let sign = self.lock?.sign;
        let stranger = self.talkers.stranger();
        self.observer.correlation(stranger, &mut self.correlation);
        let scale = sign / (2.0 * energy(stranger)).sqrt().max(1e-9);
        let reach = (STRANGER_REACH_US * 1e-6 * self.rate_hz) as i64;
        let len = self.correlation.len() as i64;
        let height = |k: i64| scale * self.correlation[k.rem_euclid(len) as usize];
        let at = (-reach..=reach).max_by(|&i, &j| height(i).total_cmp(&height(j))).unwrap_or(0);
        if height(at) < STRANGER_Z {
            return None;
        }
        let shift_us = at as f64 * 1e6 / self.rate_hz;
        if shift_us.abs() < SAME_LAG_US {
            self.talkers.adopt_stranger();
            return None;
        }
        self.jump(Jump { shift_us, sign, reason: Reason::Stranger }, Whose::New)
    }

    /// Looks for the direct sound among the peaks of the talker's print.
    pub(crate) fn detect_direct(&mut self) -> Option<Jump> {
        let lock = self.lock?;
        self.observer.correlation(self.talkers.print(), &mut self.correlation);
        let found = direct::find(&self.correlation, lock.sign, self.rate_hz, self.voice().realigned)?;
        self.talkers.set_nearness(found.nearness);
        let shift_us = found.at as f64 * 1e6 / self.rate_hz;
        if shift_us.abs() < DIRECT_OFF_US || lock.is_pulling_in() {
            self.direct = (0, 0.0);
            return None;
        }
        let again = (self.direct.1 - shift_us).abs() < DIRECT_WITHIN_US;
        self.direct = (if again { self.direct.0 + 1 } else { 1 }, shift_us);
        if self.direct.0 < DIRECT_TIMES {
            return None;
        }
        self.jump(Jump { shift_us, sign: lock.sign, reason: Reason::Direct }, Whose::Same)
    }

    /// Asks of a jump that the peaks propose whose sound is there. Among the reflections of one talker only
    /// [`Self::detect_direct`] decides, and the correlator, which is slow, is believed for what is new only.
    pub(crate) fn propose(&mut self, jump: Option<Jump>) -> Option<Jump> {
        let mut jump = jump?;
        let far = jump.reason == Reason::Far;
        let reach_us = (self.correlation.len() / 2 - EDGE) as f64 * 1e6 / self.rate_hz;
        // The correlator sees in a second what may be over in a quarter; beyond a frame only the quarter tells.
        let long = far && jump.shift_us.abs() < reach_us;
        let sum = if long { &self.sums.middle } else { &self.sums.short };
        let whose = self.talkers.whose(&jump, sum, reach_us)?;
        let refused = match whose {
            Whose::Same => far || self.talkers.is_looked_at(),
            Whose::Known(_) => far,
            Whose::New => false,
        };
        if refused {
            return None;
        }
        if let Whose::Known(known) = whose {
            jump.shift_us = self.talkers.lag_us_of(known);
        }
        self.jump(jump, whose)
    }

    pub(crate) fn jump(&mut self, jump: Jump, whose: Whose) -> Option<Jump> {
        self.lock.as_mut()?.jump(&jump, self.frame_time_s);
        self.watch = Watch::default();
        self.direct = (0, 0.0);
        self.pull_in.clear();
        self.begin_interval();
        if jump.reason == Reason::Far || matches!(whose, Whose::Known(_)) {
            self.sums.clear();
        } else {
            self.sums.jump(jump.shift_us);
        }
        match whose {
            Whose::Known(known) => self.talkers.turn_to(known),
            Whose::Same if jump.shift_us.abs() > SAME_LAG_US => self.talkers.realign(jump.shift_us),
            Whose::Same => self.talkers.rotate(jump.shift_us),
            Whose::New => self.talkers.turn_to_new(jump.shift_us, &self.sums.short),
        }
        self.stage = Stage::Idle;
        Some(jump)
    }
}
