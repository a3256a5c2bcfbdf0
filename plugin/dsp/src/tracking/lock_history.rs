//! The last turns of the lag, for sound older than they are.
//!
//! Problem: a turn from one talker to another is known some tenths of a second after it was heard, and what is put out
//! then may be older still: with a long latency it is the talker's before. So what held before each turn is kept, until the
//! sound put out has come to the turn.

use crate::speakers::speaker_change::Voice;
use crate::tracking::lock::Lock;

/// Turns kept; more than two in the longest latency are rare.
const KEPT: usize = 4;

/// What held before a turn.
#[derive(Clone, Copy, Debug)]
struct Turn {
    /// Where in A the sound turned, s.
    place_s: f64,
    lock: Lock,
    voice: Voice,
}

/// The last turns, oldest first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turns {
    kept: [Option<Turn>; KEPT],
}

impl Turns {
    /// What was followed so far ends at `time_s` on B's clock.
    pub fn turn(&mut self, time_s: f64, lock: &Lock, voice: Voice) {
        let place_s = time_s - lock.filter.lag_us(time_s) * 1e-6;
        self.kept.rotate_left(1);
        self.kept[KEPT - 1] = Some(Turn { place_s, lock: *lock, voice });
    }

    /// Lock and voice for the sound that A holds `place_s` after its start, where a turn has come since.
    pub fn before(&self, place_s: f64) -> Option<(&Lock, Voice)> {
        let turn = self.kept.iter().flatten().find(|turn| turn.place_s > place_s)?;
        Some((&turn.lock, turn.voice))
    }

    /// Nothing is followed any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}
