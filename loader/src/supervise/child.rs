//! Another program that has to run as long as the service does.
//!
//! It is watched: when it ends, it is started again after a while that doubles each time until it has held for some time. It
//! ends with the service; with one that is killed as well, where `setpriv` is there to ask the system for that.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How often it is looked after.
const LOOK: Duration = Duration::from_millis(100);
/// How long to wait before the first new start, and at most.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];
/// One that has held for so long is as good as new.
const HELD: Duration = Duration::from_secs(60);
/// So many of its last lines are told when it has ended.
const LAST_LINES: usize = 5;

/// A program that is kept running.
pub(super) struct Kept {
    /// What it is, for people.
    what: String,
    command: Command,
    child: Option<Child>,
    started: Instant,
    looked: Instant,
    pause: Duration,
    said: Arc<Mutex<VecDeque<String>>>,
}

/// The file of a program that is to be started by its name.
pub(super) fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// A command for `program` that ends with this process, however that ends.
pub(super) fn command(program: &Path) -> Command {
    let Some(setpriv) = find_program("setpriv") else { return Command::new(program) };
    let mut command = Command::new(setpriv);
    command.args(["--pdeathsig", "TERM", "--"]).arg(program);
    command
}

impl Kept {
    /// Nothing is started yet.
    pub fn new(what: String, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let now = Instant::now();
        Self { what, command, child: None, started: now, looked: now, pause: PAUSES[0], said: Arc::default() }
    }

    /// Starts it.
    ///
    /// # Errors
    /// The system cannot.
    pub fn start(&mut self) -> io::Result<()> {
        self.started = Instant::now();
        let mut child = self.command.spawn()?;
        tracing::info!("{} is started", self.what);
        if let Some(stderr) = child.stderr.take() {
            let said = Arc::clone(&self.said);
            // It ends with the child.
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    tracing::debug!("{line}");
                    if let Ok(mut said) = said.lock() {
                        said.push_back(line);
                        let surplus = said.len().saturating_sub(LAST_LINES);
                        said.drain(..surplus);
                    }
                }
            });
        }
        self.child = Some(child);
        Ok(())
    }

    /// Starts it again where that is due.
    pub fn look(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        match self.ended() {
            None if self.child.is_some() => {}
            None if self.started.elapsed() > self.pause => {
                if let Err(error) = self.start() {
                    self.tell_end(&error.to_string());
                }
            }
            None => {}
            Some(why) => self.tell_end(&why),
        }
    }

    /// How it has ended and what it said, if it was started and has.
    pub fn ended(&mut self) -> Option<String> {
        let how = match self.child.as_mut()?.try_wait() {
            Ok(None) => return None,
            Ok(Some(status)) => status.to_string(),
            Err(error) => error.to_string(),
        };
        let said = self.said.lock().map(|said| said.iter().cloned().collect::<Vec<_>>().join("; ")).unwrap_or_default();
        self.child = None;
        Some(if said.is_empty() { how } else { format!("{how}: {said}") })
    }

    /// How long it has run; 0: it does not.
    pub fn runs_for(&self) -> Duration {
        if self.child.is_some() { self.started.elapsed() } else { Duration::ZERO }
    }

    fn tell_end(&mut self, why: &str) {
        self.pause = if self.started.elapsed() > HELD { PAUSES[0] } else { (2 * self.pause).min(PAUSES[1]) };
        self.started = Instant::now();
        tracing::warn!("{} ended ({why}); it is started again in {:.0} s", self.what, self.pause.as_secs_f64());
    }

    /// Ends it, because it does nothing any more; where it has ended by itself, that is told.
    pub fn give_up(&mut self) {
        match self.ended() {
            Some(why) => self.tell_end(&why),
            None => self.stop(),
        }
    }

    /// Ends it.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.stop();
    }
}
