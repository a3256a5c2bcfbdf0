//! Saved state: what comes back, and what is refused.

use driftmerge::state::{Key, StateError, load, read, save};
use driftmerge_dsp::Snapshot;
use driftmerge_dsp::snapshot::SNAPSHOT_VERSION;
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

const RATE_HZ: u32 = 48_000;

fn key() -> Key {
    Key { microphones: vec!["alsa_input.usb-Ä \"x\"/..".into(), "b".into(), "c".into()], rate_hz: RATE_HZ }
}

fn snapshot() -> Snapshot {
    Snapshot {
        version: SNAPSHOT_VERSION,
        rate_hz: f64::from(RATE_HZ),
        lag_s: 0.080_123_456_789,
        drift_ppm: -120.031,
        drift_sd_ppm: 0.04,
        polarity: -1,
    }
}

fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn what_was_saved_comes_back_to_the_last_digit_and_later_saves_replace_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("not/yet/there");
    assert_eq!(load(&folder, &key()), [None, None]);
    save(&folder, &key(), &[None, None]).expect("saved");
    let path = save(&folder, &key(), &[Some(snapshot()), None]).expect("saved again");
    assert_eq!(load(&folder, &key()), [Some(snapshot()), None]);
    let files: Vec<_> = fs::read_dir(&folder).expect("the folder").flatten().map(|entry| entry.path()).collect();
    assert_eq!(files, [path], "one file, no leftovers, inside the folder");
}

#[test]
fn other_microphones_another_order_or_another_rate_have_files_of_their_own() {
    let dir = tempfile::tempdir().expect("a folder");
    save(dir.path(), &key(), &[Some(snapshot()), None]).expect("saved");
    let mut turned = key();
    turned.microphones.swap(0, 1);
    let joined = Key { microphones: vec![key().microphones.join(""), String::new(), String::new()], ..key() };
    for other in [turned, joined, Key { rate_hz: 44_100, ..key() }] {
        assert_eq!(load(dir.path(), &other), [None, None], "{other:?}");
    }
}

#[test]
fn a_file_cut_anywhere_is_damaged_and_never_believed() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = save(dir.path(), &key(), &[Some(snapshot()), None]).expect("saved");
    let whole = fs::read(&path).expect("written above");
    // The last bytes are the closing brace and the end of the line, which alone is not missed.
    for length in 0..whole.len() - 1 {
        fs::write(&path, &whole[..length]).expect("written");
        assert!(matches!(read(&path, &key(), now()), Err(StateError::Damaged(_))), "{length} bytes");
    }
    assert_eq!(load(dir.path(), &key()), [None, None]);
    save(dir.path(), &key(), &[Some(snapshot()), None]).expect("saved over the damaged one");
    assert_eq!(load(dir.path(), &key()), [Some(snapshot()), None]);
}

/// The error for a good file in which `from` was replaced.
fn changed(folder: &Path, from: &str, to: &str) -> String {
    let path = save(folder, &key(), &[Some(snapshot()), None]).expect("saved");
    let text = fs::read_to_string(&path).expect("written above");
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(&path, text.replacen(from, to, 1)).expect("written");
    read(&path, &key(), now()).expect_err(to).to_string()
}

#[test]
fn other_versions_other_keys_and_impossible_values_are_named() {
    let dir = tempfile::tempdir().expect("a folder");
    for (from, to, says) in [
        ("\"version\": 1", "\"version\": 7", "version 7"),
        ("\"b\"", "\"d\"", "48000 Hz"),
        ("\"polarity\": -1", "\"polarity\": 0", "polarity"),
        ("-120.031", "-12003.1", "drift_ppm"),
        ("-120.031", "null", "damaged"),
        ("\"saved_s\"", "\"when\"", "damaged"),
        (",\n    null", "", "1 snapshots for 3"),
    ] {
        let text = changed(dir.path(), from, to);
        assert!(text.contains(says), "{to}: {text}");
    }
    let path = key().path(dir.path());
    fs::write(&path, vec![b' '; 1 << 20]).expect("written");
    assert!(matches!(read(&path, &key(), now()), Err(StateError::Large(_))));
}

#[test]
fn a_state_of_last_winter_is_stale_and_one_of_last_week_is_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = save(dir.path(), &key(), &[Some(snapshot()), None]).expect("saved");
    let day = Duration::from_secs(24 * 3600);
    assert!(read(&path, &key(), now() + 7 * day).is_ok());
    assert!(matches!(read(&path, &key(), now() + 120 * day), Err(StateError::Stale(120))));
    assert!(matches!(read(&path, &key(), now() - 120 * day), Err(StateError::Stale(_))), "a clock set back");
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_and_leaves_the_old_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a-file");
    fs::write(&file, "kept").expect("written");
    assert!(matches!(save(&file, &key(), &[None, None]), Err(StateError::Io(_))));
    assert_eq!(fs::read_to_string(&file).expect("still there"), "kept");
}
