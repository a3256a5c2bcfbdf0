//! Places that talkers speak from, each with its own statistics.
//!
//! Problem: when talkers take turns, the weights that suit one of them are wrong for the next, and an average suits
//! neither. The level ratios of the last few [`Onset`]s tell who speaks: they choose among the places known, or open
//! a new one, within about a second; what was learnt about a place is kept for the talker's next turn.

use crate::onset::Onset;

/// Places kept; the one not heard for longest makes room.
const PLACES: usize = 4;
/// Memory of the powers of a place, frames of speech (10 ms each): 6 s.
const MEMORY_FRAMES: f64 = 600.0;
/// Memory of the powers that a new place starts from, frames: 0.7 s.
const SHORT_FRAMES: f64 = 70.0;
/// Speed of learning in frames without speech, against frames with: sounds that never pause have to count too.
const PAUSE_SPEED: f64 = 0.02;
/// Memory of the onsets of a place, in onsets.
const MEMORY_ONSETS: f64 = 25.0;
/// Onsets that vote for a place.
const VOTERS: usize = 3;
/// Age at which an onset votes no more, frames: 2 s.
const VOTE_FRAMES: u64 = 200;
/// Spread of the level of single onsets, natural logarithm (4.3 dB): what rooms and voices do to it.
const SPREAD: f64 = 0.5;
/// A single onset weighs no more than this, in squared spreads: some are far off.
const VOTE_LIMIT: f64 = 4.0;
/// By how much another place must fit better before it is taken, squared spreads.
const MOVE_COST: f64 = 2.0;
/// By how much a new place must fit better than all known ones.
const OPEN_COST: f64 = 9.0;

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
struct Memory {
    mean: Powers,
    /// How full the memory is, 0 to 1.
    fill: f64,
}

impl Memory {
    fn learn(&mut self, frame: &Powers, speed: f64) {
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

    fn hear(&mut self, onset: &Onset) {
        self.onsets = (self.onsets + onset.weight).min(MEMORY_ONSETS);
        let step = onset.weight / self.onsets.max(1e-9);
        self.rise_a += step * (onset.rise_a - self.rise_a);
        self.rise_b += step * (onset.rise_b - self.rise_b);
        self.rise_cross += step * (onset.cross - self.rise_cross);
    }

    fn log_level(&self) -> Option<f64> {
        (self.onsets > 0.0).then(|| 0.5 * ((self.rise_b + 1e-30) / (self.rise_a + 1e-30)).ln())
    }
}

/// All places, and the one spoken from now.
#[derive(Clone, Debug, Default)]
pub struct Places {
    kept: [Place; PLACES],
    count: usize,
    current: usize,
    short: Memory,
    voters: [(Onset, u64); VOTERS],
    voted: usize,
    frame: u64,
}

impl Places {
    /// The place spoken from now.
    pub fn current(&self) -> &Place {
        &self.kept[self.current]
    }

    /// Takes the powers of the next frame. Audio thread.
    pub fn learn(&mut self, frame: &Powers, speech: bool) {
        self.frame += 1;
        let slow = if speech { 1.0 } else { PAUSE_SPEED };
        self.kept[self.current].memory.learn(frame, slow / MEMORY_FRAMES);
        self.short.learn(frame, slow / SHORT_FRAMES);
    }

    /// Takes an onset, which may tell that another talker speaks. Audio thread.
    pub fn hear(&mut self, onset: &Onset) {
        self.voters.rotate_right(1);
        self.voters[0] = (*onset, self.frame);
        self.voted = (self.voted + 1).min(VOTERS);
        self.count = self.count.max(1);
        let votes = self.voters[..self.voted].iter().filter(|v| self.frame - v.1 < VOTE_FRAMES);
        let misfit = |level: f64| -> f64 {
            let one = |o: &Onset| o.weight * ((o.log_level - level) / SPREAD).powi(2).min(VOTE_LIMIT);
            votes.clone().map(|v| one(&v.0)).sum()
        };
        let mut best = (f64::INFINITY, self.current);
        for (k, place) in self.kept[..self.count].iter().enumerate() {
            let cost = misfit(place.log_level().unwrap_or(onset.log_level));
            let cost = if k == self.current { cost } else { cost + MOVE_COST };
            if cost < best.0 {
                best = (cost, k);
            }
        }
        let weight: f64 = votes.clone().map(|v| v.0.weight).sum();
        let mean = votes.clone().map(|v| v.0.weight * v.0.log_level).sum::<f64>() / weight.max(1e-9);
        if votes.clone().count() >= 2 && misfit(mean) + OPEN_COST < best.0 {
            let mut opened = Place { memory: self.short, ..Place::default() };
            opened.memory.fill = SHORT_FRAMES / MEMORY_FRAMES;
            votes.clone().for_each(|v| opened.hear(&v.0));
            self.current = self.make_room();
            self.kept[self.current] = opened;
        } else {
            self.current = best.1;
            self.kept[self.current].hear(onset);
        }
        self.kept[self.current].heard = self.frame;
    }

    fn make_room(&mut self) -> usize {
        if self.count < PLACES {
            self.count += 1;
            return self.count - 1;
        }
        (0..PLACES).min_by_key(|&k| self.kept[k].heard).unwrap_or(0)
    }
}
