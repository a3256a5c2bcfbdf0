//! Places that talkers speak from, each with its own statistics.
//!
//! Problem: when talkers take turns, the weights that suit one of them are wrong for the next, and an average suits
//! neither. The level ratios of [`Onset`]s, and with little weight those of frames, are evidence against the place
//! spoken from until now and for another one, known or new (cumulative sums, after Page, 1954); a change takes about a
//! second. What was learnt about a place is kept for the talker's next turn.

use crate::combining::onsets::Onset;
use crate::speakers::speaker_change::Voice;

/// Places kept; the one not heard for longest makes room.
pub const PLACES: usize = 6;
/// Memory of the powers of a place, frames of speech (10 ms each): 6 s.
pub const MEMORY_FRAMES: f64 = 600.0;
/// Speed of learning in frames without speech, against frames with: sounds that never pause have to count too.
pub const PAUSE_SPEED: f64 = 0.02;
/// Memory of the onsets of a place, in onsets.
const MEMORY_ONSETS: f64 = 25.0;
/// Onsets of a place before it is asked whether it still fits.
const SETTLED_ONSETS: f64 = 2.0;
/// Spread of the level of single onsets, natural logarithm (5 dB): what rooms and voices do to it.
const ONSET_SPREAD: f64 = 0.6;
/// Spread of the level of single frames, natural logarithm (4 dB).
const FRAME_SPREAD: f64 = 0.5;
/// Weight of a frame against a clear onset: frames follow one another closely and say the same.
const FRAME_WEIGHT: f64 = 0.08;
/// Power over the floor that a frame needs in both microphones to be asked.
const CLEAR_FRAME: f64 = 2.0;
/// Seconds of speech that a place holds before its energies are compared.
const SETTLED_S: f64 = 0.5;
/// A single onset or frame weighs no more than this, in squared spreads: some are far off.
const MISFIT_LIMIT: f64 = 4.0;
/// Misfit, squared spreads, of a place that is right: more speaks for a new one.
const USUAL_MISFIT: f64 = 1.5;
/// Evidence (sum of misfits of the current place less those of another) at which the other one is taken.
const MOVE_EVIDENCE: f64 = 4.5;
/// Evidence at which a new place is opened.
const OPEN_EVIDENCE: f64 = 8.0;
/// Places closer than this are one: natural logarithm of the level, 4.3 dB.
const SAME_PLACE: f64 = 0.5;
/// What a first guess counts for: share of a full memory, and onsets.
const GUESS_FILL: f64 = 0.1;
const GUESS_ONSETS: f64 = 3.0;
/// Frames from one checkpoint to the next: 1 s. A jump of the lag is noticed within less.
const CHECKPOINT_FRAMES: u64 = 100;

/// Powers of an aligned pair, averaged over speech.
#[derive(Clone, Copy, Debug, Default)]
pub struct Powers {
    /// Mean power of A.
    pub a: f64,
    /// Mean power of B.
    pub b: f64,
    /// Mean product of A and B.
    pub cross: f64,
    /// Noise floor of A.
    pub floor_a: f64,
    /// Noise floor of B.
    pub floor_b: f64,
}

/// [`Powers`] with a memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// The averages.
    pub mean: Powers,
    /// How full the memory is, 0 to 1.
    pub fill: f64,
}

impl Memory {
    /// Takes a frame, with the share `speed` of a full memory. Audio thread.
    pub fn learn(&mut self, frame: &Powers, speed: f64) {
        self.fill = (self.fill + speed).min(1.0);
        let step = speed / self.fill;
        let mean = &mut self.mean;
        mean.a += step * (frame.a - mean.a);
        mean.b += step * (frame.b - mean.b);
        mean.cross += step * (frame.cross - mean.cross);
        mean.floor_a += step * (frame.floor_a - mean.floor_a);
        mean.floor_b += step * (frame.floor_b - mean.floor_b);
    }
}

/// What is known about one place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    memory: Memory,
    /// Mean rises at onsets.
    pub rise_a: f64,
    /// Mean rises at onsets, B.
    pub rise_b: f64,
    /// Mean cross power at onsets.
    pub rise_cross: f64,
    /// Onsets heard, at most [`MEMORY_ONSETS`].
    pub onsets: f64,
    heard: u64,
    /// Tells places apart that took the same slot one after the other.
    id: u64,
    /// The tracker's number for the talker.
    talker: u32,
}

impl Place {
    /// Averages over speech from this place.
    pub fn powers(&self) -> &Powers {
        &self.memory.mean
    }

    /// Seconds of speech that the averages hold.
    pub fn speech_s(&self) -> f64 {
        self.memory.fill * MEMORY_FRAMES * 0.01
    }

    /// As a first guess of another place.
    fn faded(&self) -> Self {
        let fill = self.memory.fill.min(GUESS_FILL);
        Self { memory: Memory { fill, ..self.memory }, onsets: self.onsets.min(GUESS_ONSETS), ..*self }
    }

    fn hear(&mut self, onset: &Onset) {
        self.onsets = (self.onsets + onset.weight).min(MEMORY_ONSETS);
        let step = onset.weight / self.onsets.max(1e-9);
        self.rise_a += step * (onset.rise_a - self.rise_a);
        self.rise_b += step * (onset.rise_b - self.rise_b);
        self.rise_cross += step * (onset.cross - self.rise_cross);
    }

    /// Level of the direct sound in B against A, natural logarithm; None before the first onset.
    fn onset_level(&self) -> Option<f64> {
        (self.onsets > 0.0).then(|| 0.5 * ((self.rise_b + 1e-30) / (self.rise_a + 1e-30)).ln())
    }

    /// Level of everything over the floors in B against A, natural logarithm.
    fn energy_level(&self) -> f64 {
        let p = self.powers();
        let over = |power: f64, floor: f64| (power - floor).max(1e-3 * power).max(1e-30);
        0.5 * (over(p.b, p.floor_b) / over(p.a, p.floor_a)).ln()
    }
}

fn misfit(level: f64, of_place: f64, spread: f64) -> f64 {
    ((level - of_place) / spread).powi(2).min(MISFIT_LIMIT)
}

/// All places, and the one spoken from now.
#[derive(Clone, Debug, Default)]
pub struct Places {
    kept: [Place; PLACES],
    count: usize,
    current: usize,
    talker: u32,
    /// What has been heard since the current place began to fit badly.
    fresh: Place,
    /// Evidence for each place kept.
    evidence: [f64; PLACES],
    /// Evidence for a place not known yet.
    evidence_of_new: f64,
    frame: u64,
    /// The current place as it was a while ago, older one first, each with its slot.
    checkpoints: [(usize, Place); 2],
}

impl Places {
    /// The place spoken from now.
    pub fn current(&self) -> &Place {
        &self.kept[self.current]
    }

    /// The slot of the current place, below [`PLACES`], and a number that no other place had there.
    pub fn current_slot(&self) -> (usize, u64) {
        (self.current, self.current().id)
    }

    /// Takes the powers of the next frame. Audio thread.
    pub fn learn(&mut self, frame: &Powers, speech: bool) {
        self.frame += 1;
        if self.frame.is_multiple_of(CHECKPOINT_FRAMES) {
            self.checkpoints = [self.checkpoints[1], (self.current, self.kept[self.current])];
        }
        if speech {
            self.compare_energies(frame);
        }
        let speed = if speech { 1.0 } else { PAUSE_SPEED } / MEMORY_FRAMES;
        self.kept[self.current].memory.learn(frame, speed);
        if self.evidence_of_new > 0.0 {
            self.fresh.memory.learn(frame, speed);
        }
    }

    /// Takes who speaks. The place of a talker not heard before begins with what holds for the one before, lightly; with nothing where
    /// the lag was wrong until now. Audio thread.
    pub fn listen_to(&mut self, voice: &Voice) {
        if voice.number == self.talker {
            return;
        }
        let first = self.talker == 0;
        self.talker = voice.number;
        if first {
            self.kept[self.current].talker = voice.number;
            return;
        }
        self.unlearn();
        self.count = self.count.max(1);
        let place = self.of_talker().max_by_key(|&k| self.kept[k].heard).unwrap_or_else(|| {
            let before = if voice.realigned { Place::default() } else { self.current().faded() };
            let room = self.make_room();
            self.kept[room] = Place { id: self.frame.max(1), talker: voice.number, ..before };
            room
        });
        self.move_to(place);
        self.kept[place].heard = self.frame;
        self.checkpoints = [(place, self.kept[place]); 2];
    }

    /// The slots of the places of the talker who speaks.
    fn of_talker(&self) -> impl Iterator<Item = usize> {
        let Self { kept, talker, .. } = self;
        (0..self.count).filter(|&k| kept[k].talker == *talker)
    }

    /// Forgets what was learnt about the current place in the last second or two. Audio thread.
    pub fn unlearn(&mut self) {
        let (slot, place) = self.checkpoints[0];
        if slot == self.current && place.id == self.kept[slot].id {
            self.kept[slot] = place;
        }
        self.checkpoints = [(self.current, self.kept[self.current]); 2];
    }

    fn compare_energies(&mut self, frame: &Powers) {
        let clear = frame.a > CLEAR_FRAME * frame.floor_a && frame.b > CLEAR_FRAME * frame.floor_b;
        if !clear || self.current().speech_s() < SETTLED_S {
            return;
        }
        let level = 0.5 * ((frame.b - frame.floor_b) / (frame.a - frame.floor_a)).ln();
        let other = self.compare(level, FRAME_SPREAD, FRAME_WEIGHT, |place| Some(place.energy_level()));
        if let Some(other) = other {
            self.move_to(other);
        }
    }

    /// Takes an onset, which may tell that another talker speaks. Audio thread.
    pub fn hear(&mut self, onset: &Onset) {
        self.count = self.count.max(1);
        let other = self.compare(onset.log_level, ONSET_SPREAD, onset.weight, Place::onset_level);
        if self.evidence_of_new == 0.0 || self.current().onsets < SETTLED_ONSETS {
            self.forget_fresh();
        } else {
            self.fresh.hear(onset);
        }
        match other.or_else(|| self.place_of_fresh()) {
            Some(other) => self.move_to(other),
            None => self.kept[self.current].hear(onset),
        }
        self.kept[self.current].heard = self.frame;
    }

    /// Adds up the evidence of a level against the current place; gives another place if that fits clearly better.
    fn compare(
        &mut self,
        level: f64,
        spread: f64,
        weight: f64,
        level_of: impl Fn(&Place) -> Option<f64>,
    ) -> Option<usize> {
        let here = level_of(self.current()).map_or(0.0, |l| misfit(level, l, spread));
        let mut best = (MOVE_EVIDENCE, None);
        for k in (0..self.count).filter(|&k| k != self.current && self.kept[k].talker == self.talker) {
            let there = level_of(&self.kept[k]).map_or(here, |l| misfit(level, l, spread));
            self.evidence[k] = (self.evidence[k] + weight * (here - there)).max(0.0);
            if self.evidence[k] > best.0 {
                best = (self.evidence[k], Some(k));
            }
        }
        self.evidence_of_new = (self.evidence_of_new + weight * (here - USUAL_MISFIT)).max(0.0);
        best.1
    }

    /// The place that what was heard of late belongs to, if not to the current one: a known one or a new one.
    fn place_of_fresh(&mut self) -> Option<usize> {
        if self.evidence_of_new <= OPEN_EVIDENCE {
            return None;
        }
        let level = self.fresh.onset_level()?;
        let distance = |place: &Place| place.onset_level().map_or(f64::INFINITY, |l| (l - level).abs());
        let nearest = self.of_talker().min_by(|&j, &k| distance(&self.kept[j]).total_cmp(&distance(&self.kept[k])))?;
        if distance(&self.kept[nearest]) < SAME_PLACE {
            self.evidence_of_new = 0.0;
            return (nearest != self.current).then_some(nearest);
        }
        let room = self.make_room();
        self.kept[room] = Place { id: self.frame, talker: self.talker, ..self.fresh };
        Some(room)
    }

    fn move_to(&mut self, place: usize) {
        self.current = place;
        self.evidence = [0.0; PLACES];
        self.forget_fresh();
    }

    fn forget_fresh(&mut self) {
        self.fresh = Place::default();
        self.evidence_of_new = 0.0;
    }

    fn make_room(&mut self) -> usize {
        if self.count < PLACES {
            self.count += 1;
            return self.count - 1;
        }
        (0..PLACES).min_by_key(|&k| self.kept[k].heard).unwrap_or(0)
    }
}
