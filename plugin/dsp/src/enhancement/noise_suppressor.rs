//! Takes steady noise out of the merge: an option, off by default.
//!
//! Problem: two microphones leave half of their noise power in the merge. Signal model: the merge is speech and a noise
//! that changes slowly. Windows of 32 ms (square-root Hann, three quarters overlap) are weighed bin by bin by
//! (1 - N / P)^½ (power subtraction), and never by less than [`LEAST_GAIN`]. N is the noise by speech presence ([`Noise`]), P the power
//! smoothed over some 20 ms, which keeps single bins from flickering. In pauses, told by the mean of P / N over the voice's
//! bins, all of them go down to the least gain. It hears the merge alone: the coherence of the two
//! microphones, put in as a second factor, takes away up to 2.4 dB more and costs intelligibility in rooms (see
//! `docs/post_filter.md`). Reverberation is not its business.
//!
//! Sound that goes through it is [`PostFilter::latency_frames`] later. The work of a transform and its inverse falls on one
//! frame of [`HOP_S`].

use crate::analysis::noise_psd::{Noise, powers};
use crate::analysis::spectrum::Transform;
use crate::primitives::window::hann;
use realfft::num_complex::Complex32;

/// From one transform to the next, s.
const HOP_S: f64 = 0.008;
/// Hops in a window, which is 32 ms long: the harmonics of a voice stand apart, and syllables as well.
const OVERLAP: usize = 4;
/// The hop is a multiple of so many frames, for the transforms to be quick at every rate.
const HOP_MULTIPLE: f64 = 8.0;
/// Nothing is lowered by more than this: -12 dB.
const LEAST_GAIN: f32 = 0.251_188_64;
/// Share of the newest power in the smoothed one. At 0.25 intelligibility in rooms is 0.003 to 0.006 lower.
const NEWEST: f32 = 0.4;
/// Bins of the voice, Hz.
const VOICE_HZ: [f64; 2] = [120.0, 3800.0];
/// Mean power over noise up to which nobody speaks, and by how much more somebody surely does.
const PAUSE_RATIO: f32 = 1.5;
/// What is left of speech a hop after it, for the ends of words: half after 0.18 s.
const HANGOVER: f32 = 0.97;
/// Memory of the noise, hops of sound that is not speech: 76 ms.
const NOISE_HOPS: f32 = 9.5;
/// Time from one sound to the other where the filter comes or goes, s.
const FADE_S: f64 = 0.016;

/// Frames between transforms at `rate_hz`.
fn hop_frames(rate_hz: f64) -> usize {
    ((rate_hz * HOP_S / HOP_MULTIPLE).round() * HOP_MULTIPLE) as usize
}

/// A share that goes from 0 to 1 and back in a straight line.
#[derive(Clone, Copy, Debug)]
struct Fade {
    share: f32,
    step: f32,
}

impl Fade {
    fn new(rate_hz: f64) -> Self {
        Self { share: 0.0, step: (1.0 / (FADE_S * rate_hz)) as f32 }
    }

    fn next(&mut self, up: bool) -> f32 {
        self.share = (self.share + if up { self.step } else { -self.step }).clamp(0.0, 1.0);
        self.share
    }
}

/// The filter of one stream.
pub struct PostFilter {
    hop: usize,
    transform: Transform,
    window: Vec<f32>,
    /// The newest frames in a ring as long as a window: what stands at a place is a window late when its turn comes.
    heard: Vec<f32>,
    /// The windows summed up, at the same places.
    summed: Vec<f32>,
    place: usize,
    frames: Vec<f32>,
    bins: Vec<Complex32>,
    power: Vec<f32>,
    smooth: Vec<f32>,
    noise: Noise,
    voice: std::ops::Range<usize>,
    /// Somebody speaks, 0 to 1.
    speech: f32,
    /// Windows in `summed`, at most [`OVERLAP`]: fewer are not the whole sound.
    windows: usize,
    /// From sound that is not late to sound that is.
    late: Fade,
    /// From sound that is only late to filtered sound.
    filtered: Fade,
}

impl PostFilter {
    /// A filter for a stream of `rate_hz` (8000 to 192000). Allocates.
    pub fn new(rate_hz: f64) -> Self {
        let hop = hop_frames(rate_hz);
        let len = OVERLAP * hop;
        let bins = len / 2 + 1;
        let bin_at = |hz: f64| ((hz / rate_hz * len as f64).round() as usize).min(bins);
        Self {
            hop,
            transform: Transform::new(len),
            window: hann(len).into_iter().map(f32::sqrt).collect(),
            heard: vec![0.0; len],
            summed: vec![0.0; len],
            place: 0,
            frames: vec![0.0; len],
            bins: vec![Complex32::default(); bins],
            power: vec![0.0; bins],
            smooth: vec![0.0; bins],
            noise: Noise::new(bins, NOISE_HOPS),
            voice: bin_at(VOICE_HZ[0])..bin_at(VOICE_HZ[1]),
            speech: 0.0,
            windows: 0,
            late: Fade::new(rate_hz),
            filtered: Fade::new(rate_hz),
        }
    }

    /// Frames by which filtered sound is later: 32 ms.
    pub fn latency_frames(&self) -> usize {
        self.heard.len()
    }

    /// Filters `sound` in place; while not `on` it stays as it is. Where the merge is not `enabled`, the sound is late but
    /// otherwise the same. Changes are faded. Audio thread: no allocation, no panic.
    pub fn process(&mut self, sound: &mut [f32], on: bool, enabled: bool) {
        let mut rest = sound;
        while !rest.is_empty() {
            let count = rest.len().min(self.hop - self.place % self.hop);
            let (now, later) = rest.split_at_mut(count);
            self.pass(now, on, enabled);
            self.place = (self.place + count) % self.heard.len();
            if self.place.is_multiple_of(self.hop) && (on || self.late.share > 0.0) {
                self.add_window();
            }
            rest = later;
        }
    }

    /// Passes frames, none of which is the last of a hop but the last.
    fn pass(&mut self, sound: &mut [f32], on: bool, enabled: bool) {
        let places = self.place..self.place + sound.len();
        if !on && self.late.share == 0.0 {
            self.heard[places].copy_from_slice(sound);
            return;
        }
        let whole = self.windows == OVERLAP;
        for ((x, heard), summed) in sound.iter_mut().zip(&mut self.heard[places.clone()]).zip(&mut self.summed[places])
        {
            let (late, filtered) = (*heard, std::mem::take(summed));
            *heard = *x;
            let filter = self.filtered.next(on && enabled && whole);
            let delayed = if filter > 0.0 { late + filter * (filtered - late) } else { late };
            let share = self.late.next(on);
            *x = if share < 1.0 { *x + share * (delayed - *x) } else { delayed };
        }
        if self.late.share == 0.0 {
            self.filtered.share = 0.0;
            self.windows = 0;
            self.summed.fill(0.0);
            self.smooth.fill(0.0);
            self.noise.clear();
            self.speech = 0.0;
        }
    }

    /// Weighs the newest window's bins and adds it to the sum.
    fn add_window(&mut self) {
        let len = self.heard.len();
        let (newest, oldest) = self.heard.split_at(self.place);
        for ((frame, heard), w) in self.frames.iter_mut().zip(oldest.iter().chain(newest)).zip(&self.window) {
            *frame = heard * w;
        }
        self.bins.copy_from_slice(self.transform.forward(&mut self.frames));
        powers(&self.bins, &mut self.power);
        if self.windows == 0 {
            // Nothing counts as noise until it has lasted: the first word is left as it is.
            self.noise.step(&self.smooth);
            self.smooth.copy_from_slice(&self.power);
        }
        self.noise.step(&self.power);
        // The transforms are not scaled, and the squares of the windows add up to half of how many there are.
        let scale = 2.0 / (OVERLAP * len) as f32;
        let noise = self.noise.power();
        for (smooth, power) in self.smooth.iter_mut().zip(&self.power) {
            *smooth += NEWEST * (power - *smooth);
        }
        let voice = self.voice.clone();
        let count = voice.len() as f32;
        let ratio = self.smooth[voice.clone()].iter().zip(&noise[voice]).map(|(p, n)| p / n).sum::<f32>() / count;
        self.speech = (ratio / PAUSE_RATIO - 1.0).clamp(self.speech * HANGOVER, 1.0);
        for ((bin, smooth), noise) in self.bins.iter_mut().zip(&self.smooth).zip(noise) {
            let gain = (1.0 - noise / smooth.max(*noise)).sqrt().max(LEAST_GAIN);
            *bin *= scale * (LEAST_GAIN + self.speech * (gain - LEAST_GAIN));
        }
        self.transform.inverse(0, &self.bins, &mut self.frames);
        let (newest, oldest) = self.summed.split_at_mut(self.place);
        for ((sum, frame), w) in oldest.iter_mut().chain(newest).zip(&self.frames).zip(&self.window) {
            *sum += frame * w;
        }
        self.windows = (self.windows + 1).min(OVERLAP);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f64 = 16_000.0;

    /// White noise, root mean square 1.
    fn noise(frames: usize) -> Vec<f32> {
        let mut state = 1_u64;
        let mut uniform = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        (0..frames).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
    }

    /// Tones of a voice that swells and fades twice a second.
    fn voice(frames: usize) -> Vec<f32> {
        let tone = |n: usize, hz: f64| (n as f64 * hz * std::f64::consts::TAU / RATE_HZ).sin();
        let loudness = |n: usize| (0.5 - 0.5 * (n as f64 * 2.0 * std::f64::consts::TAU / RATE_HZ).cos()).powi(2);
        (0..frames)
            .map(|n| (loudness(n) * (1..12).map(|k| tone(n, 140.0 * f64::from(k))).sum::<f64>()) as f32)
            .collect()
    }

    fn latency_frames(rate_hz: f64) -> usize {
        PostFilter::new(rate_hz).latency_frames()
    }

    fn filtered(sound: &[f32], on: bool, enabled: bool) -> Vec<f32> {
        let mut filter = PostFilter::new(RATE_HZ);
        let mut out = sound.to_vec();
        filter.process(&mut out, on, enabled);
        out
    }

    fn power(x: &[f32]) -> f64 {
        x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / x.len() as f64
    }

    #[test]
    fn steady_noise_alone_is_lowered_by_12_db_and_no_more() {
        let sound = noise(112_000);
        // It takes the filter some two seconds to know that it is noise.
        let db = 10.0 * (power(&filtered(&sound, true, true)[48_000..]) / power(&sound)).log10();
        assert!((-12.05..-11.5).contains(&db), "{db} dB");
    }

    #[test]
    fn a_voice_30_db_above_the_noise_is_kept_within_half_a_db() {
        let late = latency_frames(RATE_HZ);
        let speech = voice(80_000);
        let faint: Vec<f32> = noise(80_000).iter().map(|x| x * 0.03).collect();
        let mixed: Vec<f32> = speech.iter().zip(&faint).map(|(s, n)| s + n).collect();
        let out = filtered(&mixed, true, true);
        let common: f64 =
            out[late + 8000..].iter().zip(&speech[8000..]).map(|(y, s)| f64::from(*y) * f64::from(*s)).sum::<f64>();
        let gain = common / (power(&speech[8000..80_000 - late]) * (72_000 - late) as f64);
        assert!((0.95..1.01).contains(&gain), "{gain}");
    }

    #[test]
    fn where_the_merge_is_not_enabled_sound_is_the_same_32_ms_later_to_the_bit() {
        let sound = noise(20_000);
        let (out, late) = (filtered(&sound, true, false), latency_frames(RATE_HZ));
        assert_eq!(late, 512);
        assert_eq!(out[1000 + late..], sound[1000..20_000 - late]);
        assert_eq!(filtered(&sound, false, true), sound);
    }

    #[test]
    fn what_is_not_noise_comes_out_as_it_was() {
        // A filter that has just been turned on takes nothing for noise yet.
        let sound = voice(3000);
        let (out, late) = (filtered(&sound, true, true), latency_frames(RATE_HZ));
        let worst = (1100..2000).map(|n| (out[n + late] - sound[n]).abs()).fold(0.0, f32::max);
        assert!(worst < 0.05 * sound.iter().fold(0.0, |m, x| x.max(m)), "{worst}");
    }

    #[test]
    fn the_latency_is_32_ms_at_every_rate_to_half_a_millisecond() {
        for rate_hz in [8000.0, 11_025.0, 16_000.0, 22_050.0, 44_100.0, 48_000.0, 96_000.0, 192_000.0] {
            let ms = latency_frames(rate_hz) as f64 / rate_hz * 1e3;
            assert!((ms - 32.0).abs() < 0.5 * 16_000.0 / rate_hz + 0.5, "{rate_hz} Hz: {ms} ms");
        }
    }
}
