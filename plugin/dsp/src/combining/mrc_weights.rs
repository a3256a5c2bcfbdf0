//! How much each microphone is worth: the weights of the merge.
//!
//! Signal model, lag and polarity already taken out: A = s + n, B = g s + m; s is the direct sound, n and m hold
//! noise and reverberation. The best sum is maximum ratio: weights 1 / E n² and g / E m². Energies do not tell s from n
//! where the room answers: the far microphone's reverberation makes it look loud. So g comes from the onsets
//! ([`crate::combining::onsets`]), and with it the noises from the averages over speech (A², B², AB): E n² = E A² - E AB / g,
//! E m² = E B² - g E AB. That is the sum that passes the direct sound at constant level and has the least power
//! (Capon); it cannot cancel the direct sound, as g is kept where both noises are at least the noise floors.
//! Where A and B have nothing in common at onsets, they are not aligned in truth, and the better one alone is right:
//! the weights are those of the largest ratio of onset power to noise, which is both rules in one.

use crate::combining::onsets::Onset;
use crate::combining::pause_noise::Pauses;
use crate::combining::speaker_statistics::{Place, Places, Powers};
use crate::speakers::speaker_change::Voice;

/// No microphone is taken to be better than this noise, as a share of its power: -27 dB.
const LEAST_NOISE: f64 = 0.002;
/// The level of onsets still holds some reverberation, which draws it towards the ratio of energies: so far beyond,
/// as a share of the distance between the two (logarithms).
const BEYOND: f64 = 0.2;
/// Onsets that weigh as much as the first guess, the ratio of energies; more of them where noise drowns them.
const GUESS_ONSETS: f64 = 1.0;
/// The largest difference between the level of onsets and that of energies, natural logarithm: 26 dB.
const FAR_OFF: f64 = 3.0;
/// Coherence at onsets from which on the pair counts as aligned; noise lowers it, a wrong lag takes it away.
const FULL_COHERENCE: f64 = 0.3;
/// Spread of the level that a single onset tells, natural logarithm (8 dB).
const LEVEL_SPREAD: f64 = 0.9;
/// What may be the direct sound of a good microphone is not taken for its noise: that would add the other one's, while to
/// leave a poor one out costs next to nothing.
const DIRECT_DOUBT: f64 = 1.05;
/// Reverberation differs from second to second. Where the poorer microphone is poor by its reverberation, it gets less
/// than its share, by this power of the advantage: on average that costs some hundredths of a decibel, and in the seconds
/// in which it is at its worst it saves several tenths.
const CAUTION: f64 = 0.5;
/// Reverberation in A against that in B, each against its direct sound, is the ratio of the tails of the correlation to this power (fitted to
/// the distances of 78 talkers: 1.9 with a spread of 2.5 dB, for the tails of both microphones meet on either side).
const TAILS_POWER: f64 = 1.8;
/// The largest ratio that is believed, natural logarithm: 26 dB.
const FARTHEST: f64 = 6.0;
/// Spread of the level that the tails tell where there is reverberation only, natural logarithm (4 dB).
const TAILS_SPREAD: f64 = 0.45;
/// Floors are known to a fifth, which decides where a microphone is all noise: what may be noise is not taken for speech.
const FLOOR_DOUBT: f64 = 1.2;
/// Least coherence at onsets that is used to tell how much of the noisier microphone's rises is noise.
const LEAST_COHERENCE: f64 = 0.1;
/// The largest ratio of the two gains.
const LARGEST_RATIO: f64 = 1e4;
/// Speech from which on something is known, s.
const FIRST_SPEECH_S: f64 = 0.1;
/// Onsets after which nothing is left of restored levels.
const RESTORED_ONSETS: f64 = 5.0;

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

    /// The ratio of speech to noise of B against that of A (powers). Audio thread.
    pub fn advantage_of_b(&self) -> f64 {
        self.level_ratio * self.level_ratio / self.noise_ratio
    }

    /// A mean of the logarithms, with the share `x` of `other`.
    fn towards(&self, other: &Self, x: f64) -> Self {
        let mix = |a: f64, b: f64| (a.ln() * (1.0 - x) + b.ln() * x).exp();
        Self {
            level_ratio: mix(self.level_ratio, other.level_ratio),
            noise_ratio: mix(self.noise_ratio, other.noise_ratio),
        }
    }
}

/// What the noise of the two microphones consists of, as powers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Parts {
    /// Steady noise of A and of B: the floors.
    pub steady: [f64; 2],
    /// What else is not the direct sound, reverberation for the most part.
    pub room: [f64; 2],
}

/// Learns [`Levels`] from the aligned pair.
#[derive(Clone, Debug, Default)]
pub struct Weigher {
    places: Places,
    pauses: Pauses,
    restored: Option<Levels>,
    levels: Option<Levels>,
    parts: Parts,
    nearness: f64,
}

impl Weigher {
    /// Starts from what was learnt before; new sound replaces it within seconds.
    pub fn restore(&mut self, levels: &Levels) {
        *self = Self { restored: Some(*levels), levels: Some(*levels), ..Self::default() };
    }

    /// Takes an onset of the aligned pair. Audio thread.
    pub fn hear(&mut self, onset: &Onset) {
        self.places.hear(onset);
    }

    /// Takes the mean powers of an aligned frame and the mean product of its two channels. Audio thread.
    pub fn learn(&mut self, power_a: f64, power_b: f64, cross: f64, speech: bool) {
        self.pauses.learn(power_a, power_b, cross);
        let [floor_a, floor_b] = self.pauses.noises(self.places.current().powers());
        self.places.learn(&Powers { a: power_a, b: power_b, cross, floor_a, floor_b }, speech);
        let place = self.places.current();
        if place.speech_s() < FIRST_SPEECH_S {
            return;
        }
        let (fresh, parts) = measure(place, &Powers { floor_a, floor_b, ..*place.powers() }, self.nearness);
        self.parts = parts;
        if let Some(old) = self.restored {
            if place.onsets >= RESTORED_ONSETS {
                self.restored = None;
            }
            self.levels = Some(old.towards(&fresh, (place.onsets / RESTORED_ONSETS).min(1.0)));
        } else {
            self.levels = Some(fresh);
        }
    }

    /// The pair was not aligned for the last second or so: forgets what was learnt from it. Audio thread.
    pub fn unlearn(&mut self) {
        self.places.unlearn();
    }

    /// Takes who speaks. Audio thread.
    pub fn listen_to(&mut self, voice: &Voice) {
        self.places.listen_to(voice);
        self.nearness = f64::from(voice.nearness);
    }

    /// The place spoken from: see [`Places::current_slot`]. Audio thread.
    pub fn place(&self) -> (usize, u64) {
        self.places.current_slot()
    }

    /// What the noise consists of. Audio thread.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// What is known now; None before anything is. Audio thread.
    pub fn levels(&self) -> Option<Levels> {
        self.levels
    }
}

/// The levels that are best for a place with these powers and this nearness (see [`Voice::nearness`]).
fn measure(place: &Place, powers: &Powers, nearness: f64) -> (Levels, Parts) {
    let powers = Bounded::new(powers);
    let by_energy = powers.level_by_energy();
    let noisiest = (powers.steady[0] / powers.speech[0]).max(powers.steady[1] / powers.speech[1]);
    let trust = place.onsets / (place.onsets + GUESS_ONSETS * (1.0 + noisiest));
    let (mut log_level, mut coherence) = (by_energy, 1.0);
    if place.onsets > 0.0 {
        let rises = (place.rise_a * place.rise_b).sqrt() + 1e-30;
        let in_common = (place.rise_cross / rises).clamp(LEAST_COHERENCE, 1.0).ln();
        let noisier_b = powers.steady[1] / powers.power[1] - powers.steady[0] / powers.power[0];
        let by_onset = 0.5 * ((place.rise_b + 1e-30) / (place.rise_a + 1e-30)).ln() + noisier_b * in_common;
        let off = (by_onset - by_energy).clamp(-FAR_OFF, FAR_OFF) * (1.0 + BEYOND);
        log_level += trust * off;
        let seen = (place.rise_cross / (FULL_COHERENCE * rises)).clamp(0.0, 1.0);
        coherence += trust * (seen - 1.0);
    }
    let mut doubt = LEVEL_SPREAD / (1.0 + place.onsets).sqrt();
    if nearness != 0.0 {
        // Both by what they are worth: the tails tell of reverberation only.
        let [by_onset, by_tails] = [doubt.powi(-2), powers.share_of_rooms(log_level, doubt) * TAILS_SPREAD.powi(-2)];
        let tails = powers.level_by_rooms((TAILS_POWER * nearness).clamp(-FARTHEST, FARTHEST).exp());
        log_level = (by_onset * log_level + by_tails * tails.ln()) / (by_onset + by_tails);
        doubt = (by_onset + by_tails).sqrt().recip();
    }
    let (level, noise_a, noise_b) = powers.noises(log_level.exp(), doubt);

    // Largest ratio of onset power, a matrix with `coherence` off its diagonal, to noise: an eigenvector of 2 x 2.
    let (snr_a, snr_b) = (1.0 / noise_a, level * level / noise_b);
    let off = coherence * (snr_a * snr_b).sqrt();
    let top = 0.5 * (snr_a + snr_b + ((snr_a - snr_b).powi(2) + 4.0 * off * off).sqrt());
    let (of_a, of_b) = if snr_a >= snr_b { (top - snr_b, off) } else { (off, top - snr_a) };
    let ratio = (of_b / noise_b.sqrt()) / (of_a / noise_a.sqrt()).max(1e-30);
    let steady = powers.steady;
    let room = [noise_a - steady[0], noise_b - steady[1]];
    let chance = 0.5 * (room[0] / noise_a + room[1] / noise_b);
    let ratio = ratio * (level * ratio).powf(CAUTION * chance * coherence);
    let ratio = ratio.clamp(1.0 / LARGEST_RATIO, LARGEST_RATIO);
    (Levels { level_ratio: level, noise_ratio: level / ratio }, Parts { steady, room })
}

/// Powers of a pair with what bounds the noises in them.
struct Bounded {
    power: [f64; 2],
    cross: f64,
    steady: [f64; 2],
    least: [f64; 2],
    speech: [f64; 2],
}

impl Bounded {
    fn new(p: &Powers) -> Self {
        let power = [p.a.max(1e-30), p.b.max(1e-30)];
        let both = (power[0] * power[1]).sqrt();
        let cross = p.cross.clamp(1e-3 * both, both);
        let part = floor_share(p, cross);
        let steady = [part * p.floor_a, part * p.floor_b];
        let least = [0, 1].map(|i| steady[i] + LEAST_NOISE * power[i]);
        let coherent = [1, 0].map(|other| cross * cross / power[other]);
        let speech = [0, 1].map(|i| (power[i] - FLOOR_DOUBT * least[i]).max(coherent[i]));
        Self { power, cross, steady, least, speech }
    }

    fn level_by_energy(&self) -> f64 {
        0.5 * (self.speech[1] / self.speech[0]).ln()
    }

    /// The level at which A has `ratio` times as much noise against its direct sound as B (powers).
    fn level_by_rooms(&self, ratio: f64) -> f64 {
        // (a - x / g) g² = ratio (b - g x), a and b the powers, x the cross power.
        let [a, b] = self.speech;
        let half = 0.5 * self.cross * (ratio - 1.0);
        ((half * half + ratio * a * b).sqrt() - half) / a
    }

    /// How much of the noise, 0 to 1, is not steady at this level (natural logarithm).
    fn share_of_rooms(&self, log_level: f64, doubt: f64) -> f64 {
        let (_, noise_a, noise_b) = self.noises(log_level.exp(), doubt);
        1.0 - 0.5 * (self.steady[0] / noise_a + self.steady[1] / noise_b)
    }

    /// The level nearest to the given one at which no noise lies below its floor, and the noises: their means over the
    /// levels that may be the true one, for `doubt` as the standard deviation of its natural logarithm (quadrature after
    /// Gauss and Hermite).
    fn noises(&self, level: f64, doubt: f64) -> (f64, f64, f64) {
        let (low, high) = (self.cross / self.speech[0], self.speech[1] / self.cross);
        let bound = |level: f64| if low > high { (low * high).sqrt() } else { level.clamp(low, high) };
        let off = (3_f64.sqrt() * doubt).exp();
        let (mut noise_a, mut noise_b) = (0.0, 0.0);
        for (level, share) in [(level / off, 1.0 / 6.0), (level, 2.0 / 3.0), (level * off, 1.0 / 6.0)] {
            let level = bound(level);
            noise_a += share * (self.power[0] - DIRECT_DOUBT * self.cross / level).max(self.least[0]);
            noise_b += share * (self.power[1] - DIRECT_DOUBT * self.cross * level).max(self.least[1]);
        }
        (bound(level), noise_a, noise_b)
    }
}

/// The share of both floors, 0 to 1, that leaves room for the cross power: where a sound never pauses, the floors
/// hold the sound itself, which the cross power gives away.
fn floor_share(p: &Powers, cross: f64) -> f64 {
    let (left_a, left_b) = (p.a - p.floor_a, p.b - p.floor_b);
    if left_a > 0.0 && left_b > 0.0 && left_a * left_b >= cross * cross {
        return 1.0;
    }
    let quad = p.floor_a * p.floor_b;
    if quad <= 0.0 {
        return 0.0;
    }
    let lin = p.a * p.floor_b + p.b * p.floor_a;
    let rest = p.a * p.b - cross * cross;
    ((lin - (lin * lin - 4.0 * quad * rest).max(0.0).sqrt()) / (2.0 * quad)).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// B has the direct sound 1.3 times as loud as A, and each has reverberation of its own.
    #[test]
    fn the_level_comes_out_of_how_much_more_reverberation_one_has() {
        for [in_a, in_b] in [[0.8, 0.3], [3.0, 3.0], [0.5, 4.0]] {
            let level: f64 = 1.3;
            let p = Powers { a: 1.0 + in_a, b: level * level * (1.0 + in_b), cross: level, floor_a: 0.0, floor_b: 0.0 };
            let powers = Bounded::new(&p);
            let found = powers.level_by_rooms(in_a / in_b);
            // A little is always taken for noise: see `LEAST_NOISE`.
            assert!((found / level - 1.0).abs() < 0.005, "{in_a}, {in_b}: {found}");
            assert!(powers.level_by_rooms(1e-3) < found && found < powers.level_by_rooms(1e3), "{in_a}, {in_b}");
        }
    }
}
