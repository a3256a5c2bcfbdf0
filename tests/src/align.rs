//! Finds each microphone's own noise in a recording of their merge, and how well the two are aligned.
//!
//! Signal model: the output holds A's frame taken at time `t_a` and B's taken at `t_b` in the same place. Each
//! microphone's own noise is known as a function of time, so correlating a short window of the output with it gives
//! `t_a` and `t_b`. The common sound left its source at `t_a − delay_a` and `t_b − delay_b`: were the merge perfect,
//! these would be equal. The clock of the recording does not matter, for both are measured in the same window.

use std::ops::Range;

use driftmerge::rig::scene::Signal;
use realfft::RealFftPlanner;
use realfft::num_complex::Complex;

/// One microphone's own noise, ready to be looked for.
pub struct Finder {
    spectrum: Vec<Complex<f32>>,
    length: usize,
    period: usize,
    planner: RealFftPlanner<f32>,
    /// The correlation of the window looked at last, and its root mean square.
    correlation: Vec<f32>,
    rms: f64,
}

/// Where a noise was found in a window.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Position of the window's first frame in the noise, frames.
    pub position: f64,
    /// Height of the peak over the root mean square of the correlation; accidents stay below about 6.
    pub score: f64,
}

impl Finder {
    /// Looks for `signal` in windows of up to `window` frames.
    pub fn new(signal: &Signal, window: usize) -> Self {
        let period = signal.samples().len();
        let length = (period + window).next_power_of_two();
        let mut planner = RealFftPlanner::new();
        // The signal is repeated without end; so far as a window reaches beyond its end, it is continued here.
        let mut samples: Vec<f32> = signal.samples().iter().copied().cycle().take(period + window).collect();
        samples.resize(length, 0.0);
        let forward = planner.plan_fft_forward(length);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut samples, &mut spectrum).expect("lengths fit");
        Self { spectrum, length, period, planner, correlation: Vec::new(), rms: 0.0 }
    }

    /// The place in the signal that fits `window` best.
    pub fn find(&mut self, window: &[f32]) -> Found {
        let forward = self.planner.plan_fft_forward(self.length);
        let inverse = self.planner.plan_fft_inverse(self.length);
        let mut samples = window.to_vec();
        samples.resize(self.length, 0.0);
        let mut spectrum = forward.make_output_vec();
        forward.process(&mut samples, &mut spectrum).expect("lengths fit");
        // Speech is much louder than the noise, but only here and there in the spectrum: every frequency counts alike.
        for (x, s) in spectrum.iter_mut().zip(&self.spectrum) {
            *x = x.conj() / x.norm().max(1e-9) * s;
        }
        // Rounding leaves traces of an imaginary part where there can be none.
        spectrum[0].im = 0.0;
        spectrum.last_mut().expect("not empty").im = 0.0;
        inverse.process(&mut spectrum, &mut samples).expect("lengths fit");
        samples.truncate(self.period);
        self.rms = (samples.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / self.period as f64).sqrt();
        self.correlation = samples;
        self.highest(0..self.period as i64)
    }

    /// The place that fits the window looked at last best within `reach` frames of `position`.
    fn find_near(&self, position: f64, reach: f64) -> Found {
        self.highest((position - reach).round() as i64..(position + reach).round() as i64 + 1)
    }

    fn highest(&self, positions: Range<i64>) -> Found {
        let at = |i: i64| f64::from(self.correlation[i.rem_euclid(self.period as i64) as usize]);
        let best = positions.max_by(|i, j| at(*i).abs().total_cmp(&at(*j).abs())).expect("not empty");
        let [before, peak, after] = [best - 1, best, best + 1].map(|i| at(i) * at(best).signum());
        let offset = 0.5 * (before - after) / (before - 2.0 * peak + after);
        Found { position: best as f64 + offset, score: peak / self.rms.max(1e-30) }
    }
}

/// What one window of a recording tells.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Place of the window in the recording, s.
    pub at_s: f64,
    /// A's noise.
    pub a: Found,
    /// B's noise.
    pub b: Found,
    /// How much later B's sound is than A's in the recording (0: aligned), s. Means something where both were found.
    pub error_s: f64,
}

impl Window {
    /// Whether both noises were found: each beyond doubt, or so near each other as two accidents, which may lie anywhere
    /// in the noise, never do.
    pub fn both(&self) -> bool {
        (self.a.score > SURE && self.b.score > SURE) || self.error_s.abs() < NEAR_S
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (a, b) = (self.a.score, self.b.score);
        write!(f, "{:6.2} s: A {a:5.1}, B {b:5.1}, apart {:10.1} us", self.at_s, self.error_s * 1e6)
    }
}

/// Microphones are on the same side of a cut when they are aligned this well, s.
const ALIGNED_S: f64 = 150e-6;
/// A score below this may be an accident where only a few places are looked at: chance has it once in 10 000 of them.
const SECOND: f64 = 4.0;
/// A score below this may be an accident.
const SURE: f64 = 7.0;
/// Two accidents in 50 s of noise are within this of each other once in 1250 times, s.
const NEAR_S: f64 = 0.02;

/// Looks for both noises in windows of `window_s` all along `recording`; `delay_b_s` is how much later B hears the sound.
pub fn measure(recording: &[f32], rate_hz: f64, window_s: f64, a: &Signal, b: &Signal, delay_b_s: f64) -> Vec<Window> {
    let window = (window_s * rate_hz) as usize;
    Measure::new(rate_hz, window_s, a, b, delay_b_s).windows(recording.chunks_exact(window))
}

/// The same where what is between the microphones and the recording plays by a clock that wanders: at 1000 ppm a window of
/// 0.25 s is a quarter of a millisecond too long, and nothing is found in it to better than that. So the speed is taken from
/// the places at which the windows were found, and each is looked at again at its own.
pub fn measure_at_its_speed(
    recording: &[f32],
    rate_hz: f64,
    window_s: f64,
    a: &Signal,
    b: &Signal,
    delay_b_s: f64,
) -> Vec<Window> {
    /// Windows before and after one from which its speed is taken.
    const AROUND: usize = 4;
    /// No clock is off by more; windows that say so were found in a wrong place.
    const MOST: f64 = 0.003;

    let window = (window_s * rate_hz) as usize;
    let mut measure = Measure::new(rate_hz, window_s, a, b, delay_b_s);
    let rough = measure.windows(recording.chunks_exact(window));
    let sound = Signal::new(recording.to_vec());
    let at_speed = (0..rough.len()).map(|i| {
        let (from, to) = (i.saturating_sub(AROUND), (i + AROUND).min(rough.len() - 1));
        let pairs = (from..to).flat_map(|j| (j + AROUND.min(to - from)..=to).map(move |k| (j, k)));
        let speeds: Vec<f64> = pairs
            .filter(|(j, k)| rough[*j].both() && rough[*k].both())
            .map(|(j, k)| (rough[k].a.position - rough[j].a.position) / ((k - j) * window) as f64)
            .filter(|speed| (speed - 1.0).abs() < MOST)
            .collect();
        let speed = if speeds.is_empty() { 1.0 } else { quantile(speeds, 0.5) };
        let middle = (window / 2) as f64;
        let place = |n: usize| (i * window) as f64 + middle + (n as f64 - middle) / speed;
        (0..window).map(|n| sound.at(place(n))).collect::<Vec<f32>>()
    });
    measure.windows(at_speed)
}

/// What is looked for in each window.
struct Measure {
    find_a: Finder,
    find_b: Finder,
    rate_hz: f64,
    window_s: f64,
    delay_b_s: f64,
}

impl Measure {
    fn new(rate_hz: f64, window_s: f64, a: &Signal, b: &Signal, delay_b_s: f64) -> Self {
        let window = (window_s * rate_hz) as usize;
        Self { find_a: Finder::new(a, window), find_b: Finder::new(b, window), rate_hz, window_s, delay_b_s }
    }

    /// Found earlier in B's noise than in A's: B's sound stands later in the recording.
    fn error_s(&self, a: Found, b: Found) -> f64 {
        (a.position - b.position) / self.rate_hz + self.delay_b_s
    }

    /// Where the recording has a cut in the window, each noise has two places in it, and `a` and `b` may be on different sides
    /// of the cut. B's place on A's side is given then: where each is found where the other one says that it is. Were only one
    /// of them cut, or both apart all the time, the other one would not be there.
    fn on_the_same_side(&self, a: Found, b: Found) -> Found {
        let (apart, near) = (self.error_s(a, b) * self.rate_hz, ALIGNED_S * self.rate_hz);
        let beside_b = self.find_a.find_near(a.position - apart, near);
        let beside_a = self.find_b.find_near(b.position + apart, near);
        let cut = apart.abs() > 2.0 * near && beside_a.score.min(beside_b.score) > SECOND;
        if cut { beside_a } else { b }
    }

    fn windows(&mut self, sounds: impl Iterator<Item = impl AsRef<[f32]>>) -> Vec<Window> {
        sounds
            .enumerate()
            .map(|(i, sound)| {
                let (a, b) = (self.find_a.find(sound.as_ref()), self.find_b.find(sound.as_ref()));
                let b = self.on_the_same_side(a, b);
                Window { at_s: i as f64 * self.window_s, a, b, error_s: self.error_s(a, b) }
            })
            .collect()
    }
}

/// The windows, one a line.
pub fn show(windows: &[Window]) -> String {
    windows.iter().fold(String::new(), |all, w| all + &w.to_string() + "\n")
}

/// The value that the share `share` (0 to 1) of `values` does not exceed.
pub fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}

#[cfg(test)]
mod tests {
    use super::*;
    use driftmerge::rig::scene::noise;

    #[test]
    fn a_misalignment_of_30_us_under_a_louder_sound_is_measured_to_5_us() {
        let rate_hz = 16_000.0;
        let (sound, a, b) = (noise(1, 8.0, rate_hz, 0.1), noise(2, 8.0, rate_hz, 0.03), noise(3, 8.0, rate_hz, 0.03));
        let recording: Vec<f32> = (0..64_000)
            .map(|i| {
                let p = 1.0001 * f64::from(i);
                sound.at(p) + a.at(p + 4000.3) + b.at(p + 4000.3 + (0.08 - 30e-6) * rate_hz)
            })
            .collect();
        let windows = measure(&recording, rate_hz, 0.25, &a, &b, 0.08);
        assert!(windows.iter().all(|w| w.a.score > SURE && w.b.score > SURE && w.both()));
        let median_s = quantile(windows.iter().map(|w| w.error_s).collect(), 0.5);
        assert!((median_s - 30e-6).abs() < 5e-6, "{median_s}");
    }

    /// Both are cut by 8.5 ms in the middle of a window, or B alone, or B is late by as much all the time.
    #[test]
    fn a_cut_that_both_share_is_no_misalignment_and_one_of_b_alone_is_told() {
        let rate_hz = 16_000.0;
        let (sound, a, b) = (noise(1, 8.0, rate_hz, 0.1), noise(2, 8.0, rate_hz, 0.03), noise(3, 8.0, rate_hz, 0.03));
        let cut = 0.0085 * rate_hz;
        let error_s = |a_cut: [f64; 2], b_cut: [f64; 2]| {
            // The first part of the window is a little longer for B, so that each is found in another part.
            let part = |i: usize, of: usize| usize::from(i >= of);
            let heard = |i: usize| {
                let (p, pa, pb) = (i as f64, part(i, 1950), part(i, 2050));
                sound.at(p) + 1.2 * a.at(p + 4000.3 + a_cut[pa]) + b.at(p + 4000.3 + b_cut[pb])
            };
            let recording: Vec<f32> = (0..4000).map(heard).collect();
            let windows = measure(&recording, rate_hz, 0.25, &a, &b, 0.0);
            assert!(windows[0].both(), "{}", windows[0]);
            windows[0].error_s
        };
        assert!(error_s([0.0, cut], [0.0, cut]).abs() < 20e-6);
        assert!(error_s([0.0, 0.0], [cut, cut]).abs() > 8e-3);
        assert!(error_s([0.0, 0.0], [cut / 2.0, cut]).abs() > 4e-3);
    }
}
