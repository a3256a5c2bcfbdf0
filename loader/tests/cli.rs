//! The program's command line: what is refused, with which exit code and in which words. No sound server is touched.

use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn run(folder: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_driftmerge"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(environment.iter().copied())
        .output()
        .expect("the program starts")
}

/// Runs what has to be refused as wrong usage, and checks that all of `words` are in the message.
#[track_caller]
fn refused(folder: &Path, environment: &[(&str, &str)], arguments: &[&str], words: &[&str]) {
    let output = run(folder, environment, arguments);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {text}");
    for word in words {
        assert!(text.contains(word), "`{word}` is not in: {text}");
    }
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn each_broken_rule_is_exit_code_2_with_the_values_and_where_they_came_from() {
    let home = home();
    let two = ["--mic", "a", "--mic", "b"];
    for command in ["run", "load"] {
        let refused = |environment: &[(&str, &str)], extra: &[&str], words: &[&str]| {
            refused(home.path(), environment, &[&[command], extra].concat(), words);
        };
        refused(&[], &[], &["no microphones", "at least 2", "RECORD_DEVICE_NAMES"]);
        refused(&[("RECORD_DEVICE_NAMES", "only_one")], &[], &["only_one", "environment variable"]);
        refused(&[], &["--mic", "x", "--mic", "x"], &["`x`", "twice"]);
        refused(&[("RECORD_CHUNK_SIZE", "256")], &two, &["256", "512", "environment variable RECORD_CHUNK_SIZE"]);
        refused(
            &[("MAX_SIZE", "65536")],
            &[&two[..], &["--rate", "96000"]].concat(),
            &["65536", "environment variable MAX_SIZE", "72000", "750 ms", "96000 Hz", "144000"],
        );
        refused(
            &[],
            &[&two[..], &["--max-size", "65536", "--chunk", "40000", "--lag-limit", "100"]].concat(),
            &["65536", "--max-size", "40000", "--chunk", "80000"],
        );
    }
}

#[test]
fn a_value_that_cannot_be_read_is_named_with_its_place() {
    let home = home();
    let config = home.path().join(".config/driftmerge");
    std::fs::create_dir_all(&config).expect("a folder");
    std::fs::write(config.join("config.toml"), "# mine\nthreshold = 3\n").expect("written");
    refused(home.path(), &[], &["unload"], &["CORRELATION_THRESHOLD", "`3`", "config.toml line 2", "0 to 1"]);
    std::fs::write(config.join("config.toml"), "\nthresold = 0.3\n").expect("written");
    refused(home.path(), &[], &["unload"], &["config.toml line 2", "`thresold`", "threshold"]);
    std::fs::write(config.join("config.toml"), "threshold = \n").expect("written");
    refused(home.path(), &[], &["unload"], &["config.toml", "line 1"]);
    std::fs::remove_file(config.join("config.toml")).expect("removed");
    std::fs::write(home.path().join(".env"), "A=1\nLAG_LIMIT_MS=fast\n").expect("written");
    refused(home.path(), &[], &["unload"], &["LAG_LIMIT_MS", "`fast`", ".env line 2", "1 to 1000 ms"]);
    refused(home.path(), &[("LAG_LIMIT_MS", "0")], &["unload"], &["`0`", "environment variable LAG_LIMIT_MS"]);
}

#[test]
fn unknown_commands_and_flags_are_exit_code_2_and_help_is_0() {
    let home = home();
    for arguments in [&["mrege"][..], &["run", "--mike", "a"], &["merge", "a.wav"], &[]] {
        assert_eq!(run(home.path(), &[], arguments).status.code(), Some(2), "{arguments:?}");
    }
    for command in [
        "list", "run", "load", "unload", "status", "monitor", "set", "reset", "save", "stop", "merge", "plan",
        "doctor", "demo",
    ] {
        let output = run(home.path(), &[], &[command, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{command}");
        assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: driftmerge"), "{command}");
    }
}
