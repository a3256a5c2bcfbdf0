//! Every control changed in mid-stream, through the plugins' C functions: none makes a click.
//!
//! The microphones hear speech below 3 kHz and nothing else. A change without a click keeps what is put out below that,
//! too; a step, or frames left out, sound up to half the rate. So the loudest sample above 6 kHz tells.

use driftmerge_dsp::params::{CONTROLS, Port};
use driftmerge_tests::entry::{Driver, Entry};
use driftmerge_tests::two_clocks::Pair;

const RATE_HZ: u32 = 48_000;
/// The loudest sample above 6 kHz that is let pass, dB of full scale; the speech peaks at about -10 dB.
const QUIET_DB: f64 = -60.0;
/// Time between two changes, s: longer than any fade.
const CHANGE_S: f64 = 0.06;
/// Half the length of the filters, frames: 256 taps go from pass to stop within 1.5 kHz.
const HALF: i32 = 128;

/// A low pass of 90 dB with its middle at `corner_hz`, or what it takes away.
fn filter(sound: &[f32], corner_hz: f64, low: bool) -> Vec<f32> {
    use std::f64::consts::{PI, TAU};
    let corner = corner_hz / f64::from(RATE_HZ);
    let taps: Vec<f64> = (-HALF..=HALF)
        .map(|n| {
            let x = f64::from(n) * TAU * corner;
            let sinc = if n == 0 { 2.0 * corner } else { x.sin() / (PI * f64::from(n)) };
            let turn = f64::from(n) / f64::from(HALF) * PI;
            let window = 0.35875 + 0.48829 * turn.cos() + 0.14128 * (2.0 * turn).cos() + 0.01168 * (3.0 * turn).cos();
            let pass = sinc * window;
            if low { pass } else { f64::from(u8::from(n == 0)) - pass }
        })
        .collect();
    sound
        .windows(taps.len())
        .map(|frames| frames.iter().zip(&taps).map(|(x, tap)| f64::from(*x) * tap).sum::<f64>() as f32)
        .collect()
}

/// The loudest sample above 6 kHz, dB of full scale.
fn click_db(sound: &[f32]) -> f64 {
    let loudest = filter(sound, 6000.0, false).iter().map(|x| x.abs()).fold(0.0, f32::max);
    20.0 * f64::from(loudest.max(1e-9)).log10()
}

fn low_speech() -> Pair {
    let pair = Pair::noisy_speech(RATE_HZ, 8.0, 0.02, 60.0, 30.0).0;
    let [a, b] = [&pair.a, &pair.b].map(|sound| filter(sound, 2500.0, true));
    Pair { a, b, ..pair }
}

/// What is changed, one after the other, from the lock on.
const CHANGES: [(&str, f32); 30] = [
    ("enabled", 0.0),
    ("enabled", 1.0),
    ("mode", 3.0),
    ("mode", 4.0),
    ("mode", 1.0),
    ("mode", 0.0),
    ("mode", 2.0),
    ("mode", 4.0),
    ("mode", 0.0),
    ("mode", 1.0),
    ("hold", 1.0),
    ("threshold", 0.9),
    ("hold", 0.0),
    ("threshold", 0.01),
    ("half_life", 0.5),
    ("half_life", 600.0),
    ("lag_limit", 1.0),
    ("lag_limit", 750.0),
    ("post_filter", 1.0),
    ("enabled", 0.0),
    ("enabled", 1.0),
    ("post_filter", 0.0),
    ("post_filter", 1.0),
    ("delay", 60.0),
    ("delay", 61.0),
    ("delay", 400.0),
    ("delay", 5.0),
    ("post_filter", 0.0),
    ("reset", 1.0),
    ("reset", 0.0),
];

#[test]
fn no_change_of_a_control_makes_a_click() {
    let pair = low_speech();
    let at_s = |seconds: f64| (seconds * f64::from(RATE_HZ)) as usize;
    let mut cut = pair.a[at_s(3.0)..at_s(4.0)].to_vec();
    let loudest =
        (4800..cut.len() - 4800).max_by(|i, j| cut[*i].abs().total_cmp(&cut[*j].abs())).expect("there is one");
    assert!(click_db(&cut) < QUIET_DB - 20.0, "the sound itself is low: {} dB", click_db(&cut));
    cut[loudest..].fill(0.0);
    assert!(click_db(&cut) > QUIET_DB + 20.0, "one that is cut off is heard: {} dB", click_db(&cut));

    for entry in Entry::ALL {
        let layout = entry.layout();
        let sounds: Vec<&[f32]> =
            [&pair.a, &pair.b, &pair.b, &pair.a][..layout.ins.len()].iter().map(|x| &x[..]).collect();
        let part = |from: usize, to: usize| sounds.iter().map(|sound| &sound[from..to]).collect::<Vec<_>>();
        let mut driver = Driver::ready(entry, RATE_HZ);
        let mut at = at_s(4.0);
        let mut outs = driver.process_all(&part(0, at), &[480]);
        let state = layout.meters.iter().find(|port| port.symbol.starts_with("state")).expect("there is one");
        assert!(driver.meter(state.symbol) >= 1.0, "{entry:?} is locked");
        for (symbol, value) in CHANGES {
            let has =
                layout.controls.iter().any(|port| port.symbol == symbol && (port.min..=port.max).contains(&value));
            if !has {
                continue;
            }
            driver.set(symbol, value);
            let next = at + at_s(CHANGE_S);
            for (out, more) in outs.iter_mut().zip(driver.process_all(&part(at, next), &[480])) {
                out.extend(more);
                // Around the change; what it begins takes effect within a few milliseconds.
                let db = click_db(&out[at - 3 * HALF as usize..]);
                assert!(db < QUIET_DB, "{entry:?}: {symbol} {value} makes a click of {db:.1} dB");
            }
            at = next;
        }
        let whole = outs.iter().map(|out| click_db(&out[at_s(0.2)..])).fold(f64::NEG_INFINITY, f64::max);
        println!("{entry:?}: loudest above 6 kHz {whole:.1} dB");
        assert!(whole < QUIET_DB, "{entry:?}: {whole} dB");
    }
    let changed = |port: &Port| port.symbol == "lag_trim" || CHANGES.iter().any(|(symbol, _)| *symbol == port.symbol);
    assert!(CONTROLS.iter().all(changed), "the test below changes the one that is left out here");
}

#[test]
fn frames_of_b_taken_out_or_put_in_one_by_one_make_no_click() {
    let pair = low_speech();
    for entry in [Entry::Lv2, Entry::Lv2Align] {
        for step in [1, -1] {
            let mut driver = Driver::ready(entry, RATE_HZ);
            let start = 4 * RATE_HZ as usize;
            let mut outs = driver.process(&pair.a[..start], &pair.b[..start], &[480]);
            let (mut total, mut from) = (0, start);
            for at in (start..start + 40 * 480).step_by(480) {
                total += step;
                driver.set("lag_trim", total as f32);
                let mut b = Vec::new();
                if step > 0 {
                    from += 1;
                } else {
                    b.push(0.7);
                }
                let rest = 480 - b.len();
                b.extend(&pair.b[from..from + rest]);
                from += rest;
                for (out, more) in outs.iter_mut().zip(driver.process(&pair.a[at..at + 480], &b, &[480])) {
                    out.extend(more);
                }
            }
            for out in &outs {
                let db = click_db(&out[start - 4800..]);
                println!("{entry:?} by {step}: {db:.1} dB");
                assert!(db < QUIET_DB, "{entry:?} by {step}: {db:.1} dB");
            }
        }
    }
}
