//! A day of merging: two microphones whose drift wanders by 25 ± 15 ppm, made while they are read.
//!
//!     cargo bench -p driftmerge-tests --bench day [-- HOURS]      24 hours take some minutes
//!
//! Prints for every hour the error of the lag, the memory in use and the share locked; fails where an hour's error is
//! over 2 µs (95 of 100), where the lock was lost, or where memory grows.

use driftmerge::merge::merger::{Merger, Start};
use driftmerge::merge::recording::{Channel, Read};
use driftmerge::rig::scene::Signal;
use driftmerge::rig::voice;
use driftmerge_dsp::params::delay_for_lag_ms;
use driftmerge_dsp::{Controls, State};
use std::f64::consts::TAU;
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Instant;

const RATE_HZ: u32 = 16_000;
const RATE: f64 = RATE_HZ as f64;
/// Lag at the start, s.
const FIRST_LAG_S: f64 = 0.04;
/// Drift, and how far and how slowly it wanders: a room that warms and cools.
const DRIFT_PPM: f64 = 25.0;
const WANDER_PPM: f64 = 15.0;
const WANDER_PERIOD_S: f64 = 3.0 * 3600.0;
/// Speech before it repeats, s.
const SPEECH_S: f64 = 600.0;
/// Each microphone's own noise, root mean square: 20 dB below the speech.
const NOISE_RMS: f32 = 0.01;
/// Error of the lag that 95 of 100 places of each hour must stay below, µs.
const MOST_ERROR_US: f64 = 2.0;
/// The first lock and the pull-in behind it are not judged, s.
const SETTLED_S: f64 = 60.0;

/// How late B is when B takes its frame at `seconds`, s.
fn lag_at_b_s(seconds: f64) -> f64 {
    let omega = TAU / WANDER_PERIOD_S;
    FIRST_LAG_S + 1e-6 * (DRIFT_PPM * seconds + WANDER_PPM / omega * (1.0 - (omega * seconds).cos()))
}

/// How late B is when A takes its frame at `seconds`, s.
fn true_lag_s(seconds: f64) -> f64 {
    // The lag changes by 40 ppm at most: two steps are exact to the nanosecond.
    lag_at_b_s(seconds + lag_at_b_s(seconds + lag_at_b_s(seconds)))
}

/// Noise of a microphone's own, without end.
fn noise(seed: u64) -> impl FnMut() -> f32 {
    let mut state = seed;
    move || {
        // Three numbers of 21 bits from one step of a linear generator, summed: close to a normal distribution.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let parts = [state >> 43, (state >> 22) & 0x1f_ffff, (state >> 12) & 0x1f_ffff];
        NOISE_RMS * (parts.iter().sum::<u64>() as f32 / (1 << 20) as f32 - 3.0)
    }
}

fn microphones() -> (Box<Read>, Box<Read>) {
    let speech = voice::speak(5, SPEECH_S, RATE, 0.1);
    let signal = Signal::new(speech.clone());
    let (mut own_a, mut own_b) = (noise(1), noise(2));
    let (mut n, mut m) = (0_usize, 0_u64);
    let a = move |out: &mut [f32]| {
        for x in out {
            *x = speech[n % speech.len()] + own_a();
            n += 1;
        }
        Ok(())
    };
    let b = move |out: &mut [f32]| {
        for x in out {
            let seconds = m as f64 / RATE;
            *x = signal.at((seconds - lag_at_b_s(seconds)) * RATE) + own_b();
            m += 1;
        }
        Ok(())
    };
    (Box::new(a), Box::new(b))
}

/// Memory of this process, MB.
fn memory_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kb = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok());
    kb.unwrap_or(f64::NAN) / 1024.0
}

/// What is counted in an hour.
#[derive(Default)]
struct Hour {
    errors_us: Vec<f64>,
    looks: u64,
    locked: u64,
}

impl Hour {
    /// Prints the hour; true if it is good.
    fn close(&mut self, number: u64, first_memory_mb: &mut Option<f64>) -> bool {
        self.errors_us.sort_unstable_by(f64::total_cmp);
        let at = |share: f64| self.errors_us.get((self.errors_us.len() as f64 * share) as usize).copied();
        let p95 = at(0.95).unwrap_or(f64::INFINITY);
        let memory = memory_mb();
        let grown = memory - *first_memory_mb.get_or_insert(memory);
        println!(
            "hour {number:2}: p50 {:.2} µs, p95 {p95:.2} µs, max {:.1} µs, locked {:.2} %, memory {memory:.1} MB",
            at(0.5).unwrap_or(f64::INFINITY),
            self.errors_us.last().copied().unwrap_or(f64::INFINITY),
            100.0 * self.locked as f64 / self.looks as f64,
        );
        let good = p95 <= MOST_ERROR_US && self.locked == self.looks && grown < 2.0;
        // The room for the errors is kept, or it would be seen as memory that comes and goes.
        self.errors_us.clear();
        (self.looks, self.locked) = (0, 0);
        good
    }
}

fn main() -> ExitCode {
    // Cargo adds flags of its own.
    let hours: u64 = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(24);
    let frames = hours * 3600 * u64::from(RATE_HZ);
    let bad = Rc::default();
    let (a, b) = microphones();
    let controls = Controls { delay_ms: delay_for_lag_ms(FIRST_LAG_S * 1e3), ..Controls::default() };
    let [reference, other] = [a, b].map(|read| Channel::new(frames, &bad, read));
    let mut merger = Merger::new(reference, vec![other], RATE_HZ, &Start::cold(controls)).expect("a usual rate");

    let begin = Instant::now();
    let (mut hour, mut number, mut first_memory, mut good) = (Hour::default(), 0, None, true);
    while !merger.next_block().expect("nothing is read from a disk").is_empty() {
        let Some(place) = merger.place().filter(|place| *place < frames) else { continue };
        let seconds = place as f64 / RATE;
        if seconds < SETTLED_S {
            continue;
        }
        hour.looks += 1;
        if merger.status(1).state != State::Searching {
            hour.locked += 1;
            hour.errors_us.push((merger.applied_lag_ms(1) * 1e3 - true_lag_s(seconds) * 1e6).abs());
        }
        if (place + 64) / (3600 * u64::from(RATE_HZ)) > number {
            number += 1;
            good &= hour.close(number, &mut first_memory);
        }
    }
    let took = begin.elapsed().as_secs_f64();
    println!("{hours} hours in {took:.0} s; {} single frames were trimmed", merger.tally(1).trims);
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
