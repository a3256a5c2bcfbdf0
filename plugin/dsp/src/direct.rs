//! Where is the direct sound? Finds it among its reflections in the correlation over lag, and tells which microphone it is nearer to.
//!
//! Model: the correlation of a pair in a room is the room response of A, turned round, folded with that of B. Where the
//! talker is near B, B has the direct sound for the most part, so the correlation is A's response turned round: it sets in at the lag of the
//! direct sound and trails off towards smaller lags. Near A it is the other way round, and half-way between the two both sides are alike.
//! So the two tails tell which microphone has more reverberation against its direct sound, wherever the lag tracked stands among the peaks;
//! and of peaks that are nearly as high, the direct sound is the one with a step beside it: on its far side nothing has arrived yet.
//!
//! In free field both tails are noise, and alike.

/// Peaks this far from the lag tracked are looked at, ms.
const REACH_MS: f64 = 15.0;
/// Peaks from this share of the highest one on may be the direct sound.
const LEAST_SHARE: f32 = 0.8;
/// Peaks are farther apart than this, ms.
const APART_MS: f64 = 0.4;
/// Both sides of a peak are compared from here on, outside of the peak itself, ms...
const SIDES_FROM_MS: f64 = 0.8;
/// ...to here for the step beside it, and to here for the tails, ms.
const STEP_TO_MS: f64 = 5.0;
const TAILS_TO_MS: f64 = 25.0;
/// The tails of the whole cluster, outside of all its peaks, ms.
const OUTSIDE_MS: (f64, f64) = (1.0, 20.0);
/// Difference of the tails (natural logarithm of powers) from which on one side is the loud one: of the whole, and of a peak.
const LOUD_SIDE: (f32, f32) = (0.3, 0.5);
/// What a step of 1 (natural logarithm of powers) is worth against the height of a peak; and the largest that counts.
const STEP_WORTH: f32 = 0.3;
const LARGEST_STEP: f32 = 1.2;
/// What is tracked is kept where another peak is better by less than this, in shares of the highest one: at first, and
/// after the lag has been put right.
const STAY: (f32, f32) = (0.05, 0.15);
/// The lag tracked is at a peak within this many frames.
const TRACKED: i64 = 4;

/// Where the direct sound is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direct {
    /// Frames from the lag tracked.
    pub at: i64,
    /// See [`crate::talkers::Voice::nearness`].
    pub nearness: f32,
}

/// A correlation over lag, lag 0 first, negative lags at the end.
struct Correlation<'a> {
    values: &'a [f32],
    sign: f32,
    frames_per_ms: f64,
}

impl Correlation<'_> {
    fn at(&self, k: i64) -> f32 {
        self.sign * self.values[k.rem_euclid(self.values.len() as i64) as usize]
    }

    fn frames(&self, ms: f64) -> i64 {
        (ms * self.frames_per_ms) as i64
    }

    /// Natural logarithm of the power before `first` against that behind `last`, between two distances.
    fn sides(&self, (first, last): (i64, i64), (from_ms, to_ms): (f64, f64)) -> f32 {
        let (from, to) = (self.frames(from_ms), self.frames(to_ms));
        let power = |lags: std::ops::RangeInclusive<i64>| lags.map(|k| self.at(k).powi(2)).sum::<f32>().max(1e-20);
        (power(first - to..=first - from) / power(last + from..=last + to)).ln()
    }
}

/// Finds the direct sound in a correlation over lag (lag 0 first, of frames at `rate_hz`) of polarity `sign`; `realigned`: the
/// lag tracked is one that was found here before. None where there is no peak. Audio thread.
pub fn find(correlation: &[f32], sign: f32, rate_hz: f64, realigned: bool) -> Option<Direct> {
    let c = Correlation { values: correlation, sign, frames_per_ms: rate_hz * 1e-3 };
    let (reach, apart) = (c.frames(REACH_MS), c.frames(APART_MS));
    let top = (-reach..=reach).map(|k| c.at(k)).fold(0.0, f32::max);
    if top <= 0.0 {
        return None;
    }
    let is_peak = |k: &i64| c.at(*k) >= LEAST_SHARE * top && (k - apart..=k + apart).all(|j| c.at(j) <= c.at(*k));
    let (first, last) = ((-reach..=reach).find(is_peak)?, (-reach..=reach).rev().find(is_peak)?);
    let whole = c.sides((first, last), OUTSIDE_MS);
    let stay = if realigned { STAY.1 } else { STAY.0 };
    let judged = (first..=last).filter(is_peak).map(|k| {
        let step = c.sides((k, k), (SIDES_FROM_MS, STEP_TO_MS));
        let tails = c.sides((k, k), (SIDES_FROM_MS, TAILS_TO_MS));
        let same_side = tails * whole > 0.0;
        let loud = same_side && step * whole > 0.0 && tails.abs() > LOUD_SIDE.1 && whole.abs() > LOUD_SIDE.0;
        let worth = if loud { STEP_WORTH * step.abs().min(LARGEST_STEP) } else { 0.0 };
        let kept = if k.abs() <= TRACKED { stay } else { 0.0 };
        (c.at(k) / top + worth + kept, Direct { at: k, nearness: if same_side { tails } else { 0.0 } })
    });
    judged.max_by(|(x, _), (y, _)| x.total_cmp(y)).map(|(_, direct)| direct)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f64 = 16_000.0;

    /// A correlation with a peak of height 1 at 0 and one of `height` at `other` frames, with tails of 8 ms (their highest
    /// powers to the left and to the right of the lag `edge`).
    fn cluster(other: i64, height: f32, edge: i64, tails: [f32; 2]) -> Vec<f32> {
        let len = 2048i64;
        let mut random = 7u32;
        let mut c = vec![0.0; len as usize];
        for k in -1000..1000i64 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (random >> 8) as f32 / (1 << 23) as f32 - 1.0;
            let off = (k - edge) as f32;
            let power = tails[usize::from(off > 0.0)] * (-off.abs() / 128.0).exp() + 0.002;
            c[k.rem_euclid(len) as usize] = noise * power.sqrt();
        }
        c[0] = 1.0;
        c[other.rem_euclid(len) as usize] = height;
        c
    }

    #[test]
    fn of_two_peaks_alike_the_one_with_nothing_beyond_it_is_the_direct_sound() {
        // Near B: the tail is on the left of the direct sound, here 4 ms behind what is tracked.
        let c = cluster(64, 0.98, 64, [0.1, 0.01]);
        assert_eq!(find(&c, 1.0, RATE_HZ, false).map(|d| d.at), Some(64));
        // Near A, all turned round.
        let c = cluster(-64, 0.98, -64, [0.01, 0.1]);
        assert_eq!(find(&c, 1.0, RATE_HZ, false).map(|d| d.at), Some(-64));
    }

    #[test]
    fn a_peak_that_is_clearly_higher_is_the_direct_sound_whatever_the_tails() {
        let c = cluster(64, 0.6, 64, [0.1, 0.01]);
        assert_eq!(find(&c, 1.0, RATE_HZ, false).map(|d| d.at), Some(0));
        let negative: Vec<f32> = c.iter().map(|x| -x).collect();
        assert_eq!(find(&negative, -1.0, RATE_HZ, false).map(|d| d.at), Some(0));
    }

    #[test]
    fn the_louder_tail_tells_the_nearer_microphone_and_noise_tells_none() {
        let nearness = |tails| find(&cluster(0, 1.0, 0, tails), 1.0, RATE_HZ, false).map_or(9.0, |d| d.nearness);
        assert!(nearness([0.1, 0.02]) > 0.8, "{}", nearness([0.1, 0.02]));
        assert!(nearness([0.02, 0.1]) < -0.8, "{}", nearness([0.02, 0.1]));
        assert!(nearness([0.0, 0.0]).abs() < 0.3, "{}", nearness([0.0, 0.0]));
    }

    #[test]
    fn silence_has_no_direct_sound() {
        assert_eq!(find(&[0.0; 2048], 1.0, RATE_HZ, false), None);
    }
}
