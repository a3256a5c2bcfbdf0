//! What a frame costs, against a library resampler in the same run: `cargo bench -p driftmerge-dsp`.
//!
//! Both get the same sound at 48 kHz in blocks of 64 frames. The best of several turns counts, taken in turns, so that
//! a busy machine disturbs both alike. The parts are timed in turns of their own, less what the clock takes; of each
//! block, too, the best turn counts, for the work in it is always the same.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Scene;
use driftmerge_dsp::{Controls, Engine, Mode, Part, State};
use rubato::audioadapter_buffers::direct::SequentialSliceOfVecs;
use rubato::{
    Async, FixedAsync, Indexing, Resampler, SincInterpolationParameters, SincInterpolationType, WindowFunction,
};
use std::hint::black_box;
use std::time::Instant;

const RATE_HZ: f64 = 48_000.0;
const BLOCK: usize = 64;
const TURNS: usize = 7;

fn main() {
    let scene = Scene { rate_hz: RATE_HZ, seconds: 30.0, ..Scene::default() };
    let (a, b) = scene.record();
    let warm = (8.0 * RATE_HZ) as usize;
    let engine = |controls: &Controls| {
        let mut e = Engine::new(RATE_HZ, 2, &Controls { hold: false, ..*controls }).expect("48 kHz is in range");
        feed(&mut e, &a[..warm], &b[..warm]);
        assert_eq!(e.status(1).state, State::Locked);
        e.set_controls(controls);
        e
    };
    let all = Controls::default();
    let names = [
        "rubato sinc 64, cubic, mono",
        "engine, tracking",
        "engine, hold",
        "engine, tracking, mode 1",
        "engine, searching",
    ];
    let unrelated_b: Vec<f32> = b[warm..].iter().rev().copied().collect();
    let mut best_ns = [f64::INFINITY; 5];
    for _ in 0..TURNS {
        let (a, b) = (&a[warm..], &b[warm..]);
        let timed = |e: &mut Engine, b: &[f32]| {
            let start = Instant::now();
            feed(e, a, b);
            start.elapsed().as_nanos() as f64 / a.len() as f64
        };
        let ns = [
            resample(a),
            timed(&mut engine(&all), b),
            timed(&mut engine(&Controls { hold: true, ..all }), b),
            timed(&mut engine(&Controls { mode: Mode::Merge, ..all }), b),
            timed(&mut Engine::new(RATE_HZ, 2, &all).expect("48 kHz is in range"), &unrelated_b),
        ];
        for (best, ns) in best_ns.iter_mut().zip(ns) {
            *best = best.min(ns);
        }
    }
    println!("48 kHz, blocks of {BLOCK}, best of {TURNS}:");
    for (name, ns) in names.iter().zip(best_ns) {
        println!("  {name:<28} {ns:7.1} ns a frame   {:5.2} x rubato", ns / best_ns[0]);
    }
    let (a, b) = (&a[warm..], &b[warm..]);
    let tracking = Parts::time(|| engine(&all), a, b);
    println!("parts of tracking:");
    for (name, ns) in PARTS.iter().zip(tracking.ns) {
        println!("  {:<28} {ns:7.1} ns a frame   {:5.2} x rubato", name.1, ns / best_ns[0]);
    }
    let searching = Parts::time(|| Engine::new(RATE_HZ, 2, &all).expect("48 kHz is in range"), a, &unrelated_b);
    println!("blocks, against the mean one:   99.9 of 100 below   the dearest");
    for (name, parts) in [("tracking", tracking), ("searching", searching)] {
        let [most, dearest] = parts.block_against_mean();
        println!("  {name:<28} {most:12.1} {dearest:19.1}");
    }
}

/// The parts of the work, and what they are called here.
const PARTS: [(Part, &str); 4] = [
    (Part::Taking, "history and decimation"),
    (Part::Reading, "reading both, aligned"),
    (Part::Combining, "combining"),
    (Part::Analysing, "analysis"),
];

/// What the parts take, and the blocks.
struct Parts {
    /// Of each part, ns a frame.
    ns: [f64; PARTS.len()],
    /// Of each block, ns.
    blocks_ns: Vec<f64>,
}

impl Parts {
    /// Times engines that `make` makes, all alike.
    fn time(make: impl Fn() -> Engine, a: &[f32], b: &[f32]) -> Self {
        let mut best = Self { ns: [f64::INFINITY; PARTS.len()], blocks_ns: vec![f64::INFINITY; a.len() / BLOCK] };
        let clock_ns = clock_ns();
        for _ in 0..TURNS {
            let mut e = make();
            let mut sums = [0.0; PARTS.len()];
            let mut out = [0.0; BLOCK];
            let blocks = a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK));
            for ((a, b), block_ns) in blocks.zip(&mut best.blocks_ns) {
                let mut sum = 0.0;
                let mut last = Instant::now();
                e.process_in_parts(&[a, b], &mut out, |part| {
                    let now = Instant::now();
                    let ns = now.duration_since(last).as_nanos() as f64 - clock_ns;
                    sums[PARTS.iter().position(|p| p.0 == part).expect("all are listed")] += ns;
                    sum += ns;
                    last = now;
                });
                black_box(&out);
                *block_ns = block_ns.min(sum);
            }
            for (best, sum) in best.ns.iter_mut().zip(sums) {
                *best = best.min(sum / a.len() as f64);
            }
        }
        best
    }

    /// The cost that 99.9 of 100 blocks stay below, and the largest, against the mean.
    fn block_against_mean(mut self) -> [f64; 2] {
        self.blocks_ns.sort_by(f64::total_cmp);
        let count = self.blocks_ns.len();
        let mean = self.blocks_ns.iter().sum::<f64>() / count as f64;
        [count * 999 / 1000, count - 1].map(|i| self.blocks_ns[i] / mean)
    }
}

/// What it takes to ask the clock once.
fn clock_ns() -> f64 {
    const TIMES: u32 = 10_000;
    let start = Instant::now();
    for _ in 0..TIMES {
        black_box(Instant::now());
    }
    start.elapsed().as_nanos() as f64 / f64::from(TIMES)
}

fn feed(e: &mut Engine, a: &[f32], b: &[f32]) {
    let mut out = [0.0; BLOCK];
    for (a, b) in a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)) {
        e.process(&[a, b], &mut out);
        black_box(&out);
    }
}

/// ns a frame of the resampler at a ratio of 1 + 100 ppm.
fn resample(x: &[f32]) -> f64 {
    let parameters = SincInterpolationParameters {
        sinc_len: 64,
        f_cutoff: Some(0.925),
        interpolation: SincInterpolationType::Cubic,
        oversampling_factor: 128,
        window: WindowFunction::BlackmanHarris2,
    };
    let mut r = Async::<f32>::new_sinc(1.0001, 1.1, &parameters, BLOCK, 1, FixedAsync::Input).expect("valid settings");
    let mut out = vec![vec![0.0f32; r.output_frames_max()]; 1];
    let input: Vec<Vec<f32>> = vec![x.to_vec()];
    let frames_out = r.output_frames_max();
    let source = SequentialSliceOfVecs::new(&input, 1, x.len()).expect("one channel");
    let mut sink = SequentialSliceOfVecs::new_mut(&mut out, 1, frames_out).expect("one channel");
    let start = Instant::now();
    let mut indexing = Indexing::new();
    for k in 0..x.len() / BLOCK - 1 {
        indexing.input_offset = k * BLOCK;
        r.process_into_buffer(&source, &mut sink, Some(&indexing)).expect("buffers are large enough");
    }
    start.elapsed().as_nanos() as f64 / x.len() as f64
}
