//! How much each microphone is worth: the weights of the merge.
//!
//! Signal model, polarity and lag already taken out: A = s + n, B = g s + m, with n and m unlike each other. The best
//! sum is maximum ratio: weights 1 / E n² and g / E m². Energies alone do not tell s from n where the room answers;
//! the cross power of the aligned pair does, for only s is in both. What is learnt is kept while nobody speaks, so
//! that pauses do not move the weights.

use crate::speech::Ear;

/// Memory of the powers, frames of speech: 1.5 s.
const MEMORY_FRAMES: f64 = 150.0;
/// Speed of learning in frames without speech, against frames with: sounds that never pause have to count too.
const PAUSE_SPEED: f64 = 0.02;
/// No microphone is taken to be better than this noise, as a share of its power: -25 dB.
const LEAST_NOISE: f64 = 0.003;

/// Level of the wanted sound in B against A (amplitude) and power of B's noise against A's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Levels {
    /// Level of the wanted sound in B against A (amplitude ratio).
    pub level_ratio: f64,
    /// Power of B's noise against A's.
    pub noise_ratio: f64,
}

impl Levels {
    /// Amplitudes of A and B in the sum; the wanted sound keeps the level that it has in A. Audio thread.
    pub fn shares(&self) -> [f64; 2] {
        let b_to_a = self.level_ratio / self.noise_ratio;
        let a = 1.0 / (1.0 + self.level_ratio * b_to_a);
        [a, a * b_to_a]
    }
}

/// Learns [`Levels`] from the aligned pair.
#[derive(Clone, Debug, Default)]
pub struct Weigher {
    power_a: f64,
    power_b: f64,
    cross: f64,
    floor_a: f64,
    floor_b: f64,
    known: f64,
    restored: Option<Levels>,
}

impl Weigher {
    /// Starts from what was learnt before; new sound replaces it within seconds.
    pub fn restore(&mut self, levels: &Levels) {
        self.restored = Some(*levels);
        self.known = 0.0;
    }

    /// Takes the mean powers of an aligned frame and the mean product of its two channels. Audio thread.
    pub fn learn(&mut self, power_a: f64, power_b: f64, cross: f64, ear_a: &Ear, ear_b: &Ear) {
        let speech = ear_a.is_speaking() || ear_b.is_speaking();
        let speed = if speech { 1.0 } else { PAUSE_SPEED } / MEMORY_FRAMES;
        self.known = (self.known + speed).min(1.0);
        let step = speed / self.known;
        self.power_a += step * (power_a - self.power_a);
        self.power_b += step * (power_b - self.power_b);
        self.cross += step * (cross - self.cross);
        self.floor_a += step * (ear_a.floor() - self.floor_a);
        self.floor_b += step * (ear_b.floor() - self.floor_b);
    }

    /// What is known now. Audio thread.
    pub fn levels(&self) -> Levels {
        let fresh = self.measured();
        match self.restored {
            Some(old) => {
                let mix = |old: f64, new: f64| (old.ln() * (1.0 - self.known) + new.ln() * self.known).exp();
                Levels {
                    level_ratio: mix(old.level_ratio, fresh.level_ratio),
                    noise_ratio: mix(old.noise_ratio, fresh.noise_ratio),
                }
            }
            None => fresh,
        }
    }

    fn measured(&self) -> Levels {
        let (power_a, power_b) = (self.power_a.max(1e-30), self.power_b.max(1e-30));
        if self.known == 0.0 {
            return Levels { level_ratio: 1.0, noise_ratio: 1.0 };
        }
        let cross = self.cross.clamp(0.0, (power_a * power_b).sqrt());
        let part = floor_share(power_a, power_b, cross, self.floor_a, self.floor_b);
        let speech_a = (power_a - part * self.floor_a).max(1e-3 * power_a);
        let speech_b = (power_b - part * self.floor_b).max(1e-3 * power_b);
        let level_ratio = (speech_b / speech_a).sqrt();
        let wanted = cross / level_ratio;
        let noise_a = (power_a - wanted).max(LEAST_NOISE * power_a);
        let noise_b = (power_b - level_ratio * level_ratio * wanted).max(LEAST_NOISE * power_b);
        Levels { level_ratio, noise_ratio: noise_b / noise_a }
    }
}

/// The share of both floors, 0 to 1, that leaves room for the cross power: where a sound never pauses, the floors
/// hold the sound itself, which the cross power gives away.
fn floor_share(power_a: f64, power_b: f64, cross: f64, floor_a: f64, floor_b: f64) -> f64 {
    let (left_a, left_b) = (power_a - floor_a, power_b - floor_b);
    if left_a > 0.0 && left_b > 0.0 && left_a * left_b >= cross * cross {
        return 1.0;
    }
    let quad = floor_a * floor_b;
    let lin = power_a * floor_b + power_b * floor_a;
    let rest = power_a * power_b - cross * cross;
    if quad <= 0.0 {
        return 0.0;
    }
    ((lin - (lin * lin - 4.0 * quad * rest).max(0.0).sqrt()) / (2.0 * quad)).clamp(0.0, 1.0)
}
