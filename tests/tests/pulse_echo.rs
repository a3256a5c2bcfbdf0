//! Echo cancellation: what is played into `driftmerge_far` comes out of a loudspeaker and into both microphones.
//!
//! The loudspeaker is a null sink. What it plays is recorded from its monitor as it plays, and reaches the microphones
//! some time later, mixed with what they hear anyway: a real way through the air, with the server's own delays in it.

use std::io::Read;
use std::net::UdpSocket;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use driftmerge::rig::scene::noise;
use driftmerge_tests::level::level_db;
use driftmerge_tests::pulse::{MICS, Recorder, Rig, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const RATE_HZ: u32 = 16_000;
const RATE: f64 = RATE_HZ as f64;
const LOCK_LIMIT: Duration = Duration::from_secs(20);
/// From the loudspeaker to the microphones, s, beyond the time that recording the monitor takes. The server believes that
/// a pipe source is 128 ms late, which it is not: so much has to pass besides.
const AIR_S: f64 = 0.12;
/// The echo is as loud as the speech.
const FAR_RMS: f64 = 0.08;

/// What a loudspeaker has played.
#[derive(Default)]
struct Played {
    samples: Vec<f32>,
    /// When the first sample came, s on the microphones' clocks.
    first_s: f64,
}

impl Played {
    fn at(&self, time_s: f64) -> f32 {
        let place = (time_s - self.first_s) * RATE;
        let (whole, share) = (place.floor(), (place - place.floor()) as f32);
        let get = |i: f64| if i < 0.0 { 0.0 } else { self.samples.get(i as usize).copied().unwrap_or(0.0) };
        get(whole) * (1.0 - share) + get(whole + 1.0) * share
    }
}

/// Lets the microphones hear what the sink `speaker` plays, and gives that.
fn listen(rig: &Rig) -> Arc<Mutex<Played>> {
    let mut command = rig.command("parec");
    command.args(["--raw", "--format=float32le", "--channels=1", "--rate=16000", "--latency-msec=10"]);
    let mut child = command.args(["-d", "speaker.monitor"]).stdout(Stdio::piped()).spawn().expect("parec is installed");
    let played = Arc::new(Mutex::new(Played::default()));
    let (heard, begin) = (Arc::clone(&played), rig.begin());
    // It ends with the server.
    std::thread::spawn(move || {
        let mut stdout = child.stdout.take().expect("piped");
        let mut bytes = [0; 4 * 64];
        while stdout.read_exact(&mut bytes).is_ok() {
            let mut played = heard.lock().expect("no panic while held");
            if played.samples.is_empty() {
                played.first_s = Instant::now().duration_since(begin).as_secs_f64();
            }
            played.samples.extend(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
        }
        let _ = child.wait();
    });
    let heard = Arc::clone(&played);
    let besides = move |time_s| heard.lock().expect("no panic while held").at(time_s - AIR_S);
    assert!(rig.besides.set(Box::new(besides)).is_ok(), "set once");
    played
}

#[test]
fn what_is_played_is_at_least_15_db_weaker_in_the_merge_than_in_the_microphones() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    rig.pactl(&["load-module", "module-null-sink", "sink_name=speaker", "rate=16000", "channels=1"]);
    let before = rig.modules();
    let played = listen(&rig);
    let run = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--echo-sink", "speaker"];
    let mut running = rig.start_driftmerge(&run);
    running.wait_for("locked", LOCK_LIMIT);

    let sound: Vec<u8> = noise(77, 60.0, RATE, FAR_RMS).samples().iter().flat_map(|x| x.to_le_bytes()).collect();
    let file = rig.server.folder().join("far");
    std::fs::write(&file, sound).expect("written");
    let mut player = rig.command("pacat");
    player.args([
        "--raw",
        "--format=float32le",
        "--channels=1",
        "--rate=16000",
        "--latency-msec=50",
        "-d",
        "driftmerge_far",
    ]);
    let mut player = player.arg(&file).spawn().expect("pacat is installed");
    let sounding = || played.lock().expect("no panic while held").samples.iter().any(|x| x.abs() > 0.01);
    wait_until("the far end is heard", Duration::from_secs(5), sounding);

    // The server's canceller finds its filter, in its own time; the far end lasts for 60 s.
    rig.record("driftmerge", RATE_HZ, 12.0);
    let look = || {
        let from = played.lock().expect("no panic while held").samples.len();
        let (merged, mic) = std::thread::scope(|scope| {
            let mic = scope.spawn(|| rig.record(MICS[0], RATE_HZ, 6.0));
            (rig.record("driftmerge", RATE_HZ, 6.0), mic.join().expect("recorded"))
        });
        let far =
            played.lock().expect("no panic while held").samples[from.saturating_sub(2 * RATE_HZ as usize)..].to_vec();
        let (merged_db, mic_db) = (level_db(&merged, &far, RATE), level_db(&mic, &far, RATE));
        println!("echo: {mic_db:.1} dB in microphone A, {merged_db:.1} dB in the merge");
        assert!(mic_db > -3.0, "the microphone does not hear the loudspeaker: {mic_db} dB");
        mic_db - merged_db
    };
    wait_until("15 dB of the echo are gone", Duration::from_secs(35), || look() > 15.0);

    // While the far end sounds, the canceller lowers the speech as well; when it is silent, the speech is as it was.
    player.kill().expect("it plays");
    player.wait().expect("a child");
    rig.record("driftmerge", RATE_HZ, 2.0);
    let (merged, mic) = std::thread::scope(|scope| {
        let mic = scope.spawn(|| rig.record(MICS[0], RATE_HZ, 4.0));
        (rig.record("driftmerge", RATE_HZ, 4.0), mic.join().expect("recorded"))
    });
    let [merged_db, mic_db] = [&merged, &mic].map(|sound| level_db(sound, rig.scene.sound.samples(), RATE));
    println!("speech: {mic_db:.1} dB in microphone A, {merged_db:.1} dB in the merge");
    assert!(merged_db > mic_db - 3.0, "speech: {merged_db} dB in the merge, {mic_db} dB in the microphone");
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(rig.modules(), before);
}

/// Plays a tone of a minute, where `arguments` of `pacat` say.
fn play_tone(rig: &Rig, arguments: &[&str]) -> std::process::Child {
    let tone: Vec<u8> = (0..60 * RATE_HZ).flat_map(|i| (0.3 * (0.2 * i as f32).sin()).to_le_bytes()).collect();
    let file = rig.server.folder().join("tone");
    std::fs::write(&file, tone).expect("written");
    let mut player = rig.command("pacat");
    player.args(["--raw", "--format=float32le", "--channels=1", "--rate=16000"]).args(arguments);
    player.arg(&file).spawn().expect("pacat is installed")
}

#[test]
fn the_far_end_is_heard_from_the_sink_of_another_machine() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let before = rig.modules();
    let far = rig.beside(RATE_HZ, 1, &["module-null-sink sink_name=far_speaker rate=16000 channels=1".into()]);
    let run = |sink: &str| {
        let sink = format!("tunnel:{}/{sink}", far.server.address());
        let run = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--echo-sink", &sink];
        run.map(str::to_owned).to_vec()
    };
    let mut running = rig.start_driftmerge(&run("far_speaker").iter().map(String::as_str).collect::<Vec<_>>());
    running.wait_for("locked", LOCK_LIMIT);
    let mut player = play_tone(&rig, &["-d", "driftmerge_far"]);
    wait_until("it is heard there", Duration::from_secs(10), || {
        far.record("far_speaker.monitor", RATE_HZ, 0.3).iter().any(|x| x.abs() > 0.1)
    });
    player.kill().expect("it plays");
    player.wait().expect("a child");
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(rig.modules(), before);

    let arguments = run("no_such_sink");
    let output = rig.run_to_end(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("no_such_sink"), "{said}");
    assert_eq!(rig.modules(), before);
}

#[test]
fn the_far_end_of_all_applications_is_heard_here_and_on_another_machine_and_then_all_is_as_it_was() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    rig.pactl(&["load-module", "module-null-sink", "sink_name=speaker", "rate=16000", "channels=1"]);
    rig.pactl(&["set-default-sink", "speaker"]);
    let before = rig.modules();
    let far = rig.beside(RATE_HZ, 1, &["module-null-sink sink_name=far_speaker rate=16000 channels=1".into()]);
    let sinks = format!("speaker,tunnel:{}/far_speaker", far.server.address());
    let run = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--default-sink", "--echo-sink", &sinks];
    let start = || {
        let running = rig.start_driftmerge(&run);
        running.wait_for("merging", LOCK_LIMIT);
        assert_eq!(rig.pactl(&["get-default-sink"]).trim(), "driftmerge_far");
        running
    };
    // What a killed run leaves is used again, and does not make the next one forget the former default.
    let mut killed = start();
    let modules = rig.modules();
    killed.stop(Signal::KILL);
    wait_until("the server noticed", Duration::from_secs(5), || {
        !rig.pactl(&["list", "sink-inputs"]).contains("driftmerge.run")
    });
    let mut running = start();
    assert_eq!(rig.modules(), modules);

    let mut player = play_tone(&rig, &[]);
    let loud = |sound: Vec<f32>| sound.iter().any(|x| x.abs() > 0.1);
    wait_until("it is heard on both machines", Duration::from_secs(10), || {
        loud(rig.record("speaker.monitor", RATE_HZ, 0.3)) && loud(far.record("far_speaker.monitor", RATE_HZ, 0.3))
    });
    player.kill().expect("it plays");
    player.wait().expect("a child");
    assert!(running.stop(Signal::TERM).success());
    assert_eq!((rig.modules(), rig.pactl(&["get-default-sink"]).trim()), (before.clone(), "speaker"));

    let output = rig.run_to_end(&["run", "--mic", MICS[0], "--mic", MICS[1], "--echo-sink", "speaker,null"]);
    assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(rig.modules(), before);
}

#[test]
fn a_microphone_that_hears_the_sink_inside_the_server_is_refused_before_the_server_hangs() {
    let rig = Rig::start(RATE_HZ, 0.0, 0.0);
    rig.pactl(&["load-module", "module-null-sink", "sink_name=speaker"]);
    rig.pactl(&["load-module", "module-remap-source", "source_name=again", "master=speaker.monitor"]);
    let before = rig.modules();
    for (mic, sink, code, word) in [
        ("again", "speaker", 2, "would hang"),
        ("speaker.monitor", "speaker", 2, "would hang"),
        (MICS[1], "none", 4, "`none`"),
    ] {
        let output = rig.run_to_end(&["run", "--mic", MICS[0], "--mic", mic, "--rate", "16000", "--echo-sink", sink]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(said.contains(word), "{said}");
    }
    assert_eq!(rig.modules(), before);
}

#[test]
fn the_cancellers_are_made_anew_around_a_microphone_that_is_unplugged_and_when_it_is_back() {
    let mut rig = Rig::start(RATE_HZ, 100.0, 0.012);
    let before = rig.modules();
    let run = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--echo-sink", "null"];
    let mut running = rig.start_driftmerge(&run);
    running.wait_for("locked", LOCK_LIMIT);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(1.0);
    let cancelled = |rig: &Rig| rig.sources().iter().filter(|s| s.starts_with("driftmerge_echo")).count();
    let far = |rig: &Rig| rig.pactl(&["list", "short", "sinks"]).contains("\tdriftmerge_far\t");
    assert_eq!((cancelled(&rig), far(&rig)), (2, true));
    for away in [1, 0] {
        rig.unplug(MICS[away]);
        wait_until("the other is cancelled alone", LOCK_LIMIT, || cancelled(&rig) == 1 && far(&rig));
        let own = rig.places[1 - away].own.samples();
        wait_until("the other is heard", LOCK_LIMIT, || level_db(&recorder.take(2.0), own, RATE) > -10.0);
        rig.plug_in(away, RATE_HZ);
        wait_until("both are cancelled", LOCK_LIMIT, || cancelled(&rig) == 2 && far(&rig));
        recorder.take(2.0);
    }
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(rig.modules(), before_of(&rig, before));
}

/// The modules `before`, with the numbers that the microphones' have now.
fn before_of(rig: &Rig, before: std::collections::BTreeMap<u32, String>) -> std::collections::BTreeMap<u32, String> {
    let now = rig.modules();
    let mics = now.into_iter().filter(|(_, line)| line.contains("source_name=mic_"));
    before.into_iter().filter(|(_, line)| !line.contains("source_name=mic_")).chain(mics).collect()
}

/// Sends a tone as RTP to `port` until it is dropped.
struct Sender(Arc<AtomicBool>);

impl Sender {
    fn start(port: u16) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        std::thread::spawn(move || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
            let begin = Instant::now();
            for packet in 0_u32.. {
                // 5 ms of stereo.
                let frames = packet * 240..(packet + 1) * 240;
                let mut bytes = vec![0x80, 96];
                bytes.extend((packet as u16).to_be_bytes());
                bytes.extend(frames.start.to_be_bytes());
                bytes.extend(0x1234_5678_u32.to_be_bytes());
                for frame in frames {
                    let tone = (f64::from(frame) * 0.08).sin() * 8000.0;
                    bytes.extend((tone as i16).to_be_bytes().repeat(2));
                }
                let due = begin + Duration::from_millis(5) * packet;
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                // Nobody may listen yet.
                let _ = socket.send_to(&bytes, ("127.0.0.1", port));
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
            }
        });
        Self(stop)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn sound_that_comes_by_rtp_reaches_the_cancellers_and_its_receiver_is_looked_after() {
    let rig = Rig::start(RATE_HZ, 100.0, 0.012);
    // Below those that the system gives to whoever asks for any.
    let taken = (20_000..30_000).find_map(|port| UdpSocket::bind(("0.0.0.0", port)).ok()).expect("a free port");
    let port = taken.local_addr().expect("it is bound").port();
    let run = |port: u16| {
        let run = ["run", "--mic", MICS[0], "--mic", MICS[1], "--rate", "16000", "--echo-sink", "null", "--echo-rtp"];
        run.map(str::to_owned).into_iter().chain([port.to_string()]).collect::<Vec<String>>()
    };
    let arguments = run(port);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = rig.run_to_end(&arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("UDP port {port}")) && said.contains("DRIFTMERGE_ECHO_RTP"), "{said}");
    drop(taken);

    let mut running = rig.start_driftmerge(&arguments);
    running.wait_for("is played into `driftmerge_far`", Duration::from_secs(10));
    let _sender = Sender::start(port);
    let heard = || {
        let sound = rig.record("driftmerge_far_end.monitor", RATE_HZ, 0.3);
        sound.iter().any(|x| x.abs() > 0.1)
    };
    wait_until("the tone is heard", Duration::from_secs(10), heard);

    let receiver = || {
        let of = format!("/proc/{0}/task/{0}/children", running.id());
        let children = std::fs::read_to_string(of).expect("the system tells children");
        children.split_whitespace().next().and_then(|id| id.parse().ok()).and_then(Pid::from_raw)
    };
    kill_process(receiver().expect("it is a child"), Signal::KILL).expect("it runs");
    running.wait_for("it is started again in", Duration::from_secs(5));
    wait_until("the tone is heard again", Duration::from_secs(15), heard);
    assert!(running.stop(Signal::TERM).success());
    UdpSocket::bind(("0.0.0.0", port)).expect("the receiver has ended");
}
