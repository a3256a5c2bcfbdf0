//! How much of each bin is new: neither the late reverberation of what came before nor steady noise.
//!
//! m = max(0, 1 - max(late, steady) / p), where p is the power of all microphones, each divided by its own mean; late is
//! what a room of [`Mask::t60_s`](crate::tuning::Mask) leaves of the power [`Mask::late_s`](crate::tuning::Mask) ago
//! (statistical model: Lebart et al., Acta Acustica 87, 2001); steady is the minimum of the smoothed power over 0.8 to 1.6 s
//! (minimum statistics: Martin, IEEE TSAP 9(5), 2001), times its bias.

use crate::primitives::lanes::{LANES, Real};
use crate::tuning::Mask as Tuning;

/// Frames by which late sound is behind: [`Tuning::late_s`] in hops of 16 ms.
const LATE_FRAMES: usize = 2;

/// Mean of p / steady - 1 over the voice's bins up to which a frame is steady noise, from which it surely is not, and what one bin counts at
/// most. (Noise alone: 0.36 by theory. Speech at 0 dB: 0.8.)
const QUIET: f32 = 0.5;
const ACTIVE: f32 = 0.8;
const MOST_OUT: f32 = 10.0;

/// The mask's memory for all bins.
pub struct Mask {
    keep_mean: f32,
    keep_power: f32,
    keep_smooth: f32,
    late: f32,
    bias: f32,
    minimum_frames: usize,
    /// Microphone by microphone, group by group.
    mean: Vec<Vec<Real>>,
    /// Share of each mean's memory that is filled.
    used: Vec<f32>,
    power: Vec<Real>,
    past: [Vec<Real>; LATE_FRAMES],
    smooth: Vec<Real>,
    low: [Vec<Real>; 2],
    frame: usize,
    /// Groups of the voice, and how far the frame being learnt stands out of steady noise there, summed up.
    voice: usize,
    standing_out: f32,
    activity: f32,
}

impl Mask {
    /// For `groups` groups of bins, the first `voice` of which hold the voice, of `microphones` microphones, a frame each `hop_s`.
    pub fn new(tuning: &Tuning, microphones: usize, groups: usize, voice: usize, hop_s: f64) -> Self {
        let keep = |memory_s: f64| 1.0 - (-hop_s / memory_s).exp() as f32;
        let zeros = || vec![Real::ZERO; groups];
        let high = || vec![Real::all(1e30); groups];
        Self {
            keep_mean: keep(tuning.mean_s),
            keep_power: keep(tuning.power_s),
            keep_smooth: keep(tuning.smooth_s),
            late: (-13.8 * tuning.late_s / tuning.t60_s).exp() as f32,
            bias: tuning.minimum_bias,
            minimum_frames: (tuning.minimum_s / hop_s) as usize,
            mean: vec![vec![Real::all(1e-14); groups]; microphones],
            used: vec![0.0; microphones],
            power: zeros(),
            past: [zeros(), zeros()],
            smooth: zeros(),
            low: [high(), high()],
            frame: 0,
            voice,
            standing_out: 0.0,
            activity: 0.0,
        }
    }

    /// Before the first group of a frame, to which those that are not `present` add nothing.
    pub fn begin(&mut self, present: &[bool]) {
        for (used, _) in self.used.iter_mut().zip(present).filter(|(_, present)| **present) {
            *used += self.keep_mean * (1.0 - *used);
        }
        if self.frame.is_multiple_of(self.minimum_frames) {
            self.low.swap(0, 1);
            self.low[0].fill(Real::all(1e30));
        }
        self.frame += 1;
        let out = self.standing_out / (self.voice * LANES) as f32;
        self.activity = ((out - QUIET) / (ACTIVE - QUIET)).clamp(0.0, 1.0);
        self.standing_out = 0.0;
        self.past.swap(0, 1);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for values in [&mut self.power, &mut self.smooth].into_iter().chain(&mut self.past) {
            values.fill(Real::ZERO);
        }
        self.low.iter_mut().for_each(|low| low.fill(Real::all(1e30)));
        self.mean.iter_mut().for_each(|mean| mean.fill(Real::all(1e-14)));
        self.used.fill(0.0);
        (self.standing_out, self.activity) = (0.0, 0.0);
    }

    /// Takes the powers of one group and gives its mask.
    pub fn learn(&mut self, group: usize, powers: &[Real], present: &[bool]) -> Real {
        let (mut p, mut count) = (Real::ZERO, 0.0);
        for (m, power) in powers.iter().enumerate().filter(|(m, _)| present[*m]) {
            let mean = &mut self.mean[m][group];
            mean.approach(*power, self.keep_mean);
            p += *power / *mean * self.used[m];
            count += 1.0;
        }
        if count == 0.0 {
            return Real::ZERO;
        }
        let p = p * (powers.len() as f32 / count);
        self.smooth[group].approach(p, self.keep_smooth);
        self.low[0][group] = self.low[0][group].min(self.smooth[group]);
        // What stands here is two frames old; it makes room for the newest.
        let late = self.past[0][group] * self.late;
        self.power[group].approach(p, self.keep_power);
        self.past[0][group] = self.power[group];
        let steady = self.low[0][group].min(self.low[1][group]) * self.bias;
        let old = late.max(steady) / (self.power[group] + 1e-14);
        if group < self.voice {
            let out = self.power[group] / (steady + 1e-14) - 1.0;
            self.standing_out += out.max(Real::ZERO).min(Real::all(MOST_OUT)).sum();
        }
        (Real::all(1.0) - old).max(Real::ZERO)
    }

    /// How surely the newest whole frame held more than steady noise, 0 to 1.
    pub fn activity(&self) -> f32 {
        self.activity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::COMBINING;

    const HOP_S: f64 = 0.016;

    /// The last mask after frames of these powers, in one group.
    fn after(powers: impl IntoIterator<Item = f32>) -> (f32, f32) {
        let mut mask = Mask::new(&COMBINING.mask, 1, 1, 1, HOP_S);
        let mut last = Real::ZERO;
        for power in powers {
            mask.begin(&[true]);
            last = mask.learn(0, &[Real::all(power)], &[true]);
        }
        mask.begin(&[true]);
        (last.0[0], mask.activity())
    }

    #[test]
    fn steady_noise_is_masked_and_teaches_nothing() {
        let (mask, activity) = after(std::iter::repeat_n(1e-4, 400));
        assert!(mask < 0.05, "{mask}");
        assert_eq!(activity, 0.0);
    }

    #[test]
    fn an_onset_20_db_over_steady_noise_is_all_new() {
        let (mask, activity) = after(std::iter::repeat_n(1e-4, 400).chain([1e-2]));
        assert!(mask > 0.9, "{mask}");
        assert_eq!(activity, 1.0);
    }

    #[test]
    fn a_decay_of_a_room_of_0_6_s_is_late_sound() {
        // 60 dB in 0.6 s: a factor of 0.69 from frame to frame.
        let decay = (0..10).map(|k| 1e-2 * (-13.8 * HOP_S / 0.6 * f64::from(k)).exp() as f32);
        let (mask, _) = after(std::iter::repeat_n(1e-6, 400).chain(decay));
        assert!(mask < 0.1, "{mask}");
    }
}
