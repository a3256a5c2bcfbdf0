//! Moves the lag: to a talker known or new, to the direct sound, to where the sums say that the sound is.

use crate::analysis::delay_estimate::{energy, measure};
use crate::speakers::direct_path;
use crate::speakers::speaker_change::Whose;
use crate::tracking::jump_detector::{Jump, Reason, Watch};
use crate::tracking::schedule::{EDGE, Follower, Stage};

/// A stranger's lag is looked for within this of the one tracked, us (a path difference of 7 m), and is believed from this
/// height on, standard deviations (noise reaches 5); within the same of it, it is the same talker's.
const STRANGER_REACH_US: f64 = 20_000.0;
const STRANGER_Z: f32 = 6.0;
const SAME_LAG_US: f64 = 300.0;
/// The direct sound is elsewhere when it is farther off than this, us.
const DIRECT_OFF_US: f64 = 400.0;
/// The polarity is wrong where a peak of the other one stands within this of the lag tracked, us, is so many times as high as the
/// highest of the one tracked, and outstanding by itself (standard deviations).
const POLARITY_REACH_US: f64 = 2000.0;
const OTHER_POLARITY: f64 = 1.3;
const OTHER_POLARITY_Z: f64 = 8.0;
/// Where nobody is known, the lag held until this after the last measurement, s: half of what is measured at a time.
const INTERVAL_LASTS_S: f64 = 0.1;

impl Follower {
    /// Looks for the lag of a sound that fits no print.
    pub(crate) fn detect_stranger(&mut self) -> Option<Jump> {
        let sign = self.lock?.sign;
        let stranger = self.talkers.stranger();
        self.observer.correlation(stranger, &mut self.correlation);
        let scale = (2.0 * energy(stranger)).sqrt().max(1e-9);
        let (at, height) = self.highest_near(sign, STRANGER_REACH_US);
        if height < STRANGER_Z * scale {
            return None;
        }
        let shift_us = self.us(at);
        if shift_us.abs() < SAME_LAG_US {
            self.talkers.adopt_stranger();
            return None;
        }
        self.jump(Jump { shift_us, reason: Reason::Stranger }, Whose::New)
    }

    /// Asks of the talker's print whether the polarity is right. Leaves its correlation.
    pub(crate) fn detect_polarity(&mut self) -> Option<Jump> {
        let lock = self.lock?;
        self.observer.correlation(&self.talkers.print().cross, &mut self.correlation);
        let other = self.other_polarity(lock.sign);
        let believed = self.watch.polarity(other.is_some());
        let shift_us = other?;
        if self.stage == Stage::DetectDirect {
            // Where the polarity is in doubt nothing is to be found.
            self.stage = self.after_cross();
        }
        if believed { self.jump(Jump { shift_us, reason: Reason::Polarity }, Whose::Same) } else { None }
    }

    /// Asks where among the peaks of the talker's print, whose correlation has been made, the direct sound is.
    pub(crate) fn detect_direct(&mut self) -> Option<Jump> {
        let lock = self.lock?;
        let print = self.talkers.print();
        self.observer.responses(&print.difference, print.weight, &mut self.responses);
        // Lag 0 in the middle.
        let half = self.correlation.len() / 2;
        self.correlation.rotate_right(half);
        let found = direct_path::find(&self.correlation, lock.sign, &self.responses, self.rate_hz)?;
        self.talkers.set_nearness(found.nearness);
        let shift_us = self.us(found.at);
        let elsewhere = shift_us.abs() >= DIRECT_OFF_US && !lock.is_pulling_in();
        if self.watch.direct(elsewhere.then_some(shift_us)) {
            return self.jump(Jump { shift_us, reason: Reason::Direct }, Whose::Same);
        }
        None
    }

    /// Where the print, whose correlation has been made, has a higher peak of the other polarity beside the lag tracked, us.
    fn other_polarity(&self, sign: f32) -> Option<f64> {
        let peak = |sign: f32| {
            // Frames of analysis are too far apart to tell the height.
            let near_us = self.us(self.highest_near(sign, POLARITY_REACH_US).0);
            measure(&self.observer.band(), &self.talkers.print().cross, sign, near_us)
        };
        let (this, other) = (peak(sign), peak(-sign));
        (other.z > OTHER_POLARITY_Z && other.real > OTHER_POLARITY * this.real).then_some(other.error_us)
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
        let whose = self.talkers.whose(jump.shift_us, self.sign(), sum, reach_us)?;
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
        let before = self.lock?;
        // What was no more than a guess was wrong before, too.
        if whose != Whose::Same && before.is_trusted() {
            let turned_s = match (jump.reason, whose) {
                (Reason::Known, Whose::Known(known)) => self.talkers.began_s(known),
                (Reason::Stranger, _) => self.talkers.familiar_until_s(),
                _ => before.measured_s() + INTERVAL_LASTS_S,
            };
            self.turns.turn(turned_s, &before, self.voice());
        }
        self.lock.as_mut()?.jump(&jump, self.frame_time_s);
        self.watch = Watch::default();
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
