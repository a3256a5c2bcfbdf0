//! One filter per frequency over all microphones: distortionless towards one of them, least noise otherwise (RTF-MVDR).
//!
//! Model, in every bin: x = h s + v, h the talker's transfer functions, s the talker, v late sound and noise. With the mask m
//! of [`Mask`](crate::combining::mask::Mask), S = <m x x^H> holds the talker and V = <(1-m) x x^H> the rest. The
//! principal eigenvector u of V^-1 S has the largest ratio of the two (GEV: Warsitz and Haeb-Umbach, IEEE TASLP 15(5),
//! 2007); h = V u is the relative transfer function up to a factor (covariance whitening: Markovich, Gannot and Cohen, IEEE
//! TASLP 17(6), 2009), and w = V^-1 h / (h^H V^-1 h), scaled to pass the talker as the reference microphone hears him, is the
//! MVDR filter. The eigenvector is followed by power iteration from where it was: two steps a frame.

use crate::primitives::lanes::{Complex, LANES, Real, cholesky};
use crate::tuning::Filter as Tuning;

/// Microphones, at most.
pub const MAX_MICROPHONES: usize = 8;
/// Steps of the power iteration in each frame.
const STEPS: usize = 2;

/// The reference's part in the direction is next to nothing where another one's power there is so many times its own.
const WEAK: f32 = 30.0;
/// Weight of the direction that was, where speech decides nothing.
const STAYS: f32 = 1e-6;
/// Power below which there is nothing, full scale squared: -120 dB, in the transform's scale.
const LEAST_POWER: f32 = 1e-14;

/// Covariances and filters of all bins.
pub struct SpatialFilter {
    microphones: usize,
    loading: f32,
    young: f32,
    restart_frames: f32,
    /// Lower triangles, group by group.
    speech: Vec<Complex>,
    noise: Vec<Complex>,
    /// Frames that speech and noise hold, as much of each as counts.
    frames: [f32; 2],
    /// Share of a frame in them, once they are old.
    share: f32,
    /// Shares of the newest frame.
    fade: [f32; 2],
    /// h up to a factor, and the filter: group, microphone.
    direction: Vec<Complex>,
    weights: Vec<Complex>,
}

/// What one group of bins says about the microphones.
pub struct Said {
    /// ln(S / V) of each microphone.
    pub contrast: [Real; MAX_MICROPHONES],
    /// Each one's share in what the filter gives.
    pub share: [Real; MAX_MICROPHONES],
}

impl SpatialFilter {
    /// For `groups` groups of bins, a frame each `hop_s`; the reference plays alone until something is known.
    pub fn new(tuning: &Tuning, microphones: usize, groups: usize, hop_s: f64) -> Self {
        let elements = cholesky::elements(microphones) * groups;
        let mut filter = Self {
            microphones,
            loading: tuning.loading,
            young: tuning.young,
            restart_frames: tuning.restart_frames,
            frames: [0.0; 2],
            share: (1.0 - (-hop_s / tuning.memory_s).exp()) as f32,
            fade: [0.0; 2],
            speech: vec![Complex::ZERO; elements],
            noise: vec![Complex::ZERO; elements],
            direction: vec![Complex::ZERO; microphones * groups],
            weights: vec![Complex::ZERO; microphones * groups],
        };
        filter.clear();
        filter
    }

    /// The filter of one group: w, of which the output is the sum of conj(w) x.
    #[inline(always)]
    pub fn weights(&self, group: usize) -> &[Complex] {
        &self.weights[group * self.microphones..][..self.microphones]
    }

    /// Before a frame is learnt from, which holds speech with this certainty (0 to 1): a pause teaches nothing of the talker and lets nothing
    /// be forgotten. While the covariances are young, all frames count alike.
    pub fn begin(&mut self, activity: f32) {
        for ((frames, fade), weight) in self.frames.iter_mut().zip(&mut self.fade).zip([activity, 1.0]) {
            *frames += weight;
            *fade = weight * self.share.max(1.0 / frames.max(1.0));
        }
    }

    /// A frame is not learnt from: nothing is forgotten.
    pub fn hold(&mut self) {
        self.fade = [0.0; 2];
    }

    /// Frames of speech that the covariances hold.
    pub fn speech_frames(&self) -> f32 {
        self.frames[0]
    }

    /// Takes one group of a frame: `x` of each microphone, and the mask.
    pub fn learn(&mut self, group: usize, x: &[Complex], mask: Real) {
        let [of_speech, of_noise] = self.fade;
        let elements = cholesky::elements(self.microphones);
        let speech = &mut self.speech[group * elements..][..elements];
        let noise = &mut self.noise[group * elements..][..elements];
        let mut at = 0;
        for i in 0..self.microphones {
            for j in 0..=i {
                let cross = x[i].mul_conj(x[j]);
                let new = cross * mask;
                speech[at].approach(new, of_speech);
                noise[at].approach(cross - new, of_noise);
                at += 1;
            }
        }
    }

    /// Finds the filter of one group anew. `noisier`: V of each microphone counts for so many times as much, and so many times S is noise as well.
    /// `reference`: whose sound the talker keeps, with this gain.
    pub fn solve(&mut self, group: usize, noisier: &[(f32, f32)], reference: usize, gain: f32) -> Said {
        let n = self.microphones;
        let elements = cholesky::elements(n);
        let s = &self.speech[group * elements..][..elements];
        let v = &self.noise[group * elements..][..elements];
        let loading = self.loading + self.young / self.frames[0].max(1.0);
        let none = [Real::ZERO; MAX_MICROPHONES];
        let mut said = Said { contrast: none, share: none };
        // Each microphone is brought to noise of power 1 (x / root of V's diagonal): whatever their levels, nothing overflows and
        // the factor's pivots stay above the loading.
        let mut unit = [Real::ZERO; MAX_MICROPHONES];
        for (i, (times, of_speech)) in noisier.iter().enumerate() {
            let at = cholesky::at(i, i);
            let alone = v[at].re * (1.0 + loading) + s[at].re * *of_speech + LEAST_POWER;
            let ratio = (s[at].re + LEAST_POWER) / alone;
            said.contrast[i] = ratio.ln();
            unit[i] = (alone * *times).sqrt().recip();
        }
        let mut white = [Complex::ZERO; cholesky::elements(MAX_MICROPHONES)];
        let white = &mut white[..elements];
        let mut speech = [Complex::ZERO; cholesky::elements(MAX_MICROPHONES)];
        for i in 0..n {
            for j in 0..=i {
                let (at, scale) = (cholesky::at(i, j), unit[i] * unit[j]);
                white[at] = if i == j { Complex::real(Real::all(1.0)) } else { v[at] * scale };
                speech[at] = s[at] * scale;
            }
        }
        cholesky::factor(n, white);
        // h = S u, u = V^-1 h: the steps of the power iteration.
        let direction = &mut self.direction[group * n..][..n];
        let mut u = [Complex::ZERO; MAX_MICROPHONES];
        let mut h = [Complex::ZERO; MAX_MICROPHONES];
        h[..n].copy_from_slice(direction);
        for step in 0..=STEPS {
            u[..n].copy_from_slice(&h[..n]);
            cholesky::solve(n, white, &mut u[..n]);
            if step == STEPS {
                break;
            }
            for (i, h) in h[..n].iter_mut().enumerate() {
                // Where there is no speech yet, the direction stays.
                let mut sum = *h * STAYS;
                for (j, u) in u[..n].iter().enumerate() {
                    let element = if j <= i { speech[cholesky::at(i, j)] } else { speech[cholesky::at(j, i)].conj() };
                    sum += element * *u;
                }
                *h = sum;
            }
            let mut length = Real::all(1e-30);
            for h in &h[..n] {
                length += h.norm_sqr();
            }
            let to_one = length.sqrt().recip();
            for h in &mut h[..n] {
                *h = *h * to_one;
            }
        }
        direction.copy_from_slice(&h[..n]);
        let mut q = Real::all(1e-30);
        let mut whole = Real::all(1e-30);
        for i in 0..n {
            q += h[i].mul_conj(u[i]).re;
            said.share[i] = u[i].norm_sqr();
            whole += said.share[i];
        }
        let per_whole = whole.recip();
        for share in &mut said.share[..n] {
            *share = *share * per_whole;
        }
        // w^H h = h of the reference: w = u conj(h_reference) / q, each as the microphones are. Where the reference has next to no part in
        // the direction, its phase is chance: there the strongest microphone takes its place.
        let mut strongest = h[reference] * unit[reference].recip();
        let mut best = h[reference].norm_sqr() * WEAK;
        for i in (0..n).filter(|i| *i != reference) {
            let power = h[i].norm_sqr();
            let own = h[i] * unit[i].recip();
            for lane in 0..LANES {
                if power.0[lane] > best.0[lane] {
                    best.0[lane] = power.0[lane];
                    strongest.re.0[lane] = own.re.0[lane];
                    strongest.im.0[lane] = own.im.0[lane];
                }
            }
        }
        let k = strongest.conj() * (q.recip() * gain);
        for (i, w) in self.weights[group * n..][..n].iter_mut().enumerate() {
            *w = u[i] * k * unit[i];
        }
        said
    }

    /// A microphone's polarity has changed.
    pub fn invert(&mut self, microphone: usize) {
        let n = self.microphones;
        for values in [&mut self.speech, &mut self.noise] {
            for of_group in values.chunks_exact_mut(cholesky::elements(n)) {
                for other in (0..n).filter(|other| *other != microphone) {
                    let cross = &mut of_group[cholesky::at(microphone.max(other), microphone.min(other))];
                    *cross = *cross * -1.0;
                }
            }
        }
        for values in [&mut self.direction, &mut self.weights] {
            for of_group in values.chunks_exact_mut(n) {
                of_group[microphone] = of_group[microphone] * -1.0;
            }
        }
    }

    /// The microphones are aligned anew: their powers hold, and what was learnt of one beside the other is void. Until frames say more,
    /// the noise is taken to be independent, and the talker to be in phase in all of them, or to be anywhere.
    pub fn restart(&mut self, in_phase: bool) {
        let n = self.microphones;
        let elements = cholesky::elements(n);
        for (speech, noise) in self.speech.chunks_exact_mut(elements).zip(self.noise.chunks_exact_mut(elements)) {
            for i in 0..n {
                for j in 0..i {
                    let power = speech[cholesky::at(i, i)].re * speech[cholesky::at(j, j)].re;
                    let coherent = if in_phase { power.max(Real::ZERO).sqrt() } else { Real::ZERO };
                    speech[cholesky::at(i, j)] = Complex::real(coherent);
                    noise[cholesky::at(i, j)] = Complex::ZERO;
                }
            }
        }
        // Whatever the direction will be, the power iteration gets there: the old one may be orthogonal to it.
        self.direction.fill(Complex::real(Real::all(1.0)));
        // Of less than that, powers are chance.
        let kept = if self.frames[0] < self.restart_frames { 0.0 } else { self.restart_frames };
        self.frames = self.frames.map(|frames| frames.min(kept));
    }

    /// Starts from nothing. The filter stays until it is found anew.
    pub fn start(&mut self) {
        self.speech.fill(Complex::ZERO);
        self.noise.fill(Complex::ZERO);
        self.frames = [0.0; 2];
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.start();
        for values in [&mut self.direction, &mut self.weights] {
            values.fill(Complex::ZERO);
            for of_group in values.chunks_exact_mut(self.microphones) {
                of_group[0] = Complex::real(Real::all(1.0));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuning::COMBINING;

    /// The gain of the filter for the talker and the noise that is left, from frames of a talker with this transfer function and
    /// of independent noise of these powers.
    fn filtered(direction: [f32; 2], noise: [f32; 2]) -> (f32, f32) {
        let mut filter = SpatialFilter::new(&COMBINING.filter, 2, 1, 0.016);
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let mut number =
            || Complex { re: Real(std::array::from_fn(|_| random())), im: Real(std::array::from_fn(|_| random())) };
        for frame in 0..400 {
            let talks = frame % 2 == 0;
            let s = if talks { number() } else { Complex::ZERO };
            let x = [0, 1].map(|i| s * direction[i] + number() * noise[i].sqrt());
            filter.begin(1.0);
            filter.learn(0, &x, Real::all(if talks { 1.0 } else { 0.0 }));
            filter.solve(0, &[(1.0, 0.0); 2], 0, 1.0);
        }
        let w = filter.weights(0);
        let gain = (w[0].conj() * direction[0] + w[1].conj() * direction[1]).re.0[0];
        let left = w[0].norm_sqr().0[0] * noise[0] + w[1].norm_sqr().0[0] * noise[1];
        (gain, left / noise[0])
    }

    #[test]
    fn two_equal_microphones_pass_the_talker_and_halve_the_noise() {
        let (gain, left) = filtered([1.0, 1.0], [0.01, 0.01]);
        assert!((gain - 1.0).abs() < 0.05, "{gain}");
        assert!((left - 0.5).abs() < 0.05, "{left}");
    }

    #[test]
    fn polarity_and_level_of_the_other_microphone_do_not_matter() {
        let (gain, left) = filtered([1.0, -0.1], [0.01, 0.0001]);
        assert!((gain - 1.0).abs() < 0.05, "{gain}");
        assert!((left - 0.5).abs() < 0.05, "{left}");
    }

    #[test]
    fn a_microphone_20_db_noisier_has_next_to_no_part() {
        let (gain, left) = filtered([1.0, 1.0], [0.01, 1.0]);
        assert!((gain - 1.0).abs() < 0.1, "{gain}");
        assert!((0.9..1.1).contains(&left), "{left}");
    }

    /// Weights of the filter, before anything new is heard, of microphones with these noises that heard a talker 0.7 ms apart
    /// (upside down, here) and have just been aligned.
    fn weights_after_restart(in_phase: bool, noise: [f32; 2]) -> [f32; 2] {
        let mut filter = SpatialFilter::new(&COMBINING.filter, 2, 1, 0.016);
        let frame = |filter: &mut SpatialFilter, s: f32, v: [f32; 2], mask: f32| {
            let x = [Complex::real(Real::all(s + v[0])), Complex::real(Real::all(-s + v[1]))];
            filter.begin(1.0);
            filter.learn(0, &x, Real::all(mask));
            _ = filter.solve(0, &[(1.0, 0.0); 2], 0, 1.0);
        };
        for k in 0..100 {
            let [a, b] = noise.map(f32::sqrt);
            frame(&mut filter, 1.0, [0.0; 2], 1.0);
            frame(&mut filter, 0.0, if k % 2 == 0 { [a, b] } else { [a, -b] }, 0.0);
        }
        assert!(filter.weights(0)[1].re.0[0] < 0.0, "the talker was upside down");
        filter.restart(in_phase);
        for _ in 0..20 {
            _ = filter.solve(0, &[(1.0, 0.0); 2], 0, 1.0);
        }
        [0, 1].map(|m| filter.weights(0)[m].re.0[0])
    }

    #[test]
    fn microphones_just_aligned_are_summed_in_phase_by_their_noise() {
        let [a, b] = weights_after_restart(true, [0.01, 0.01]);
        assert!((a - 0.5).abs() < 0.02 && (b - 0.5).abs() < 0.02, "{a} {b}");
        let [a, b] = weights_after_restart(true, [0.01, 0.04]);
        assert!((a / b - 4.0).abs() < 0.4, "{a} {b}");
    }

    #[test]
    fn after_a_jump_the_better_microphone_leads() {
        let [a, b] = weights_after_restart(false, [0.01, 0.04]);
        assert!(a > 0.9 && b.abs() < 0.1, "{a} {b}");
    }
}
