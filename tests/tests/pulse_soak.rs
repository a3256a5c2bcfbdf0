//! scripts/soak on a private server, shortened to a minute: creep of latency shows in an hour, but what this finds in a
//! minute (a ring that fills, a buffer that is never let go) must not wait for that. In full:
//!
//! ```sh
//! SOAK_MINUTES=60 SOAK_MINUTE_S=60 cargo test --test pulse_soak -- --nocapture
//! ```

use std::path::Path;

use driftmerge_tests::hosts;
use driftmerge_tests::pulse::{MICS, Rig, program};

#[test]
fn neither_latency_nor_memory_creeps() {
    let rig = Rig::start(16_000, 100.0, 0.012);
    let before = rig.modules();
    let variable = |name, usual: &str| std::env::var(name).unwrap_or_else(|_| usual.to_owned());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/soak");
    let mut command = rig.command(script);
    command.arg(variable("SOAK_MINUTES", "5")).args(["--mic", MICS[0], "--mic", MICS[1], "--rate", "16000"]);
    command.env("SOAK_MINUTE_S", variable("SOAK_MINUTE_S", "12"));
    command.env("DRIFTMERGE", program()).env("DRIFTMERGE_BUNDLE", hosts::bundle().folder());
    let output = command.output().expect("it starts");
    let (said, told) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{said}\n{told}");
    assert!(
        said.contains("against the first minute") && said.lines().filter(|line| line.contains("min: ")).count() > 2,
        "{said}"
    );
    assert_eq!(rig.modules(), before);
}
