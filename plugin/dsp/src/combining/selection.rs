//! Which microphone deserves trust, and what goes out where the filter does not.
//!
//! A microphone's contrast is the mean over a band of ln(S/V): how far the talker stands out of late sound and noise. It
//! falls with noise, distance and clipping alike, and a missing band has none. A microphone that is behind in a
//! band has its noise count for more there (the guard), for a filter that is estimated can only lose by it.

use crate::combining::combiner::Feed;
use crate::combining::condition::Condition;
use crate::combining::spatial_filter::{MAX_MICROPHONES, Said};
use crate::params::Mode;
use crate::primitives::lanes::{Complex, LANES, Real};
use crate::tuning::Combining;

/// Upper edges of the bands in which contrast is compared, Hz.
const BAND_EDGES_HZ: [f64; 9] = [500.0, 1000.0, 2000.0, 3500.0, 6000.0, 8000.0, 12_000.0, 16_000.0, f64::INFINITY];
const BANDS: usize = BAND_EDGES_HZ.len();
/// Bands of the voice, which decide which microphone the output follows.
const VOICE_BANDS: std::ops::Range<usize> = 0..5;
/// Contrast over all of the voice by which a microphone is so far behind that it can only harm, and by which it no longer is, nepers.
const FAR_BEHIND: f32 = 0.38;
const NO_LONGER_BEHIND: f32 = 0.28;
/// Contrast by which another microphone has to be ahead to become the reference, nepers.
const REFERENCE_AHEAD: f32 = 0.1;
/// And by which it has to stay ahead of A to be left so.
const REFERENCE_STAYS: f32 = 0.05;
/// Speech before which the filter is not used at all, s.
const LEAST_SPEECH_S: f32 = 0.15;
/// Share of every microphone's speech that counts as noise of its own: where speech and noise have one direction (a steady source, whose
/// own sound is in V as well), the filter adds what is coherent instead of following chance.
const SELF_NOISE: f32 = 0.05;
/// How much more the noise of a microphone counts that must not be heard.
const EXCLUDED: f32 = 1e4;

/// What is known of one microphone.
#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    /// Contrast by band, nepers.
    contrast: [f32; BANDS],
    /// Share in the filter.
    share: f32,
    /// So far behind in all of the voice that it is not heard.
    far_behind: bool,
}

/// The choice.
pub struct Selection {
    microphones: usize,
    guard: f32,
    behind: f32,
    keep_contrast: f32,
    keep_share: f32,
    band_of: Vec<usize>,
    groups_in: [f32; BANDS],
    standing: [Standing; MAX_MICROPHONES],
    /// Sums of the frame being learnt.
    frame: [Standing; MAX_MICROPHONES],
    reference: usize,
    /// What of each microphone's noise counts, by band; and how much of its speech is noise.
    noisier: [[(f32, f32); MAX_MICROPHONES]; BANDS],
    gain: f32,
    /// The filter knows enough of the talker for contrasts to mean something.
    knows_talker: bool,
    /// Fixed weights, where the filter is not used.
    fixed: Option<[f32; MAX_MICROPHONES]>,
    used: [bool; MAX_MICROPHONES],
    /// Those of which sound arrives.
    sounds: [bool; MAX_MICROPHONES],
}

impl Selection {
    /// For `groups` groups of bins `bin_hz` apart, a frame each `hop_s`.
    pub fn new(tuning: &Combining, microphones: usize, groups: usize, hop_s: f64, bin_hz: f64) -> Self {
        let keep = |memory_s: f64| (1.0 - (-hop_s / memory_s).exp()) as f32;
        let band = |group: usize| {
            let middle_hz = (group as f64 + 0.5) * LANES as f64 * bin_hz;
            BAND_EDGES_HZ.iter().position(|edge| middle_hz < *edge).unwrap_or(BANDS - 1)
        };
        let band_of: Vec<usize> = (0..groups).map(band).collect();
        let mut groups_in = [0.0; BANDS];
        for band in &band_of {
            groups_in[*band] += 1.0;
        }
        Self {
            microphones,
            guard: tuning.selection.guard,
            behind: tuning.selection.behind,
            keep_contrast: keep(tuning.selection.memory_s),
            keep_share: keep(tuning.filter.share_s),
            band_of,
            groups_in,
            standing: [Standing::default(); MAX_MICROPHONES],
            frame: [Standing::default(); MAX_MICROPHONES],
            reference: 0,
            noisier: [[(1.0, 0.0); MAX_MICROPHONES]; BANDS],
            gain: 1.0,
            knows_talker: false,
            fixed: None,
            used: [true; MAX_MICROPHONES],
            sounds: [true; MAX_MICROPHONES],
        }
    }

    /// Before a frame is filtered; the filter knows `speech_s` of speech.
    pub fn begin(&mut self, condition: &Condition, feed: &Feed, speech_s: f32) {
        let n = self.microphones;
        self.knows_talker = speech_s > LEAST_SPEECH_S;
        for (i, used) in self.used.iter_mut().enumerate() {
            self.sounds[i] = !condition.has_gap(i) && !condition.is_left_out(i);
            let may = feed.aligned[i] && !self.standing[i].far_behind;
            *used = i < n && may && self.sounds[i];
        }
        let only = |i: usize| {
            let mut fixed = [0.0; MAX_MICROPHONES];
            fixed[i] = 1.0;
            Some(fixed)
        };
        let alone = |i: usize| {
            let mut fixed = [0.0; MAX_MICROPHONES];
            fixed[i] = (condition.level(0) / condition.level(i).max(1e-12)).sqrt().clamp(0.1, 10.0);
            Some(fixed)
        };
        let used = self.used[..n].iter().filter(|used| **used).count();
        self.fixed = match feed.mode {
            _ if !feed.enabled => only(0),
            Mode::OnlyA => only(0),
            Mode::OnlyB => only(1),
            _ if used == 0 => only(0),
            Mode::Average => Some(self.used.map(|each| if each { 1.0 / used as f32 } else { 0.0 })),
            _ if !self.knows_talker => alone(self.reference),
            _ if used == 1 => alone(self.used[..n].iter().position(|used| *used).unwrap_or(0)),
            _ if (0..n).any(|i| condition.has_gap(i) && !condition.is_left_out(i)) => {
                let best = (0..n)
                    .filter(|i| self.used[*i])
                    .max_by(|i, j| self.standing[*i].share.total_cmp(&self.standing[*j].share));
                alone(best.unwrap_or(0))
            }
            _ => None,
        };
        for (band, noisier) in self.noisier.iter_mut().enumerate() {
            let heard = (0..n).filter(|i| self.sounds[*i] && feed.aligned[*i]);
            let top = heard.map(|i| self.standing[i].contrast[band]).fold(f32::NEG_INFINITY, f32::max);
            for (i, noisier) in noisier[..n].iter_mut().enumerate() {
                let behind = (top - self.standing[i].contrast[band] - self.behind).max(0.0);
                let may = self.used[i] || (condition.has_gap(i) && !condition.is_left_out(i));
                noisier.0 = (1.0 + self.guard * behind * behind) * if may { 1.0 } else { EXCLUDED };
                noisier.1 = SELF_NOISE + condition.clipped(i);
            }
        }
        self.gain = (condition.level(0) / condition.level(self.reference).max(1e-12)).sqrt().clamp(0.1, 10.0);
    }

    /// The weights with which one group goes out.
    #[inline(always)]
    pub fn weigh(&self, filter: &[Complex], weights: &mut [Complex]) {
        match &self.fixed {
            None => weights.copy_from_slice(filter),
            Some(fixed) => {
                for (w, f) in weights.iter_mut().zip(fixed) {
                    *w = Complex::real(Real::all(*f));
                }
            }
        }
    }

    /// What the filter of a group is to be found with: each microphone's noise, the reference and its gain.
    #[inline(always)]
    pub fn orders(&self, group: usize) -> ([(f32, f32); MAX_MICROPHONES], usize, f32) {
        (self.noisier[self.band_of[group]], self.reference, self.gain)
    }

    /// Takes what one group said.
    #[inline(always)]
    pub fn hear(&mut self, group: usize, said: &Said) {
        let band = self.band_of[group];
        for i in 0..self.microphones {
            self.frame[i].contrast[band] += said.contrast[i].sum();
            if VOICE_BANDS.contains(&band) {
                self.frame[i].share += said.share[i].sum();
            }
        }
    }

    /// All groups of a frame have spoken, which held speech with this certainty, and told something of those that were `present`.
    pub fn finish(&mut self, activity: f32, present: &[bool]) {
        let voice: f32 = self.groups_in[VOICE_BANDS].iter().sum();
        let activity = if self.knows_talker { activity } else { 0.0 };
        let count = present.iter().filter(|present| **present).count().max(1) as f32;
        let mut moved = [0.0; BANDS];
        for ((standing, frame), _) in self.standing.iter_mut().zip(&self.frame).zip(present).filter(|(_, here)| **here)
        {
            let bands = standing.contrast.iter_mut().zip(&mut moved).zip(frame.contrast.iter().zip(&self.groups_in));
            for ((contrast, moved), (sum, groups)) in bands {
                let step = self.keep_contrast * activity * (sum / (groups * LANES as f32).max(1.0) - *contrast);
                *contrast += step;
                *moved += step / count;
            }
            let share = frame.share / (voice * LANES as f32).max(1.0);
            standing.share += self.keep_share * activity * (share - standing.share);
        }
        // What is missing says nothing of the microphone: it comes back beside the others as it was.
        for (standing, _) in self.standing.iter_mut().zip(present).filter(|(_, here)| !**here) {
            for (contrast, moved) in standing.contrast.iter_mut().zip(&moved) {
                *contrast += moved;
            }
        }
        self.frame = Default::default();
        let quality = |i: usize| {
            let contrast = &self.standing[i].contrast[VOICE_BANDS];
            contrast.iter().sum::<f32>() / contrast.len() as f32
        };
        let mut qualities = [0.0; MAX_MICROPHONES];
        for (i, q) in qualities[..self.microphones].iter_mut().enumerate() {
            *q = quality(i);
        }
        // One that is not heard, dead maybe, has no contrast that means anything.
        let heard = |i: &usize| self.used[*i];
        let best =
            (0..self.microphones).filter(heard).max_by(|i, j| qualities[*i].total_cmp(&qualities[*j])).unwrap_or(0);
        let ahead = self.standing[best].contrast;
        for (standing, quality) in self.standing.iter_mut().zip(&qualities[..self.microphones]) {
            let limit = if standing.far_behind { NO_LONGER_BEHIND } else { FAR_BEHIND };
            let is_ahead = |band: &usize| standing.contrast[*band] > ahead[*band];
            // Noises of different spectrum leave each microphone bands of its own.
            let own_bands = VOICE_BANDS.filter(is_ahead).count();
            standing.far_behind = qualities[best] - quality > limit && own_bands <= 1;
        }
        if !self.used[self.reference] || qualities[best] > qualities[self.reference] + REFERENCE_AHEAD {
            self.reference = best;
        } else if self.used[0] && qualities[self.reference] < qualities[0] + REFERENCE_STAYS {
            self.reference = 0;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.standing = [Standing::default(); MAX_MICROPHONES];
        self.reference = 0;
    }

    /// Share of a microphone in what goes out.
    pub fn share_of(&self, microphone: usize) -> f32 {
        match &self.fixed {
            Some(fixed) => {
                let sum: f32 = fixed.iter().sum();
                fixed[microphone] / sum.max(1e-9)
            }
            None => self.standing[microphone].share,
        }
    }
}
