//! Answers whoever asks and reports to the service manager, whatever the thread that talks to the sound server waits for.
//!
//! The problem: a server that is away or hangs is waited for, for hours if need be, and all that time `status` has to
//! answer and systemd has to be told that all is well; yet a main thread that itself hangs must not go unnoticed. So both
//! have a thread of their own, which reports only while the main thread says often enough that it is at work.

use super::control::{Answer, Control, Request, wait_for};
use crate::exit::Failure;
use anyhow::{Context as _, anyhow};
use sd_notify::NotifyState;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How often the service manager is told that all is well.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// The main thread says that it is at work more often than this: a request to the server takes 5 s at most, and so does a
/// tunnel.
const AT_WORK: Duration = Duration::from_secs(30);
/// How often it is looked whether a silent client has had its time.
const LOOK: Duration = Duration::from_millis(500);

/// When the main thread said last that it is at work.
pub(super) struct AtWork(Mutex<Instant>);

impl AtWork {
    pub fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// Says so.
    pub fn say(&self) {
        if let Ok(mut at) = self.0.lock() {
            *at = Instant::now();
        }
    }

    fn holds(&self) -> bool {
        self.0.lock().is_ok_and(|at| at.elapsed() < AT_WORK)
    }
}

/// Tells the service manager, where there is one that listens.
pub(super) fn tell_manager(state: NotifyState) {
    // Without one this does nothing; that one does not listen is its own trouble.
    let _ = sd_notify::notify(&[state]);
}

/// Runs `work` while another thread answers at `control` by `act`, until `work` has ended. That it panics is an error like
/// any other.
///
/// # Errors
/// What `work` fails with.
pub(super) fn attend<T>(
    mut control: Option<Control>,
    at_work: &AtWork,
    act: impl Fn(Request) -> Answer + Sync,
    work: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    // Who holds one end sees at the other that it is dropped.
    let (held, watched) = UnixStream::pair().context("cannot make a socket")?;
    std::thread::scope(|scope| {
        let answer = || {
            let mut beaten = None::<Instant>;
            loop {
                match &control {
                    Some(control) => control.wait(watched.as_fd(), LOOK),
                    None => wait_for(std::iter::once(watched.as_fd()), LOOK),
                }
                if ended(&watched) {
                    return;
                }
                if let Some(control) = &mut control {
                    control.answer(&act);
                }
                if at_work.holds() && beaten.is_none_or(|at| at.elapsed() > HEARTBEAT) {
                    beaten = Some(Instant::now());
                    tell_manager(NotifyState::Watchdog);
                }
            }
        };
        std::thread::Builder::new()
            .name("driftmerge-desk".into())
            .spawn_scoped(scope, answer)
            .context("cannot start a thread")?;
        let done = catch_unwind(AssertUnwindSafe(work));
        drop(held);
        done.unwrap_or_else(|panic| Err(broken(&*panic)))
    })
}

/// The failure that a panic is.
pub(super) fn broken(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given");
    anyhow!("an error of driftmerge itself, please report it: {text}").into()
}

fn ended(watched: &UnixStream) -> bool {
    use std::io::Read as _;
    let mut watched = watched;
    watched.set_nonblocking(true).is_err()
        || !matches!(watched.read(&mut [0]), Err(why) if why.kind() == io::ErrorKind::WouldBlock)
}
