//! Windows and the sinc function for filters and transforms.

use std::f64::consts::PI;

/// sin(pi x) / (pi x).
pub fn sinc(x: f64) -> f64 {
    if x.abs() < 1e-12 { 1.0 } else { (PI * x).sin() / (PI * x) }
}

/// Kaiser window at `x` (-1 to 1, zero outside).
pub fn kaiser(x: f64, beta: f64) -> f64 {
    if x.abs() > 1.0 { 0.0 } else { bessel_i0(beta * (1.0 - x * x).sqrt()) / bessel_i0(beta) }
}

/// Periodic Hann window.
pub fn hann(len: usize) -> Vec<f32> {
    (0..len).map(|i| (0.5 - 0.5 * (2.0 * PI * i as f64 / len as f64).cos()) as f32).collect()
}

/// Modified Bessel function of the first kind, order 0, by its power series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for k in 1..64 {
        term *= (x / (2.0 * f64::from(k))).powi(2);
        sum += term;
    }
    sum
}
