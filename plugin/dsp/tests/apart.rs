//! A and B put out side by side, aligned but not mixed.

mod common;
use common::{Scene, percentile, run};
use driftmerge_dsp::{Controls, Engine, Mode, State, Status};

/// Both outputs, and the engine's last word.
fn apart(scene: &Scene, a: &[f32], b: &[f32], controls: &Controls, block: usize) -> ([Vec<f32>; 2], Status) {
    let mut engine = Engine::new(scene.rate_hz, controls).expect("the rate is in range");
    let mut outs = [vec![0.0; a.len()], vec![0.0; a.len()]];
    for at in (0..a.len()).step_by(block) {
        let end = (at + block).min(a.len());
        let [out_a, out_b] = &mut outs;
        engine.process_apart(&a[at..end], &b[at..end], &mut out_a[at..end], &mut out_b[at..end]);
    }
    (outs, engine.status())
}

/// What `mode` alone gives of the same.
fn alone(scene: &Scene, a: &[f32], b: &[f32], mode: Mode) -> Vec<f32> {
    let mut engine =
        Engine::new(scene.rate_hz, &Controls { mode, ..Controls::default() }).expect("the rate is in range");
    run(&mut engine, a, b, 512, |_, _| {})
}

#[test]
fn the_two_are_those_of_the_modes_only_a_and_only_b_for_every_split() {
    let scene = Scene { seconds: 4.0, ..Scene::default() };
    let (a, b) = scene.record();
    for block in [1, 83, 8056] {
        let ([out_a, out_b], status) = apart(&scene, &a, &b, &Controls::default(), block);
        assert_eq!(status.state, State::Locked);
        assert_eq!(out_a, alone(&scene, &a, &b, Mode::OnlyA));
        // The mixer comes to B alone by a ramp of 10 ms.
        let begun = scene.rate_hz as usize / 5;
        let only_b = alone(&scene, &a, &b, Mode::OnlyB);
        let worst = out_b[begun..].iter().zip(&only_b[begun..]).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-7, "{worst}");
    }
}

#[test]
fn switched_off_both_come_as_late_as_they_were() {
    let scene = Scene { seconds: 4.0, ..Scene::default() };
    let (a, b) = scene.record();
    let off = Controls { enabled: false, ..Controls::default() };
    let ([out_a, out_b], status) = apart(&scene, &a, &b, &off, 160);
    let late = status.latency_frames as usize;
    for (out, sound) in [(&out_a, &a), (&out_b, &b)] {
        let error: Vec<f64> = out[late..].iter().zip(sound).map(|(x, y)| f64::from(x - y)).collect();
        assert!(percentile(&error, 1.0) < 1e-6, "{}", percentile(&error, 1.0));
    }
}
