//! scripts/install and scripts/uninstall: every file in its place, and none of them left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use driftmerge_tests::pulse::program;

/// What is built already is installed: the tests need the same files.
fn script(name: &str, arguments: &[&str], environment: &[(&str, &Path)]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the tests have a folder of their own");
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let mut command = Command::new(root.join("scripts").join(name));
    command.args(arguments).args(["--no-build", "--profile", profile]).envs(environment.iter().copied());
    let output = command.env_remove("XDG_DATA_HOME").env_remove("XDG_CONFIG_HOME").output().expect("it starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// All files below `folder`.
fn files(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() { found.extend(files(&path)) } else { found.extend([path]) }
    }
    found
}

#[track_caller]
fn assert_there(files: &BTreeSet<PathBuf>, root: &Path, wanted: &[&str]) {
    for file in wanted {
        assert!(files.contains(&root.join(file)), "{file} is not among {files:#?}");
    }
}

const BUNDLE: [&str; 6] =
    ["manifest.ttl", "driftmerge.ttl", "presets.ttl", "modgui.ttl", "modgui/two.html", "driftmerge.so"];

#[test]
fn a_package_has_every_file_and_uninstall_leaves_none() {
    assert!(program().exists(), "built with the tests");
    let dest = tempfile::tempdir().expect("a folder");
    let environment = [("DESTDIR", dest.path())];
    script("install", &["--prefix", "/usr"], &environment);
    let installed = files(dest.path());
    let shared = [
        "usr/bin/driftmerge",
        "usr/lib/ladspa/driftmerge.so",
        "usr/lib/systemd/user/driftmerge.service",
        "usr/lib/systemd/system/driftmerge-system.service",
        "usr/share/man/man1/driftmerge.1",
        "usr/share/man/man1/driftmerge-run.1",
        "usr/share/bash-completion/completions/driftmerge",
        "usr/share/zsh/site-functions/_driftmerge",
        "usr/share/fish/vendor_completions.d/driftmerge.fish",
    ];
    assert_there(&installed, dest.path(), &shared);
    let bundle = dest.path().join("usr/lib/lv2/driftmerge.lv2");
    assert_there(&installed, &bundle, &BUNDLE);
    let unit = std::fs::read_to_string(dest.path().join(shared[2])).expect("there");
    assert!(unit.contains("ExecStart=/usr/bin/driftmerge run\n"), "where it will be, not where it is packed: {unit}");
    assert!(!unit.contains("@bindir@"));

    // A second time it replaces its own files and adds none.
    script("install", &["--prefix", "/usr"], &environment);
    assert_eq!(files(dest.path()), installed);
    let other = dest.path().join("usr/lib/lv2/other.lv2");
    std::fs::create_dir(&other).and_then(|()| std::fs::write(other.join("manifest.ttl"), "")).expect("written");
    script("uninstall", &["--prefix", "/usr"], &environment);
    assert_eq!(files(dest.path()), BTreeSet::from([other.join("manifest.ttl")]));
    assert!(!bundle.exists());
}

#[test]
fn a_user_gets_a_program_that_finds_its_plugin_and_starts_with_the_session() {
    let home = tempfile::tempdir().expect("a folder");
    let environment = [("HOME", home.path())];
    script("install", &["--user", "--autostart"], &environment);
    let installed = files(home.path());
    let wanted = [
        ".local/bin/driftmerge",
        ".ladspa/driftmerge.so",
        ".config/systemd/user/driftmerge.service",
        ".config/autostart/driftmerge.desktop",
        ".local/share/man/man1/driftmerge.1",
    ];
    assert_there(&installed, home.path(), &wanted);
    assert_there(&installed, &home.path().join(".lv2/driftmerge.lv2"), &BUNDLE);
    let desktop = std::fs::read_to_string(home.path().join(wanted[3])).expect("there");
    assert!(desktop.contains(&format!("Exec={} run\n", home.path().join(wanted[0]).display())), "{desktop}");

    // There is no server where it looks, but the plugin is found without being named.
    let mut doctor = Command::new(home.path().join(wanted[0]));
    doctor.args(["doctor", "--server", "unix:/no/such/socket"]).env_clear().env("HOME", home.path());
    let output = doctor.current_dir(home.path()).output().expect("the installed program starts");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("good  plugin") && said.contains(".lv2/driftmerge.lv2"), "{said}");

    let unit = home.path().join(wanted[2]);
    match Command::new("systemd-analyze")
        .args(["verify", "--user", "--man=no"])
        .arg(&unit)
        .env("HOME", home.path())
        .output()
    {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            let ours: Vec<&str> = said.lines().filter(|line| line.contains("driftmerge")).collect();
            assert!(ours.is_empty(), "{ours:#?}");
        }
        Err(_) => println!("no systemd-analyze here: the unit is not verified"),
    }

    script("uninstall", &["--user"], &environment);
    assert_eq!(files(home.path()), BTreeSet::new());
}

#[test]
fn the_sample_of_a_dotenv_file_is_one_that_the_program_takes() {
    let sample = include_str!("../../scripts/sample.env");
    // With every line in force.
    let all = sample.lines().map(|line| match line.strip_prefix('#') {
        Some(setting) if setting.contains('=') && !setting.starts_with(' ') => setting,
        _ => line,
    });
    let text: String = all.fold(String::new(), |text, line| text + line + "\n");
    let layer = driftmerge::config::dotenv_layer(Path::new("sample.env"), &text).expect("a good file");
    let assignments = text.lines().filter(|line| !line.starts_with('#') && line.contains('=')).count();
    assert_eq!(layer.len(), assignments, "a name is not one of the program's");
    let config = driftmerge::config::resolve(&[layer]).expect("good values");
    config.check().expect("values that go together");
}
