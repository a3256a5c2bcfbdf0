//! Has the sound moved? Another talker, a walk, a lost buffer: the bulk of the correlation stands elsewhere.
//!
//! The combiner wants the bulk of what both microphones share inside its frame, within some milliseconds, and does not care
//! for the exact path. So what is compared is not peaks but the energy of the correlation in windows of
//! [`WINDOW_S`]: in a room it gathers the direct sound with its early reflections, of either polarity.

use crate::acquisition::gcc_search::Peak;
use crate::analysis::delay_estimate::OVERLAP_FACTOR;

/// Half of the window in which the correlation's energy is gathered, s.
const WINDOW_S: f64 = 0.001;
/// A bulk this near to the lag tracked is left to the combiner, s, which does not mind.
const SAME_S: f64 = 0.0035;
/// A bulk elsewhere is believed from this energy on (in variances of the correlation of unrelated sounds), where it is so many
/// times that at the lag tracked, in so many looks in a row, each this near to the last one, s (a talker walks while they are made).
const LEAST_ENERGY: f32 = 50.0;
const LEAST_RATIO: f32 = 3.0;
const LOOKS: u32 = 4;
const LOOKS_WITHIN_S: f64 = 0.002;
/// The correlator's peak beyond a frame: least height in standard deviations and against the lag tracked, for a lock that is beyond doubt
/// and for one that is not; looks in a row, and how near to each other, us.
const FAR_SURE: (f32, f32) = (7.5, 1.5);
const FAR_DOUBTFUL: (f32, f32) = (6.0, 1.12);
/// The sound at the lag tracked is gone where the correlator's height there is no more than this, standard deviations.
const FAR_GONE: f32 = 4.5;
/// Or where another peak is so many times as high: what was summed up at the old lag takes seconds to fade.
const FAR_OUTSTANDING: f32 = 2.5;
const FAR_LOOKS: u32 = 7;
const FAR_WITHIN_US: f64 = 400.0;

/// What saw the jump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LagCause {
    /// The correlation of the aligned frames.
    Bulk,
    /// The correlator, which sees every lag.
    Far,
}

/// A jump of the lag.
#[derive(Clone, Copy, Debug)]
pub struct LagEvent {
    /// By how much, us.
    pub shift_us: f64,
    /// Polarity there.
    pub sign: f32,
    /// What saw it.
    pub cause: LagCause,
}

/// A proposal must come back at the same place before it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Repeated {
    times: u32,
    at_us: f64,
}

impl Repeated {
    /// Counts a proposal at `at_us`; gives how often in a row it stood there (within `within_us` of the one before).
    fn again(&mut self, at_us: f64, within_us: f64) -> u32 {
        self.times = if self.times > 0 && (self.at_us - at_us).abs() < within_us { self.times + 1 } else { 1 };
        self.at_us = at_us;
        self.times
    }
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct JumpDetector {
    bulk: Repeated,
    far: Repeated,
}

impl JumpDetector {
    /// Looks at the correlation of the aligned frames about the lag tracked (lag 0 first), made from a sum of this `energy`. Lags within
    /// `edge` frames of the largest are left out.
    pub fn look(&mut self, correlation: &[f32], energy: f32, rate_hz: f64, edge: usize) -> Option<LagEvent> {
        let len = correlation.len() as i64;
        let half = (WINDOW_S * rate_hz).round() as i64;
        let same = (SAME_S * rate_hz).round() as i64;
        let reach = len / 2 - edge as i64;
        let square = |k: i64| correlation[k.rem_euclid(len) as usize].powi(2);
        let per_variance = 1.0 / (2.0 * energy * OVERLAP_FACTOR as f32 + 1e-20);
        let mut sum: f32 = (-reach - half..-reach + half).map(square).sum();
        let (mut here, mut elsewhere, mut at) = (0.0f32, 0.0f32, 0);
        for k in -reach..reach {
            sum += square(k + half);
            if k.abs() <= same {
                here = here.max(sum);
            } else if sum > elsewhere {
                (elsewhere, at) = (sum, k);
            }
            sum -= square(k - half);
        }
        let chance = (2 * half + 1) as f32;
        let (here, elsewhere) = (here * per_variance - chance, elsewhere * per_variance - chance);
        if elsewhere < LEAST_ENERGY || elsewhere < LEAST_RATIO * here {
            self.bulk = Repeated::default();
            return None;
        }
        let top = (at - half..=at + half).max_by(|i, j| square(*i).total_cmp(&square(*j))).unwrap_or(at);
        let shift_us = top as f64 * 1e6 / rate_hz;
        let sign = correlation[top.rem_euclid(len) as usize].signum();
        let looks = self.bulk.again(shift_us, LOOKS_WITHIN_S * 1e6);
        (looks >= LOOKS).then_some(LagEvent { shift_us, sign, cause: LagCause::Bulk })
    }

    /// Looks at the correlator: `here` is its height at the lag tracked, `shift_us` from there to the other peak.
    pub fn far(&mut self, here: f32, elsewhere: &Peak, shift_us: f64, sure: bool) -> Option<LagEvent> {
        let (least, ratio) = if sure { FAR_SURE } else { FAR_DOUBTFUL };
        let gone = here <= FAR_GONE || elsewhere.z > FAR_OUTSTANDING * here;
        let same = shift_us.abs() < SAME_S * 1e6 || !gone;
        if same || elsewhere.z < least || elsewhere.z < ratio * here {
            self.far = Repeated::default();
            return None;
        }
        let looks = self.far.again(shift_us, FAR_WITHIN_US);
        (looks >= FAR_LOOKS).then_some(LagEvent { shift_us, sign: elsewhere.sign, cause: LagCause::Far })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f64 = 16_000.0;
    const LEN: usize = 2048;

    /// A correlation of unit-variance noise with peaks of these heights (standard deviations) at these lags, frames; its energy is such that
    /// the noise has variance 1 in the detector's scale.
    fn correlation(peaks: &[(i64, f32)]) -> (Vec<f32>, f32) {
        let mut seed = 7u32;
        let mut values: Vec<f32> = (0..LEN)
            .map(|_| {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                ((seed >> 8) as f32 / (1 << 23) as f32 - 1.0) * 3f32.sqrt()
            })
            .collect();
        for (lag, height) in peaks {
            values[lag.rem_euclid(LEN as i64) as usize] += height;
        }
        (values, 0.5 / OVERLAP_FACTOR as f32)
    }

    /// What the detector says in a row of looks.
    fn looks(peaks: &[(i64, f32)], count: usize) -> Option<LagEvent> {
        let (values, energy) = correlation(peaks);
        let mut detector = JumpDetector::default();
        let mut last = None;
        for _ in 0..count {
            last = detector.look(&values, energy, RATE_HZ, 200);
        }
        last
    }

    #[test]
    fn a_bulk_20_ms_off_is_believed_in_the_fourth_look_with_its_polarity() {
        assert!(looks(&[(320, -15.0)], 3).is_none());
        let event = looks(&[(320, -15.0)], 4).expect("a jump");
        assert!((event.shift_us - 20_000.0).abs() < 100.0, "{event:?}");
        assert_eq!(event.sign, -1.0);
    }

    #[test]
    fn noise_alone_moves_nothing() {
        assert!(looks(&[], 20).is_none());
    }

    #[test]
    fn an_equal_reflection_8_ms_off_moves_nothing() {
        assert!(looks(&[(0, 12.0), (130, 14.0)], 20).is_none());
    }

    #[test]
    fn what_is_within_3_ms_is_left_to_the_combiner() {
        assert!(looks(&[(48, 20.0)], 20).is_none());
    }
}
