//! Sums of cross spectra over several lengths of time, all turned on with every correction of the lag.

use crate::analysis::delay_estimate::energy;
use crate::analysis::spectrum::Band;
use realfft::num_complex::Complex32;

/// Memory of the sums, s: short sees jumps, long sees what stands out of noise.
const SHORT_S: f64 = 0.25;
const MIDDLE_S: f64 = 0.9;
const LONG_S: f64 = 4.0;

/// The sums.
pub struct Sums {
    band: Band,
    hop_s: f64,
    /// Since the last measurement that was good enough.
    pub interval: Vec<Complex32>,
    /// Since the last look.
    pub increment: Vec<Complex32>,
    /// Over 0.25 s.
    pub short: Vec<Complex32>,
    /// Over 0.9 s.
    pub middle: Vec<Complex32>,
    /// Over 4 s, or what the half-life makes of it.
    pub long: Vec<Complex32>,
    /// Weights that went into `interval` and `middle`.
    pub interval_weight: f32,
    /// Sum of |.|^2 of the observations in `interval`, each by itself.
    pub interval_energy: f32,
    /// See `interval_weight`.
    pub middle_weight: f32,
    decay: [f32; 3],
}

impl Sums {
    /// For observations every `hop_s`.
    pub fn new(band: Band, hop_s: f64) -> Self {
        let mut sums = Self {
            band,
            hop_s,
            interval: band.zeros(),
            increment: band.zeros(),
            short: band.zeros(),
            middle: band.zeros(),
            long: band.zeros(),
            interval_weight: 0.0,
            interval_energy: 0.0,
            middle_weight: 0.0,
            decay: [0.0; 3],
        };
        sums.set_memory(1.0);
        sums
    }

    /// Stretches the middle and long memories.
    pub fn set_memory(&mut self, scale: f64) {
        let decay = |memory_s: f64| (-self.hop_s / memory_s).exp() as f32;
        self.decay = [decay(SHORT_S), decay((MIDDLE_S * scale).max(SHORT_S)), decay((LONG_S * scale).max(SHORT_S))];
    }

    /// Adds an observation.
    pub fn add(&mut self, cross: &[Complex32], weight: f32) {
        let [s, m, l] = self.decay;
        for (k, x) in cross.iter().enumerate() {
            self.interval[k] += x;
            self.increment[k] += x;
            self.short[k] = self.short[k] * s + x;
            self.middle[k] = self.middle[k] * m + x;
            self.long[k] = self.long[k] * l + x;
        }
        self.interval_weight += weight;
        self.interval_energy += energy(cross);
        self.middle_weight = self.middle_weight * m + weight;
    }

    /// The lag tracked has been moved by `shift_us`.
    pub fn rotate(&mut self, shift_us: f64) {
        let Self { interval, increment, short, middle, long, .. } = self;
        self.band.phasors(shift_us, |k, p| {
            interval[k] *= p;
            increment[k] *= p;
            short[k] *= p;
            middle[k] *= p;
            long[k] *= p;
        });
    }

    /// Starts the next interval.
    pub fn clear_interval(&mut self) {
        self.interval.fill(Complex32::default());
        self.interval_weight = 0.0;
        self.interval_energy = 0.0;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.clear_interval();
        for sum in [&mut self.increment, &mut self.short, &mut self.middle, &mut self.long] {
            sum.fill(Complex32::default());
        }
        self.middle_weight = 0.0;
    }

    /// The sound has jumped by `shift_us`: what was summed up over long belongs to the old place, the short sum
    /// already to the new one.
    pub fn jump(&mut self, shift_us: f64) {
        self.clear_interval();
        self.increment.fill(Complex32::default());
        self.band.rotate(&mut self.short, shift_us);
        self.middle.copy_from_slice(&self.short);
        self.long.copy_from_slice(&self.short);
        self.middle_weight = self.short.iter().map(|z| z.norm_sqr().sqrt()).sum();
    }
}
