//! Prints a hash of what comes out for a handful of scenes, rates and splits into blocks: equal before and after a change that
//! is to change nothing (on one machine: transforms differ in the last bit from processor to processor).
#[path = "../tests/common/mod.rs"]
mod common;

use common::Scene;
use driftmerge_dsp::{Controls, Engine};

fn main() {
    for rate_hz in [8000.0, 16_000.0, 44_100.0, 48_000.0] {
        for (block, mode) in [(64, 1.0), (977, 2.0), (3000, 0.0)] {
            let (a, b) = Scene { rate_hz, seconds: 12.0, ..Scene::default() }.record();
            let mut values = driftmerge_dsp::params::CONTROLS.map(|p| p.default);
            values[5] = mode;
            let mut engine = Engine::new(rate_hz, 2, &Controls::from_values(&values)).expect("the rate is in range");
            let mut hash = 0xcbf2_9ce4_8422_2325_u64;
            for (a, b) in a.chunks(block).zip(b.chunks(block)) {
                let mut out = vec![0.0f32; a.len()];
                engine.process(&[a, b], &mut out);
                for byte in out.iter().flat_map(|x| x.to_bits().to_le_bytes()) {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
                }
            }
            println!("{rate_hz} Hz, blocks of {block}, mode {mode}: {hash:016x}");
        }
    }
}
