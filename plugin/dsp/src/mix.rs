//! temp
use crate::params::Mode;
pub struct Levels {
    pub level_ratio: f32,
    pub noise_ratio: f32,
}
pub struct MixFeed {
    pub aligned: bool,
    pub mode: Mode,
    pub enabled: bool,
    pub correlation: f32,
}
pub struct Mixer {
    w: f32,
}
impl Mixer {
    pub fn new(_r: f64) -> Self {
        Self { w: 0.0 }
    }
    pub fn latency_frames(&self) -> usize {
        0
    }
    pub fn process(&mut self, a: &[f32], b: &[f32], out: &mut [f32], f: &MixFeed) {
        for i in 0..out.len() {
            let t = if f.aligned { 0.5 } else { 0.0 };
            self.w += (t - self.w) * 0.001;
            out[i] = a[i] * (1.0 - self.w) + b[i] * self.w;
        }
    }
    pub fn weight_of_b(&self) -> f32 {
        self.w
    }
    pub fn levels(&self) -> Levels {
        Levels { level_ratio: 1.0, noise_ratio: 1.0 }
    }
}
