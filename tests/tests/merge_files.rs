//! `merge` on files of all kinds, good and bad.

use driftmerge_tests::entry::{Driver, Entry};
use driftmerge_tests::two_clocks::difference_db;
use driftmerge_tests::wav::{Pair, merge, read, refused, write};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder for the test")
}

fn short_pair(rate_hz: u32) -> Pair {
    Pair::speech(rate_hz, 4.0, 50.0, 0.02)
}

#[track_caller]
fn succeeds(folder: &Path, arguments: &[&str]) -> String {
    let output = merge(folder, arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {errors}");
    errors
}

#[test]
fn only_a_comes_out_within_100_db_of_a_and_with_its_length_and_timing() {
    for (rate_hz, bits, float) in [(8_000, 16, false), (44_100, 24, false), (16_000, 32, false), (192_000, 32, true)] {
        let dir = folder();
        let pair = Pair::speech(rate_hz, 1.0, 0.0, 0.01);
        write(&dir.path().join("in.wav"), rate_hz, bits, float, &[&pair.a, &pair.b]);
        let expected: Vec<f32> = if float {
            pair.a.clone()
        } else {
            let top = f64::from(bits - 1).exp2();
            pair.a.iter().map(|x| ((f64::from(*x) * top).round() / top) as f32).collect()
        };
        for arguments in [&["--live"][..], &["--live", "--latency", "333"], &[]] {
            succeeds(dir.path(), &[&["in.wav", "-o", "out.wav", "--mode", "only-a"], arguments].concat());
            let out = read(&dir.path().join("out.wav"));
            assert_eq!(out.len(), expected.len(), "{rate_hz} Hz {arguments:?}");
            let error_db = difference_db(&out, &expected);
            assert!(error_db < -100.0, "{rate_hz} Hz, {bits} bits, {arguments:?}: {error_db} dB");
        }
    }
}

#[test]
fn two_mono_files_merge_as_one_of_two_channels_does() {
    let dir = folder();
    let pair = short_pair(16_000);
    let at = |name| dir.path().join(name);
    write(&at("ab.wav"), 16_000, 16, false, &[&pair.a, &pair.b]);
    write(&at("a.wav"), 16_000, 16, false, &[&pair.a]);
    write(&at("b.wav"), 16_000, 16, false, &[&pair.b]);
    succeeds(dir.path(), &["ab.wav", "-o", "one.wav"]);
    succeeds(dir.path(), &["a.wav", "b.wav", "-o", "two.wav"]);
    assert!(read(&at("one.wav")) == read(&at("two.wav")));
}

#[test]
fn b_may_be_longer_or_shorter_than_a() {
    let dir = folder();
    let pair = short_pair(16_000);
    let at = |name| dir.path().join(name);
    let n = pair.a.len();
    write(&at("long.wav"), 16_000, 16, false, &[&pair.a]);
    write(&at("short.wav"), 16_000, 16, false, &[&pair.b[..n / 2]]);
    for (a, b, frames) in [("long.wav", "short.wav", n), ("short.wav", "long.wav", n / 2)] {
        for live in [&["--live"][..], &[]] {
            succeeds(dir.path(), &[&[a, b, "-o", "out.wav"], live].concat());
            assert_eq!(read(&at("out.wav")).len(), frames, "{a} {b} {live:?}");
        }
    }
}

#[test]
fn samples_that_are_not_numbers_become_silence_and_are_counted() {
    let dir = folder();
    let mut pair = short_pair(16_000);
    pair.a[5000..5010].fill(f32::NAN);
    pair.b[9000..9007].fill(f32::INFINITY);
    write(&dir.path().join("in.wav"), 16_000, 32, true, &[&pair.a, &pair.b]);
    let warning = succeeds(dir.path(), &["in.wav", "-o", "out.wav"]);
    assert!(warning.contains("17 samples"), "{warning}");
    assert!(read(&dir.path().join("out.wav")).iter().all(|x| x.is_finite()));
}

#[test]
fn integer_outputs_are_written_at_the_same_level() {
    let dir = folder();
    let pair = short_pair(16_000);
    write(&dir.path().join("in.wav"), 16_000, 16, false, &[&pair.a, &pair.b]);
    succeeds(dir.path(), &["in.wav", "-o", "float.wav"]);
    let float = read(&dir.path().join("float.wav"));
    for (format, bits) in [("16", 16), ("24", 24)] {
        succeeds(dir.path(), &["in.wav", "-o", "whole.wav", "--format", format]);
        let mut reader = hound::WavReader::open(dir.path().join("whole.wav")).expect("a WAV file");
        assert_eq!(reader.spec().bits_per_sample, bits);
        let top = f32::from(bits - 1).exp2();
        for (whole, float) in reader.samples::<i32>().zip(&float) {
            let difference = whole.expect("a sample") as f32 / top - float;
            assert!(difference.abs() <= 0.51 / top, "{format} bits: {difference}");
        }
    }
}

#[test]
fn a_file_cut_short_is_refused_by_name_before_anything_is_written() {
    let dir = folder();
    let pair = short_pair(16_000);
    let path = dir.path().join("cut.wav");
    write(&path, 16_000, 16, false, &[&pair.a, &pair.b]);
    let whole = fs::read(&path).expect("written above");
    for length in [whole.len() - 4, whole.len() / 2, 44, 20, 3] {
        fs::write(&path, &whole[..length]).expect("written");
        let text = refused(dir.path(), 1, &["cut.wav", "-o", "out.wav", "--trace", "t.csv"]);
        assert!(text.contains("cut.wav") && text.contains("cut short"), "{length} bytes: {text}");
    }
}

#[test]
fn files_without_sound_and_files_that_are_no_wav_are_refused() {
    let dir = folder();
    let at = |name| dir.path().join(name);
    write(&at("header.wav"), 16_000, 16, false, &[&[], &[]]);
    fs::write(at("nothing.wav"), b"").expect("written");
    fs::write(at("text.wav"), "This is a letter to a friend. ".repeat(100)).expect("written");
    for (name, says) in
        [("header.wav", "empty"), ("nothing.wav", "empty"), ("text.wav", "not a WAV"), ("none.wav", "none.wav")]
    {
        let text = refused(dir.path(), 1, &[name, "-o", "out.wav"]);
        assert!(text.contains(name) && text.contains(says), "{name}: {text}");
    }
}

#[test]
fn channels_that_do_not_fit_together_are_wrong_usage() {
    let dir = folder();
    let at = |name| dir.path().join(name);
    let pair = short_pair(16_000);
    write(&at("mono.wav"), 16_000, 16, false, &[&pair.a]);
    write(&at("fast.wav"), 48_000, 16, false, &[&pair.b]);
    write(&at("three.wav"), 16_000, 16, false, &[&pair.a, &pair.b, &pair.b]);
    write(&at("stereo.wav"), 16_000, 16, false, &[&pair.a, &pair.b]);
    write(&at("slow.wav"), 4_000, 16, false, &[&pair.a, &pair.b]);
    let nine = ["mono.wav"; 9];
    for (inputs, says) in [
        (&["mono.wav"][..], &["mono.wav", "one channel"][..]),
        (&["mono.wav", "fast.wav"], &["fast.wav", "48000 Hz", "16000 Hz"]),
        (&["three.wav"], &["three.wav", "3 channels"]),
        (&["mono.wav", "stereo.wav"], &["stereo.wav", "2 channels"]),
        (&["slow.wav"], &["4000 Hz", "8000 to 192000 Hz"]),
        (&nine, &["9 files"]),
    ] {
        let text = refused(dir.path(), 2, &[inputs, &["-o", "out.wav"]].concat());
        assert!(says.iter().all(|word| text.contains(word)), "{inputs:?}: {text}");
    }
}

#[test]
fn outputs_that_cannot_be_made_are_refused_and_inputs_are_never_overwritten() {
    let dir = folder();
    let pair = short_pair(16_000);
    write(&dir.path().join("in.wav"), 16_000, 16, false, &[&pair.a, &pair.b]);
    let text = refused(dir.path(), 2, &["in.wav", "-o", "./in.wav"]);
    assert!(text.contains("in.wav"), "{text}");
    let text = refused(dir.path(), 1, &["in.wav", "-o", "no/such/out.wav"]);
    assert!(text.contains("no/such"), "{text}");
    let text = refused(dir.path(), 1, &["in.wav", "-o", "out.wav", "--trace", "no/such/t.csv"]);
    assert!(text.contains("no/such"), "{text}");
}

/// What the handbook says of `--live`: the plugin's samples until the first frame of B is dropped, 2 ms from the lag at the
/// first lock, and the same alignment from then on.
#[test]
fn live_gives_the_plugins_samples_until_the_lag_has_moved_by_2_ms_and_its_alignment_from_then_on() {
    const DRIFT_PPM: f64 = 300.0;

    let dir = folder();
    let pair = Pair::speech(16_000, 12.0, DRIFT_PPM, 0.02);
    write(&dir.path().join("in.wav"), 16_000, 32, true, &[&pair.a, &pair.b]);
    succeeds(dir.path(), &["in.wav", "-o", "out.wav", "--live", "--latency", "100"]);
    let live = read(&dir.path().join("out.wav"));
    let mut plugin = Driver::ready(Entry::Lv2, 16_000);
    let silence = vec![0.0; 1600];
    let [a, b] = [&pair.a, &pair.b].map(|sound| [&sound[..], &silence].concat());
    let hosted = plugin.process(&a, &b, &[512]).remove(0);
    let hosted = &hosted[plugin.meter("latency") as usize..];
    assert_eq!(live.len(), hosted.len());

    let same_s = live.iter().zip(hosted).take_while(|(x, y)| x == y).count() as f64 / 16_000.0;
    println!("{same_s:.2} s are the plugin's");
    // The first lock takes a second at most.
    let moved_s = 2e-3 / (DRIFT_PPM * 1e-6);
    assert!(same_s > moved_s - 0.5 && same_s < moved_s + 1.5, "{same_s} s of {moved_s}");
    let power = |sound: &mut dyn Iterator<Item = f32>| sound.map(|x| f64::from(x * x)).sum::<f64>();
    let from = (same_s * 16_000.0) as usize;
    let difference = power(&mut live[from..].iter().zip(&hosted[from..]).map(|(x, y)| x - y));
    let below_db = 10.0 * (power(&mut live[from..].iter().copied()) / difference).log10();
    println!("then they differ by {below_db:.1} dB less than they are loud");
    assert!(below_db > 20.0, "{below_db} dB");
}
