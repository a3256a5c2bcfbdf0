//! lilv, the library under most LV2 hosts: sound, presets, and what was learnt, saved and restored.

use driftmerge_tests::hosts::{Settings, Workshop, assert_same};
use driftmerge_tests::lilv_host::LilvHost;
use driftmerge_tests::two_clocks::Pair;

#[test]
fn a_lilv_host_gives_what_the_engine_gives() {
    let pair = Pair::short();
    let engine = Settings::default().merged(&pair);
    for block in [1, 83, 512, 4096] {
        assert_same(&LilvHost::new(pair.rate_hz).process(&pair, block), &engine);
    }
}

#[test]
fn saved_state_locks_the_next_instance_within_0_5_s() {
    let (workshop, pair) = (Workshop::new(), Pair::short());
    let mut first = LilvHost::new(pair.rate_hz);
    first.process(&pair, 512);
    first.save(&workshop.path(""));
    let lag_ms = first.meter("lag");
    drop(first);

    let mut second = LilvHost::new(pair.rate_hz);
    second.set("delay", 300.0);
    second.restore(&workshop.path(""));
    assert_eq!(second.get("delay"), 60.0, "controls are the host's to restore");
    second.process(&pair.part(3.0, 3.5), 512);
    assert!(second.meter("state") >= 1.0);
    assert!((second.meter("lag") - lag_ms).abs() < 0.1, "{} ms after {lag_ms} ms", second.meter("lag"));
}

#[test]
fn a_preset_sets_the_controls_and_leaves_alone_what_was_learnt() {
    let pair = Pair::short();
    let mut host = LilvHost::new(pair.rate_hz);
    host.process(&pair.part(0.0, 3.0), 512);
    host.set("hold", 1.0);
    host.preset("urn:driftmerge:preset:two-usb");
    assert_eq!((host.get("delay"), host.get("lag_limit"), host.get("hold")), (50.0, 200.0, 1.0));
    host.process(&pair.part(3.0, 3.1), 512);
    assert_eq!(host.meter("latency"), 800.0);
    assert!(host.meter("state") >= 1.0);
}

/// Lilv takes the default of every control for part of a default state, so a host that loads one after a session
/// overwrites the controls of the session.
#[test]
fn controls_of_a_restored_session_outlive_the_loading_of_default_states() {
    let workshop = Workshop::new();
    LilvHost::new(48_000).save(&workshop.path(""));
    let mut host = LilvHost::new(48_000);
    host.set("delay", 300.0);
    host.restore(&workshop.path(""));
    host.load_default_state();
    assert_eq!((host.get("delay"), host.get("mode")), (60.0, 0.0));
}
