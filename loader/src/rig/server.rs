//! A PulseAudio daemon of our own, in a folder of its own, gone when it is dropped.
//!
//! It sees no sound card, reads no configuration of the user's, and never replaces the user's server.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take to answer; it takes about 40 ms.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to end before it is killed.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A running private daemon.
pub struct Server {
    folder: tempfile::TempDir,
    modules: Vec<String>,
    child: Option<Child>,
}

impl Server {
    /// Starts a daemon that has loaded `modules` (each a line as for `pactl load-module`) and waits until it answers.
    ///
    /// # Errors
    /// `pulseaudio` is not installed, or does not answer in time; what it said is in the message.
    pub fn start(modules: &[String]) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("driftmerge-pulse-").tempdir()?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let mut server = Self { folder, modules: modules.to_vec(), child: None };
        server.resume()?;
        Ok(server)
    }

    /// Starts the daemon again after [`Server::kill`], at the same address.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn resume(&mut self) -> io::Result<()> {
        let folder = self.folder.path();
        let log = folder.join("log");
        let mut command = Command::new("pulseaudio");
        command
            .args(["-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--realtime=no"])
            .args(["--high-priority=no", "--log-level=info", "--log-target=stderr"])
            .arg(format!("-Lmodule-native-protocol-unix auth-anonymous=1 socket={}", self.socket().display()));
        for module in &self.modules {
            command.arg(format!("-L{module}"));
        }
        for variable in ["HOME", "XDG_RUNTIME_DIR", "PULSE_RUNTIME_PATH", "XDG_CONFIG_HOME", "XDG_STATE_HOME"] {
            command.env(variable, folder);
        }
        for variable in ["DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PULSE_SERVER"] {
            command.env_remove(variable);
        }
        let output = fs::File::create(&log)?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(output).spawn();
        self.child = Some(child.map_err(|e| io::Error::new(e.kind(), format!("cannot start `pulseaudio`: {e}")))?);
        let begin = Instant::now();
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(Some(_))));
            if ended || begin.elapsed() > START_LIMIT {
                let said = fs::read_to_string(&log).unwrap_or_default();
                return Err(io::Error::other(format!("the private pulseaudio does not answer; it said:\n{said}")));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Ends the daemon at once, as a crash would.
    ///
    /// # Errors
    /// The process cannot be signalled.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        // A killed daemon leaves its socket behind.
        fs::remove_file(self.socket()).or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
    }

    /// The daemon's process, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// The value of `PULSE_SERVER` by which clients find it.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket().display())
    }

    /// The daemon's own folder: for pipes, and as home and runtime folder of its clients.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the daemon has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Whether the daemon still runs.
    pub fn alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("native")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = rustix::process::Pid::from_raw(child.id() as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let begin = Instant::now();
        while begin.elapsed() < STOP_LIMIT {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}
