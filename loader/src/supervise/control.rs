//! What a running service tells about itself: a socket that gives the status to whoever connects, and the commands that
//! ask it.
//!
//! The socket is in a folder that only its user may enter. Nothing is read from it, so nobody can hold the service up.

use crate::cli::StatusArgs;
use crate::config::Config;
use crate::exit::Failure;
use anyhow::{Context as _, anyhow};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a service may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(2);
/// How often `monitor` asks.
const MONITOR: Duration = Duration::from_millis(500);

/// What a service tells.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the program.
    pub version: String,
    /// Name of the merged source.
    pub source: String,
    /// Names of the microphones, the reference first.
    pub microphones: Vec<String>,
    /// Whether each of them delivers.
    pub present: Vec<bool>,
    /// Sample rate, Hz.
    pub rate_hz: u32,
    /// Time since the start, s.
    pub up_s: f64,
    /// Whether nobody records the merged source, so that the microphones are let go.
    pub resting: bool,
    /// searching, locked or holding.
    pub state: String,
    /// How late B is against A, ms.
    pub lag_ms: f32,
    /// How fast that grows with the microphones' clocks, ppm.
    pub drift_ppm: f32,
    /// Normalised correlation at the lag in use.
    pub confidence: f32,
    /// Share of B in the merge.
    pub weight: f32,
    /// -1 where B is wired the other way round.
    pub polarity: f32,
    /// How much the plugin delays A, ms.
    pub latency_ms: f32,
    /// Merged sound that waits in the server, ms; null while that is not known.
    pub waiting_ms: Option<f64>,
}

/// The service's end of the socket.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Opens the socket for the merged source `name`, in place of one that nobody listens to.
    ///
    /// # Errors
    /// The runtime folder cannot be used, or another service listens there.
    pub fn open(name: &str) -> io::Result<Self> {
        let path = socket(name);
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        if UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another service listens there"));
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path })
    }

    /// Answers all who wait.
    pub fn answer(&self, status: impl Fn() -> Status) {
        while let Ok((mut stream, _)) = self.listener.accept() {
            // A new socket has room for an answer; who does not take it gets none.
            let answer = serde_json::to_vec(&status()).unwrap_or_default();
            let _ = stream.set_nonblocking(true).and_then(|()| stream.write_all(&answer));
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Where the service of the merged source `name` listens.
fn socket(name: &str) -> PathBuf {
    let folder = match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => Path::new(&folder).join("driftmerge"),
        None => std::env::temp_dir().join(format!("driftmerge-{}", rustix::process::getuid().as_raw())),
    };
    folder.join(format!("{name}.sock"))
}

/// Asks the service of the merged source `name`.
fn ask(name: &str) -> Result<Status, Failure> {
    let path = socket(name);
    let mut stream = UnixStream::connect(&path).map_err(|error| {
        anyhow!(
            "no `driftmerge run` for `{name}` is at work here: {} does not answer ({error}); start one, or name its \
             source by PLAY_DEVICE_NAME",
            path.display()
        )
    })?;
    let mut answer = String::new();
    let read = stream.set_read_timeout(Some(ANSWER_LIMIT)).and_then(|()| stream.read_to_string(&mut answer));
    read.with_context(|| format!("{} does not answer", path.display()))?;
    Ok(serde_json::from_str(&answer).with_context(|| format!("{} is of another version", path.display()))?)
}

/// The status in one line for people.
fn line(status: &Status) -> String {
    let Status { source, state, lag_ms, drift_ppm, confidence, weight, latency_ms, .. } = status;
    let resting = if status.resting { "  resting: nobody records it" } else { "" };
    let away: Vec<String> = (status.microphones.iter().zip(&status.present))
        .filter(|(_, present)| !**present && !status.resting)
        .map(|(name, _)| format!("  `{name}` is away"))
        .collect();
    format!(
        "{source}: {state}  lag {lag_ms:.3} ms  drift {drift_ppm:.2} ppm  confidence {confidence:.2}  \
         share of B {weight:.2}  latency {latency_ms:.0} ms{resting}{}",
        away.concat()
    )
}

/// Prints what a running service knows.
///
/// # Errors
/// There is none.
pub fn status(config: &Config, args: &StatusArgs) -> Result<(), Failure> {
    let status = ask(&config.play_device)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&status).context("the status is no JSON")?);
    } else {
        println!("{}", line(&status));
    }
    Ok(())
}

/// Prints what a running service knows, again and again, until a signal comes or the service ends.
///
/// # Errors
/// There is none, or it ended.
pub fn monitor(config: &Config, args: &StatusArgs) -> Result<(), Failure> {
    let stop = super::service::stop_on_signals()?;
    while !stop.load(Ordering::Relaxed) {
        let status = ask(&config.play_device)?;
        if args.json {
            println!("{}", serde_json::to_string(&status).context("the status is no JSON")?);
        } else {
            println!("{}", line(&status));
        }
        std::thread::sleep(MONITOR);
    }
    Ok(())
}
