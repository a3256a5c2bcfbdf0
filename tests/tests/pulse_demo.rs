//! `driftmerge demo`, as a stranger would run it.

use driftmerge_tests::hosts;
use driftmerge_tests::pulse::program;
use std::process::Command;

#[test]
fn demo_finds_the_drift_and_the_merge_is_better_than_both_microphones() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = Command::new(program());
    command
        .args(["demo", "--seconds", "20"])
        .env("DRIFTMERGE_BUNDLE", hosts::bundle().folder())
        .env("XDG_RUNTIME_DIR", folder.path());
    let output = command.output().expect("the program starts");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    let number = |text: &str, after: &str| -> f64 {
        let rest = text.split_once(after).unwrap_or_else(|| panic!("no «{after}» in:\n{said}\n{told}")).1;
        rest.split_whitespace().next().and_then(|n| n.parse().ok()).expect("a number")
    };
    assert!((number(&said, "\nlag ") - 80.0).abs() < 3.0, "{said}");
    assert!((number(&said, "\ndrift ") - 120.0).abs() < 1.0, "{said}");
    let [a, b, merged] = ["noise: A ", ", B ", "merged "].map(|after| number(&said, after));
    assert!(merged > a.max(b) + 1.5, "{said}");
}
