//! Where `merge` writes to: what is no file is never replaced, and nothing that was there is lost.

use driftmerge_tests::pulse::program;
use driftmerge_tests::wav::{Pair, merge, read, refused, write};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

const RATE_HZ: u32 = 16_000;

/// A folder with two recordings, and what their merge is.
fn folder() -> (TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let pair = Pair::speech(RATE_HZ, 4.0, 50.0, 0.02);
    write(&folder.path().join("a.wav"), RATE_HZ, 16, false, &[&pair.a]);
    write(&folder.path().join("b.wav"), RATE_HZ, 16, false, &[&pair.b]);
    succeeds(folder.path(), &["a.wav", "b.wav", "-o", "wanted.wav"]);
    let wanted = fs::read(folder.path().join("wanted.wav")).expect("written");
    (folder, wanted)
}

#[track_caller]
fn succeeds(folder: &Path, arguments: &[&str]) {
    let output = merge(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn leftovers(folder: &Path) -> usize {
    let files = fs::read_dir(folder).expect("the folder").flatten();
    files.filter(|file| file.file_name().to_string_lossy().starts_with(".driftmerge-")).count()
}

#[test]
fn a_device_is_written_into_and_stays_a_device() {
    let (folder, _) = folder();
    let null = folder.path().join("null");
    // Only root can make a device; the system's own is never named here.
    let made = Command::new("mknod").arg(&null).args(["c", "1", "3"]).status().expect("mknod").success();
    if !made {
        return;
    }
    for arguments in
        [["-o", "null", "--trace", "t.csv"], ["-o", "out.wav", "--trace", "null"], ["-o", "null", "--trace", "null"]]
    {
        succeeds(folder.path(), &[&["a.wav", "b.wav"][..], &arguments].concat());
        assert!(fs::metadata(&null).expect("there").file_type().is_char_device(), "{arguments:?}");
    }
    assert_eq!(leftovers(folder.path()), 0);
}

#[test]
fn a_pipe_and_standard_output_get_the_same_bytes_as_a_file() {
    let (folder, wanted) = folder();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let reader = {
        let pipe = pipe.clone();
        std::thread::spawn(move || fs::read(pipe).expect("readable"))
    };
    succeeds(folder.path(), &["a.wav", "b.wav", "-o", "pipe"]);
    assert_eq!(reader.join().expect("no panic"), wanted);
    assert!(fs::metadata(&pipe).expect("there").file_type().is_fifo());

    let output = merge(folder.path(), &["a.wav", "b.wav", "-o", "-"]);
    assert!(output.status.success() && output.stdout == wanted);
    assert!(String::from_utf8_lossy(&output.stderr).contains("microphone 2"), "the summary is not in the sound");
    assert!(!folder.path().join("-").exists());
}

#[test]
fn a_pipe_without_a_reader_is_waited_for_until_a_signal_comes_and_a_reader_who_goes_is_told() {
    let (folder, _) = folder();
    let pipe = folder.path().join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
    let start = || {
        let mut command = Command::new(program());
        command.args(["merge", "a.wav", "b.wav", "-o", "pipe"]).current_dir(folder.path());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the program starts")
    };
    let mut waiting = start();
    assert!(driftmerge_tests::wait::ended_within(&mut waiting, Duration::from_millis(500)).is_none());
    kill_process(Pid::from_child(&waiting), Signal::TERM).expect("it runs");
    let ended = driftmerge_tests::wait::ended_within(&mut waiting, Duration::from_secs(2));
    assert_eq!(ended.expect("it ends").code(), Some(1));

    let mut left = start();
    drop(fs::File::open(&pipe).expect("a reader"));
    let ended = driftmerge_tests::wait::ended_within(&mut left, Duration::from_secs(20)).expect("it ends");
    let mut said = String::new();
    left.stderr.take().expect("piped").read_to_string(&mut said).expect("text");
    assert!(ended.code() == Some(1) && said.contains("pipe cannot be written"), "{said}");
}

#[test]
fn links_are_followed_and_rights_are_kept() {
    let (folder, wanted) = folder();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("music")).expect("made");
    fs::write(at("music/old.wav"), "old").expect("written");
    fs::set_permissions(at("music/old.wav"), fs::Permissions::from_mode(0o640)).expect("changed");
    symlink("music/old.wav", at("link.wav")).expect("linked");
    symlink("music/new.wav", at("dangling.wav")).expect("linked");
    for (link, target) in [("link.wav", "music/old.wav"), ("dangling.wav", "music/new.wav")] {
        succeeds(folder.path(), &["a.wav", "b.wav", "-o", link]);
        assert!(fs::symlink_metadata(at(link)).expect("there").is_symlink(), "{link} is replaced");
        assert_eq!(fs::read(at(target)).expect("there"), wanted, "{target}");
    }
    assert_eq!(fs::metadata(at("music/old.wav")).expect("there").permissions().mode() & 0o777, 0o640);
    assert_eq!(leftovers(&at("music")), 0);
}

#[test]
fn what_would_lose_something_is_refused_and_leaves_it_as_it_was() {
    let (folder, _) = folder();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("kept.wav"), "kept").expect("written");
    fs::set_permissions(at("kept.wav"), fs::Permissions::from_mode(0o400)).expect("changed");
    fs::hard_link(at("a.wav"), at("same.wav")).expect("linked");
    symlink("s.wav", at("other-name.wav")).expect("linked");
    for (arguments, words) in [
        (&["-o", "kept.wav"][..], "write-protected"),
        (&["-o", "out.wav", "--trace", "kept.wav"], "write-protected"),
        (&["-o", "."], "folder"),
        (&["-o", "same.wav"], "read and written"),
        (&["-o", "out.wav", "--trace", "b.wav"], "read and written"),
        (&["-o", "s.wav", "--trace", "s.wav"], "--trace"),
        (&["-o", "s.wav", "--trace", "./s.wav"], "--trace"),
        (&["-o", "s.wav", "--trace", "other-name.wav"], "--trace"),
        (&["-o", "-", "--trace", "-"], "--trace"),
    ] {
        let said = refused(folder.path(), 2, &[&["a.wav", "b.wav"][..], arguments].concat());
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert_eq!(fs::read(at("kept.wav")).expect("there"), b"kept");
    assert_eq!(read(&at("wanted.wav")).len(), 4 * RATE_HZ as usize);
}

#[test]
fn a_hangup_leaves_no_unfinished_file() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let pair = Pair::speech(RATE_HZ, 120.0, 50.0, 0.02);
    write(&folder.path().join("in.wav"), RATE_HZ, 16, false, &[&pair.a, &pair.b]);
    let mut command = Command::new(program());
    command.args(["merge", "in.wav", "-o", "out.wav"]).current_dir(folder.path());
    let mut child = command.stderr(Stdio::null()).spawn().expect("the program starts");
    driftmerge_tests::wait::wait_until("it writes", Duration::from_secs(20), || leftovers(folder.path()) == 1);
    kill_process(Pid::from_child(&child), Signal::HUP).expect("it runs");
    let ended = driftmerge_tests::wait::ended_within(&mut child, Duration::from_secs(2)).expect("it ends");
    assert_eq!((ended.code(), leftovers(folder.path())), (Some(1), 0));
    assert!(!folder.path().join("out.wav").exists());
}

#[test]
fn a_header_that_says_0_hz_or_no_channels_is_damaged() {
    let (folder, _) = folder();
    for (place, what) in [(24, "0 Hz"), (22, "0 channels")] {
        let mut bytes = fs::read(folder.path().join("a.wav")).expect("there");
        bytes[place..place + if place == 24 { 4 } else { 2 }].fill(0);
        fs::write(folder.path().join("odd.wav"), bytes).expect("written");
        let said = refused(folder.path(), 1, &["odd.wav", "b.wav", "-o", "out.wav"]);
        assert!(!said.contains("panicked"), "{what}: {said}");
        let said = refused(folder.path(), 1, &["odd.wav", "-o", "out.wav"]);
        assert!(!said.contains("panicked"), "{what}: {said}");
    }
}
