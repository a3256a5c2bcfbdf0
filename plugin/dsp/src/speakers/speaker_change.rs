//! Who speaks? Tells talkers apart by what the pair hears of each.
//!
//! Problem: talkers at different places have different lags, and weights. In a room no single peak of the correlation tells
//! them apart quickly, for reflections stand beside the direct sound. But all of the correlation over lag, reflections
//! included, is each place's own: the cross spectrum of the two room responses. Its average is kept for every talker (a
//! print), and each observation is compared with all of them (matched filter, in the frequency domain: no transform).
//! One observation of 128 ms is enough to know a talker again; sound that fits no print is a stranger's, and is summed up on its
//! own until its lag shows.

use crate::analysis::cross_spectrum::Observation;
use crate::analysis::delay_estimate::energy;
use crate::analysis::spectrum::Band;
use crate::speakers::signature::Print;
use realfft::num_complex::Complex32;

/// Talkers remembered besides the one who speaks; the one not heard for longest makes room.
const REMEMBERED: usize = 6;
/// Memory of a print, s of sound.
const PRINT_MEMORY_S: f64 = 6.0;
/// What was heard within this many observations (1 to 2 s) is not in the print yet: it may be somebody else's.
const HELD_BACK: u32 = 32;
/// A print of fewer observations (2 s) is young: it learns at once, and says nothing of strangers.
const YOUNG: u32 = 64;
/// Evidence for another talker at which the change is believed, and what an observation has to bring beyond that for the
/// present one, in standard deviations of one observation.
const CHANGE_EVIDENCE: f32 = 5.0;
const CHANGE_ALLOWANCE: f32 = 1.0;
/// From this likeness on the present talker seems to speak still, which speaks so much more against a change.
const STILL_HERE: f32 = 2.0;
/// Another talker is not heard where the likeness is no more than this.
const LEAST_LIKENESS: f32 = 2.0;
/// No single observation counts for more.
const MOST_EVIDENCE: f32 = 8.0;
/// Likeness from which on the short sums are a talker's: standard deviations, and share of their highest peak.
const ALIKE: (f32, f32) = (5.0, 0.7);
/// Least height of a proposed peak in the sum it is judged by.
const LEAST_HEIGHT: f32 = 2.0;
/// Sound is strange below this share of the usual likeness, which has to be at least this high to tell.
const STRANGE_SHARE: f32 = 0.4;
const TELLING_LIKENESS: f32 = 4.0;
/// No observation makes a stranger more or less likely than by this.
const MOST_STRANGENESS: f32 = 3.0;
/// Strangeness, in all and for each observation, and the number of these, at which a stranger's lag is looked for.
const STRANGER: (f32, f32, u32) = (15.0, 1.5, 8);
/// A stranger whose lag has not shown after this many observations (10 s of sound) is taken for the present talker, who is heard otherwise
/// than before: by half as clearly, say.
const GIVE_UP: u32 = 320;
/// Speed at which the usual likeness and weight are learnt, from one observation to the next: young and old.
const USUAL_SPEED: (f32, f32) = (0.05, 0.02);
/// A stranger's print counts for at most this many observations.
const STRANGERS_AGE: u32 = 40;
/// Observations from one look for the direct sound to the next while a print is young, and before the first.
const LOOK_EVERY: u32 = 8;
const FIRST_LOOK: u32 = 24;

/// What is known of a talker.
struct Talker {
    /// Tells talkers apart, and what was learnt at one lag of a talker from what was learnt at another.
    number: u32,
    /// The lag against the one tracked, us.
    at_us: f64,
    /// Evidence that this one speaks, and the time up to which there was none, s.
    evidence: f32,
    silent_until_s: f64,
    /// Observations heard.
    heard: u32,
    /// By how much the microphones differ in reverberation: see [`crate::speakers::direct_path`].
    nearness: f32,
    /// The lag was wrong before.
    realigned: bool,
    print: Print,
}

/// Who speaks, for the stages that weigh the microphones.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Voice {
    /// A number for every talker; another one where the talker's lag was wrong until now.
    pub number: u32,
    /// It was wrong: what was learnt at it is to be forgotten.
    pub realigned: bool,
    /// Natural logarithm of the ratio of the correlation's tails (powers): above 0 A has more reverberation against its direct sound, and the
    /// talker is nearer to B. 0 where it is not known.
    pub nearness: f32,
}

/// Whose sound is at a lag that was proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The present talker's: a reflection, or the direct sound.
    Same,
    /// That of a talker heard before.
    Known(usize),
    /// Somebody's not heard before; or the streams have moved.
    New,
}

/// What an observation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Nothing new.
    Nothing,
    /// A talker heard before speaks.
    Known(usize),
    /// Somebody not heard before: time to look for the lag.
    Stranger,
    /// Enough more of the same talker to look for the direct sound.
    MoreOfTheSame,
}

/// All talkers heard of late.
pub struct Talkers {
    band: Band,
    /// The one who speaks first, then the others, the one not heard for longest first.
    known: Vec<Talker>,
    count: usize,
    last_number: u32,
    decay: f32,
    /// What is held back, newest first, and the observations in the newest.
    held_back: [Print; 2],
    held_count: u32,
    stranger: Print,
    stranger_count: u32,
    strangeness: f32,
    familiar_until_s: f64,
    usual_likeness: f32,
    usual_weight: f32,
}

impl Talkers {
    /// For observations of `band`, every `hop_s`.
    pub fn new(band: Band, hop_s: f64) -> Self {
        let nobody = || Talker {
            number: 0,
            at_us: 0.0,
            evidence: 0.0,
            silent_until_s: 0.0,
            heard: 0,
            nearness: 0.0,
            realigned: false,
            print: Print::new(band),
        };
        Self {
            band,
            known: (0..=REMEMBERED).map(|_| nobody()).collect(),
            count: 1,
            last_number: 0,
            decay: (-hop_s / PRINT_MEMORY_S * f64::from(HELD_BACK)).exp() as f32,
            held_back: [Print::new(band), Print::new(band)],
            held_count: 0,
            stranger: Print::new(band),
            stranger_count: 0,
            strangeness: 0.0,
            familiar_until_s: 0.0,
            usual_likeness: 0.0,
            usual_weight: 0.0,
        }
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.count = 1;
        self.begin_new();
    }

    /// Who speaks.
    pub fn voice(&self) -> Voice {
        let Talker { number, nearness, realigned, .. } = self.known[0];
        Voice { number, realigned, nearness }
    }

    /// The print of the one who speaks.
    pub fn print(&self) -> &Print {
        &self.known[0].print
    }

    /// What fits no print.
    pub fn stranger(&self) -> &[Complex32] {
        &self.stranger.cross
    }

    /// Whether enough was heard of the one who speaks to look for the direct sound.
    pub fn is_looked_at(&self) -> bool {
        self.known[0].heard >= FIRST_LOOK
    }

    fn is_young(&self) -> bool {
        self.known[0].heard < YOUNG
    }

    /// Sets the talker's [`Voice::nearness`].
    pub fn set_nearness(&mut self, nearness: f32) {
        self.known[0].nearness = nearness;
    }

    /// A known talker's lag against the one tracked, us.
    pub fn lag_us_of(&self, known: usize) -> f64 {
        self.known[known].at_us
    }

    /// When a talker heard before began to speak, who is believed to speak now, s.
    pub fn began_s(&self, known: usize) -> f64 {
        self.known[known].silent_until_s
    }

    /// Until when the sound fitted the print, s.
    pub fn familiar_until_s(&self) -> f64 {
        self.familiar_until_s
    }

    /// Takes the observation of `time_s`; in one that was heard before the lock (`behind`) nobody else speaks.
    pub fn hear(&mut self, heard: &Observation, time_s: f64, behind: bool) -> Heard {
        let here = self.known[0].print.likeness(heard.cross);
        if !behind && let Some(known) = self.find_known(heard.cross, here, time_s) {
            return Heard::Known(known);
        }
        let said = if self.is_young() { self.learn_young(heard, here) } else { self.learn(heard, here) };
        if self.strangeness == 0.0 {
            self.familiar_until_s = time_s;
        }
        said
    }

    fn find_known(&mut self, cross: &[Complex32], here: f32, time_s: f64) -> Option<usize> {
        let mut best = (CHANGE_EVIDENCE, None);
        let against = here.max(0.0) + (here - STILL_HERE).max(0.0) + CHANGE_ALLOWANCE;
        for (k, talker) in self.known[..self.count].iter_mut().enumerate().skip(1) {
            let there = talker.print.likeness(cross);
            let for_it = if there > LEAST_LIKENESS { there } else { 0.0 };
            talker.evidence = (talker.evidence + (for_it - against).min(MOST_EVIDENCE)).max(0.0);
            if talker.evidence == 0.0 {
                talker.silent_until_s = time_s;
            }
            if talker.evidence > best.0 {
                best = (talker.evidence, Some(k));
            }
        }
        best.1
    }

    fn learn_young(&mut self, heard: &Observation, here: f32) -> Heard {
        let weight = heard.weight;
        let talker = &mut self.known[0];
        talker.print.hear(heard);
        talker.heard += 1;
        // The first few tell nothing of what is usual.
        let known = talker.heard >= LOOK_EVERY;
        self.usual_likeness =
            if known { self.usual_likeness + USUAL_SPEED.0 * (here - self.usual_likeness) } else { 0.0 };
        self.usual_weight =
            if known { self.usual_weight + USUAL_SPEED.0 * (weight - self.usual_weight) } else { weight };
        let look = talker.heard.is_multiple_of(LOOK_EVERY);
        if look { Heard::MoreOfTheSame } else { Heard::Nothing }
    }

    fn learn(&mut self, heard: &Observation, here: f32) -> Heard {
        let weight = heard.weight;
        // Weak sound is less like anything.
        let strength = (weight / self.usual_weight.max(1e-9)).min(1.0).sqrt();
        let missing =
            (STRANGE_SHARE * self.usual_likeness * strength - here).clamp(-MOST_STRANGENESS, MOST_STRANGENESS);
        let telling = self.usual_likeness > TELLING_LIKENESS;
        self.strangeness = if telling { (self.strangeness + strength * missing).max(0.0) } else { 0.0 };
        if self.strangeness > 0.0 {
            self.stranger.hear(heard);
            self.stranger_count += 1;
            if self.stranger_count >= GIVE_UP {
                self.adopt_stranger();
                self.usual_likeness *= 0.5;
                return Heard::Nothing;
            }
            let (least, each, count) = STRANGER;
            let strange = self.strangeness > least.max(each * self.stranger_count as f32);
            let look = self.stranger_count >= count && self.stranger_count.is_multiple_of(4);
            return if strange && look { Heard::Stranger } else { Heard::Nothing };
        }
        self.forget_stranger();
        self.usual_likeness += USUAL_SPEED.1 * (here - self.usual_likeness);
        self.usual_weight += USUAL_SPEED.1 * (weight - self.usual_weight);
        self.known[0].heard = self.known[0].heard.saturating_add(1);
        self.held_back[0].hear(heard);
        self.held_count += 1;
        if self.held_count < HELD_BACK {
            return Heard::Nothing;
        }
        self.keep_older();
        self.held_back.swap(0, 1);
        self.held_back[0].clear();
        self.held_count = 0;
        Heard::MoreOfTheSame
    }

    /// What was heard more than a second ago goes into the print.
    fn keep_older(&mut self) {
        self.known[0].print.fade(self.decay, &self.held_back[1]);
    }

    fn forget_stranger(&mut self) {
        if self.stranger_count > 0 {
            self.stranger.clear();
        }
        self.stranger_count = 0;
        self.strangeness = 0.0;
    }

    fn forget_held_back(&mut self) {
        self.held_back.iter_mut().for_each(Print::clear);
        self.held_count = 0;
    }

    /// Says whose sound of polarity `sign` is at a lag `shift_us` from the one tracked, by a sum of cross spectra of late; None where
    /// that holds nothing there. What is farther off than `reach_us` is not in the sum at all: it only tells whether a talker is still
    /// heard where one was.
    pub fn whose(&self, shift_us: f64, sign: f32, sum: &[Complex32], reach_us: f64) -> Option<Whose> {
        let energy = energy(sum);
        if energy <= 0.0 {
            return None;
        }
        let mut height = 0.0;
        if shift_us.abs() < reach_us {
            self.band.phasors(shift_us, |k, p| height += (sum[k] * p).re);
            height *= sign / (0.5 * energy).sqrt();
            if height < LEAST_HEIGHT {
                return None;
            }
        }
        let alike = |talker: &Talker| talker.print.likeness(sum);
        let (most, best) = self.known[..self.count]
            .iter()
            .map(alike)
            .zip(0..)
            .fold((f32::MIN, 0), |best, next| if next.0 > best.0 { next } else { best });
        Some(match best {
            _ if most < ALIKE.0.max(ALIKE.1 * height) => Whose::New,
            0 => Whose::Same,
            known => Whose::Known(known),
        })
    }

    /// The lag tracked has been moved by `shift_us`.
    pub fn rotate(&mut self, shift_us: f64) {
        let Self { band, known, count, held_back: [new, old], stranger, .. } = self;
        let known = &mut known[..*count];
        band.phasors(shift_us, |k, p| {
            for talker in known.iter_mut() {
                talker.print.cross[k] *= p;
            }
            new.cross[k] *= p;
            old.cross[k] *= p;
            stranger.cross[k] *= p;
        });
        for talker in &mut known[1..] {
            talker.at_us -= shift_us;
        }
    }

    /// The stranger turns out to be the present talker, whose print has changed.
    pub fn adopt_stranger(&mut self) {
        self.known[0].print.fade(1.0, &self.stranger);
        self.forget_stranger();
    }

    /// Another lag of the same talker is tracked, `shift_us` from the one before: the direct sound.
    pub fn realign(&mut self, shift_us: f64) {
        self.rotate(shift_us);
        self.last_number += 1;
        self.known[0].number = self.last_number;
        self.known[0].realigned = true;
        self.forget_evidence();
    }

    /// A talker heard before speaks, at whose lag the sound is tracked from now on.
    pub fn turn_to(&mut self, known: usize) {
        let shift_us = self.known[known].at_us;
        if !self.is_young() {
            self.keep_older();
        }
        self.forget_held_back();
        self.forget_stranger();
        self.rotate(shift_us);
        self.known[0].at_us = -shift_us;
        self.known[..self.count].swap(0, known);
        self.known[known..self.count].rotate_left(1);
        self.known[0].at_us = 0.0;
        self.forget_evidence();
    }

    /// Somebody not heard before speaks, `shift_us` from the lag tracked; `sum` is what was heard of late.
    pub fn turn_to_new(&mut self, shift_us: f64, sum: &[Complex32]) {
        self.rotate(shift_us);
        if self.known[0].heard > LOOK_EVERY {
            self.known[0].at_us = -shift_us;
            // Where there is no room, the first of the others is taken, not heard for longest.
            let place = if self.count <= REMEMBERED { self.count } else { 1 };
            self.count = self.count.max(place + 1);
            self.known.swap(0, place);
            self.known[place..self.count].rotate_left(1);
        }
        let heard = self.stranger_count;
        let long = heard >= STRANGER.2;
        let print = &mut self.known[0].print;
        if long {
            print.copy_from(&self.stranger);
        } else {
            print.clear();
            print.cross.copy_from_slice(sum);
        }
        self.begin_numbered();
        self.known[0].heard = if long { heard.min(STRANGERS_AGE) } else { 0 };
    }

    fn begin_new(&mut self) {
        self.known[0].print.clear();
        self.begin_numbered();
    }

    fn begin_numbered(&mut self) {
        self.last_number += 1;
        let talker = &mut self.known[0];
        (talker.number, talker.at_us, talker.heard) = (self.last_number, 0.0, 0);
        (talker.nearness, talker.realigned) = (0.0, false);
        self.usual_likeness = 0.0;
        self.usual_weight = 0.0;
        self.forget_held_back();
        self.forget_stranger();
        self.forget_evidence();
    }

    fn forget_evidence(&mut self) {
        self.known.iter_mut().for_each(|talker| talker.evidence = 0.0);
    }
}

#[cfg(test)]
mod tests;
