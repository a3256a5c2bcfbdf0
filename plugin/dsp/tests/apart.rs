//! Microphones put out side by side, aligned but not combined.

mod common;
use common::{Scene, difference_db, run};
use driftmerge_dsp::{Controls, Engine, Mode, State, Status};

/// What is put out of each microphone, and the engine's last word on each other one.
fn apart(scene: &Scene, microphones: &[&[f32]], controls: &Controls, block: usize) -> (Vec<Vec<f32>>, Vec<Status>) {
    let mut engine = Engine::new(scene.rate_hz, microphones.len(), controls).expect("the rate is in range");
    let frames = microphones[0].len();
    let mut outs = vec![vec![0.0; frames]; microphones.len()];
    for at in (0..frames).step_by(block) {
        let part = at..(at + block).min(frames);
        let ins: Vec<&[f32]> = microphones.iter().map(|sound| &sound[part.clone()]).collect();
        let mut outs: Vec<&mut [f32]> = outs.iter_mut().map(|out| &mut out[part.clone()]).collect();
        engine.process_apart(&ins, &mut outs);
    }
    (outs, (1..microphones.len()).map(|microphone| engine.status(microphone)).collect())
}

/// What `mode` alone gives of the same.
fn alone(scene: &Scene, a: &[f32], b: &[f32], mode: Mode) -> Vec<f32> {
    let mut engine =
        Engine::new(scene.rate_hz, 2, &Controls { mode, ..Controls::default() }).expect("the rate is in range");
    run(&mut engine, a, b, 512, |_, _| {})
}

#[test]
fn the_two_are_those_of_the_modes_only_a_and_only_b_and_the_same_bits_for_every_split() {
    let scene = Scene { seconds: 4.0, ..Scene::default() };
    let (a, b) = scene.record();
    let (want, _) = apart(&scene, &[&a, &b], &Controls::default(), a.len());
    for block in [1, 83, 8056] {
        let (outs, status) = apart(&scene, &[&a, &b], &Controls::default(), block);
        assert_eq!(status[0].state, State::Locked);
        assert!(outs == want, "blocks of {block}");
    }
    // The modes pass through the combiner's transforms. B alone is put out from the lock on.
    let locked = 3 * scene.rate_hz as usize;
    for (out, mode, from) in [(&want[0], Mode::OnlyA, 0), (&want[1], Mode::OnlyB, locked)] {
        let error_db = difference_db(&alone(&scene, &a, &b, mode)[from..], &out[from..]);
        assert!(error_db < -100.0, "{mode:?}: {error_db} dB");
    }
}

#[test]
fn a_third_microphone_is_put_out_aligned_as_well_and_changes_no_other() {
    let scene = Scene { seconds: 5.0, ..Scene::default() };
    let room = scene.record_all(&[(37.0, 80.0), (-20.0, -60.0)]);
    let microphones: Vec<&[f32]> = room.microphones.iter().map(Vec::as_slice).collect();
    let (outs, status) = apart(&scene, &microphones, &Controls::default(), 160);
    let (pair, _) = apart(&scene, &microphones[..2], &Controls::default(), 160);
    assert!(outs[..2] == pair, "A and B are as without C");
    let late = status[1].latency_frames as usize;
    let part = 3 * 16_000..5 * 16_000 - late;
    for (sound, status) in outs[1..].iter().zip(&status) {
        assert_eq!(status.state, State::Locked);
        // Noise of each is 20 dB below the voice, and nothing but noise is left of it.
        let snr_db = room.snr_db(sound, late, part.clone());
        assert!(snr_db > 19.0, "{snr_db} dB");
    }
}

#[test]
fn switched_off_all_come_as_late_as_they_were() {
    let scene = Scene { seconds: 4.0, ..Scene::default() };
    let (a, b) = scene.record();
    let off = Controls { enabled: false, ..Controls::default() };
    let (outs, status) = apart(&scene, &[&a, &b], &off, 160);
    let late = status[0].latency_frames as usize;
    for (out, sound) in outs.iter().zip([&a, &b]) {
        let error_db = difference_db(&out[late..], &sound[..sound.len() - late]);
        assert!(error_db < -100.0, "{error_db} dB");
    }
}
