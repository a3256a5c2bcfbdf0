//! Late reverberation that all microphones' recent past predicts is subtracted: multichannel linear prediction (WPE).
//!
//! Model, in every bin: x(t) = d(t) + G^H z(t), where z(t) holds the last frames of all microphones from
//! [`DELAY_FRAMES`] back, and d is the talker's direct sound with its early reflections, a complex Gaussian of variance
//! lambda(t). The maximum-likelihood G solves R G = r with R = sum z z^H / lambda, r = sum z x^H / lambda
//! (Nakatani et al., IEEE TASLP 18(7), 2010; Yoshioka and Nakatani, IEEE TASLP 20(10), 2012).
//!
//! Here R and r are running sums with exponential forgetting, and a few bins are solved in every frame, all in turn
//! within [`SOLVE_EVERY`] frames. That costs less than recursive least squares, and no error accumulates: in 32-bit floats
//! R stays Hermitian and, with its diagonal loaded, positive definite for as long as it runs, where the recursion of
//! its inverse has to be watched (`docs/dereverberation.md`).
//!
//! G comes from the past and the frame it is used on is new, so how well it predicts can be measured honestly:
//! beta = <p^H x> / <|p|^2>, weighted by 1/lambda, is the share of the prediction p that is really there. In a dry room
//! p is chance, beta is near nothing and the stage steps aside.

use crate::combining::spatial_filter::MAX_MICROPHONES;
use crate::primitives::lanes::{Complex, Real, cholesky, groups};
use crate::tuning::Dereverberation as Tuning;

/// Frames between a frame and the newest one that predicts it: what lies between is early sound.
pub const DELAY_FRAMES: usize = 2;
/// Frames within which every bin is solved once.
const SOLVE_EVERY: usize = 8;
/// Microphones times taps, at most.
const MAX_ORDER: usize = 16;

/// The stage for all bins of `microphones` microphones.
pub struct Dereverberation {
    tuning: Tuning,
    microphones: usize,
    taps: usize,
    order: usize,
    groups: usize,
    /// Lower triangle of R, group by group.
    covariance: Vec<Complex>,
    /// r: order x microphones, group by group.
    correlation: Vec<Complex>,
    /// G, as r.
    filter: Vec<Complex>,
    /// Past spectra: slot, microphone, group.
    past: Vec<Complex>,
    newest: usize,
    /// Mean power, all microphones: the scale of the least lambda.
    level: f32,
    /// <p^H x> and <|p|^2>, weighted, by group.
    agreement: Vec<Real>,
    predicted: Vec<Real>,
    /// Frames summed up, with forgetting, of each microphone.
    frames: [f32; MAX_MICROPHONES],
    turn: usize,
}

impl Dereverberation {
    /// For `bins` bins.
    pub fn new(tuning: &Tuning, microphones: usize, bins: usize) -> Self {
        let taps = tuning.taps.min(MAX_ORDER / microphones).max(1);
        let order = taps * microphones;
        let groups = groups(bins);
        Self {
            tuning: *tuning,
            microphones,
            taps,
            order,
            groups,
            covariance: vec![Complex::ZERO; groups * cholesky::elements(order)],
            correlation: vec![Complex::ZERO; groups * order * microphones],
            filter: vec![Complex::ZERO; groups * order * microphones],
            past: vec![Complex::ZERO; (taps + DELAY_FRAMES) * microphones * groups],
            newest: 0,
            level: 0.0,
            agreement: vec![Real::ZERO; groups],
            predicted: vec![doubt(tuning, microphones); groups],
            frames: [0.0; MAX_MICROPHONES],
            turn: 0,
        }
    }

    /// Groups of bins that are dereverberated.
    pub fn groups(&self) -> usize {
        self.groups
    }

    fn slots(&self) -> usize {
        self.taps + DELAY_FRAMES
    }

    /// Place of the spectrum of `microphone` that is `age` frames older than the newest one kept.
    fn past_at(&self, age: usize, microphone: usize, group: usize) -> usize {
        let slots = self.slots();
        let slot = (self.newest + slots - age) % slots;
        (slot * self.microphones + microphone) * self.groups + group
    }

    /// Element `e` of z: the newest taps of all microphones first.
    fn z(&self, e: usize, group: usize) -> Complex {
        self.past[self.past_at(DELAY_FRAMES - 1 + e / self.microphones, e % self.microphones, group)]
    }

    /// How much of the prediction is really there, 0 to 1.
    fn beta(&self, group: usize) -> Real {
        let share = self.agreement[group] / self.predicted[group];
        share.max(Real::ZERO).min(Real::all(1.0))
    }

    /// The prediction of the newest frame in one group, for each microphone.
    pub fn predict(&self, group: usize, prediction: &mut [Complex]) {
        prediction.fill(Complex::ZERO);
        let filter = &self.filter[group * self.order * self.microphones..];
        for e in 0..self.order {
            let z = self.z(e, group);
            for (m, p) in prediction.iter_mut().enumerate() {
                *p += z.mul_conj(filter[e * self.microphones + m]);
            }
        }
    }

    /// The share of the prediction to subtract in one group.
    pub fn share(&self, group: usize) -> Real {
        self.beta(group)
    }

    /// Learns from one group of the newest frame `x`, whose prediction was `p`.
    pub fn learn(&mut self, group: usize, x: &[Complex], p: &[Complex]) {
        let Tuning { forgetting, floor, .. } = self.tuning;
        let n = self.microphones;
        let power = x.iter().fold(Real::ZERO, |sum, x| sum + x.norm_sqr()) * (1.0 / n as f32);
        let weight = (power + (floor * self.level + 1e-20)).recip();
        let mut agreement = Real::ZERO;
        let mut predicted = Real::ZERO;
        for (x, p) in x.iter().zip(p) {
            agreement += p.mul_conj(*x).re * weight;
            predicted += p.norm_sqr() * weight;
        }
        self.agreement[group].approach(agreement, 1.0 - forgetting);
        self.predicted[group].approach(predicted, 1.0 - forgetting);
        let mut z = [Complex::ZERO; MAX_ORDER];
        for (e, z) in z[..self.order].iter_mut().enumerate() {
            *z = self.z(e, group);
        }
        let z = &z[..self.order];
        let triangle = cholesky::elements(self.order);
        let covariance = &mut self.covariance[group * triangle..][..triangle];
        let correlation = &mut self.correlation[group * self.order * n..][..self.order * n];
        let mut at = 0;
        for (i, zi) in z.iter().enumerate() {
            let weighted = *zi * weight;
            for zj in &z[..=i] {
                covariance[at] = covariance[at] * forgetting + weighted.mul_conj(*zj);
                at += 1;
            }
            for (m, x) in x.iter().enumerate() {
                let r = &mut correlation[i * n + m];
                *r = *r * forgetting + weighted.mul_conj(*x);
            }
        }
    }

    /// Solves one group anew, when its turn has come.
    pub fn solve(&mut self, group: usize) {
        if group % SOLVE_EVERY != self.turn {
            return;
        }
        let (n, order) = (self.microphones, self.order);
        let triangle = cholesky::elements(order);
        let mut m = [Complex::ZERO; cholesky::elements(MAX_ORDER)];
        let m = &mut m[..triangle];
        m.copy_from_slice(&self.covariance[group * triangle..][..triangle]);
        for i in 0..order {
            let load = 1.0 + self.tuning.loading + self.tuning.prior_frames / self.frames[i % n].max(1.0);
            let diagonal = &mut m[cholesky::at(i, i)];
            *diagonal = Complex::real(diagonal.re * load + 1e-9);
        }
        cholesky::factor(order, m);
        let mut column = [Complex::ZERO; MAX_ORDER];
        for microphone in 0..n {
            for (e, c) in column[..order].iter_mut().enumerate() {
                *c = self.correlation[(group * order + e) * n + microphone];
            }
            cholesky::solve(order, m, &mut column[..order]);
            for (e, c) in column[..order].iter().enumerate() {
                self.filter[(group * order + e) * n + microphone] = *c;
            }
        }
    }

    /// Keeps the frame `x` (microphone, group) for predictions to come; `power` is its mean over bins and microphones, and `active`
    /// says whether the level may follow it.
    pub fn keep(&mut self, x: &[Vec<Complex>], power: f32, heard: &[bool]) {
        self.newest = (self.newest + 1) % self.slots();
        for (microphone, (x, heard)) in x.iter().zip(heard).enumerate() {
            let at = self.past_at(0, microphone, 0);
            let past = &mut self.past[at..at + self.groups];
            // What is not aligned may hold the reference's future: it would predict the direct sound.
            if *heard { past.copy_from_slice(&x[..self.groups]) } else { past.fill(Complex::ZERO) }
        }
        let share = (1.0 - self.tuning.forgetting).max(1.0 / (self.frames[0] + 1.0));
        self.level += share * (power - self.level);
        for (frames, heard) in self.frames.iter_mut().zip(heard) {
            *frames = *frames * self.tuning.forgetting + if *heard { 1.0 } else { 0.0 };
        }
        self.turn = (self.turn + 1) % SOLVE_EVERY;
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for values in [&mut self.covariance, &mut self.correlation, &mut self.filter, &mut self.past] {
            values.fill(Complex::ZERO);
        }
        self.agreement.fill(Real::ZERO);
        self.predicted.fill(doubt(&self.tuning, self.microphones));
        (self.frames, self.level) = ([0.0; MAX_MICROPHONES], 0.0);
    }
}

/// What <|p|^2> begins with: predictions of the sound's own power that came to nothing.
fn doubt(tuning: &Tuning, microphones: usize) -> Real {
    Real::all(tuning.doubt_frames * microphones as f32 * (1.0 - tuning.forgetting))
}
