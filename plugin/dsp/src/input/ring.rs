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

    /// Frames held: older ones have been overwritten.
    pub fn held(&self) -> i64 {
        self.mask + 1
    }

    /// Appends frames.
    pub fn extend(&mut self, frames: &[f32]) {
        let size = self.ring.len() - self.guard;
        let mut rest = frames;
        while !rest.is_empty() {
            let i = (self.count & self.mask) as usize;
            let n = rest.len().min(size - i);
            self.ring[i..i + n].copy_from_slice(&rest[..n]);
            if i < self.guard {
                let mirrored = n.min(self.guard - i);
                self.ring[size + i..size + i + mirrored].copy_from_slice(&rest[..mirrored]);
            }
            self.count += n as i64;
            rest = &rest[n..];
        }
    }

    /// Appends `frames` frames of silence, however many.
    pub fn skip(&mut self, frames: i64) {
        let written = frames.min(self.mask + 1);
        self.count += frames - written;
        for _ in 0..written {
            self.extend(&[0.0]);
        }
    }

    /// The `len` frames from number `start` on. Frames never written, or written too long ago, are whatever the
    /// ring holds (zero at first); `len` above the guard is cut.
    pub fn window(&self, start: i64, len: usize) -> &[f32] {
        let i = (start & self.mask) as usize;
        &self.ring[i..i + len.min(self.guard)]
    }

    /// Copies the frames from number `start` on.
    pub fn copy(&self, start: i64, into: &mut [f32]) {
        let mut at = start;
        for piece in into.chunks_mut(self.guard) {
            piece.copy_from_slice(self.window(at, piece.len()));
            at += piece.len() as i64;
        }
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
        let frames: Vec<f32> = (0..100).map(|i| i as f32).collect();
        for piece in frames.chunks(7) {
            h.extend(piece);
        }
        for start in 88..95 {
            let want: Vec<f32> = (start..start + 5).map(|i| i as f32).collect();
            assert_eq!(h.window(start, 5), want);
        }
    }
}
