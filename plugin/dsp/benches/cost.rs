//! What a frame costs, against a library resampler in the same run: `cargo bench -p driftmerge-dsp`.
//!
//! Both get the same minute of sound at 48 kHz in blocks of 64 frames. The best of several turns counts, taken in
//! turns, so that a busy machine disturbs both alike.

#[path = "../tests/common/mod.rs"]
mod common;

use common::Scene;
use driftmerge_dsp::{Controls, Engine, Mode, State};
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
        let mut e = Engine::new(RATE_HZ, &Controls { hold: false, ..*controls }).expect("48 kHz is in range");
        feed(&mut e, &a[..warm], &b[..warm]);
        assert_eq!(e.status().state, State::Locked);
        e.set_controls(controls);
        e
    };
    let all = Controls::default();
    let names = [
        "rubato sinc 64, cubic, mono",
        "engine, tracking",
        "engine, hold",
        "engine, tracking, mode 2",
        "engine, searching",
    ];
    let mut best_ns = [f64::INFINITY; 5];
    for _ in 0..TURNS {
        let (a, b) = (&a[warm..], &b[warm..]);
        let timed = |e: &mut Engine, b: &[f32]| {
            let start = Instant::now();
            feed(e, a, b);
            start.elapsed().as_nanos() as f64 / a.len() as f64
        };
        let mut silent_b = b.to_vec();
        silent_b.reverse();
        let ns = [
            resample(a),
            timed(&mut engine(&all), b),
            timed(&mut engine(&Controls { hold: true, ..all }), b),
            timed(&mut engine(&Controls { mode: Mode::Banded, ..all }), b),
            timed(&mut Engine::new(RATE_HZ, &all).expect("48 kHz is in range"), &silent_b),
        ];
        for (best, ns) in best_ns.iter_mut().zip(ns) {
            *best = best.min(ns);
        }
    }
    println!("48 kHz, blocks of {BLOCK}, best of {TURNS}:");
    for (name, ns) in names.iter().zip(best_ns) {
        println!("  {name:<28} {ns:7.1} ns a frame   {:5.2} x rubato", ns / best_ns[0]);
    }
    println!("  analysis alone               {:7.1} ns a frame", best_ns[1] - best_ns[2]);
}

fn feed(e: &mut Engine, a: &[f32], b: &[f32]) {
    let mut out = [0.0; BLOCK];
    for (a, b) in a.chunks_exact(BLOCK).zip(b.chunks_exact(BLOCK)) {
        e.process(a, b, &mut out);
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
