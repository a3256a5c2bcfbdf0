//! Records one source into rings and says when its frames were taken.
//!
//! Signal model: the server takes frames at the source's own clock and hands them over in fragments. The stream's time
//! tells how many frames were taken up to now, those still on their way included; so two captures can be compared at the
//! same moment although their fragments come at different ones. The client library can guess that time between the
//! server's answers; here it is asked for often instead, for a guess is wrong just when a source stumbles.

use super::connection::{Connection, PulseError};
use super::question::Question;
use super::{SAMPLE_BYTES, lost, spec};
use libpulse_binding::channelmap::Map;
use libpulse_binding::def::BufferAttr;
use libpulse_binding::stream::{FlagSet, PeekResult, State, Stream};
use ringbuf::HeapProd;
use ringbuf::traits::Producer as _;
use std::time::{Duration, Instant};

/// A stream that records.
pub struct Capture {
    stream: Stream,
    rate_hz: u32,
    /// Frames handed over before this stream began, by one that was lost.
    before: u64,
    received: u64,
    newest: Option<Instant>,
    opened: Instant,
    asked: Instant,
    question: Question,
    taken: Option<Taken>,
}

/// How many frames a source had taken, and when.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When.
    pub at: Instant,
    /// Frames since the first one handed over, of this stream and those before it.
    pub frames: f64,
}

/// How often the server is asked for the stream's time: at first, and once that is known well.
const ASK_AT_FIRST: Duration = Duration::from_millis(15);
const ASK_LATER: Duration = Duration::from_millis(100);
/// How long «at first» is.
const AT_FIRST: Duration = Duration::from_secs(1);

impl Capture {
    /// Starts to record `source` at `rate_hz`, mono or (`channels` 2) stereo, `fragment_frames` at a time.
    ///
    /// # Errors
    /// The server refuses.
    pub fn open(
        connection: &mut Connection,
        source: &str,
        rate_hz: u32,
        channels: u8,
        fragment_frames: u32,
        before: u64,
    ) -> Result<Self, PulseError> {
        let what = format!("record `{source}`");
        let mut map = Map::default();
        if channels == 1 {
            map.init_mono()
        } else {
            map.init_stereo()
        };
        let refused = |connection: &Connection| PulseError::Refused { what: what.clone(), reason: connection.reason() };
        let stream = Stream::new(&mut connection.context, "microphone", &spec(rate_hz, channels), Some(&map));
        let mut stream = stream.ok_or_else(|| refused(connection))?;
        let attributes = BufferAttr {
            maxlength: u32::MAX,
            tlength: u32::MAX,
            prebuf: u32::MAX,
            minreq: u32::MAX,
            fragsize: fragment_frames * u32::from(channels) * SAMPLE_BYTES as u32,
        };
        let flags = FlagSet::NOT_MONOTONIC | FlagSet::ADJUST_LATENCY | FlagSet::DONT_MOVE;
        stream.connect_record(Some(source), Some(&attributes), flags).map_err(|_| refused(connection))?;
        let (opened, asked, question) = (Instant::now(), Instant::now(), Question::default());
        Ok(Self { stream, rate_hz, before, received: 0, newest: None, opened, asked, question, taken: None })
    }

    /// Whether the source is gone.
    pub fn lost(&self) -> bool {
        lost(&self.stream)
    }

    /// Frames handed over so far, by this stream and those before it.
    pub fn received(&self) -> u64 {
        self.before + self.received
    }

    /// When the newest frame came.
    pub fn newest(&self) -> Option<Instant> {
        self.newest
    }

    /// The newest answer about what the source has taken, once.
    pub fn take_taken(&mut self) -> Option<Taken> {
        self.taken.take()
    }

    /// Takes the server's answer about the stream's time, and asks again when that is due.
    fn ask(&mut self) {
        if self.question.answered()
            && self.received > 0
            && let Ok(Some(time)) = self.stream.get_time()
        {
            let frames = self.before as f64 + time.0 as f64 * 1e-6 * f64::from(self.rate_hz);
            self.taken = Some(Taken { at: Instant::now(), frames });
        }
        let interval = if self.opened.elapsed() < AT_FIRST { ASK_AT_FIRST } else { ASK_LATER };
        if self.asked.elapsed() >= interval {
            self.asked = Instant::now();
            self.question.ask(&mut self.stream);
        }
    }

    /// Moves what has come into `rings`: one ring, or one for each of two channels. Frames for which a ring has no room
    /// are lost; their count is given back.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn pull(&mut self, rings: &mut [HeapProd<f32>]) -> Result<u64, PulseError> {
        let mut dropped = 0;
        if self.stream.get_state() != State::Ready {
            return Ok(0);
        }
        self.ask();
        let failed = |e: libpulse_binding::error::PAErr| PulseError::Lost(e.to_string().unwrap_or_default());
        loop {
            let frame_bytes = SAMPLE_BYTES * rings.len();
            let frames = match self.stream.peek().map_err(failed)? {
                PeekResult::Empty => return Ok(dropped),
                PeekResult::Hole(bytes) => {
                    let frames = bytes / frame_bytes;
                    for ring in &mut *rings {
                        ring.push_iter(std::iter::repeat_n(0.0, frames));
                    }
                    frames
                }
                PeekResult::Data(bytes) => {
                    for (channel, ring) in rings.iter_mut().enumerate() {
                        let samples = bytes
                            .as_chunks::<SAMPLE_BYTES>()
                            .0
                            .iter()
                            .skip(channel)
                            .step_by(frame_bytes / SAMPLE_BYTES);
                        let pushed = ring.push_iter(samples.map(|b| f32::from_ne_bytes(*b)));
                        dropped += (bytes.len() / frame_bytes - pushed) as u64;
                    }
                    bytes.len() / frame_bytes
                }
            };
            self.stream.discard().map_err(failed)?;
            self.received += frames as u64;
            self.newest = Some(Instant::now());
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        let _ = self.stream.disconnect();
    }
}
