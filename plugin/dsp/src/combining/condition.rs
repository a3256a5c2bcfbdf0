//! What is wrong with a microphone's sound: samples lost, clipping, another level; it says nothing of where they come from.

use crate::combining::spatial_filter::MAX_MICROPHONES;

/// Exact silence at least so long is lost sound, where another microphone hears something, s.
const LOST_S: f64 = 0.002;
/// Samples this near to the peak and as flat as that are a flat top, shares of the peak; and so many make a frame clipped.
const NEAR_PEAK: f32 = 0.9;
const FLAT: f32 = 1e-3;
const FLAT_SAMPLES: usize = 4;
/// What is left of the peak after a frame.
const PEAK_FADES: f32 = 0.9995;
/// Memory of levels and losses, s.
const MEMORY_S: f64 = 1.0;
/// Share of lost frames from which a microphone is left out.
const MOST_LOST: f32 = 0.15;
/// A gap at least so long is an outage, s: once it is over the microphone is as good as before. Shorter ones come back, as drop-outs do.
const OUTAGE_S: f64 = 0.5;
/// A microphone's sound is lost only while another one is louder than this share of its mean power.
const OTHERS_ACTIVE: f32 = 0.5;
/// Speed at which the share of clipped frames is learnt.
const CLIP_SPEED: f32 = 0.01;

/// What one frame of one microphone shows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Mean power.
    pub power: f32,
    /// A run of exact zeros.
    pub zeros: bool,
    /// Flat tops.
    pub flat: bool,
}

/// The microphones' condition.
pub struct Condition {
    microphones: usize,
    zeros: usize,
    outage_frames: u32,
    keep: f32,
    peak: [f32; MAX_MICROPHONES],
    level: [f32; MAX_MICROPHONES],
    lost: [f32; MAX_MICROPHONES],
    clipped: [f32; MAX_MICROPHONES],
    gap: [bool; MAX_MICROPHONES],
    /// Frames in a row that were lost.
    lost_frames: [u32; MAX_MICROPHONES],
    /// Frames that the levels are of.
    frames: [f32; MAX_MICROPHONES],
}

impl Condition {
    /// For frames a hop of `hop_s` apart.
    pub fn new(microphones: usize, rate_hz: f64, hop_s: f64) -> Self {
        Self {
            microphones,
            zeros: (LOST_S * rate_hz) as usize,
            outage_frames: (OUTAGE_S / hop_s) as u32,
            keep: 1.0 - (-hop_s / MEMORY_S).exp() as f32,
            peak: [0.0; MAX_MICROPHONES],
            level: [0.0; MAX_MICROPHONES],
            lost: [0.0; MAX_MICROPHONES],
            clipped: [0.0; MAX_MICROPHONES],
            gap: [false; MAX_MICROPHONES],
            lost_frames: [0; MAX_MICROPHONES],
            frames: [0.0; MAX_MICROPHONES],
        }
    }

    /// Looks at a frame.
    pub fn look(&mut self, microphone: usize, frame: &[f32]) -> Flags {
        let (mut run, mut longest, mut energy, mut top) = (0, 0, 0.0, 0.0f32);
        for x in frame {
            run = if *x == 0.0 { run + 1 } else { 0 };
            longest = longest.max(run);
            energy += x * x;
            top = top.max(x.abs());
        }
        let peak = (self.peak[microphone] * PEAK_FADES).max(top);
        self.peak[microphone] = peak;
        let flat = frame
            .iter()
            .zip(&frame[1..])
            .filter(|(x, y)| y.abs() > NEAR_PEAK * peak && (y.abs() - x.abs()).abs() < FLAT * peak)
            .count();
        Flags { power: energy / frame.len() as f32, zeros: longest >= self.zeros, flat: flat >= FLAT_SAMPLES }
    }

    /// Takes the flags of all microphones' newest frames.
    pub fn judge(&mut self, flags: &[Flags]) {
        for i in 0..self.microphones {
            let others = (0..self.microphones).any(|j| {
                j != i && flags[j].power > OTHERS_ACTIVE * self.level[j] && flags[j].power > 0.0 && !flags[j].zeros
            });
            self.gap[i] = flags[i].zeros && others;
            self.lost[i] += self.keep * (f32::from(u8::from(self.gap[i])) - self.lost[i]);
            if self.gap[i] {
                self.lost_frames[i] += 1;
            } else if !flags[i].zeros && std::mem::take(&mut self.lost_frames[i]) >= self.outage_frames {
                self.lost[i] = 0.0;
            }
        }
        for (i, flags) in flags.iter().enumerate().filter(|(i, flags)| !self.gap[*i] && flags.power > 0.0) {
            self.frames[i] += 1.0;
            self.level[i] += self.keep.max(1.0 / self.frames[i]) * (flags.power - self.level[i]);
            if flags.power > self.level[i] {
                self.clipped[i] += CLIP_SPEED * (f32::from(u8::from(flags.flat)) - self.clipped[i]);
            }
        }
    }

    /// The newest frame of a microphone has a gap.
    pub fn has_gap(&self, microphone: usize) -> bool {
        self.gap[microphone]
    }

    /// So much is missing of a microphone that it is not heard at all.
    pub fn is_left_out(&self, microphone: usize) -> bool {
        self.lost[microphone] > MOST_LOST
    }

    /// Share of loud frames that are clipped.
    pub fn clipped(&self, microphone: usize) -> f32 {
        self.clipped[microphone]
    }

    /// Mean power of the last second.
    pub fn level(&self, microphone: usize) -> f32 {
        self.level[microphone]
    }
}
