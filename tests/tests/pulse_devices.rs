//! Microphones by their many names on a real server, from another machine, and plugged in again under another name.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Output;
use std::time::{Duration, Instant};

use driftmerge::rig::random::Random;
use driftmerge_tests::align::{measure, quantile, show};
use driftmerge_tests::namespace::Namespace;
use driftmerge_tests::pulse::{MICS, Recorder, Rig};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const DELAY_B_S: f64 = 0.012;
const LOCK_LIMIT: Duration = Duration::from_secs(20);

fn rig() -> Rig {
    Rig::start(RATE_HZ, 100.0, DELAY_B_S)
}

/// What a server says of a webcam in one of two USB ports.
fn webcam(port: u8) -> String {
    format!(
        "device.bus=usb device.vendor.id=046d device.product.id=0825 device.serial=046d_C270_000{port} \
         device.bus_path=pci-0000:00:14.0-usb-0:{port}:1.0 alsa.card_name=C270"
    )
}

#[track_caller]
fn assert_said(output: &Output, code: i32, words: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for word in words {
        assert!(said.contains(word), "«{word}» is not in: {said}");
    }
}

/// Asserts that both microphones are in `recording`, within `limit_s` of each other in 19 of 20 windows.
fn assert_aligned(rig: &Rig, recording: &[f32], limit_s: f64) {
    let (a, b) = (&rig.places[0], &rig.places[1]);
    let windows = measure(recording, f64::from(RATE_HZ), 0.25, &a.own, &b.own, DELAY_B_S);
    let errors_s: Vec<f64> = windows.iter().filter(|w| w.both()).map(|w| w.error_s.abs()).collect();
    assert!(errors_s.len() * 10 > windows.len() * 8, "{}", show(&windows));
    let (p50_s, p95_s) = (quantile(errors_s.clone(), 0.5), quantile(errors_s, 0.95));
    println!("aligned within {:.1} us (p50), {:.1} us (p95)", p50_s * 1e6, p95_s * 1e6);
    assert!(p95_s <= limit_s, "{}", show(&windows));
}

#[test]
fn identical_microphones_are_told_apart_and_a_monitor_is_never_taken_by_accident() {
    let mut rig = rig();
    for (mic, port) in [(0, 1), (1, 2)] {
        rig.unplug(MICS[mic]);
        rig.plug_in_as(mic, RATE_HZ, MICS[mic], &webcam(port));
    }
    rig.pactl(&["load-module", "module-null-sink", "sink_name=mic_of_the_speaker"]);
    let list = rig.run_to_end(&["list"]);
    let said = String::from_utf8(list.stdout).expect("text");
    let addresses: Vec<&str> = said.lines().map(|line| line.rsplit('\t').next().expect("a column")).collect();
    assert_eq!(addresses.len(), 2, "{said}");

    let plan = |a: &str, b: &str| rig.run_to_end(&["plan", "--for", "load", "--mic", a, "--mic", b]);
    let pairs = [
        (addresses[0], addresses[1]),
        ("usb:046d:0825:0001", "usb:046d:0825:046d_C270_0002"),
        ("card:C270@pci-0000:00:14.0-usb-0:1:1.0", "card:C2*@pci-0000:00:14.0-usb-0:2:1.0"),
        ("mic_a", "*_b"),
    ];
    for (a, b) in pairs {
        let output = plan(a, b);
        assert_said(&output, 0, &[]);
        let steps = String::from_utf8(output.stdout).expect("text");
        for mic in &MICS[..2] {
            assert_eq!(steps.matches(&format!("source={mic} ")).count(), 1, "{a} {b}: {steps}");
        }
    }
    for twins in ["usb:046d:0825", "card:C270", "mic_*"] {
        assert_said(&plan(twins, MICS[1]), 4, &["fits 2 microphones", addresses[0], addresses[1]]);
    }
    assert_said(&plan("mic_of*", MICS[1]), 4, &["there is no microphone `mic_of*`"]);
    assert_said(&plan("usb:046d:0825:0001", MICS[0]), 2, &["are the same microphone", MICS[0]]);
    assert_said(&plan("usb:webcam", MICS[0]), 2, &["usb:046d:0825"]);
}

#[test]
fn a_microphone_that_comes_back_under_another_name_is_found_by_its_address() {
    let mut rig = rig();
    rig.unplug(MICS[1]);
    rig.plug_in_as(1, RATE_HZ, MICS[1], &webcam(2));
    let mut running = rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", "usb:046d:0825", "--rate", "16000"]);
    running.wait_for("locked", LOCK_LIMIT);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    rig.unplug(MICS[1]);
    running.wait_for("is gone", Duration::from_secs(2));
    rig.plug_in_as(1, RATE_HZ, "mic_b.2", &webcam(3));
    running.wait_for("is back", Duration::from_secs(2));
    recorder.take(4.0);
    assert_aligned(&rig, &recorder.take(5.0), 1e-3);
    assert!(running.stop(Signal::TERM).success());
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

#[test]
fn a_microphone_of_another_machine_is_merged_within_1_ms() {
    let rig = rig();
    let before = rig.modules();
    let port = free_port();
    let listen = format!("module-native-protocol-tcp listen=127.0.0.1 port={port} auth-anonymous=1");
    let far = rig.beside(RATE_HZ, 1, &[listen]);
    let tunnel = format!("tunnel:127.0.0.1:{port}/{}", MICS[1]);
    let mut running = rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", &tunnel, "--rate", "16000"]);
    running.wait_for("locked", LOCK_LIMIT);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(2.0);
    assert_aligned(&rig, &recorder.take(10.0), 1e-3);

    // The other machine's microphone goes away and comes back.
    far.unplug(MICS[1]);
    running.wait_for("is gone", Duration::from_secs(3));
    let mut far = far;
    far.mics.clear();
    far.plug_in(1, RATE_HZ);
    running.wait_for("is back", Duration::from_secs(5));
    recorder.take(4.0);
    assert_aligned(&rig, &recorder.take(5.0), 1e-3);
    assert!(running.stop(Signal::TERM).success());
    assert_eq!(rig.modules(), before);
}

#[test]
fn a_machine_that_does_not_answer_is_exit_4_and_nothing_is_left() {
    let rig = rig();
    let before = rig.modules();
    for (tunnel, words) in [
        (format!("tunnel:127.0.0.1:{}/{}", free_port(), MICS[1]), ["127.0.0.1", "refuses"]),
        (format!("tunnel:{}/no_such_mic", rig.server.address()), ["no_such_mic", "no such source"]),
    ] {
        let output = rig.run_to_end(&["run", "--mic", MICS[0], "--mic", &tunnel, "--rate", "16000"]);
        assert_said(&output, 4, &words);
        assert_said(&output, 4, &["module-native-protocol-tcp"]);
        assert_eq!(rig.modules(), before);
    }
}

/// Passes connections on, 20 ms later by 5 ms more or less each way, as a wireless network does, to where `connect` leads.
/// Gives its port.
fn jittery(connect: impl Fn() -> TcpStream + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = listener.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = connect();
            for (from, to, seed) in [(&near, &far, 1), (&far, &near, 2)] {
                let [from, to] = [from, to].map(|stream| stream.try_clone().expect("a handle"));
                std::thread::spawn(move || relay(from, to, Random::new(seed)));
            }
        }
    });
    own
}

fn relay(mut from: TcpStream, mut to: TcpStream, mut random: Random) {
    let (sender, receiver) = std::sync::mpsc::channel::<(Instant, Vec<u8>)>();
    std::thread::spawn(move || {
        for (due, bytes) in receiver {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                return;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let due = Instant::now() + Duration::from_secs_f64(random.between(0.015, 0.025));
        if sender.send((due, bytes[..count].to_vec())).is_err() {
            return;
        }
    }
}

/// The other machine is in a network of its own, where one can be had, and the relay the only way there. The kernel's own
/// means for such a network (netem) is not in every kernel.
#[test]
fn a_network_that_is_20_ms_late_and_jitters_by_5_ms_costs_no_more_than_1_ms() {
    let rig = rig();
    let port = free_port();
    let modules = [format!("module-native-protocol-tcp listen=127.0.0.1 port={port} auth-anonymous=1")];
    let namespace = Namespace::new();
    let beside = || rig.beside(RATE_HZ, 1, &modules);
    let connect = move || TcpStream::connect(("127.0.0.1", port));
    let (_far, jittery) = if let Some(door) = namespace.as_ref().map(Namespace::door) {
        let far = door.within(beside);
        assert!(connect().is_err(), "the other machine is reached without the relay");
        (far, jittery(move || door.within(connect).expect("it listens")))
    } else {
        println!("the relay is within one network");
        (beside(), jittery(move || connect().expect("it listens")))
    };
    let tunnel = format!("tunnel:127.0.0.1:{jittery}/{}", MICS[1]);
    let mut running = rig.start_driftmerge(&["run", "--mic", MICS[0], "--mic", &tunnel, "--rate", "16000"]);
    running.wait_for("locked", LOCK_LIMIT);
    let mut recorder = Recorder::start(&rig, "driftmerge", RATE_HZ);
    recorder.take(2.0);
    assert_aligned(&rig, &recorder.take(8.0), 1e-3);
    assert!(running.stop(Signal::TERM).success());
}
