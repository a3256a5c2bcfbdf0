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
    /// Name of the reference microphone, A.
    pub reference: String,
    /// Whether A delivers.
    pub present: bool,
    /// Sample rate, Hz.
    pub rate_hz: u32,
    /// Time since the start, s.
    pub up_s: f64,
    /// Whether nobody records the merged source, so that the microphones are let go.
    pub resting: bool,
    /// How much A is delayed in all, ms.
    pub latency_ms: f32,
    /// Merged sound that waits in the server, ms; null while that is not known.
    pub waiting_ms: Option<f64>,
    /// The microphones merged into A.
    pub others: Vec<Other>,
}

/// What a service tells of a microphone that is merged into A.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Other {
    /// Its name.
    pub microphone: String,
    /// Whether it delivers.
    pub present: bool,
    /// searching, locked or holding.
    pub state: String,
    /// How late it is against A, ms.
    pub lag_ms: f32,
    /// How fast that grows with the microphones' clocks, ppm.
    pub drift_ppm: f32,
    /// Normalised correlation at the lag in use.
    pub confidence: f32,
    /// Its share in what it was merged into.
    pub weight: f32,
    /// -1 where it is wired the other way round.
    pub polarity: f32,
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

/// The status for people: a line for the source, one for each microphone.
fn lines(status: &Status) -> String {
    let away = |present: bool| if present || status.resting { "" } else { "  (away)" };
    let resting = if status.resting { ", resting: nobody records it" } else { "" };
    let mut text = format!(
        "{}: latency {:.0} ms{resting}\n  {}: reference{}",
        status.source,
        status.latency_ms,
        status.reference,
        away(status.present)
    );
    for other in &status.others {
        use std::fmt::Write as _;
        let Other { microphone, state, lag_ms, drift_ppm, confidence, weight, .. } = other;
        write!(
            text,
            "\n  {microphone}: {state}, lag {lag_ms:.3} ms, drift {drift_ppm:.2} ppm, confidence {confidence:.2}, \
             share {weight:.2}{}",
            away(other.present)
        )
        .expect("a text takes all");
    }
    text
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
        println!("{}", lines(&status));
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
            println!("{}", lines(&status));
        }
        std::thread::sleep(MONITOR);
    }
    Ok(())
}
