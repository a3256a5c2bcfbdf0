//! Eight bins side by side: real and complex numbers that the compiler turns into vector instructions.
//!
//! The per-bin recursions of the combiner are the same in every bin and know nothing of their neighbours, so eight of
//! them run in step. All loops are plain and of fixed length; no intrinsic, no `unsafe`.

use realfft::num_complex::Complex32;
use std::ops::{Add, AddAssign, Div, Mul, Sub, SubAssign};

/// Bins that run side by side.
pub const LANES: usize = 8;

/// Eight real numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Real(pub [f32; LANES]);

/// Eight complex numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Complex {
    /// Real parts.
    pub re: Real,
    /// Imaginary parts.
    pub im: Real,
}

impl Real {
    /// Eight zeros.
    pub const ZERO: Self = Self([0.0; LANES]);

    /// The same number eight times.
    #[inline(always)]
    pub const fn all(x: f32) -> Self {
        Self([x; LANES])
    }

    #[inline(always)]
    fn map(self, f: impl Fn(f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i])))
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|i| f(self.0[i], other.0[i])))
    }

    /// The larger one of each pair.
    #[inline(always)]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, |a, b| if a > b { a } else { b })
    }

    /// The smaller one of each pair.
    #[inline(always)]
    pub fn min(self, other: Self) -> Self {
        self.zip(other, |a, b| if a < b { a } else { b })
    }

    /// Square roots.
    #[inline(always)]
    pub fn sqrt(self) -> Self {
        self.map(f32::sqrt)
    }

    /// One over each.
    #[inline(always)]
    pub fn recip(self) -> Self {
        self.map(|x| 1.0 / x)
    }

    /// Natural logarithms of positive normal numbers, to 2e-4: the exponent's bits and a polynomial of the mantissa (least squares at Chebyshev nodes).
    #[inline(always)]
    pub fn ln(self) -> Self {
        const MANTISSA: [f32; 5] = [-0.080_010_88, 0.635_511_1, -2.099_402_3, 4.049_617, -2.505_614_7];
        self.map(|x| {
            let bits = x.to_bits();
            let exponent = (bits >> 23) as i32 - 127;
            let m = f32::from_bits(bits & 0x007f_ffff | 0x3f80_0000);
            let log2_m = MANTISSA.iter().fold(0.0, |sum, c| sum * m + c);
            (exponent as f32 + log2_m) * std::f32::consts::LN_2
        })
    }

    /// Moves by `share` of the way towards `to`.
    #[inline(always)]
    pub fn approach(&mut self, to: Self, share: f32) {
        for (x, to) in self.0.iter_mut().zip(to.0) {
            *x += share * (to - *x);
        }
    }

    /// Sum of the eight.
    #[inline(always)]
    pub fn sum(self) -> f32 {
        self.0.iter().sum()
    }
}

macro_rules! real_operator {
    ($trait:ident, $name:ident, $op:tt) => {
        impl $trait for Real {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                self.zip(other, |a, b| a $op b)
            }
        }

        impl $trait<f32> for Real {
            type Output = Self;
            #[inline(always)]
            fn $name(self, other: f32) -> Self {
                self.map(|a| a $op other)
            }
        }
    };
}

real_operator!(Add, add, +);
real_operator!(Sub, sub, -);
real_operator!(Mul, mul, *);
real_operator!(Div, div, /);

impl AddAssign for Real {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Real {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Complex {
    /// Eight zeros.
    pub const ZERO: Self = Self { re: Real::ZERO, im: Real::ZERO };

    /// Real numbers.
    #[inline(always)]
    pub const fn real(re: Real) -> Self {
        Self { re, im: Real::ZERO }
    }

    /// The conjugates.
    #[inline(always)]
    pub fn conj(self) -> Self {
        Self { re: self.re, im: Real::ZERO - self.im }
    }

    /// `self` times the conjugate of `other`.
    #[inline(always)]
    pub fn mul_conj(self, other: Self) -> Self {
        Self { re: self.re * other.re + self.im * other.im, im: self.im * other.re - self.re * other.im }
    }

    /// Squared magnitudes.
    #[inline(always)]
    pub fn norm_sqr(self) -> Real {
        self.re * self.re + self.im * self.im
    }

    /// Moves by `share` of the way towards `to`.
    #[inline(always)]
    pub fn approach(&mut self, to: Self, share: f32) {
        self.re.approach(to.re, share);
        self.im.approach(to.im, share);
    }
}

impl Add for Complex {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

impl Mul<Real> for Complex {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Real) -> Self {
        Self { re: self.re * other, im: self.im * other }
    }
}

impl Mul<f32> for Complex {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: f32) -> Self {
        Self { re: self.re * other, im: self.im * other }
    }
}

impl AddAssign for Complex {
    #[inline(always)]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for Complex {
    #[inline(always)]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

/// Groups of eight that hold `bins` bins.
pub const fn groups(bins: usize) -> usize {
    bins.div_ceil(LANES)
}

/// Puts the bins of a transform side by side; what is missing in the last group is zero.
pub fn gather(bins: &[Complex32], into: &mut [Complex]) {
    for (group, bins) in into.iter_mut().zip(bins.chunks(LANES)) {
        *group = Complex::ZERO;
        for (i, z) in bins.iter().enumerate() {
            group.re.0[i] = z.re;
            group.im.0[i] = z.im;
        }
    }
}

/// The way back.
pub fn scatter(groups: &[Complex], into: &mut [Complex32]) {
    for (group, bins) in groups.iter().zip(into.chunks_mut(LANES)) {
        for (i, z) in bins.iter_mut().enumerate() {
            *z = Complex32::new(group.re.0[i], group.im.0[i]);
        }
    }
}

/// Cholesky factor of Hermitian positive definite matrices, in place, and solutions with it.
///
/// A matrix of order `n` is stored as its lower triangle, row by row: element (i, j), j <= i, at [`at`]. After
/// [`factor`] the diagonal holds the reciprocals of the factor's, which is what solving needs.
pub mod cholesky {
    use super::{Complex, Real};

    /// Place of element (i, j), j <= i, of a lower triangle.
    #[inline(always)]
    pub const fn at(i: usize, j: usize) -> usize {
        i * (i + 1) / 2 + j
    }

    /// Elements of the lower triangle of order `n`.
    pub const fn elements(n: usize) -> usize {
        n * (n + 1) / 2
    }

    /// A pivot is never taken for less than this.
    const LEAST_PIVOT: f32 = 1e-30;

    /// Replaces the lower triangle of M by that of L, M = L L^H.
    pub fn factor(n: usize, m: &mut [Complex]) {
        for i in 0..n {
            for j in 0..=i {
                let mut sum = m[at(i, j)];
                for k in 0..j {
                    sum -= m[at(i, k)].mul_conj(m[at(j, k)]);
                }
                m[at(i, j)] = if i == j {
                    Complex::real(sum.re.max(Real::all(LEAST_PIVOT)).sqrt().recip())
                } else {
                    sum * m[at(j, j)].re
                };
            }
        }
    }

    /// Replaces b by the solution of M x = b; `l` is the factor of M.
    pub fn solve(n: usize, l: &[Complex], b: &mut [Complex]) {
        for i in 0..n {
            let mut sum = b[i];
            for k in 0..i {
                sum -= l[at(i, k)] * b[k];
            }
            b[i] = sum * l[at(i, i)].re;
        }
        for i in (0..n).rev() {
            let mut sum = b[i];
            for k in i + 1..n {
                sum -= b[k].mul_conj(l[at(k, i)]);
            }
            b[i] = sum * l[at(i, i)].re;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_are_right_to_2_in_10_000_from_1e_minus_14_to_1e14() {
        for k in -1400..=1400 {
            let x = 10f32.powf(k as f32 * 0.01);
            let off = Real::all(x).ln().0[0] - x.ln();
            assert!(off.abs() < 2e-4, "ln {x} is off by {off}");
        }
    }

    #[test]
    fn a_hermitian_system_of_order_3_is_solved_to_1e_minus_5() {
        // M = X X^H + I of a matrix of numbers without pattern.
        let x = |i: usize, j: usize| Complex {
            re: Real(std::array::from_fn(|l| ((i * 7 + j * 3 + l) % 5) as f32 * 0.4 - 0.7)),
            im: Real(std::array::from_fn(|l| ((i * 5 + j * 11 + l * 2) % 7) as f32 * 0.3 - 0.9)),
        };
        let mut m = vec![Complex::ZERO; cholesky::elements(3)];
        for i in 0..3 {
            for j in 0..=i {
                for k in 0..3 {
                    m[cholesky::at(i, j)] += x(i, k).mul_conj(x(j, k));
                }
            }
            m[cholesky::at(i, i)] += Complex::real(Real::all(1.0));
        }
        let whole = m.clone();
        let b = [x(9, 1), x(4, 8), x(2, 6)];
        let mut solved = b;
        cholesky::factor(3, &mut m);
        cholesky::solve(3, &m, &mut solved);
        for (i, b) in b.iter().enumerate() {
            let mut sum = Complex::ZERO;
            for (j, x) in solved.iter().enumerate() {
                let element = if j <= i { whole[cholesky::at(i, j)] } else { whole[cholesky::at(j, i)].conj() };
                sum += element * *x;
            }
            for l in 0..LANES {
                let off = (sum.re.0[l] - b.re.0[l]).hypot(sum.im.0[l] - b.im.0[l]);
                assert!(off < 1e-5, "row {i}, lane {l}: off by {off}");
            }
        }
    }
}
