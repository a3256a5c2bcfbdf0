//! Spectra, noise and reverberation, the weighted cross spectrum and its averages.

pub mod averages;
pub mod cross_spectrum;
pub mod delay_estimate;
pub mod noise_psd;
pub mod spectrum;
