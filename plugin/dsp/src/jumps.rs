//! Has the sound moved? Decides from the peaks of the sums.
//!
//! Places where the sound was before need the least evidence (a talker's earlier position): every single observation is
//! asked whether it fits one of them better than the present place, and what it says is added up (cumulative sums, after
//! Page, 1954). Then come the short sum, the middle one once the sound at the lag tracked is gone, the long one, and the
//! correlator for what is farther off.

use crate::correlate::Peak;
use crate::measure::Peaks;

/// Why a jump is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A place where the sound was before.
    Known,
    /// The short sum.
    Short,
    /// The sound at the lag tracked is gone.
    Gone,
    /// The long sum.
    Long,
    /// The correlator.
    Far,
}

/// A jump of the lag.
#[derive(Clone, Copy, Debug)]
pub struct Jump {
    /// By how much, us.
    pub shift_us: f64,
    /// Polarity at the new place.
    pub sign: f32,
    /// Why.
    pub reason: Reason,
}

/// A proposal must come back at the same place before it counts.
#[derive(Clone, Copy, Debug, Default)]
struct Repeated {
    times: u32,
    at_us: f64,
}

impl Repeated {
    /// Counts a proposal at `at_us`; says how often in a row it stood there (within `within_us`).
    fn again(&mut self, at_us: f64, within_us: f64) -> u32 {
        self.times = if self.times > 0 && (self.at_us - at_us).abs() < within_us { self.times + 1 } else { 1 };
        self.at_us = at_us;
        self.times
    }

    fn clear(&mut self) {
        self.times = 0;
    }
}

/// Places remembered.
const REMEMBERED: usize = 6;
/// A remembered place nearer than this is the present one, us.
const SAME_PLACE_US: f64 = 150.0;

/// Evidence for an earlier place at which it is taken, and what each observation has to bring beyond that for the present
/// one, in standard deviations of one observation.
const RETURN_EVIDENCE: f32 = 11.0;
const RETURN_ALLOWANCE: f32 = 0.5;
/// From this height on the sound seems to be where it was, standard deviations, and speaks so much more against a move: a
/// strong reflection stands beside the direct sound, but a talker who has gone leaves nothing.
const STILL_HERE: f32 = 2.0;
const STILL_HERE_WEIGHT: f32 = 1.0;
/// No single observation counts for more.
const MOST_EVIDENCE: f32 = 5.0;

/// A place where the sound was before.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    /// Its lag against the present one, us.
    at_us: f64,
    /// Evidence that the sound comes from there again.
    evidence: f32,
}

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    /// Earlier places, the one left last at the end.
    places: [Known; REMEMBERED],
    known_places: usize,
    short: Repeated,
    long: Repeated,
    far: Repeated,
    gone: u32,
}

impl Watch {
    /// Whether the sound has been elsewhere before.
    pub fn knows_places(&self) -> bool {
        self.known_places > 0
    }

    /// Looks at a single observation; `height_about(us)` gives its height about a lag, of the polarity in use (`sign`), where
    /// that is inside the range.
    pub fn observe(&mut self, sign: f32, height_about: impl Fn(f64) -> Option<f32>) -> Option<Jump> {
        let here = height_about(0.0)?;
        let mut best: Option<Known> = None;
        for place in &mut self.places[..self.known_places] {
            let Some(there) = height_about(place.at_us) else { continue };
            let still_here = STILL_HERE_WEIGHT * (here - STILL_HERE).max(0.0);
            let brought = (there - here - still_here - RETURN_ALLOWANCE).min(MOST_EVIDENCE);
            place.evidence = (place.evidence + brought).max(0.0);
            if place.evidence > best.map_or(RETURN_EVIDENCE, |b| b.evidence) {
                best = Some(*place);
            }
        }
        best.map(|place| Jump { shift_us: place.at_us, sign, reason: Reason::Known })
    }

    /// Looks at the short sum.
    pub fn short(&mut self, p: &Peaks) -> Option<Jump> {
        self.gone = if p.here < 3.2 { self.gone + 1 } else { 0 };
        if p.elsewhere > 6.0 && p.elsewhere > 1.4 * p.here {
            let clear = p.elsewhere > 9.0 && p.elsewhere > 1.6 * p.here;
            if self.short.again(p.shift_us, 200.0) >= if clear { 2 } else { 4 } {
                return Some(Jump { shift_us: p.shift_us, sign: p.sign, reason: Reason::Short });
            }
        } else {
            self.short.clear();
        }
        None
    }

    /// Whether the sound at the lag tracked has been missing for a while.
    pub fn is_gone(&self) -> bool {
        self.gone >= 6
    }

    /// Looks at the middle sum; asked once the sound is gone.
    pub fn middle(p: &Peaks) -> Option<Jump> {
        (p.elsewhere > 6.0 && p.elsewhere > 1.3 * p.here).then_some(Jump {
            shift_us: p.shift_us,
            sign: p.sign,
            reason: Reason::Gone,
        })
    }

    /// Looks at the long sum.
    pub fn long(&mut self, p: &Peaks) -> Option<Jump> {
        if p.elsewhere > 6.0 && p.elsewhere > 1.15 * p.here && p.shift_us.abs() < 20_000.0 {
            if self.long.again(p.shift_us, 200.0) >= 8 {
                return Some(Jump { shift_us: p.shift_us, sign: p.sign, reason: Reason::Long });
            }
        } else {
            self.long.clear();
        }
        None
    }

    /// Looks at the correlator: `here` is its height at the lag tracked, `shift_us` from there to the other peak.
    pub fn far(&mut self, here: f32, elsewhere: &Peak, shift_us: f64, trusted: bool) -> Option<Jump> {
        let (least, ratio) = if trusted { (7.5, 1.5) } else { (6.0, 1.12) };
        if elsewhere.z > least && elsewhere.z > ratio * here {
            if self.far.again(shift_us, 400.0) >= 4 {
                return Some(Jump { shift_us, sign: elsewhere.sign, reason: Reason::Far });
            }
        } else {
            self.far.clear();
        }
        None
    }

    /// A jump has been made: remembers the place left.
    pub fn jumped(&mut self, shift_us: f64) {
        let mut kept = [Known::default(); REMEMBERED + 1];
        let mut n = 0;
        for place in self.places[..self.known_places].iter().chain([&Known::default()]) {
            let at_us = place.at_us - shift_us;
            if at_us.abs() > SAME_PLACE_US {
                kept[n] = Known { at_us, evidence: 0.0 };
                n += 1;
            }
        }
        let first = n.saturating_sub(REMEMBERED);
        *self = Self::default();
        self.known_places = n - first;
        self.places[..n - first].copy_from_slice(&kept[first..n]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Observations, 32 ms apart, until the earlier place is taken that lies 8 ms before the present one.
    fn observations_until_return(here: f32, there: f32) -> Option<usize> {
        let mut watch = Watch::default();
        watch.jumped(8000.0);
        let height = |us: f64| Some(if us == 0.0 { here } else { there });
        (1..=1000).find(|_| watch.observe(1.0, height).is_some_and(|jump| jump.shift_us == -8000.0))
    }

    #[test]
    fn a_talker_back_at_an_earlier_place_is_found_within_0_2_s() {
        assert!(observations_until_return(1.3, 4.5).is_some_and(|n| n <= 6));
    }

    #[test]
    fn a_reflection_as_high_as_the_direct_sound_beside_it_is_no_move() {
        assert_eq!(observations_until_return(4.0, 4.5), None);
        assert_eq!(observations_until_return(1.3, 1.3), None);
    }
}
