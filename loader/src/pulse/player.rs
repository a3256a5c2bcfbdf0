//! Plays the merged sound into the null sink, and keeps what waits there from growing or running out.
//!
//! Problem: the merged sound has microphone A's clock, the sink another (a timer of the server's). What waits between
//! them grows or shrinks with the difference. The server resamples the stream; its rate is moved by a few hertz so that
//! what waits stays near its target. That changes the speed of the merged sound by some parts in 100 000 and touches
//! neither microphone against the other. A surplus that no few hertz can mend (after a stall) is thrown away at once. At the
//! start what is too much is thrown away and what is too little is filled up with silence, but the longer it has played, the
//! more is left to the rate, for somebody may be recording.

use super::connection::{Connection, PulseError};
use super::question::Question;
use super::{SAMPLE_BYTES, lost, spec};
use crate::plan::RUN_PROPERTY;
use libpulse_binding::def::BufferAttr;
use libpulse_binding::error::PAErr;
use libpulse_binding::proplist::Proplist;
use libpulse_binding::stream::{FlagSet, SeekMode, State, Stream};
use libpulse_binding::volume::{ChannelVolumes, Volume};
use ringbuf::HeapCons;
use ringbuf::traits::{Consumer as _, Observer as _};
use std::time::{Duration, Instant};

/// How often the server is asked how much waits, on average: sound comes in fragments and goes in blocks of 10 ms or more,
/// and the answers have to fall on all parts of both. So the time between two questions is up to a half shorter or longer.
const ASK: Duration = Duration::from_millis(25);
/// Multiples of it, less their whole parts, fill the range from 0 to 1 evenly however many there are.
const GOLDEN: f64 = 0.618_033_988_749_895;
/// What waits is the mean of so many answers.
const ANSWERS: u32 = 40;
/// Weight of a new mean in the smoothed one.
const NEW_MEAN: f64 = 0.25;
/// Share by which the rate is moved for each second that too much waits: 1 ms gives 100 ppm.
const RATE_PER_S: f64 = 0.1;
/// And for each second that this lasts, so that the difference of the clocks is made up for with nothing off: the largest
/// without overshoot, a quarter of the square. Clocks 300 ppm apart are 2 ms off at worst, after 20 s.
const HELD_PER_S2: f64 = RATE_PER_S * RATE_PER_S / 4.0;
/// Largest move of the rate: 0.1 %, which nobody hears.
const RATE_LIMIT: f64 = 0.001;
/// A surplus beyond this, s, is thrown away.
const SURPLUS_LIMIT_S: f64 = 0.03;
/// At the start nothing is left to the rate that is further off than this in one of the first means, s: 30 ms would keep it
/// at its limit for half a minute. After 2 s it is heard: a cut is worse than some seconds at another rate.
const START_LIMITS_S: [f64; 5] = [0.008, 0.008, 0.016, 0.016, 0.016];

/// A stream that plays.
pub struct Player {
    stream: Stream,
    rate_hz: u32,
    target_s: f64,
    asked: Instant,
    ask_after: Duration,
    questions: u32,
    question: Question,
    answers: u32,
    /// Sum of the answers since the last mean, s.
    sum_s: f64,
    means: usize,
    waiting_s: Option<f64>,
    /// Share by which the rate is moved for the difference of the clocks.
    held: f64,
    rate_now_hz: u32,
    /// Frames still to be thrown away.
    surplus_frames: usize,
    /// Frames of silence still to be put in.
    missing_frames: usize,
    bytes: Vec<u8>,
}

impl Player {
    /// Starts to play mono sound at `rate_hz` into `sink`, with about `target_frames` waiting there. The stream carries
    /// the name of the graph, so that another run sees that this one is at work.
    ///
    /// # Errors
    /// The server refuses.
    pub fn open(
        connection: &mut Connection,
        graph: &str,
        sink: &str,
        rate_hz: u32,
        target_frames: u32,
    ) -> Result<Self, PulseError> {
        let what = format!("play into `{sink}`");
        let refused = |connection: &Connection| PulseError::Refused { what: what.clone(), reason: connection.reason() };
        let mut properties = Proplist::new().ok_or_else(|| refused(connection))?;
        properties.set_str(RUN_PROPERTY, graph).map_err(|()| refused(connection))?;
        let spec = spec(rate_hz, 1);
        let stream = Stream::new_with_proplist(&mut connection.context, "merged", &spec, None, &mut properties);
        let mut stream = stream.ok_or_else(|| refused(connection))?;
        let bytes = target_frames * SAMPLE_BYTES as u32;
        let attributes =
            BufferAttr { maxlength: u32::MAX, tlength: bytes, prebuf: bytes, minreq: u32::MAX, fragsize: u32::MAX };
        // Mute and volume that a server remembers of an earlier stream are no wish of anybody's.
        let flags = FlagSet::ADJUST_LATENCY | FlagSet::VARIABLE_RATE | FlagSet::DONT_MOVE | FlagSet::START_UNMUTED;
        let mut volume = ChannelVolumes::default();
        volume.set(1, Volume::NORMAL);
        stream
            .connect_playback(Some(sink), Some(&attributes), flags, Some(&volume), None)
            .map_err(|_| refused(connection))?;
        Ok(Self {
            stream,
            rate_hz,
            target_s: f64::from(target_frames) / f64::from(rate_hz),
            asked: Instant::now(),
            ask_after: ASK,
            questions: 0,
            question: Question::default(),
            answers: 0,
            sum_s: 0.0,
            means: 0,
            waiting_s: None,
            held: 0.0,
            rate_now_hz: rate_hz,
            surplus_frames: 0,
            missing_frames: 0,
            bytes: Vec::new(),
        })
    }

    /// Whether the sink is gone.
    pub fn lost(&self) -> bool {
        lost(&self.stream)
    }

    /// How long a frame waits until it is played, s; None while that is not known.
    pub fn waiting_s(&self) -> Option<f64> {
        self.waiting_s
    }

    /// Stops to play (true), so that the sink may sleep, or goes on. What waits is thrown away: who records next is not to hear
    /// the end of what was there before the rest.
    pub fn rest(&mut self, rest: bool) {
        if self.stream.get_state() != State::Ready {
            return;
        }
        let _ = self.stream.set_corked_state(rest, None);
        if rest {
            let _ = self.stream.flush(None);
        }
        self.begin_anew();
    }

    /// Throws away what waits: it is old, for the program or the machine stood still.
    pub fn restart(&mut self) {
        if self.stream.get_state() == State::Ready {
            let _ = self.stream.flush(None);
        }
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        (self.answers, self.sum_s, self.means, self.waiting_s) = (0, 0.0, 0, None);
        (self.surplus_frames, self.missing_frames) = (0, 0);
    }

    /// Hands the ring's sound to the server and steers the rate.
    ///
    /// # Errors
    /// The server does not take it.
    pub fn push(&mut self, ring: &mut HeapCons<f32>) -> Result<(), PulseError> {
        if self.stream.get_state() != State::Ready {
            ring.clear();
            return Ok(());
        }
        self.ask();
        self.surplus_frames -= ring.skip(self.surplus_frames.min(ring.occupied_len()));
        self.bytes.clear();
        self.bytes.resize(std::mem::take(&mut self.missing_frames) * SAMPLE_BYTES, 0);
        self.bytes.extend(ring.pop_iter().flat_map(f32::to_ne_bytes));
        if self.bytes.is_empty() {
            return Ok(());
        }
        let failed = |e: PAErr| PulseError::Lost(e.to_string().unwrap_or_default());
        self.stream.write_copy(&self.bytes, 0, SeekMode::Relative).map_err(failed)
    }

    /// Asks the server how much waits, and takes its answer.
    fn ask(&mut self) {
        // While a surplus is thrown away, the queue runs down.
        let asked = self.question.answered() && self.surplus_frames == 0;
        let info = if asked { self.stream.get_timing_info() } else { None };
        if let Some(info) = info.filter(|i| i.write_index_corrupt == 0 && i.read_index_corrupt == 0) {
            let queued_bytes = (info.write_index - info.read_index).max(0);
            let queued_s = queued_bytes as f64 / (SAMPLE_BYTES as f64 * f64::from(self.rate_hz));
            // What the sink has taken and not played yet waits as well. One that begins tells more than it has.
            let taken_s = info.sink_usec.min(info.configured_sink_usec).0 as f64 * 1e-6;
            self.sum_s += queued_s + taken_s;
            self.answers += 1;
            if self.answers == ANSWERS {
                self.answers = 0;
                self.steer();
            }
        }
        if self.asked.elapsed() >= self.ask_after {
            self.asked = Instant::now();
            self.questions = self.questions.wrapping_add(1);
            self.ask_after = ASK.mul_f64(0.5 + (f64::from(self.questions) * GOLDEN).fract());
            self.question.ask(&mut self.stream);
        }
    }

    /// Moves the rate so that the target waits.
    fn steer(&mut self) {
        let mean_s = std::mem::take(&mut self.sum_s) / f64::from(ANSWERS);
        let excess_s = mean_s - self.target_s;
        let start_limit_s = START_LIMITS_S.get(self.means).copied();
        self.means = self.means.saturating_add(1);
        let too_little = start_limit_s.is_some_and(|limit_s| excess_s < -limit_s);
        if too_little || excess_s > start_limit_s.unwrap_or(SURPLUS_LIMIT_S) {
            let frames = (excess_s.abs() * f64::from(self.rate_hz)) as usize;
            *(if excess_s > 0.0 { &mut self.surplus_frames } else { &mut self.missing_frames }) = frames;
            self.waiting_s = None;
            tracing::debug!(
                "{:.0} ms too much of merged sound waits (negative: too little), which is mended at once",
                excess_s * 1e3
            );
            return;
        }
        let waiting_s = self.waiting_s.map_or(mean_s, |old_s| old_s + NEW_MEAN * (mean_s - old_s));
        self.waiting_s = Some(waiting_s);
        let surplus_s = waiting_s - self.target_s;
        let held = self.held + HELD_PER_S2 * surplus_s * f64::from(ANSWERS) * ASK.as_secs_f64();
        self.held = held.clamp(-RATE_LIMIT, RATE_LIMIT);
        let change = (self.held + RATE_PER_S * surplus_s).clamp(-RATE_LIMIT, RATE_LIMIT);
        let rate_hz = (f64::from(self.rate_hz) * (1.0 + change)).round() as u32;
        if rate_hz != self.rate_now_hz {
            self.rate_now_hz = rate_hz;
            let _ = self.stream.update_sample_rate(rate_hz, |_| {});
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.stream.disconnect();
    }
}
