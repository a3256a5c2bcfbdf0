//! Records one source into rings and says when its frames were taken.
//!
//! Signal model: the server takes frames at the source's own clock and hands them over in fragments. The stream's time
//! tells how many frames were taken up to now, those still on their way included; so two captures can be compared at the
//! same moment although their fragments come at different ones. The client library can guess that time between the
//! server's answers; here it is asked for often instead, for a guess is wrong just when a source stumbles.

use super::channels::Picker;
use super::connection::{Connection, PulseError};
use super::question::Question;
use super::{SAMPLE_BYTES, lost, spec};
use libpulse_binding::channelmap::Map;
use libpulse_binding::def::BufferAttr;
use libpulse_binding::stream::{FlagSet, PeekResult, State, Stream};
use ringbuf::HeapProd;
use ringbuf::traits::Producer as _;
use std::time::{Duration, Instant};

/// What is recorded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Input {
    /// The source.
    pub source: String,
    /// Its channels, as the server writes them (`front-left,front-right`); empty: the server makes mono of them.
    pub channels: String,
    /// The channel that was asked for, counted from 0; None: the best one.
    pub wanted: Option<usize>,
    /// Both channels are handed on, each in a ring of its own.
    pub both: bool,
}

/// A stream that records.
pub struct Capture {
    stream: Stream,
    /// Chooses the channel; None: each has a ring of its own.
    picker: Option<Picker>,
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
    /// Starts to record `input` at `rate_hz`, `fragment_frames` at a time.
    ///
    /// # Errors
    /// The server refuses.
    pub fn open(
        connection: &mut Connection,
        input: &Input,
        rate_hz: u32,
        fragment_frames: u32,
        before: u64,
    ) -> Result<Self, PulseError> {
        let what = format!("record `{}`", input.source);
        let mut map = Map::new_from_string(&input.channels).unwrap_or_default();
        if !map.is_valid() || input.both {
            if input.both {
                map.init_stereo()
            } else {
                map.init_mono()
            };
        }
        let channels = map.get().len() as u8;
        let picker = (!input.both).then(|| Picker::new(usize::from(channels), input.wanted, rate_hz));
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
        // A mute that a server remembers of an earlier stream is no wish of anybody's.
        let mut flags = FlagSet::NOT_MONOTONIC | FlagSet::ADJUST_LATENCY | FlagSet::DONT_MOVE | FlagSet::START_UNMUTED;
        if channels > 1 {
            flags |= FlagSet::NO_REMIX_CHANNELS;
        }
        stream.connect_record(Some(&input.source), Some(&attributes), flags).map_err(|_| refused(connection))?;
        let (opened, asked, question) = (Instant::now(), Instant::now(), Question::default());
        Ok(Self { stream, picker, rate_hz, before, received: 0, newest: None, opened, asked, question, taken: None })
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

    /// The channel in use, counted from 0, and how many there are.
    pub fn channel(&self) -> Option<(usize, usize)> {
        self.picker.as_ref().map(|picker| (picker.chosen(), picker.channels()))
    }

    /// Moves what has come into `rings`: one ring, or one for each of two channels. Frames for which a ring has no room
    /// are lost, as are all of them where they are to be thrown away; their count is given back.
    ///
    /// # Errors
    /// The stream cannot be read.
    pub fn pull(&mut self, rings: &mut [HeapProd<f32>], throw_away: bool) -> Result<u64, PulseError> {
        let mut dropped = 0;
        if self.stream.get_state() != State::Ready {
            return Ok(0);
        }
        self.ask();
        let failed = |e: libpulse_binding::error::PAErr| PulseError::Lost(e.to_string().unwrap_or_default());
        let channels = self.picker.as_ref().map_or(rings.len(), Picker::channels);
        let frame_bytes = SAMPLE_BYTES * channels;
        loop {
            let (frames, pushed) = match self.stream.peek().map_err(failed)? {
                PeekResult::Empty => return Ok(dropped),
                PeekResult::Hole(bytes) if throw_away => (bytes / frame_bytes, 0),
                PeekResult::Data(bytes) if throw_away => (bytes.len() / frame_bytes, 0),
                PeekResult::Hole(bytes) => {
                    let silence =
                        |ring: &mut HeapProd<f32>| ring.push_iter(std::iter::repeat_n(0.0, bytes / frame_bytes));
                    (bytes / frame_bytes, rings.iter_mut().map(silence).min().unwrap_or(0))
                }
                PeekResult::Data(bytes) => {
                    let samples = bytes.as_chunks::<SAMPLE_BYTES>().0;
                    let frames = samples.chunks_exact(channels);
                    let count = frames.len();
                    let pushed = if let (Some(picker), [ring]) = (&mut self.picker, &mut *rings) {
                        ring.push_iter(frames.map(|frame| picker.pick(|channel| f32::from_ne_bytes(frame[channel]))))
                    } else {
                        let push = |(channel, ring): (usize, &mut HeapProd<f32>)| {
                            ring.push_iter(frames.clone().map(|frame| f32::from_ne_bytes(frame[channel])))
                        };
                        // Those that have more keep it: both are emptied where one has lost something.
                        rings.iter_mut().enumerate().map(push).min().unwrap_or(0)
                    };
                    (count, pushed)
                }
            };
            dropped += (frames - pushed) as u64;
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
