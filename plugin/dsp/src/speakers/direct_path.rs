//! Where is the direct sound? Finds it among its reflections in the correlation over lag, and tells which microphone it is nearer to.
//!
//! Model: A hears the talker as s * (1 + α) and B as s * (1 + β), where α and β are the reflections in each. The correlation of the pair, seen from the lag
//! of the direct sound, then is 1 at 0, α turned round at the lags before, and β at those behind (and α with β everywhere). And the
//! logarithm of the two powers' ratio, in which s cancels, is twice the real part of α - β: its transform is α - β at all delays. So at
//! the lag of the direct sound, and there only, what the correlation has more before than behind is α - β as well. A peak's worth is its
//! height and how much of both agrees: their product, which at the direct sound is the energy of α - β. At the lag of a reflection
//! the two sides belong to something else.
//!
//! Where the talker is near B, β is small: the correlation trails off towards smaller lags. Near A it is the other way round, and half-way
//! both sides are alike. So the two tails tell which microphone has more reverberation against its direct sound.

/// Peaks this far from the lag tracked are looked at, ms.
const REACH_MS: f64 = 15.0;
/// Peaks from this share of the highest one on may be the direct sound.
const LEAST_SHARE: f32 = 0.4;
/// Peaks are farther apart than this, ms.
const APART_MS: f64 = 0.4;
/// Delays at which the two sides of a peak are compared with the responses, ms: outside of the peak itself, and as far as a frame shows.
const RESPONSES_MS: (f64, f64) = (0.8, 40.0);
/// Both sides of the direct sound are compared from and to here for the tails, ms.
const TAILS_MS: (f64, f64) = (0.8, 25.0);
/// The tails of the whole cluster, outside of all its high peaks (of this share of the highest), ms: they have to be on the same side.
const OUTSIDE_MS: (f64, f64) = (1.0, 20.0);
const HIGH_SHARE: f32 = 0.8;
/// What is tracked is kept where another peak is better by less than this, in shares of the highest one, and by less than so many standard
/// deviations of what noise does to the worth of a peak.
const STAY: f32 = 0.1;
const STAY_SPREADS: f32 = 1.5;
/// The lag tracked is at a peak within this many frames.
const TRACKED: i64 = 4;

/// Where the direct sound is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Direct {
    /// Frames from the lag tracked.
    pub at: i64,
    /// See [`crate::speakers::speaker_change::Voice::nearness`].
    pub nearness: f32,
}

/// A correlation over lag, lag 0 in the middle.
struct Correlation<'a> {
    values: &'a [f32],
    sign: f32,
    frames_per_ms: f64,
}

impl Correlation<'_> {
    fn index(&self, k: i64) -> usize {
        (self.values.len() as i64 / 2 + k) as usize
    }

    fn at(&self, k: i64) -> f32 {
        self.sign * self.values[self.index(k)]
    }

    fn frames(&self, ms: f64) -> i64 {
        (ms * self.frames_per_ms) as i64
    }

    /// What is before `first`, from `from_ms` to `to_ms` away, nearest last; and what is behind `last`, nearest first.
    fn sides(&self, (first, last): (i64, i64), (from_ms, to_ms): (f64, f64)) -> (&[f32], &[f32]) {
        let there = self.values.len() as i64 / 2 - 1 - first.abs().max(last.abs());
        let (from, to) = (self.frames(from_ms), self.frames(to_ms).min(there));
        let part = |low: i64, high: i64| &self.values[self.index(low)..=self.index(high)];
        (part(first - to, first - from), part(last + from, last + to))
    }

    /// Natural logarithm of the power before `first` against that behind `last`.
    fn tails(&self, ends: (i64, i64), between_ms: (f64, f64)) -> f32 {
        let (before, behind) = self.sides(ends, between_ms);
        (power(before).max(1e-20) / power(behind).max(1e-20)).ln()
    }

    /// The part of `responses` that is compared.
    fn compared<'a>(&self, responses: &'a [f32]) -> &'a [f32] {
        &responses[self.frames(RESPONSES_MS.0) as usize..=self.frames(RESPONSES_MS.1) as usize]
    }

    /// How much of `responses` is in what there is more before `k` than behind it.
    fn agreement(&self, k: i64, responses: &[f32]) -> f32 {
        let (before, behind) = self.sides((k, k), RESPONSES_MS);
        let more = before.iter().rev().zip(behind).map(|(x, y)| self.sign * (x - y));
        more.zip(self.compared(responses)).map(|(more, response)| more * response).sum()
    }
}

fn power(x: &[f32]) -> f32 {
    x.iter().map(|x| x * x).sum()
}

/// Finds the direct sound in a correlation over lag (lag 0 in the middle, of frames at `rate_hz`) of polarity `sign`. `responses`: the
/// difference of the two rooms' responses, see [`crate::analysis::cross_spectrum::Observer::responses`].
/// None where there is no peak. Audio thread.
pub fn find(values: &[f32], sign: f32, responses: &[f32], rate_hz: f64) -> Option<Direct> {
    let c = Correlation { values, sign, frames_per_ms: rate_hz * 1e-3 };
    let (reach, apart) = (c.frames(REACH_MS), c.frames(APART_MS));
    let top = (-reach..=reach).map(|k| c.at(k)).fold(0.0, f32::max);
    if top <= 0.0 {
        return None;
    }
    let is_peak = |k: i64, share: f32| c.at(k) >= share * top && (k - apart..=k + apart).all(|j| c.at(j) <= c.at(k));
    let noise = power(values) / values.len() as f32;
    let stay = STAY * top + STAY_SPREADS * (noise * (1.0 + 2.0 * power(c.compared(responses)))).sqrt();
    let worth = |k: i64| c.at(k) + c.agreement(k, responses) + if k.abs() <= TRACKED { stay } else { 0.0 };
    let peaks = (-reach..=reach).filter(|&k| is_peak(k, LEAST_SHARE)).map(|k| (k, worth(k)));
    let (at, _) = peaks.max_by(|(_, x), (_, y)| x.total_cmp(y))?;
    let is_high = |k: &i64| is_peak(*k, HIGH_SHARE);
    let ends = ((-reach..=reach).find(is_high)?, (-reach..=reach).rev().find(is_high)?);
    let tails = c.tails((at, at), TAILS_MS);
    let same_side = tails * c.tails(ends, OUTSIDE_MS) > 0.0;
    Some(Direct { at, nearness: if same_side { tails } else { 0.0 } })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f64 = 16_000.0;

    const LEN: usize = 2048;

    /// Reflections: delay in frames, and height against the direct sound.
    type Reflections = [(i64, f32)];

    /// Of many late reflections, these and those of the given power at first, which lose 60 dB in 0.3 s.
    fn room(early: &Reflections, late: f32, seed: u32) -> Vec<(i64, f32)> {
        let mut random = seed;
        let late = (20..500).map(|delay| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (random >> 8) as f32 / (1 << 23) as f32 - 1.0;
            (delay, noise * (3.0 * late).sqrt() * 10f32.powf(-3.0 * delay as f32 / 4800.0))
        });
        early.iter().copied().chain(late).collect()
    }

    /// What is seen of a pair that tracks the lag `tracked` frames behind the direct sound: the correlation, and the difference of
    /// the responses.
    fn pair(a: &Reflections, b: &Reflections, tracked: i64) -> (Vec<f32>, Vec<f32>) {
        let (mut correlation, mut responses) = (vec![0.0; LEN], vec![0.0; LEN]);
        let all = |x: &Reflections| [&[(0, 1.0)], x].concat();
        for (in_a, x) in all(a) {
            for (in_b, y) in all(b) {
                let place = (LEN as i64 / 2 + in_b - in_a - tracked).rem_euclid(LEN as i64);
                correlation[place as usize] += x * y;
            }
        }
        for &(delay, x) in a {
            responses[delay as usize] += x;
        }
        for &(delay, x) in b {
            responses[delay as usize] -= x;
        }
        (correlation, responses)
    }

    fn direct(a: &Reflections, b: &Reflections, tracked: i64) -> i64 {
        let (correlation, responses) = pair(a, b, tracked);
        find(&correlation, 1.0, &responses, RATE_HZ).expect("a direct sound").at
    }

    #[test]
    fn the_direct_sound_is_told_from_a_reflection_that_is_as_high() {
        // 4 ms apart, as high as the direct sound; the talker is near B, then near A.
        let (far, near) = (room(&[(64, 1.0), (150, 0.4)], 0.002, 1), room(&[(40, 0.2)], 0.0001, 2));
        assert_eq!(direct(&far, &near, -64), 64, "tracked at the reflection");
        assert_eq!(direct(&far, &near, 0), 0, "tracked at the direct sound");
        assert_eq!(direct(&near, &far, 64), -64, "tracked at the reflection");
        assert_eq!(direct(&near, &far, 0), 0, "tracked at the direct sound");
    }

    #[test]
    fn far_from_both_the_direct_sound_is_found_below_the_highest_peak() {
        // A's reflection after 3 ms and B's after 5 ms are the same 2 ms apart as two more: the highest peak is where they meet.
        let a = room(&[(48, 0.8), (130, 0.7), (210, 0.5)], 0.0005, 3);
        let b = room(&[(80, 0.8), (162, 0.7), (242, 0.5)], 0.0005, 4);
        let (correlation, _) = pair(&a, &b, 0);
        assert!(correlation[LEN / 2 + 32] > 1.1 * correlation[LEN / 2], "the highest peak is 2 ms behind");
        assert_eq!(direct(&a, &b, 32), -32);
    }

    #[test]
    fn the_polarity_of_the_pair_changes_nothing_and_without_responses_the_height_decides() {
        let (a, b) = (room(&[(64, 0.6)], 0.001, 5), room(&[(40, 0.2)], 0.0001, 6));
        let (correlation, responses) = pair(&a, &b, 0);
        let turned: Vec<f32> = correlation.iter().map(|x| -x).collect();
        let upright = find(&correlation, 1.0, &responses, RATE_HZ);
        assert_eq!(find(&turned, -1.0, &responses, RATE_HZ), upright);
        let (correlation, _) = pair(&a, &b, -64);
        assert_eq!(find(&correlation, 1.0, &[0.0; LEN], RATE_HZ).map(|d| d.at), Some(64));
    }

    #[test]
    fn the_louder_tail_tells_the_nearer_microphone_and_like_tails_tell_none() {
        let nearness = |late: [f32; 2]| {
            let (correlation, responses) = pair(&room(&[], late[0], 7), &room(&[], late[1], 8), 0);
            find(&correlation, 1.0, &responses, RATE_HZ).map_or(9.0, |d| d.nearness)
        };
        assert!(nearness([0.002, 0.0002]) > 0.8, "{}", nearness([0.002, 0.0002]));
        assert!(nearness([0.0002, 0.002]) < -0.8, "{}", nearness([0.0002, 0.002]));
        assert!(nearness([0.001, 0.001]).abs() < 0.3, "{}", nearness([0.001, 0.001]));
    }

    #[test]
    fn every_rate_of_analysis_has_room_for_the_sides_of_the_farthest_peak() {
        for (rate_hz, len) in [(8000.0, 1024), (11_025.0, 1024), (16_000.0, 2048), (22_050.0, 2048), (24_000.0, 2048)] {
            let mut correlation = vec![0.0; len];
            let farthest = (REACH_MS * rate_hz * 1e-3) as usize;
            correlation[len / 2 + farthest] = 1.0;
            let found = find(&correlation, 1.0, &vec![0.1; len], rate_hz).map(|d| d.at);
            assert_eq!(found, Some(farthest as i64), "{rate_hz} Hz");
        }
    }

    #[test]
    fn silence_has_no_direct_sound() {
        assert_eq!(find(&[0.0; LEN], 1.0, &[0.0; LEN], RATE_HZ), None);
    }
}
