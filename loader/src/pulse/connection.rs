//! The connection to the server, and waiting for its answers.

use libpulse_binding::context::subscribe::InterestMaskSet;
use libpulse_binding::context::{Context, FlagSet, State};
use libpulse_binding::mainloop::standard::Mainloop;
use libpulse_binding::operation::{Operation, State as Progress};
use libpulse_binding::time::MicroSeconds;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a server may take to answer anything.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take for all that is left to do once the program is to end.
const END_LIMIT: Duration = Duration::from_millis(1200);

/// What went wrong with the server.
#[derive(Debug, thiserror::Error)]
pub enum PulseError {
    /// There is none.
    #[error(
        "the sound server cannot be reached at {address}: {reason}; start PulseAudio or PipeWire (pipewire-pulse), \
         or name the server by --server or PULSE_SERVER"
    )]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the client library says.
        reason: String,
    },
    /// It went away, or no longer answers.
    #[error("the connection to the sound server is lost: {0}")]
    Lost(String),
    /// The program is to end before this was done.
    #[error("stopped before the sound server had done what it was asked for")]
    Stopped,
    /// Another machine's server cannot be used.
    #[error(
        "a microphone or sink of another machine cannot be had ({what}): {reason}; look at the address and at the name \
         there (`pactl --server HOST list short sources`, or sinks), and whether that server takes clients from the network \
         (module-native-protocol-tcp)"
    )]
    Far {
        /// What was tried.
        what: String,
        /// Why it failed.
        reason: &'static str,
    },
    /// It did not do what it was asked for.
    #[error("the sound server refused to {what}: {reason}")]
    Refused {
        /// What it was asked for.
        what: String,
        /// What it says.
        reason: String,
    },
}

/// A connection that is ready.
pub struct Connection {
    // The context uses the main loop until it is dropped, so it stands first.
    pub(super) context: Context,
    mainloop: Mainloop,
    /// Set when the program is to end.
    stop: Arc<AtomicBool>,
    /// When that was seen.
    stopped: Option<Instant>,
    /// It did not answer in time, and is not asked again.
    hangs: bool,
    /// Something was changed at the server since this was looked at last.
    changed: Rc<Cell<bool>>,
}

impl Connection {
    /// Connects to `server`, or to the one that the client library finds.
    ///
    /// # Errors
    /// [`PulseError::Unreachable`].
    pub fn open(server: Option<&str>) -> Result<Self, PulseError> {
        Self::open_until(server, &Arc::default())
    }

    /// The same for a program that is to end when `stop` is set: a server that hangs then holds it up for a moment only.
    ///
    /// # Errors
    /// [`PulseError::Unreachable`], or [`PulseError::Stopped`].
    pub fn open_until(server: Option<&str>, stop: &Arc<AtomicBool>) -> Result<Self, PulseError> {
        let address = server.map_or_else(|| "the default address".to_owned(), |s| format!("`{s}`"));
        let unreachable = |reason: String| PulseError::Unreachable { address: address.clone(), reason };
        if server.is_some_and(|s| s.contains('\0')) {
            return Err(unreachable("the address has a NUL in it".into()));
        }
        let out_of_memory = || unreachable("out of memory".into());
        let mainloop = Mainloop::new().ok_or_else(out_of_memory)?;
        let context = Context::new(&mainloop, "driftmerge").ok_or_else(out_of_memory)?;
        let mut connection =
            Self { context, mainloop, stop: Arc::clone(stop), stopped: None, hangs: false, changed: Rc::default() };
        let flags = FlagSet::NOAUTOSPAWN;
        connection.context.connect(server, flags, None).map_err(|e| unreachable(e.to_string().unwrap_or_default()))?;
        let begin = Instant::now();
        loop {
            match connection.context.get_state() {
                State::Ready => return Ok(connection),
                State::Failed | State::Terminated => return Err(unreachable(connection.reason())),
                _ if connection.ends() => return Err(PulseError::Stopped),
                _ if begin.elapsed() > ANSWER_LIMIT => return Err(unreachable("it does not answer".into())),
                _ => connection.iterate(Duration::from_millis(50)).map_err(unreachable)?,
            }
        }
    }

    /// Lets the client library do what is due, waiting at most `limit` for something to come.
    ///
    /// # Errors
    /// The server went away.
    pub fn turn(&mut self, limit: Duration) -> Result<(), PulseError> {
        self.iterate(limit).map_err(PulseError::Lost)?;
        match self.context.get_state() {
            State::Ready => Ok(()),
            _ => Err(PulseError::Lost(self.reason())),
        }
    }

    /// Whether the program is to end.
    pub fn ends(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Asks the server to report whatever is changed from now on, see [`Connection::changed`].
    ///
    /// # Errors
    /// The server went away.
    pub fn watch(&mut self) -> Result<(), PulseError> {
        let changed = Rc::clone(&self.changed);
        self.context.set_subscribe_callback(Some(Box::new(move |_, _, _| changed.set(true))));
        let all = InterestMaskSet::SINK
            | InterestMaskSet::SOURCE
            | InterestMaskSet::SINK_INPUT
            | InterestMaskSet::SOURCE_OUTPUT
            | InterestMaskSet::MODULE;
        self.ask("report changes", |context, done: Rc<RefCell<bool>>| {
            context.subscribe(all, move |took| *done.borrow_mut() = took)
        })?;
        Ok(())
    }

    /// Whether anything was changed at the server since this was asked last.
    pub fn changed(&self) -> bool {
        self.changed.replace(false)
    }

    fn iterate(&mut self, limit: Duration) -> Result<(), String> {
        let said = |e: libpulse_binding::error::PAErr| e.to_string().unwrap_or_default();
        self.mainloop.prepare(Some(MicroSeconds(limit.as_micros() as u64))).map_err(said)?;
        self.mainloop.poll().map_err(said)?;
        self.mainloop.dispatch().map(|_| ()).map_err(said)
    }

    /// What the client library says about the newest failure.
    pub(super) fn reason(&self) -> String {
        self.context.errno().to_string().unwrap_or_else(|| "no reason given".into())
    }

    /// Starts a request by `begin`, which leaves its answer in the place it is given, and waits until it is done.
    ///
    /// # Errors
    /// The server went away, or did not answer.
    pub(super) fn ask<T: Default, C: ?Sized>(
        &mut self,
        what: &str,
        begin: impl FnOnce(&mut Context, Rc<RefCell<T>>) -> Operation<C>,
    ) -> Result<T, PulseError> {
        // On a connection that has ended the client library starts nothing, which its binding takes for a fault.
        match self.context.get_state() {
            _ if self.hangs => return Err(Self::silent(what)),
            State::Ready => {}
            _ => return Err(PulseError::Lost(self.reason())),
        }
        let answer = Rc::new(RefCell::new(T::default()));
        let mut operation = begin(&mut self.context, Rc::clone(&answer));
        let started = Instant::now();
        while operation.get_state() == Progress::Running {
            self.turn(Duration::from_millis(50))?;
            if self.ends() {
                self.stopped.get_or_insert_with(Instant::now);
            }
            let ended = self.stopped.is_some_and(|since| since.elapsed() > END_LIMIT);
            if ended || started.elapsed() > ANSWER_LIMIT {
                operation.cancel();
                self.hangs = true;
                return Err(Self::silent(what));
            }
        }
        Ok(answer.take())
    }
}

impl Connection {
    fn silent(what: &str) -> PulseError {
        PulseError::Lost(format!("it does not answer (asked to {what})"))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.context.disconnect();
    }
}
