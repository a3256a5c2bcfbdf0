//! The steady noise of both microphones, from the moments at which the pair is quiet.
//!
//! Problem: the smallest power of the last seconds is the noise only if somebody paused for long enough; short of
//! that it holds the end of a word, in both microphones alike, and two unlike microphones look alike. Signal model
//! as in [`crate::combining::mrc_weights`]: A = s + n, B = g s + m. Frames are averaged with weights 1 / (A² B²), by which a frame tells
//! of the noise the more, the less speech it holds, as the variance of a power is its square. What is common to both
//! in that average is speech and is taken out: E n² = E A² - E AB / g, E m² = E B² - g E AB. The weight of a frame is
//! that of the loudest beside it, for a single faint frame is not noise but the edge of a gap in the stream.

use crate::combining::activity::FRAME_S;
use crate::combining::speaker_statistics::Powers;

/// Length of a window, s.
const WINDOW_S: f64 = 1.25;
/// Windows that count: 20 s and the one under way. Fewer make the weights follow the chance of the noise.
const WINDOWS: usize = 16;
/// How far the powers go down in pauses, as a share, from which on the level of the speech begins to count...
const SHALLOW: f64 = 0.2;
/// ...and from which on it counts fully. Where nobody pauses the level is that of the powers.
const DEEP: f64 = 0.6;
/// How much of a quiet moment may be speech: the level by which it is taken out is known to some percent.
const MOST_SPEECH: f64 = 0.95;

/// Frames of which the loudest gives the weight: one and its neighbours.
const NEIGHBOURS: usize = 3;

/// Mean powers of a frame, or weighted sums of them.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    a: f64,
    b: f64,
    cross: f64,
    weight: f64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.a += other.a;
        self.b += other.b;
        self.cross += other.cross;
        self.weight += other.weight;
    }
}

/// Finds the noises.
#[derive(Clone, Debug, Default)]
pub struct Pauses {
    /// The newest frames, newest last.
    newest: [Sums; NEIGHBOURS],
    windows: [Sums; WINDOWS],
    running: Sums,
    frames: u32,
}

impl Pauses {
    /// Takes the powers of the next aligned frame of [`FRAME_S`], neither of them 0, and the mean product. Audio thread.
    pub fn learn(&mut self, a: f64, b: f64, cross: f64) {
        self.newest.rotate_left(1);
        self.newest[NEIGHBOURS - 1] = Sums { a, b, cross, weight: 1.0 };
        let loudest = |power: fn(&Sums) -> f64| self.newest.iter().map(power).fold(0.0, f64::max);
        let weight = 1.0 / (loudest(|f| f.a) * loudest(|f| f.b)).max(1e-30);
        let Sums { a, b, cross, weight: there } = self.newest[NEIGHBOURS / 2];
        let weight = there * weight;
        self.running.add(&Sums { a: weight * a, b: weight * b, cross: weight * cross, weight });
        self.frames += 1;
        if f64::from(self.frames) * FRAME_S >= WINDOW_S {
            self.frames = 0;
            self.windows.rotate_left(1);
            self.windows[WINDOWS - 1] = std::mem::take(&mut self.running);
        }
    }

    /// The powers of the steady noises of A and B, where speech has the mean `powers`. Audio thread.
    pub fn noises(&self, powers: &Powers) -> [f64; 2] {
        let mut sums = self.running;
        self.windows.iter().for_each(|window| sums.add(window));
        if sums.weight <= 0.0 {
            return [0.0; 2];
        }
        let (a, b, cross) = (sums.a / sums.weight, sums.b / sums.weight, sums.cross / sums.weight);
        let over = |power: f64, quiet: f64| (power - quiet).max(1e-3 * power).max(1e-30);
        let depth = 1.0 - (a * b / (powers.a * powers.b).max(1e-30)).sqrt();
        let trust = ((depth - SHALLOW) / (DEEP - SHALLOW)).clamp(0.0, 1.0);
        let by_speech = over(powers.b, b) / over(powers.a, a);
        let by_power = powers.b.max(1e-30) / powers.a.max(1e-30);
        let level = (0.5 * (trust * by_speech.ln() + (1.0 - trust) * by_power.ln())).exp();
        let speech = (cross / level).clamp(0.0, MOST_SPEECH * a.min(b / (level * level)));
        [a - speech, b - level * level * speech]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What 30 s of frames tell, in which speech swells and fades twice a second and never gets below `least`.
    fn noises(noise: [f64; 2], level: f64, least: f64) -> [f64; 2] {
        let mut pauses = Pauses::default();
        let (mut a_sum, mut b_sum, mut cross_sum) = (0.0, 0.0, 0.0);
        let frames = 3000;
        for k in 0..frames {
            let speech = least + 0.5 - 0.5 * (f64::from(k) * FRAME_S * 2.0 * std::f64::consts::TAU).cos();
            let (a, b, cross) = (speech + noise[0], level * level * speech + noise[1], level * speech);
            pauses.learn(a, b, cross);
            a_sum += a;
            b_sum += b;
            cross_sum += cross;
        }
        let mean = |sum: f64| sum / f64::from(frames);
        let powers = Powers { a: mean(a_sum), b: mean(b_sum), cross: mean(cross_sum), floor_a: 0.0, floor_b: 0.0 };
        pauses.noises(&powers)
    }

    #[test]
    fn noises_under_the_quietest_speech_are_known_to_a_decibel() {
        for (noise, level) in [([0.002, 0.005], 1.0), ([0.005, 0.002], 0.5), ([0.005, 0.02], 3.0)] {
            let found = noises(noise, level, 0.01);
            for i in 0..2 {
                let off_db = 10.0 * (found[i] / noise[i]).log10();
                assert!(off_db.abs() < 1.0, "{noise:?}, level {level}: noise {i} is {off_db} dB off");
            }
        }
    }

    #[test]
    fn where_nobody_pauses_equal_microphones_have_equal_noises() {
        let mut pauses = Pauses::default();
        for _ in 0..3000 {
            pauses.learn(1.1, 1.1, 1.0);
        }
        let [a, b] = pauses.noises(&Powers { a: 1.1, b: 1.1, cross: 1.0, floor_a: 0.0, floor_b: 0.0 });
        assert!((a - b).abs() < 1e-6 && (a - 0.1).abs() < 0.01, "{a} and {b}");
    }
}
