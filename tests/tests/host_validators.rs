//! What the standards' own tools say of the bundle.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftmerge_tests::hosts::{Trial, Workshop, bundle, succeed};

/// All files of the bundle that say something of it.
fn files() -> Vec<PathBuf> {
    let folder = fs::read_dir(bundle().folder()).expect("it is built");
    let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").path();
    let files: Vec<PathBuf> =
        folder.map(path).filter(|path| path.extension().is_some_and(|end| end == "ttl")).collect();
    assert_eq!(files.len(), 7, "{files:?}");
    files
}

/// MOD's vocabularies, which no distribution has.
fn mod_vocabulary() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/mod.ttl")
}

/// Runs a checker over files and demands that it has nothing to say, neither errors nor warnings.
fn assert_nothing_found(command: &mut Command) {
    let output = succeed(command);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.starts_with("Found 0 errors among ") && said.lines().count() == 1, "{said}");
    let complained = String::from_utf8_lossy(&output.stderr);
    // Debian's lv2_validate asks for a file of the standard's own that its package does not have.
    let ours: Vec<&str> = complained.lines().filter(|line| !line.ends_with("/core.lv2/lv2core.doap.ttl")).collect();
    assert!(ours.is_empty(), "{complained}");
}

#[test]
fn lv2_validate_finds_no_errors_and_warns_of_nothing() {
    assert_nothing_found(Workshop::new().command("lv2_validate").arg(mod_vocabulary()).args(files()));
}

#[test]
fn sord_validate_finds_no_errors_and_warns_of_nothing() {
    /// The parts of the standard that the bundle uses.
    const PARTS: [&str; 9] =
        ["core", "schemas", "units", "port-props", "port-groups", "presets", "state", "urid", "log"];
    let standard = PARTS.iter().flat_map(|part| {
        let folder = fs::read_dir(format!("/usr/lib/lv2/{part}.lv2")).expect("lv2-dev is installed");
        let path = |entry: std::io::Result<fs::DirEntry>| entry.expect("it can be read").path();
        folder.map(path).filter(|path| path.extension().is_some_and(|end| end == "ttl"))
    });
    let standard: Vec<PathBuf> = standard.chain([mod_vocabulary()]).collect();
    assert_nothing_found(Workshop::new().command("sord_validate").args(&standard).args(files()));

    // It would find something.
    let workshop = Workshop::new();
    let text = fs::read_to_string(bundle().folder().join("driftmerge.ttl")).expect("the bundle has it");
    fs::write(workshop.path("bad.ttl"), text.replace("\"lag_limit\"", "\"lag limit\"")).expect("it can be written");
    let bad = workshop.command("sord_validate").args(&standard).args(files()).arg("bad.ttl").output();
    assert!(!bad.expect("sordi is installed").status.success());
    let text = fs::read_to_string(bundle().folder().join("modgui.ttl")).expect("the bundle has it");
    fs::write(workshop.path("bad.ttl"), text.replace("modgui:thumbnail", "modgui:nail")).expect("it can be written");
    let bad = workshop.command("sord_validate").args(&standard).arg("bad.ttl").output();
    assert!(!bad.expect("sordi is installed").status.success());
}

#[test]
fn lv2info_knows_who_made_each_plugin_its_latency_port_and_its_state() {
    for Trial { name: uri, layout, .. } in Trial::uris() {
        let output = succeed(Workshop::new().command("lv2info").arg(uri));
        let said = String::from_utf8_lossy(&output.stdout);
        let latency = format!("yes, reported by port {}", layout.first_out() - 1);
        let state = "http://lv2plug.in/ns/ext/state#interface";
        for line in [&latency, state, "The driftmerge developers"] {
            assert!(said.contains(line), "«{line}» in:\n{said}");
        }
        let presets = if layout.ins.len() == 4 {
            ["Laptop and three USB microphones", "Four USB microphones", "Network microphones"]
        } else {
            ["Laptop and USB microphone", "Two USB microphones", "Network microphone"]
        };
        let shown = said.split_once("Presets:").expect("it has presets").1.lines().skip(1);
        let shown: BTreeSet<&str> = shown.map(str::trim).take_while(|line| !line.is_empty()).collect();
        let wanted = presets.into_iter().chain(["Podcast, offline", "Loopback route"]).collect();
        assert_eq!(shown, wanted, "{said}");
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}
