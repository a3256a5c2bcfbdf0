//! `driftmerge demo`: the real thing without microphones.
//!
//! A private server gets two microphones whose clocks differ; the same service as in `run` merges them; microphones and
//! merged source are recorded side by side, as applications would; and what was found is told beside the truth.

use super::service::{self, Learnt};
use crate::cli::DemoArgs;
use crate::config::Config;
use crate::exit::Failure;
use crate::pulse::{Capture, Connection, Input};
use crate::rig::{Microphone, Place, Scene, Server, microphone, scene, voice};
use crate::say;
use anyhow::{Context as _, anyhow};
use ringbuf::HeapRb;
use ringbuf::traits::{Consumer as _, Split as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Names of the two microphones.
const MICS: [&str; 2] = ["demo_a", "demo_b"];
/// How much faster than they say the microphones' clocks run, ppm.
const CLOCKS_PPM: [f64; 2] = [-60.0, 60.0];
/// How much later B hears everything, s.
const DELAY_B_S: f64 = 0.08;
/// Root mean square of the speech, and of each microphone's own noise.
const SPEECH_RMS: f64 = 0.1;
const NOISE_RMS: [f64; 2] = [0.02, 0.024];
/// Length of the sound before it repeats, s.
const PERIOD_S: f64 = 30.0;
/// Time given to the service to lock before anything is measured, s.
const WARM_UP_S: f64 = 6.0;
/// Sound recorded at a time, s.
const FRAGMENT_S: f64 = 0.02;
/// Length of the frames in which levels are measured, s.
const LEVEL_FRAME_S: f64 = 0.02;
/// Share of the frames that are surely pauses: the speech is silent for a good tenth of the time.
const PAUSES: f64 = 0.05;

/// Shows the real path on a private server with two drifting sources, and what came of it.
///
/// # Errors
/// No `pulseaudio`, no plugin, or the service failed.
pub fn demo(config: &Config, args: &DemoArgs) -> Result<(), Failure> {
    let seconds = f64::from(args.seconds.max(10));
    say::line(format_args!(
        "driftmerge demo: a private PulseAudio, two microphones 120 ppm apart, the merge of both; {seconds:.0} s\n"
    ))?;
    let rate_hz = config.rate_hz;
    let folder = tempfile::tempdir().context("cannot make a folder for the demo")?;
    let pipes = MICS.map(|name| folder.path().join(name));
    let modules: Vec<String> = (0..2).map(|i| microphone::module(MICS[i], &pipes[i], rate_hz)).collect();
    let server = Server::start(&modules).context("the demo needs PulseAudio; install the package pulseaudio")?;
    let (scene, places) = set(f64::from(rate_hz));
    let begin = Instant::now();
    let _mics: Vec<Microphone> = (0..2)
        .map(|i| {
            let (scene, place) = (scene.clone(), places[i].clone());
            let sound = move |frame| {
                let (sound, own) = scene.parts(&place, frame);
                sound + own
            };
            Microphone::start(&pipes[i], f64::from(rate_hz), CLOCKS_PPM[i], begin, sound)
        })
        .collect::<Result<_, _>>()
        .context("a microphone cannot be fed")?;

    let mut config = config.clone();
    config.microphones = MICS.map(str::to_owned).to_vec();
    config.server = Some(server.address());
    config.state_dir = folder.path().join("state");
    let stop = super::ending::stop_on_signals()?;
    let (learnt, recordings) = std::thread::scope(|scope| {
        let service = scope.spawn(|| service::run_until(&config, &stop));
        let recordings = record(&config, seconds, &stop, || service.is_finished());
        stop.store(true, Ordering::Relaxed);
        let learnt = service.join().map_err(|_| anyhow!("the service broke down"))??;
        Ok::<_, Failure>((learnt, recordings?))
    })?;
    if recordings.iter().any(|r| (r.len() as f64) < f64::from(rate_hz)) {
        return Err(anyhow!("stopped before there was anything to measure").into());
    }
    say::text(&report(&learnt, &recordings, f64::from(rate_hz)))
}

/// The sound and the places of the microphones.
fn set(rate_hz: f64) -> (Scene, [Place; 2]) {
    let sound = scene::Signal::new(voice::speak(5, PERIOD_S, rate_hz, SPEECH_RMS));
    let place = |i: usize, delay_s| Place {
        clock_ppm: CLOCKS_PPM[i],
        delay_s,
        gain: 1.0,
        own: scene::noise(i as u64 + 1, PERIOD_S, rate_hz, NOISE_RMS[i]),
    };
    (Scene { rate_hz, sound }, [place(0, 0.0), place(1, DELAY_B_S)])
}

/// Records both microphones and the merged source side by side, after the warm-up.
fn record(
    config: &Config,
    seconds: f64,
    stop: &AtomicBool,
    failed: impl Fn() -> bool,
) -> Result<[Vec<f32>; 3], Failure> {
    let begin = Instant::now();
    while begin.elapsed().as_secs_f64() < WARM_UP_S && !stop.load(Ordering::Relaxed) && !failed() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut recordings: [Vec<f32>; 3] = Default::default();
    if failed() || stop.load(Ordering::Relaxed) {
        return Ok(recordings);
    }
    let rate_hz = config.rate_hz;
    let fragment = (FRAGMENT_S * f64::from(rate_hz)) as u32;
    let mut connection = Connection::open(config.server.as_deref())?;
    let mut taps = Vec::new();
    for source in [MICS[0], MICS[1], &config.play_device] {
        let (producer, consumer) = HeapRb::<f32>::new(rate_hz as usize).split();
        let input = Input { source: source.to_owned(), ..Input::default() };
        taps.push((Capture::open(&mut connection, &input, rate_hz, fragment, 0)?, [producer], consumer));
    }
    while begin.elapsed().as_secs_f64() < seconds && !stop.load(Ordering::Relaxed) && !failed() {
        connection.turn(Duration::from_millis(20))?;
        for ((capture, producer, consumer), recording) in taps.iter_mut().zip(&mut recordings) {
            capture.pull(producer, false)?;
            recording.extend(consumer.pop_iter());
        }
    }
    Ok(recordings)
}

fn report(learnt: &Learnt, recordings: &[Vec<f32>; 3], rate_hz: f64) -> String {
    let meters = learnt.meters[0];
    let drift_ppm = CLOCKS_PPM[1] - CLOCKS_PPM[0];
    let [a, b, merged] = [0, 1, 2].map(|i| signal_to_noise_db(&recordings[i], rate_hz));
    let mut text = format!(
        "\n               found       truth\n\
         lag        {:8.2} ms {:8.2} ms   (in the server's time, which it tells to about a millisecond)\n\
         drift      {:8.2} ppm {drift_ppm:7.2} ppm\n\n\
         speech over noise: A {a:.1} dB, B {b:.1} dB, merged {merged:.1} dB ({:+.1} dB over the better one)\n",
        meters.lag_ms,
        DELAY_B_S * 1e3,
        meters.drift_ppm,
        merged - a.max(b)
    );
    if !meters.locked() {
        text += "\nthe microphones were never locked together: this is not what it should look like\n";
    }
    text
}

/// Power of the speech over that of the noise in dB, where the quietest frames are taken for noise alone.
pub fn signal_to_noise_db(sound: &[f32], rate_hz: f64) -> f64 {
    let frame = (LEVEL_FRAME_S * rate_hz) as usize;
    let mut powers: Vec<f64> = sound
        .chunks_exact(frame)
        .map(|f| f.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / frame as f64)
        .collect();
    powers.sort_by(f64::total_cmp);
    let pauses = ((powers.len() as f64 * PAUSES) as usize).max(1);
    let noise = powers[..pauses].iter().sum::<f64>() / pauses as f64;
    let all = powers.iter().sum::<f64>() / powers.len() as f64;
    10.0 * ((all - noise) / noise).max(1e-9).log10()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speech_over_noise_is_measured_to_1_db() {
        let rate_hz = 16_000.0;
        let (scene, [place, _]) = set(rate_hz);
        let mut powers = [0.0; 2];
        let sound: Vec<f32> = (0..20 * 16_000)
            .map(|frame| {
                let (sound, own) = scene.parts(&place, frame);
                powers[0] += f64::from(sound).powi(2);
                powers[1] += f64::from(own).powi(2);
                sound + own
            })
            .collect();
        let truth_db = 10.0 * (powers[0] / powers[1]).log10();
        let measured_db = signal_to_noise_db(&sound, rate_hz);
        assert!((measured_db - truth_db).abs() < 1.0, "{measured_db} dB for {truth_db} dB");
    }
}
