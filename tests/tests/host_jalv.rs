//! `jalv` on a private JACK server: its sound, its state, and its log.

use std::fs;
use std::path::Path;
use std::time::Duration;

use driftmerge_tests::hosts::{Background, CHANGED, Settings, URI, Workshop, assert_same};
use driftmerge_tests::jack_server::{Deck, JackServer, PERIOD};
use driftmerge_tests::lilv_host::LilvHost;
use driftmerge_tests::pulse::wait_until;
use driftmerge_tests::two_clocks::Pair;

/// Starts jalv, from saved state if there is some, and connects it.
fn start(workshop: &Workshop, server: &JackServer, deck: &Deck, state: Option<&Path>) -> Background {
    // Otherwise its words wait in a buffer for as long as they do not go to a terminal.
    let mut command = server.command(workshop, "stdbuf");
    command.args(["-oL", "jalv", "-x", "-n", "merge"]);
    if let Some(folder) = state {
        command.arg("-l").arg(folder);
    }
    for (symbol, _, value) in CHANGED {
        command.args(["-c", &format!("{symbol}={value}")]);
    }
    wait_until("the name is free", Duration::from_secs(20), || !server.has_port(workshop, "merge:out"));
    let mut jalv = Background::start(command.arg(URI), workshop.path("jalv.log"));
    jalv.wait_until("jalv has ports", |_| server.has_port(workshop, "merge:out"));
    deck.connect(c"merge:in_a", c"merge:in_b", c"merge:out");
    jalv
}

#[test]
fn jalv_gives_what_the_engine_gives_and_keeps_what_was_learnt() {
    let (workshop, pair) = (Workshop::new(), Pair::short());
    let server = JackServer::start(&workshop, pair.rate_hz);
    let deck = Deck::new(&workshop, &server);

    // The sound. How many periods jalv ran before the first of ours is not known exactly; the engine knows the difference.
    let jalv = start(&workshop, &server, &deck, None);
    let ready = deck.periods();
    let host = deck.play(&pair);
    let guess = deck.played_from() - ready;
    drop(jalv);
    let controls = Settings::default().controls();
    let engine_after = |periods: usize, pair: &Pair| {
        let (mut engine, _) = pair.after_silence(periods * PERIOD).merged(&controls);
        engine.drain(..periods * PERIOD);
        engine
    };
    let first = pair.part(0.0, 1.5);
    let mut near: Vec<usize> = (0..guess + 200).collect();
    near.sort_by_key(|n| n.abs_diff(guess));
    let periods = near.into_iter().find(|n| engine_after(*n, &first) == host[..first.a.len()]);
    let periods = periods.expect("after some number of silent periods the engine gives what jalv gives");
    assert_same(&host, &engine_after(periods, &pair));

    // The state: saved by one process, taken up by the next.
    let mut saving = LilvHost::new(pair.rate_hz);
    saving.process(&pair, 512);
    let state = workshop.path("state");
    saving.save(&state);
    let mut jalv = start(&workshop, &server, &deck, Some(&state));
    deck.play(&pair.part(3.0, 3.5));
    jalv.say("monitors\n");
    jalv.wait_until("it shows its meters", |said| said.contains("latency = "));
    let state_shown = |value: &str| jalv.said().contains(&format!("state = {value}."));
    assert!(state_shown("1") || state_shown("2"), "it is locked within 0.5 s of sound:\n{}", jalv.said());
    drop(jalv);

    // A state that does not fit is reported through the host's log.
    let file = state.join("state.ttl");
    let saved = fs::read_to_string(&file).expect("it is text");
    let other = saved.replace("16000", "44100");
    assert_ne!(other, saved, "the rate is in there");
    fs::write(&file, other).expect("the folder can be written");
    let mut jalv = start(&workshop, &server, &deck, Some(&state));
    jalv.wait_until("it says so", |said| said.contains("the saved state is ignored") && said.contains("44100"));
}
