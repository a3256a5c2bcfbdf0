//! A microphone on a clock of its own: a pipe source of the server, fed at its own pace.
//!
//! The writer follows the monotonic clock, so the drift is as exact as that clock: what the server takes from the pipe
//! in a second is the rate times (1 + ppm·1e-6). Nobody listening: the sound is dropped, as by a real microphone.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Room in the pipe: 85 ms at 48 kHz, so that a busy machine loses nothing; the server reads it as soon as it can.
const PIPE_BYTES: usize = 16_384;
/// How often the writer looks how much is due; a real microphone hands over its sound as often.
const STEP: Duration = Duration::from_millis(1);
/// Frames made at once: an atomic write (4096 bytes) could hold 2048.
const CHUNK_FRAMES: usize = 512;
/// Beyond this the writer was stopped for a while (a sleeping machine): the sound of that time is lost.
const CATCH_UP_LIMIT_S: f64 = 0.5;

/// The module line that makes the source `name`, whose sound comes through the pipe at `pipe`.
pub fn module(name: &str, pipe: &Path, rate_hz: u32) -> String {
    wide_module(name, pipe, rate_hz, 1)
}

/// The same with several channels.
pub fn wide_module(name: &str, pipe: &Path, rate_hz: u32, channels: usize) -> String {
    format!(
        "module-pipe-source source_name={name} file={} format=s16le rate={rate_hz} channels={channels} \
         source_properties=device.description={name}",
        pipe.display()
    )
}

/// A microphone that is being fed.
pub struct Microphone {
    stop: Arc<AtomicBool>,
    stalled: Arc<AtomicBool>,
    faults: Arc<Faults>,
    frames: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

/// What a bad device does.
struct Faults {
    /// Thousandths of the frames that are handed over; more than 1000: some several times.
    share: AtomicU64,
    /// Digital zeros are handed over.
    zeros: AtomicBool,
    /// Nothing is handed over until this is unset, and then all that was taken meanwhile at once.
    held_back: AtomicBool,
}

impl Microphone {
    /// Feeds the pipe at `pipe` (made by the server, see [`module`]) with `sound(frame)`, -1 to 1, where frame 0 is due
    /// at `begin` and the others at `rate_hz` (1 + `clock_ppm`·1e-6) a second.
    ///
    /// # Errors
    /// The pipe cannot be opened.
    pub fn start(
        pipe: &Path,
        rate_hz: f64,
        clock_ppm: f64,
        begin: Instant,
        sound: impl FnMut(u64) -> f32 + Send + 'static,
    ) -> io::Result<Self> {
        Self::start_wide(pipe, rate_hz, clock_ppm, begin, &[1.0], sound)
    }

    /// The same with a channel for each of `gains`.
    ///
    /// # Errors
    /// The pipe cannot be opened.
    pub fn start_wide(
        pipe: &Path,
        rate_hz: f64,
        clock_ppm: f64,
        begin: Instant,
        gains: &[f32],
        mut sound: impl FnMut(u64) -> f32 + Send + 'static,
    ) -> io::Result<Self> {
        let gains = gains.to_vec();
        let chunk_frames = (CHUNK_FRAMES / gains.len()) as u64;
        let mut file = open(pipe)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stalled = Arc::new(AtomicBool::new(false));
        let frames = Arc::new(AtomicU64::new(0));
        let faults = Arc::new(Faults {
            share: AtomicU64::new(1000),
            held_back: AtomicBool::new(false),
            zeros: AtomicBool::new(false),
        });
        let shared = (Arc::clone(&stop), Arc::clone(&stalled), Arc::clone(&frames), Arc::clone(&faults));
        let frames_per_s = rate_hz * (1.0 + clock_ppm * 1e-6);
        let thread = std::thread::spawn(move || {
            let (stop, stalled, frames, faults) = shared;
            let (mut owed, mut was_held_back) = (0, false);
            let heard = Arc::clone(&faults);
            let mut put = |bytes: &mut Vec<u8>, frame: u64, times: u64| {
                let x = if heard.zeros.load(Ordering::Relaxed) { 0.0 } else { sound(frame) };
                for _ in 0..times {
                    bytes.extend(gains.iter().flat_map(|gain| sample(gain * x).to_le_bytes()));
                }
            };
            let mut done = 0;
            let mut bytes = Vec::with_capacity(2 * CHUNK_FRAMES);
            while !stop.load(Ordering::Relaxed) {
                let due = (begin.elapsed().as_secs_f64() * frames_per_s) as u64;
                if faults.held_back.load(Ordering::Relaxed) {
                    was_held_back = true;
                    std::thread::sleep(STEP);
                    continue;
                }
                if std::mem::take(&mut was_held_back) {
                    // All of it, as fast as it is taken.
                    while done < due {
                        let count = (due - done).min(chunk_frames);
                        bytes.clear();
                        (done..done + count).for_each(|frame| put(&mut bytes, frame, 1));
                        done += count;
                        write_patiently(&mut file, &bytes);
                    }
                }
                if stalled.load(Ordering::Relaxed) || due > done + (CATCH_UP_LIMIT_S * frames_per_s) as u64 {
                    done = due;
                }
                while done < due {
                    let count = (due - done).min(chunk_frames);
                    bytes.clear();
                    let share = faults.share.load(Ordering::Relaxed);
                    for frame in done..done + count {
                        owed += share;
                        put(&mut bytes, frame, owed / 1000);
                        owed %= 1000;
                    }
                    done += count;
                    if share > 1000 {
                        bytes.chunks(2 * CHUNK_FRAMES).for_each(|bytes| write_patiently(&mut file, bytes));
                        continue;
                    }
                    // Whole or not at all: the pipe takes up to 4096 bytes in one piece. Full: nobody listens.
                    let _ = file.write(&bytes);
                }
                frames.store(done, Ordering::Relaxed);
                std::thread::sleep(STEP);
            }
        });
        Ok(Self { stop, stalled, faults, frames, thread: Some(thread) })
    }

    /// Frames taken so far.
    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    /// Makes the microphone hand over nothing (true), as a bad cable does, or go on (false).
    pub fn stall(&self, stalled: bool) {
        self.stalled.store(stalled, Ordering::Relaxed);
    }

    /// Makes the microphone hand over this share of its frames: less than 1 and it starves, more and it floods.
    pub fn deliver(&self, share: f64) {
        self.faults.share.store((share * 1e3).round() as u64, Ordering::Relaxed);
    }

    /// Makes the microphone hand over digital zeros (true), as a gate or a hardware mute does.
    pub fn zeros(&self, zeros: bool) {
        self.faults.zeros.store(zeros, Ordering::Relaxed);
    }

    /// Makes the microphone hand over nothing (true), and then all that it has taken meanwhile at once.
    pub fn hold_back(&self, held_back: bool) {
        self.faults.held_back.store(held_back, Ordering::Relaxed);
    }
}

fn sample(x: f32) -> i16 {
    (x * 32_767.0).round().clamp(-32_768.0, 32_767.0) as i16
}

/// Writes all of `bytes`, waiting for room in the pipe for some milliseconds.
fn write_patiently(file: &mut File, bytes: &[u8]) {
    for _ in 0..50 {
        if file.write(bytes).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

impl Drop for Microphone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(pipe: &Path) -> io::Result<File> {
    let file = File::options()
        .write(true)
        .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
        .open(pipe)
        .map_err(|e| io::Error::new(e.kind(), format!("cannot open the pipe {}: {e}", pipe.display())))?;
    rustix::pipe::fcntl_setpipe_size(&file, PIPE_BYTES)?;
    Ok(file)
}
