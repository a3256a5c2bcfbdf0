//! Has the sound moved? Decides from the peaks of the sums.
//!
//! Talkers heard before are known by their prints, and strangers by theirs being missing (`talkers`): what is left here are
//! the short sum, the middle one once the sound at the lag tracked is gone, the long one, and the correlator for what is
//! farther off.

use crate::acquisition::gcc_search::Peak;
use crate::analysis::delay_estimate::Peaks;

/// Why a jump is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// A talker heard before, known by the print.
    Known,
    /// Somebody not heard before: sound that fits no print.
    Stranger,
    /// The direct sound, found beside a reflection.
    Direct,
    /// The lag tracked was that of a side lobe of the other polarity.
    Polarity,
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

/// The direct sound is believed elsewhere where it was found so often in a row, within this, us.
const DIRECT_TIMES: u32 = 2;
const DIRECT_WITHIN_US: f64 = 200.0;
/// The other polarity is believed where it was the higher one in so many looks in a row.
const POLARITY_TIMES: u32 = 2;

/// What was seen so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    direct: Repeated,
    other_polarity: u32,
    short: Repeated,
    long: Repeated,
    far: Repeated,
    gone: u32,
}

impl Watch {
    /// Takes a look for the direct sound: where it is, us from the lag tracked, or None where it is tracked. Says whether it is
    /// believed to be elsewhere.
    pub fn direct(&mut self, shift_us: Option<f64>) -> bool {
        let Some(shift_us) = shift_us else {
            self.direct.clear();
            return false;
        };
        self.direct.again(shift_us, DIRECT_WITHIN_US) >= DIRECT_TIMES
    }

    /// Takes a look at the polarity, and says whether the `other` one is believed.
    pub fn polarity(&mut self, other: bool) -> bool {
        self.other_polarity = if other { self.other_polarity + 1 } else { 0 };
        self.other_polarity >= POLARITY_TIMES
    }

    /// Looks at the short sum.
    pub fn short(&mut self, p: &Peaks) -> Option<Jump> {
        self.gone = if p.here < 3.2 { self.gone + 1 } else { 0 };
        if p.elsewhere > 6.0 && p.elsewhere > 1.4 * p.here {
            let clear = p.elsewhere > 9.0 && p.elsewhere > 1.6 * p.here;
            if self.short.again(p.shift_us, 200.0) >= if clear { 2 } else { 4 } {
                return Some(Jump { shift_us: p.shift_us, reason: Reason::Short });
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
        (p.elsewhere > 6.0 && p.elsewhere > 1.3 * p.here).then_some(Jump { shift_us: p.shift_us, reason: Reason::Gone })
    }

    /// Looks at the long sum.
    pub fn long(&mut self, p: &Peaks) -> Option<Jump> {
        if p.elsewhere > 6.0 && p.elsewhere > 1.15 * p.here && p.shift_us.abs() < 20_000.0 {
            if self.long.again(p.shift_us, 200.0) >= 8 {
                return Some(Jump { shift_us: p.shift_us, reason: Reason::Long });
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
            if self.far.again(shift_us, 400.0) >= 7 {
                return Some(Jump { shift_us, reason: Reason::Far });
            }
        } else {
            self.far.clear();
        }
        None
    }
}
