//! What the pair hears of one talker, summed up.

use crate::analysis::cross_spectrum::Observation;
use crate::analysis::spectrum::Band;
use realfft::num_complex::Complex32;

/// A sum of observations.
pub struct Print {
    /// Of the cross spectra, at the lag tracked.
    pub cross: Vec<Complex32>,
    /// Of what the rooms make of the two spectra: see [`Observation`].
    pub difference: Vec<f32>,
    /// Of the weights in `difference`.
    pub weight: f32,
}

impl Print {
    /// Nothing heard.
    pub fn new(band: Band) -> Self {
        Self { cross: band.zeros(), difference: vec![0.0; band.len], weight: 0.0 }
    }

    /// Adds an observation.
    pub fn hear(&mut self, heard: &Observation) {
        add(&mut self.cross, heard.cross);
        add_real(&mut self.difference, heard.difference);
        self.weight += heard.weight;
    }

    /// Keeps the share `decay` of what was heard, and adds `more`.
    pub fn fade(&mut self, decay: f32, more: &Self) {
        self.cross.iter_mut().for_each(|z| *z *= decay);
        self.difference.iter_mut().for_each(|x| *x *= decay);
        self.weight *= decay;
        add(&mut self.cross, &more.cross);
        add_real(&mut self.difference, &more.difference);
        self.weight += more.weight;
    }

    /// Becomes what `other` is.
    pub fn copy_from(&mut self, other: &Self) {
        self.cross.copy_from_slice(&other.cross);
        self.difference.copy_from_slice(&other.difference);
        self.weight = other.weight;
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.cross.fill(Complex32::default());
        self.difference.fill(0.0);
        self.weight = 0.0;
    }

    /// How well an observation fits, in standard deviations of what chance would give.
    pub fn likeness(&self, cross: &[Complex32]) -> f32 {
        let (mut fits, mut chance) = (0.0f32, 0.0f32);
        for (z, s) in cross.iter().zip(&self.cross) {
            fits += z.re * s.re + z.im * s.im;
            chance += z.norm_sqr() * s.norm_sqr();
        }
        fits / (0.5 * chance).sqrt().max(1e-20)
    }
}

fn add(sum: &mut [Complex32], to_add: &[Complex32]) {
    for (s, z) in sum.iter_mut().zip(to_add) {
        *s += z;
    }
}

fn add_real(sum: &mut [f32], to_add: &[f32]) {
    for (s, x) in sum.iter_mut().zip(to_add) {
        *s += x;
    }
}
