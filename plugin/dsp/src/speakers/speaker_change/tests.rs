//! Talkers with known prints: direct sound, reflections that differ from place to place, and noise.

use super::*;
use std::f32::consts::TAU;

/// Cross spectra as they come: of unit noise in every bin, and of a place's sound.
struct Room {
    band: Band,
    random: u64,
}

impl Room {
    fn new() -> (Self, Talkers) {
        let band = Band::new(16_000.0, 2048, 120.0, 7200.0);
        (Self { band, random: 1 }, Talkers::new(band, 0.032))
    }

    fn turn(random: &mut u64) -> f32 {
        *random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*random >> 40) as f32 / (1 << 24) as f32 * TAU
    }

    /// What is heard of the talker at `place`, whose lag is this against the one tracked: direct sound and reflections, each
    /// of this share against the noise.
    fn hear_at(&mut self, lag_us: f64, place: u64, share: f32) -> Vec<Complex32> {
        let mut own = place;
        let mut sound: Vec<_> = (0..self.band.len)
            .map(|_| Complex32::from_polar(share, Self::turn(&mut own)) + Complex32::new(share, 0.0))
            .collect();
        self.band.rotate(&mut sound, -lag_us);
        for z in &mut sound {
            *z += Complex32::from_polar(1.0, Self::turn(&mut self.random));
        }
        sound
    }

    /// The same at the lag tracked.
    fn hear(&mut self, place: u64, share: f32) -> Vec<Complex32> {
        self.hear_at(0.0, place, share)
    }

    /// Observations of the talker at `place` until something is heard that is not nothing or more of the same.
    fn until(&mut self, talkers: &mut Talkers, lag_us: f64, place: u64) -> Option<(usize, Heard)> {
        (1..=60).find_map(|n| match talkers.hear(&seen(&self.hear_at(lag_us, place, SHARE), 100.0), 0.0, false) {
            Heard::Nothing | Heard::MoreOfTheSame => None,
            heard => Some((n, heard)),
        })
    }
}

/// What is seen of the rooms has no say here.
fn seen(cross: &[Complex32], weight: f32) -> Observation<'_> {
    Observation { cross, difference: &[], weight }
}

fn add(sum: &mut [Complex32], more: &[Complex32]) {
    sum.iter_mut().zip(more).for_each(|(s, z)| *s += z);
}

/// Share of a talker's direct sound and reflections.
const SHARE: f32 = 0.35;
/// What a frame reaches, us.
const REACH_US: f64 = 51_000.0;

/// Two talkers known: the second at the lag tracked, the first 8 ms before.
fn two_known() -> (Room, Talkers) {
    let (mut room, mut talkers) = Room::new();
    talkers.clear();
    assert_eq!(room.until(&mut talkers, 0.0, 1), None);
    talkers.turn_to_new(8000.0, &room.hear(2, SHARE));
    assert_eq!(room.until(&mut talkers, 0.0, 2), None);
    (room, talkers)
}

#[test]
fn a_talker_heard_before_is_known_within_two_observations_at_the_lag_of_old() {
    let (mut room, mut talkers) = two_known();
    let first = talkers.voice().number;
    let heard = (0..2)
        .map(|_| talkers.hear(&seen(&room.hear_at(-8000.0, 1, SHARE), 100.0), 0.0, false))
        .find(|heard| *heard != Heard::Nothing);
    assert_eq!(heard, Some(Heard::Known(1)));
    assert!((talkers.lag_us_of(1) + 8000.0).abs() < 1e-6, "{}", talkers.lag_us_of(1));
    talkers.turn_to(1);
    assert_ne!(talkers.voice().number, first);
    assert!((talkers.lag_us_of(1) - 8000.0).abs() < 1e-6, "{}", talkers.lag_us_of(1));
    assert_eq!(room.until(&mut talkers, 0.0, 1), None);
}

#[test]
fn a_stranger_is_told_within_0_5_s_and_the_print_of_the_one_before_stays_clean() {
    let (mut room, mut talkers) = two_known();
    let before = talkers.print().likeness(&room.hear(2, SHARE));
    let (n, heard) = room.until(&mut talkers, 3000.0, 3).expect("somebody is heard");
    assert_eq!(heard, Heard::Stranger);
    assert!(n <= 16, "{n} observations of 32 ms");
    let after = talkers.print().likeness(&room.hear(2, SHARE));
    assert!(after > 0.9 * before, "{before} {after}");
    assert!(talkers.stranger.likeness(&room.hear_at(3000.0, 3, SHARE)) > TELLING_LIKENESS);
}

#[test]
fn noise_is_nobody_and_weak_sound_of_the_same_talker_is_no_stranger() {
    let (mut room, mut talkers) = two_known();
    // A fifth of the talker's share, with a fifth of the weight.
    let weak = (0..200)
        .filter(|_| talkers.hear(&seen(&room.hear(2, 0.2 * SHARE), 20.0), 0.0, false) == Heard::Stranger)
        .count();
    assert_eq!(weak, 0);
    let known = (0..200)
        .filter(|_| matches!(talkers.hear(&seen(&room.hear(9, 0.0), 5.0), 0.0, false), Heard::Known(_)))
        .count();
    assert_eq!(known, 0);
}

#[test]
fn a_talker_heard_otherwise_than_before_is_learnt_within_20_s() {
    let (mut room, mut talkers) = two_known();
    // Nobody looks for the lag: the stranger's does not show.
    let strange = (0..600)
        .filter(|_| talkers.hear(&seen(&room.hear_at(3000.0, 3, SHARE), 100.0), 0.0, false) == Heard::Stranger)
        .count();
    assert!(strange > 0);
    assert!(talkers.print().likeness(&room.hear_at(3000.0, 3, SHARE)) > TELLING_LIKENESS);
}

#[test]
fn a_proposal_is_told_by_whose_sound_it_is() {
    let (mut room, mut talkers) = two_known();
    for (place, lag_us, whose) in [(1, -8000.0, Whose::Known(1)), (2, 0.0, Whose::Same), (3, 3000.0, Whose::New)] {
        let mut sum = room.hear_at(lag_us, place, SHARE);
        (0..7).for_each(|_| add(&mut sum, &room.hear_at(lag_us, place, SHARE)));
        assert_eq!(talkers.whose(lag_us, 1.0, &sum, REACH_US), Some(whose), "{place}");
        assert_eq!(talkers.whose(lag_us + 5000.0, 1.0, &sum, REACH_US), None, "nothing is there of {place}");
    }
    // Beyond the reach of a frame: the talker is still heard, or not.
    let far_us = 450_000.0;
    let mut sum = room.hear(2, SHARE);
    (0..7).for_each(|_| add(&mut sum, &room.hear(2, SHARE)));
    assert_eq!(talkers.whose(far_us, 1.0, &sum, REACH_US), Some(Whose::Same));
    assert_eq!(talkers.whose(far_us, 1.0, &room.hear(2, 0.0), REACH_US), Some(Whose::New));
    assert_eq!(talkers.whose(far_us, 1.0, &vec![Complex32::default(); sum.len()], REACH_US), None);
    talkers.realign(4000.0);
    assert!(talkers.voice().realigned);
    assert!((talkers.lag_us_of(1) + 12_000.0).abs() < 1e-6, "{}", talkers.lag_us_of(1));
}

#[test]
fn of_more_talkers_than_are_remembered_the_one_not_heard_for_longest_is_forgotten() {
    let (mut room, mut talkers) = Room::new();
    talkers.clear();
    for place in 1..=8 {
        if place > 1 {
            talkers.turn_to_new(1000.0, &room.hear(place, SHARE));
        }
        assert_eq!(room.until(&mut talkers, 0.0, place), None, "{place}");
    }
    // Each stands 1 ms before the next.
    let knows = |room: &mut Room, talkers: &mut Talkers, place: u64| {
        let lag_us = -1000.0 * (8 - place) as f64;
        (0..2).any(|_| {
            matches!(talkers.hear(&seen(&room.hear_at(lag_us, place, SHARE), 100.0), 0.0, false), Heard::Known(_))
        })
    };
    assert!(!knows(&mut room, &mut talkers, 1));
    assert!(knows(&mut room, &mut talkers, 2));
}
