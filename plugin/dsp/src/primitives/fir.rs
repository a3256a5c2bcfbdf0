//! Sums of products of a row of taps with windows of a stream.
//!
//! Every window's products are first added up side by side into four sums, kept for some windows, and only then the
//! four into one: compilers make whole vectors of that on every machine, and the order of additions is the same on
//! all of them.

/// Sums that run side by side: enough to keep four vector adders of four lanes busy.
pub const LANES: usize = 16;
/// Windows whose sums are kept at a time.
pub const WINDOWS: usize = 16;

/// Four sums that together are the one wanted.
pub type Quarters = [f32; 4];

/// Puts into `out` the sum of products of `taps` with the windows of `stream` that begin at 0, `stride`, 2 `stride`...
/// There must be a multiple of [`LANES`] taps: those that are left over do not count.
pub fn fir(stream: &[f32], stride: usize, taps: &[f32], out: &mut [f32]) {
    for (tile, out) in out.chunks_mut(WINDOWS).enumerate() {
        let stream = &stream[tile * WINDOWS * stride..];
        let mut quarters = [Quarters::default(); WINDOWS];
        for (k, q) in quarters[..out.len()].iter_mut().enumerate() {
            *q = products(&stream[k * stride..][..taps.len()], taps);
        }
        add_up(&quarters, out);
    }
}

#[inline]
fn products(x: &[f32], h: &[f32]) -> Quarters {
    let mut lanes = [0.0f32; LANES];
    for (x, h) in x.chunks_exact(LANES).zip(h.chunks_exact(LANES)) {
        for i in 0..LANES {
            lanes[i] += x[i] * h[i];
        }
    }
    std::array::from_fn(|i| (lanes[i] + lanes[i + 8]) + (lanes[i + 4] + lanes[i + 12]))
}

/// The sum of each four.
#[inline]
pub fn add_up(quarters: &[Quarters], out: &mut [f32]) {
    for (o, q) in out.iter_mut().zip(quarters) {
        *o = (q[0] + q[2]) + (q[1] + q[3]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_is_summed_up_whatever_their_number() {
        let stream: Vec<f32> = (0..400).map(|i| ((i * 37) % 101) as f32).collect();
        for (taps, stride, windows) in [(16, 1, 1), (32, 2, 17), (48, 3, 40), (80, 1, 64), (96, 5, 60)] {
            let h: Vec<f32> = (0..taps).map(|i| (i % 7) as f32).collect();
            let mut out = vec![0.0; windows];
            fir(&stream, stride, &h, &mut out);
            for (k, o) in out.iter().enumerate() {
                // Small whole numbers: exact in any order.
                let want: f32 = h.iter().zip(&stream[k * stride..]).map(|(h, x)| h * x).sum();
                assert_eq!(*o, want, "{taps} taps, window {k}");
            }
        }
    }
}
