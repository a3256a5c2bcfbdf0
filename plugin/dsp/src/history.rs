//! The newest frames of a stream, found by their place in the stream.
//!
//! A ring whose first frames stand a second time behind its end, so that any window up to `guard` frames is one
//! slice: the interpolator and the transforms read without a wrap.

/// A ring of samples addressed by absolute frame number.
pub struct History {
    ring: Vec<f32>,
    mask: i64,
    guard: usize,
    count: i64,
}

impl History {
    /// Room for at least `frames`, readable in windows of up to `guard` frames.
    pub fn new(frames: usize, guard: usize) -> Self {
        let size = (frames + guard).next_power_of_two();
        Self { ring: vec![0.0; size + guard], mask: size as i64 - 1, guard, count: 0 }
    }

    /// Frames written so far: the number of the next one.
    pub fn count(&self) -> i64 {
        self.count
    }

    /// Appends one frame.
    pub fn push(&mut self, value: f32) {
        self.write(self.count, value);
        self.count += 1;
    }

    /// Appends `frames` frames of silence, however many.
    pub fn skip(&mut self, frames: i64) {
        let written = frames.min(self.mask + 1);
        self.count += frames - written;
        for _ in 0..written {
            self.push(0.0);
        }
    }

    /// The `len` frames from number `start` on. Frames never written, or written too long ago, are whatever the
    /// ring holds (zero at first); `len` above the guard is cut.
    pub fn window(&self, start: i64, len: usize) -> &[f32] {
        let i = (start & self.mask) as usize;
        &self.ring[i..i + len.min(self.guard)]
    }

    /// Frame number `at`.
    pub fn at(&self, at: i64) -> f32 {
        self.ring[(at & self.mask) as usize]
    }

    /// Mends frame number `at`, if it is still held.
    pub fn set(&mut self, at: i64, value: f32) {
        if at >= 0 && at < self.count && self.count - at <= self.mask {
            self.write(at, value);
        }
    }

    fn write(&mut self, at: i64, value: f32) {
        let i = (at & self.mask) as usize;
        self.ring[i] = value;
        if i < self.guard {
            let mirror = i + self.mask as usize + 1;
            self.ring[mirror] = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_over_the_end_of_the_ring_is_one_slice() {
        let mut h = History::new(10, 5);
        for i in 0..100 {
            h.push(i as f32);
        }
        for start in 88..95 {
            let want: Vec<f32> = (start..start + 5).map(|i| i as f32).collect();
            assert_eq!(h.window(start, 5), want);
        }
    }
}
