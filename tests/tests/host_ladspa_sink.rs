//! `module-ladspa-sink` on a private PulseAudio: every label, streams that come and go, and the sound behind it.
//!
//! Whenever a stream begins or ends on such a sink, the server rewinds it: it deactivates and activates the plugin and
//! gives it some of the sound a second time. Then what comes out cannot be held against the engine frame by frame;
//! microphone A alone is held against A, and of the merge it is shown that both microphones are in it, aligned. Before a speaker that is
//! never rewound the plugin hears everything once, and there each label is held against the engine.

use std::fs::File;
use std::io::Read;
use std::process::{Child, Stdio};
use std::time::Duration;

use driftmerge_plugin::layout::{ALIGN, DUAL, Layout, MERGE, MERGE4, Sound};
use driftmerge_tests::align::{measure, quantile};
use driftmerge_tests::hosts::{Settings, Trial, Workshop, bundle, succeed};
use driftmerge_tests::pipewire::assert_same_after_silence;
use driftmerge_tests::pulse::{Rig, wait_until};
use driftmerge_tests::two_clocks::{Pair, difference_db};

const RATE_HZ: u32 = 16_000;

/// A daemon with a null sink, the speaker, and one of the plugin's labels as a sink before it.
struct Sink {
    rig: Rig,
    workshop: Workshop,
    channels: usize,
}

impl Sink {
    /// The speaker alone, made with `more` arguments.
    fn speaker(channels: usize, more: &str) -> Self {
        let sink = Self { rig: Rig::start(RATE_HZ, 0.0, 0.0), workshop: Workshop::new(), channels };
        let arguments = format!("sink_name=speaker {} {more}", sink.format());
        sink.rig.pactl(&["load-module", "module-null-sink", &arguments]);
        sink
    }

    /// With the label before it.
    fn load(label: &str, layout: &Layout, settings: &Settings) -> Self {
        let sink = Self::speaker(layout.ins.len(), "");
        sink.put(label, layout, settings);
        sink
    }

    fn put(&self, label: &str, layout: &Layout, settings: &Settings) {
        let arguments = format!(
            "sink_name=merge sink_master=speaker {} plugin={} label={label} control={}",
            self.format(),
            bundle().ladspa_file().display(),
            settings.positional_of(layout).join(",")
        );
        self.rig.pactl(&["load-module", "module-ladspa-sink", &arguments]);
    }

    fn format(&self) -> String {
        format!("format=float32le rate={RATE_HZ} channels={}", self.channels)
    }

    /// Plays both microphones into the plugin: the second as its last but one of four.
    fn play(&self, name: &str, pair: &Pair) -> Child {
        let place = |a: f32, b: f32| if self.channels == 2 { vec![a, b] } else { vec![a, 0.0, b, 0.0] };
        self.play_samples(name, pair.a.iter().zip(&pair.b).flat_map(|(a, b)| place(*a, *b)))
    }

    /// Plays samples, frame after frame, into the plugin.
    fn play_samples(&self, name: &str, samples: impl Iterator<Item = f32>) -> Child {
        let bytes: Vec<u8> = samples.flat_map(f32::to_le_bytes).collect();
        let file = self.workshop.path(name);
        std::fs::write(&file, bytes).expect("the folder can be written");
        let mut command = self.rig.command("pacat");
        command.args(["--playback", "--raw", "--format=float32le", "-d", "merge"]);
        command
            .arg(format!("--channels={}", self.channels))
            .arg(format!("--rate={RATE_HZ}"))
            .arg(file)
            .spawn()
            .expect("pacat is installed")
    }

    /// Starts to record what the speaker gets.
    fn recorder(&self, into: impl Into<Stdio>) -> Child {
        let mut command = self.rig.command("parec");
        command.args(["--raw", "--format=float32le", "--latency-msec=20", "-d", "speaker.monitor"]);
        command.arg(format!("--channels={}", self.channels));
        command.arg(format!("--rate={RATE_HZ}")).stdout(into).spawn().expect("parec is installed")
    }

    /// Records what the speaker gets: its first two channels.
    fn record(&self, seconds: f64) -> [Vec<f32>; 2] {
        let mut recorder = self.recorder(Stdio::piped());
        let mut bytes = vec![0; 4 * self.channels * (seconds * f64::from(RATE_HZ)) as usize];
        recorder.stdout.as_mut().expect("piped").read_exact(&mut bytes).expect("the daemon lives");
        recorder.kill().expect("it runs");
        recorder.wait().expect("a child");
        let channels = self.channels_of(&bytes);
        [0, 1].map(|channel| channels[channel].clone())
    }

    /// The channels of what was recorded.
    fn channels_of(&self, bytes: &[u8]) -> Vec<Vec<f32>> {
        let samples: Vec<f32> = bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
        (0..self.channels).map(|channel| samples[channel..].iter().step_by(self.channels).copied().collect()).collect()
    }
}

/// Plays a scene of `SECONDS` while other streams come and go, and records it.
fn with_streams_that_come_and_go(label: &str, layout: &Layout) -> [Vec<f32>; 2] {
    const SECONDS: f64 = 14.0;
    let sink = Sink::load(label, layout, &Settings::default());
    let (scene, own) = Pair::noisy_speech(RATE_HZ, SECONDS, 0.02, 60.0, 10.0);
    let silence = Pair { rate_hz: RATE_HZ, a: vec![0.0; 4800], b: vec![0.0; 4800] };
    let mut player = sink.play("scene", &scene);
    let sound = std::thread::scope(|scope| {
        let recording = scope.spawn(|| sink.record(SECONDS - 2.0));
        let mut passed = 0;
        while !recording.is_finished() {
            let mut passer = sink.play("silence", &silence);
            assert!(passer.wait().expect("a child").success(), "a stream can come and go");
            passed += 1;
        }
        println!("{label}: {passed} streams came and went");
        assert!(passed >= 5, "only {passed} streams came and went");
        recording.join().expect("it records")
    });
    assert!(player.wait().expect("a child").success(), "the scene was played to its end");
    succeed(sink.rig.command("pactl").arg("info"));

    // The lock takes a second or two; the streams came and went all the time.
    let late = 5 * RATE_HZ as usize;
    let heard: Vec<f32> = match layout.sound {
        Sound::Merged => sound[0][late..].to_vec(),
        // Side by side: what they would be together.
        Sound::Apart => sound[0][late..].iter().zip(&sound[1][late..]).map(|(a, b)| 0.5 * (a + b)).collect(),
    };
    let windows = measure(&heard, f64::from(RATE_HZ), 0.5, &own[0], &own[1], 0.02);
    let both: Vec<_> = windows.iter().filter(|w| w.both()).collect();
    assert!(both.len() * 10 >= windows.len() * 8, "both microphones are found in {} of {}", both.len(), windows.len());
    let error_s = quantile(both.iter().map(|w| w.error_s.abs()).collect(), 0.9);
    println!("{label}: aligned within {:.1} us in 9 of 10 windows", error_s * 1e6);
    assert!(error_s < 100e-6, "{label}: the microphones are {} us apart", error_s * 1e6);
    sound
}

#[test]
fn the_label_driftmerge_stays_locked_while_streams_come_and_go() {
    with_streams_that_come_and_go("driftmerge", &MERGE);
}

#[test]
fn the_label_driftmerge_dual_stays_locked_and_gives_the_same_sound_on_both_channels() {
    let [left, right] = with_streams_that_come_and_go("driftmerge_dual", &DUAL);
    assert_eq!(left, right);
}

#[test]
fn the_labels_driftmerge_merge4_and_driftmerge_align_stay_locked_while_streams_come_and_go() {
    // Each has a server of its own, which mostly waits: side by side they take no longer than one.
    std::thread::scope(|scope| {
        scope.spawn(|| with_streams_that_come_and_go("driftmerge_merge4", &MERGE4));
        scope.spawn(|| with_streams_that_come_and_go("driftmerge_align", &ALIGN));
    });
}

#[test]
fn microphone_a_alone_comes_through_within_100_db() {
    let only_a = Settings::with("mode", 3.0);
    let sink = Sink::load("driftmerge_dual", &DUAL, &only_a);
    let scene = Pair::speech(RATE_HZ, 8.0, 0.02, 0.0);
    let mut player = sink.play("scene", &scene);
    let [left, right] = sink.record(5.0);
    player.kill().expect("it runs");
    player.wait().expect("a child");
    let last = left.len() - 2 * RATE_HZ as usize;
    let (left, right) = (&left[last..], &right[last..]);
    let near = |window: &&[f32]| window.iter().zip(left).all(|(x, y)| (x - y).abs() < 1e-5);
    let part = scene.a.windows(left.len()).find(near).expect("the last two seconds are two seconds of A");
    let error_db = difference_db(left, part);
    assert!(error_db < -100.0, "{error_db} dB");
    assert_eq!(left, right);
}

/// Plays a trial's sound into its label before a speaker that is not rewound, and compares.
fn compare(trial: &Trial) {
    let sink = Sink::speaker(trial.layout.ins.len(), "norewinds=1");
    let file = sink.workshop.path("recording");
    // It records before the plugin is there, which works from then on in blocks of the 20 ms that the recorder asks for.
    let mut recorder = sink.recorder(File::create(&file).expect("the folder can be written"));
    let recorded = || std::fs::metadata(&file).expect("it was made").len();
    let limit = Duration::from_secs(20);
    wait_until("it records", limit, || recorded() > 0);
    sink.put(trial.name, trial.layout, &Settings::default());
    let samples = (0..trial.sounds[0].len()).flat_map(|frame| trial.sounds.iter().map(move |sound| sound[frame]));
    let played = sink.play_samples("sound", samples).wait().expect("a child");
    assert!(played.success(), "the sound was played to its end");
    let heard = recorded() + u64::from(RATE_HZ) * 4 * trial.sounds.len() as u64;
    wait_until("its end is recorded", limit, || recorded() >= heard);
    recorder.kill().expect("it runs");
    recorder.wait().expect("a child");
    let mut channels = sink.channels_of(&std::fs::read(&file).expect("it was recorded"));
    channels.truncate(trial.layout.outs.len());
    assert_same_after_silence(&channels, trial);
}

#[test]
fn before_a_speaker_that_is_not_rewound_every_label_gives_what_the_engine_gives_on_every_output() {
    std::thread::scope(|scope| {
        for trial in Trial::labels() {
            scope.spawn(move || compare(&trial));
        }
    });
}
