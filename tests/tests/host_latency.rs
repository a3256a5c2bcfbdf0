//! Latency and lag that the plugins report, against the sound, at every usual sample rate.

use driftmerge_tests::align::quantile;
use driftmerge_tests::entry::{Driver, Entry};
use driftmerge_tests::two_clocks::{Four, Pair, difference_db};

const RATES_HZ: [u32; 10] = [8000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000];

/// A sound in which no part is like another.
fn sound(frames: usize) -> Vec<f32> {
    let mut state = 1_u32;
    let step = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0 - 0.5
    };
    (0..frames).map(step).collect()
}

fn frames(ms: f32, rate_hz: u32) -> usize {
    (ms * 1e-3 * rate_hz as f32).round() as usize
}

/// The combiner's frame: two steps of 16 ms, each a multiple of 16 frames. The output is never earlier.
fn combiner_frames(rate_hz: u32) -> usize {
    2 * 16 * frames(1.0, rate_hz)
}

/// The latency at a delay, without the noise filter.
fn latency_frames(delay_ms: f32, rate_hz: u32) -> usize {
    frames(delay_ms, rate_hz).max(combiner_frames(rate_hz))
}

/// What the noise filter adds: four steps of 8 ms, each a multiple of 8 frames.
fn filter_frames(rate_hz: u32) -> usize {
    4 * 8 * frames(1.0, rate_hz)
}

#[test]
fn bypassed_a_comes_out_as_it_is_and_as_late_as_was_told_before_the_first_block() {
    for entry in Entry::ALL {
        for rate_hz in RATES_HZ {
            for (delay_ms, filter) in [(5.0, 0.0), (33.3, 0.0), (33.3, 1.0), (100.0, 0.0), (1000.0, 0.0)] {
                let has_filter = entry.layout().controls.iter().any(|port| port.symbol == "post_filter");
                if filter > 0.0 && !has_filter {
                    continue;
                }
                let told_by = |enabled| {
                    let mut driver = Driver::new(entry, rate_hz).expect("the rate is good");
                    driver.connect_controls();
                    driver.set("delay", delay_ms);
                    driver.set("enabled", enabled);
                    if has_filter {
                        driver.set("post_filter", filter);
                    }
                    driver.activate();
                    (driver.meter("latency"), driver)
                };
                let (told, mut driver) = told_by(0.0);
                assert_eq!(told, told_by(1.0).0, "{entry:?}: on or off makes no difference");
                let latency = told as usize;
                let filtered = if filter > 0.0 { filter_frames(rate_hz) } else { 0 };
                assert_eq!(latency, latency_frames(delay_ms, rate_hz) + filtered, "{entry:?} {rate_hz} {delay_ms}");

                // A delay other than the default is faded to at first; the sound comes after that.
                let silence = frames(50.0, rate_hz);
                let a = [vec![0.0; silence], sound(frames(20.0, rate_hz)), vec![0.0; latency]].concat();
                let b = sound(a.len());
                let out = driver.process(&a, &b, &[64]).remove(0);
                let error_db = difference_db(&out[silence + latency..], &a[silence..a.len() - latency]);
                assert!(error_db < -100.0, "{entry:?} {rate_hz} {delay_ms}: {error_db} dB");
                assert_eq!(driver.meter("latency"), told, "{entry:?} {rate_hz} {delay_ms}");
            }
        }
    }
}

#[test]
fn the_latency_stays_through_a_lock_and_every_change_but_those_of_the_delay_and_the_noise_filter() {
    let pair = Pair::short();
    for entry in Entry::ALL {
        let mut sounds = vec![pair.a.clone(), pair.b.clone()];
        if entry.layout().ins.len() == 4 {
            sounds = Four::speech(4.0, 20.0).sounds;
        }
        let mut driver = Driver::ready(entry, pair.rate_hz);
        let told = driver.meter("latency");
        let mut at = 0;
        let mut play = |driver: &mut Driver, frames: usize| {
            for _ in 0..frames / 80 {
                driver.process_all(&sounds.iter().map(|sound| &sound[at..at + 80]).collect::<Vec<_>>(), &[80]);
                at += 80;
                assert_eq!(driver.meter("latency"), told, "{entry:?} after {at} frames");
            }
        };
        play(&mut driver, 48_000);
        let state = entry.layout().meters.iter().find(|port| port.symbol.starts_with("state")).expect("there is one");
        assert!(driver.meter(state.symbol) >= 1.0, "{entry:?} has locked meanwhile");
        for port in entry.layout().controls.iter().filter(|port| !["delay", "post_filter"].contains(&port.symbol)) {
            for value in [port.min, port.max, port.default] {
                driver.set(port.symbol, value);
                play(&mut driver, 160);
            }
        }
    }
}

#[test]
fn a_changed_delay_is_told_by_the_block_that_takes_it_be_it_of_one_frame_or_of_none() {
    for entry in Entry::ALL {
        for rate_hz in RATES_HZ {
            let mut driver = Driver::ready(entry, rate_hz);
            driver.process(&[0.0; 100], &[0.0; 100], &[100]);
            for (delay_ms, block) in [(250.0, 1), (20.0, 0), (1000.0, 64)] {
                driver.set("delay", delay_ms);
                driver.process(&vec![0.0; block], &vec![0.0; block], &[block]);
                assert_eq!(driver.meter("latency") as usize, latency_frames(delay_ms, rate_hz), "{entry:?} {rate_hz}");
            }
        }
    }
}

#[test]
fn at_every_rate_from_8_to_192_khz_the_lag_shown_is_within_20_us_in_19_of_20_blocks() {
    const SECONDS: f64 = 6.0;
    const LAG_S: f64 = 0.03;
    const DRIFT: f64 = 80e-6;
    for rate_hz in RATES_HZ {
        let pair = Pair::speech(rate_hz, SECONDS, LAG_S, DRIFT * 1e6);
        let mut driver = Driver::ready(Entry::Lv2, rate_hz);
        let block = rate_hz as usize / 50;
        let mut errors_s = Vec::new();
        let mut locked_s = None;
        for at in (0..pair.a.len() - block).step_by(block) {
            driver.process(&pair.a[at..at + block], &pair.b[at..at + block], &[block]);
            let now_s = (at + block) as f64 / f64::from(rate_hz);
            if driver.meter("state") >= 1.0 {
                locked_s.get_or_insert(now_s);
            }
            if now_s > 3.5 {
                let true_s = LAG_S + DRIFT * (now_s + LAG_S);
                errors_s.push((f64::from(driver.meter("lag")) * 1e-3 - true_s).abs());
            }
        }
        let p95_us = quantile(errors_s, 0.95) * 1e6;
        println!("{rate_hz} Hz: locked at {locked_s:?} s, p95 {p95_us:.1} us");
        assert!(locked_s.is_some_and(|s| s < 2.0), "{rate_hz} Hz: locked at {locked_s:?} s");
        assert!(p95_us <= 20.0, "{rate_hz} Hz: {p95_us} us");
        assert_eq!(driver.meter("latency"), (0.1 * rate_hz as f32).round());
    }
}
