//! Each route on each server: alignment, latency, cost; one table. Run by `scripts/routes`.
//!
//! Both microphones carry a noise of their own besides the speech; where these are found in the merged source tells how far the
//! microphones are apart in it, and how long ago microphone A took the sound that an application just got. On `PipeWire` the
//! microphones come by tunnels from a `PulseAudio`, for nothing else there has a clock of its own without a sound card; their
//! resamplers wander, which sound cards' do not, so the speed of the recording is measured with it. The cost is that of the program, its children and the server, less what the
//! server costs when an application records microphone A alone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use driftmerge_tests::align::{Window, measure_at_its_speed, quantile};
use driftmerge_tests::hosts::{self, Workshop, succeed};
use driftmerge_tests::pipewire::PipeWire;
use driftmerge_tests::processor::used_s;
use driftmerge_tests::pulse::{MICS, Recorder, Rig, Running, program, wait_until};
use rustix::process::Signal;

const RATE_HZ: u32 = 16_000;
const RATE: f64 = RATE_HZ as f64;
/// Difference of the microphones' clocks, ppm.
const CLOCKS_PPM: f64 = 100.0;
const DELAY_B_S: f64 = 0.012;
/// Length of the windows in which the microphones are looked for, s.
const WINDOW_S: f64 = 0.25;
/// Time given to a route after both microphones are heard: loopbacks take so long to find their rates, s.
const SETTLE_S: f64 = 15.0;
const LIMIT: Duration = Duration::from_secs(60);

/// A server with two microphones.
enum Server<'a> {
    PulseAudio(&'a Rig),
    PipeWire(&'a PipeWire<'a>, &'a Rig),
}

impl Server<'_> {
    fn name(&self, route: &str) -> &'static str {
        match self {
            Self::PulseAudio(_) => "PulseAudio",
            Self::PipeWire(..) if route == "pipewire" => "PipeWire",
            Self::PipeWire(..) => "pipewire-pulse",
        }
    }

    fn rig(&self) -> &Rig {
        match self {
            Self::PulseAudio(rig) | Self::PipeWire(_, rig) => rig,
        }
    }

    fn command(&self, program: &Path) -> Command {
        match self {
            Self::PulseAudio(rig) => rig.command(program),
            Self::PipeWire(pipewire, _) => pipewire.command(program.to_str().expect("a plain path")),
        }
    }

    /// Processor time taken so far by the server, s.
    fn used_s(&self) -> f64 {
        match self {
            Self::PulseAudio(rig) => used_s(rig.server.id().expect("it runs")),
            Self::PipeWire(pipewire, _) => used_s(pipewire.id()),
        }
    }
}

/// What one measurement gave.
struct Measured {
    windows: Vec<Window>,
    /// Between microphone A's taking a sound and an application's getting it, s; NaN where it is not found.
    latency_s: f64,
    /// Share of one core.
    share: f64,
}

/// Records `source` for `seconds`.
fn record(server: &Server, source: &str, seconds: f64, running: Option<&Running>) -> Measured {
    let rig = server.rig();
    let (a, b) = (&rig.places[0], &rig.places[1]);
    let all_used_s = || server.used_s() + running.map_or(0.0, |running| used_s(running.id()));
    let mut recorder = Recorder::start_by(server.command(Path::new("parec")), source, RATE_HZ);
    recorder.take(1.0);
    let (begin, used_before_s) = (Instant::now(), all_used_s());
    let (mut sound, mut got) = (Vec::new(), Vec::new());
    for _ in 0..(seconds / WINDOW_S) as usize {
        sound.extend(recorder.take(WINDOW_S));
        got.push(Instant::now());
    }
    let share = (all_used_s() - used_before_s) / begin.elapsed().as_secs_f64();
    let windows = measure_at_its_speed(&sound, RATE, WINDOW_S, &a.own, &b.own, DELAY_B_S);
    let late = windows.iter().zip(got).filter(|(window, _)| window.both() || running.is_none());
    let late: Vec<f64> = late.map(|(window, got)| rig.late_s(window, WINDOW_S, got)).collect();
    let latency_s = if late.is_empty() { f64::NAN } else { quantile(late, 0.5) };
    Measured { windows, latency_s, share }
}

/// Measures one route and prints its line.
fn route(server: &Server, route: &str, seconds: f64, alone: &Measured) {
    let rate = RATE_HZ.to_string();
    let mics = ["--mic", MICS[0], "--mic", MICS[1], "--rate", &rate];
    let driftmerge = |arguments: &[&str]| {
        let mut command = server.command(&program());
        command.args(arguments).env("DRIFTMERGE_BUNDLE", hosts::bundle().folder());
        command
    };
    let mut running = None;
    // What `run` chooses at its first lock; the others cannot know it. Tunnels on PipeWire may be more than half a second apart.
    let latency = if matches!(server, Server::PulseAudio(_)) { "200" } else { "900" };
    if route == "load" {
        succeed(driftmerge(&["load", "--latency", latency]).args(mics));
    } else {
        let started = Running::start({
            let mut command = driftmerge(&["run", "--route", route]);
            command.args(mics);
            if route == "pipewire" {
                command.args(["--latency", latency]);
            }
            command
        });
        started.wait_for("merging", LIMIT);
        running = Some(started);
    }
    let heard = || {
        let found = record(server, "driftmerge", 2.0, running.as_ref()).windows;
        found.iter().filter(|window| window.both()).count() > found.len() / 2
    };
    wait_until("both microphones are heard", LIMIT, heard);
    Recorder::start_by(server.command(Path::new("parec")), "driftmerge", RATE_HZ).take(SETTLE_S);
    let measured = record(server, "driftmerge", seconds, running.as_ref());
    let errors: Vec<f64> = measured.windows.iter().filter(|w| w.both()).map(|w| w.error_s.abs()).collect();
    let found = errors.len() as f64 / measured.windows.len() as f64;
    let [half_s, most_s] = [0.5, 0.95].map(|share| quantile(errors.clone(), share));
    println!(
        "| {} | {route} | {:.1} | {:.1} | {:.0} % | {:.0} | {:.1} |",
        server.name(route),
        half_s * 1e6,
        most_s * 1e6,
        found * 100.0,
        measured.latency_s * 1e3,
        (measured.share - alone.share).max(0.0) * 100.0
    );
    match running {
        Some(mut running) => assert!(running.stop(Signal::TERM).success(), "{}", running.said()),
        None => drop(succeed(&mut driftmerge(&["unload"]))),
    }
}

/// Measures what an application gets that records microphone A alone, and prints its line.
fn alone(server: &Server, seconds: f64) -> Measured {
    let alone = record(server, MICS[0], seconds.min(10.0), None);
    println!(
        "| {} | (A alone) | | | | {:.0} | server alone {:.1} |",
        server.name(""),
        alone.latency_s * 1e3,
        alone.share * 100.0
    );
    alone
}

fn main() {
    let seconds = std::env::var("ROUTES_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(30.0_f64).max(5.0);
    println!("| server | route | error p50, us | p95, us | both found | latency, ms | processor, % of a core |");
    println!("|---|---|---|---|---|---|---|");
    let rig = Rig::start(RATE_HZ, CLOCKS_PPM, DELAY_B_S);
    // One server alone, if that is asked for.
    let only = std::env::var("ROUTES_SERVER").ok();
    let wanted = |server: &str| only.as_ref().is_none_or(|only| only == server);
    if wanted("PulseAudio") {
        let server = Server::PulseAudio(&rig);
        let alone = alone(&server, seconds);
        for name in ["direct", "loopback", "load"] {
            route(&server, name, seconds, &alone);
        }
    }
    if wanted("PipeWire") {
        let mut known = None;
        for name in ["direct", "loopback", "load", "pipewire"] {
            // A new one for each: a tunnel is later by up to half a second after each rest.
            let workshop = Workshop::new();
            let pipewire = PipeWire::start(&workshop, RATE_HZ, &[]);
            pipewire.tunnel_to(&rig);
            let server = Server::PipeWire(&pipewire, &rig);
            let alone = known.get_or_insert_with(|| alone(&server, seconds));
            route(&server, name, seconds, alone);
        }
    }
}
