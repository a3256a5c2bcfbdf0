//! `jalv` on a private JACK server: the sound of every plugin, its state, and its log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftmerge_tests::hosts::{Background, Trial, Workshop};
use driftmerge_tests::jack_server::{Deck, JackServer, PERIOD};
use driftmerge_tests::lilv_host::LilvHost;
use driftmerge_tests::pulse::wait_until;
use driftmerge_tests::two_clocks::Pair;

/// Starts jalv, from saved state if there is some, and connects it; gives how many periods the server had run by then.
fn start(
    workshop: &Workshop,
    server: &JackServer,
    deck: &Deck,
    trial: &Trial,
    state: Option<&Path>,
) -> (Background, usize) {
    // Otherwise its words wait in a buffer for as long as they do not go to a terminal.
    let mut command = server.command(workshop, "stdbuf");
    command.args(["-oL", "jalv", "-x", "-n", "merge"]);
    if let Some(folder) = state {
        command.arg("-l").arg(folder);
    }
    for (symbol, _, value) in trial.changed() {
        command.args(["-c", &format!("{symbol}={value}")]);
    }
    let port = format!("merge:{}", trial.layout.ins[0]);
    wait_until("the name is free", Duration::from_secs(20), || !server.has_port(workshop, &port));
    let jalv = Background::start(command.arg(trial.name), workshop.path("jalv.log"));
    let ran = deck.connect("merge", trial.layout.ins, trial.layout.outs);
    (jalv, ran)
}

/// Plays sound into a plugin and compares what comes out of it with the engine.
fn compare(trial: &Trial) {
    let workshop = Workshop::new();
    let server = JackServer::start(&workshop, trial.rate_hz);
    let deck = Deck::new(&workshop, &server, trial.layout.ins.len(), trial.layout.outs.len());
    let (jalv, connected) = start(&workshop, &server, &deck, trial, None);
    let host = deck.play(&trial.sounds);
    let guess = deck.played_from() - connected;
    drop(jalv);

    // How many periods jalv ran before the first of ours is not known exactly; the engine knows the difference.
    let host: Vec<&[f32]> = host.iter().map(Vec::as_slice).collect();
    let frames = host[0].len();
    let mut near: Vec<usize> = (0..guess + 200).collect();
    near.sort_by_key(|periods| periods.abs_diff(guess));
    let mut best = 0;
    let found = near.into_iter().any(|periods| {
        best = best.max(trial.agreeing_after(periods * PERIOD, &host));
        best == frames
    });
    assert!(found, "{}: only {best} of {frames} frames are the engine's after some number of periods", trial.name);
}

#[test]
fn jalv_gives_what_the_engine_gives_for_merge() {
    compare(&Trial::uris()[0]);
}

#[test]
fn jalv_gives_what_the_engine_gives_for_merge4() {
    compare(&Trial::uris()[1]);
}

#[test]
fn jalv_gives_what_the_engine_gives_for_align_on_both_outputs() {
    compare(&Trial::uris()[2]);
}

#[test]
fn a_state_saved_by_another_process_locks_jalv_within_0_5_s_and_one_that_does_not_fit_is_reported_in_its_log() {
    let (workshop, pair) = (Workshop::new(), Pair::short());
    let [merge, ..] = Trial::uris();
    let server = JackServer::start(&workshop, pair.rate_hz);
    let deck = Deck::new(&workshop, &server, 2, 1);
    let mut saving = LilvHost::new(pair.rate_hz);
    saving.process(&pair, 512);
    let state = workshop.path("state");
    saving.save(&state);
    let file = state.join("state.ttl");
    let saved = fs::read_to_string(&file).expect("it is text");
    // One from another sample rate does as well: its lag is in seconds.
    for usable in [saved.clone(), saved.replace("16000", "44100")] {
        fs::write(&file, usable).expect("the folder can be written");
        let (mut jalv, _) = start(&workshop, &server, &deck, &merge, Some(&state));
        let first = pair.part(3.0, 3.5);
        deck.play(&[first.a, first.b]);
        jalv.say("monitors\n");
        jalv.wait_until("it shows its meters", |said| said.contains("latency = "));
        let state_shown = |value: &str| jalv.said().contains(&format!("state = {value}."));
        assert!(state_shown("1") || state_shown("2"), "it is locked within 0.5 s of sound:\n{}", jalv.said());
        assert!(!jalv.said().contains("is ignored"), "{}", jalv.said());
    }

    // JSON within Turtle: the version is its first number.
    let (before, after) = saved.split_once("version").expect("the version is in there");
    let of_another_version = format!("{before}version{}", after.replacen('1', "1000", 1));
    for (told, other) in [("rate_hz", saved.replace("16000", "0")), ("1000", of_another_version)] {
        assert_ne!(other, saved);
        fs::write(&file, other).expect("the folder can be written");
        let (mut jalv, _) = start(&workshop, &server, &deck, &merge, Some(&state));
        jalv.wait_until("it says so", |said| said.contains("the saved state is ignored") && said.contains(told));
    }
}
