//! A private JACK server without a sound card, and a deck that plays into a host and records what comes out.
//!
//! The client library is opened at run time: of JACK only the server is needed to build and run the tests.

use std::ffi::{CStr, CString, c_char, c_int, c_ulong, c_void};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use libloading::{Library, Symbol};

use crate::hosts::{Background, Workshop, succeed};
use crate::wait::wait_until;

/// Frames in a period.
pub const PERIOD: usize = 256;

/// The client library knows one server at a time in a process.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The server, stopped when dropped.
pub struct JackServer {
    _process: Background,
    name: String,
    _turn: MutexGuard<'static, ()>,
}

impl JackServer {
    /// Starts a server, as soon as this process has no other one.
    pub fn start(workshop: &Workshop, rate_hz: u32) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("driftmerge-{}", std::process::id());
        let mut command = workshop.command("jackd");
        command.env("JACK_NO_AUDIO_RESERVATION", "1").args(["-r", "-n", &name, "-S", "-d", "dummy"]);
        command.args(["-r", &rate_hz.to_string(), "-p", &PERIOD.to_string()]);
        let mut process = Background::start(&mut command, workshop.path("jackd.log"));
        process.wait_until("the JACK server is up", |_| {
            let mut command = Command::new("jack_lsp");
            command.env("JACK_DEFAULT_SERVER", &name).output().is_ok_and(|output| output.status.success())
        });
        Self { _process: process, name, _turn: turn }
    }

    /// A command whose JACK is this server.
    pub fn command(&self, workshop: &Workshop, program: &str) -> Command {
        let mut command = workshop.command(program);
        command.env("JACK_DEFAULT_SERVER", &self.name).env("JACK_NO_START_SERVER", "1");
        command
    }

    /// Whether a port of that name is there.
    pub fn has_port(&self, workshop: &Workshop, port: &str) -> bool {
        let output = succeed(&mut self.command(workshop, "jack_lsp"));
        String::from_utf8_lossy(&output.stdout).lines().any(|line| line == port)
    }
}

type ProcessFn = unsafe extern "C" fn(frames: u32, argument: *mut c_void) -> c_int;

/// The functions of `libjack` that are used here, as `jack/jack.h` declares them.
struct Api {
    open: Symbol<'static, unsafe extern "C" fn(*const c_char, c_int, *mut c_int, ...) -> *mut c_void>,
    close: Symbol<'static, unsafe extern "C" fn(*mut c_void) -> c_int>,
    activate: Symbol<'static, unsafe extern "C" fn(*mut c_void) -> c_int>,
    set_process: Symbol<'static, unsafe extern "C" fn(*mut c_void, ProcessFn, *mut c_void) -> c_int>,
    register: Symbol<
        'static,
        unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char, c_ulong, c_ulong) -> *mut c_void,
    >,
    buffer: Symbol<'static, unsafe extern "C" fn(*mut c_void, u32) -> *mut f32>,
    connect: Symbol<'static, unsafe extern "C" fn(*mut c_void, *const c_char, *const c_char) -> c_int>,
}

impl Api {
    fn get() -> &'static Self {
        static API: OnceLock<Api> = OnceLock::new();
        API.get_or_init(|| {
            // SAFETY: the library's own start-up code is trusted; it stays loaded to the end of the program.
            let library = unsafe { Library::new("libjack.so.0") }.expect("libjack is installed with jackd");
            let library: &'static Library = Box::leak(Box::new(library));
            // SAFETY: the types are those of jack/jack.h.
            unsafe {
                Self {
                    open: library.get(b"jack_client_open").expect("part of JACK"),
                    close: library.get(b"jack_client_close").expect("part of JACK"),
                    activate: library.get(b"jack_activate").expect("part of JACK"),
                    set_process: library.get(b"jack_set_process_callback").expect("part of JACK"),
                    register: library.get(b"jack_port_register").expect("part of JACK"),
                    buffer: library.get(b"jack_port_get_buffer").expect("part of JACK"),
                    connect: library.get(b"jack_connect").expect("part of JACK"),
                }
            }
        })
    }
}

/// What is played, and what is recorded from the first frame played on: a channel for each port.
#[derive(Default)]
struct Tape {
    play: Vec<Vec<f32>>,
    played: usize,
    record: Vec<Vec<f32>>,
    /// Periods since the deck was made.
    periods: usize,
    /// The period in which playing began.
    began: usize,
}

impl Tape {
    /// Frames to play.
    fn frames(&self) -> usize {
        self.play.first().map_or(0, Vec::len)
    }

    /// Frames recorded.
    fn recorded(&self) -> usize {
        self.record.first().map_or(0, Vec::len)
    }
}

/// What a client's process function needs.
struct Station {
    tape: &'static Mutex<Tape>,
    ports: Vec<*mut c_void>,
}

/// Plays.
unsafe extern "C" fn player(frames: u32, station: *mut c_void) -> c_int {
    // SAFETY: the station that the client was made with, which is never freed.
    let station = unsafe { &*station.cast::<Station>() };
    let tape = &mut *station.tape.lock().expect("no panic while held");
    if tape.played == 0 {
        tape.began = tape.periods;
    }
    tape.periods += 1;
    for (channel, port) in station.ports.iter().enumerate() {
        // SAFETY: JACK gives each of the client's ports a buffer of `frames`, here in its process function.
        let out = unsafe { (Api::get().buffer)(*port, frames) };
        let sound = tape.play.get(channel).map_or(&[][..], |sound| &sound[tape.played..]);
        for frame in 0..frames as usize {
            // SAFETY: as above.
            unsafe { out.add(frame).write(sound.get(frame).copied().unwrap_or_default()) };
        }
    }
    tape.played = tape.frames().min(tape.played + frames as usize);
    0
}

/// Records.
unsafe extern "C" fn recorder(frames: u32, station: *mut c_void) -> c_int {
    // SAFETY: the station that the client was made with, which is never freed.
    let station = unsafe { &*station.cast::<Station>() };
    let tape = &mut *station.tape.lock().expect("no panic while held");
    if tape.played > 0 && tape.recorded() < tape.frames() {
        tape.record.resize(station.ports.len(), Vec::new());
        for (sound, port) in tape.record.iter_mut().zip(&station.ports) {
            // SAFETY: JACK gives each of the client's ports a buffer of `frames`, here in its process function.
            let input = unsafe { std::slice::from_raw_parts((Api::get().buffer)(*port, frames), frames as usize) };
            sound.extend(input);
        }
    }
    0
}

/// Which way a client's ports go.
#[derive(Clone, Copy)]
enum Way {
    In = 0x1,
    Out = 0x2,
}

/// A client of the server, closed when dropped.
struct Client(*mut c_void);

impl Client {
    /// Makes a client with ports 1 to `ports`, and lets it run.
    fn start(
        server: &JackServer,
        name: &CStr,
        (way, ports): (Way, usize),
        process: ProcessFn,
        tape: &'static Mutex<Tape>,
    ) -> Self {
        const NO_START_SERVER: c_int = 0x01;
        const SERVER_NAME: c_int = 0x04;
        let (api, server) = (Api::get(), text(&server.name));
        // SAFETY: as jack/jack.h asks for: the server's name follows, since the options say so.
        let client = Self(unsafe {
            let options = NO_START_SERVER | SERVER_NAME;
            (api.open)(name.as_ptr(), options, std::ptr::null_mut(), server.as_ptr())
        });
        assert!(!client.0.is_null(), "the server is up");
        let audio = c"32 bit float mono audio".as_ptr();
        let register = |port: usize| {
            let port = text(&port.to_string());
            // SAFETY: the client's own handle, C strings.
            unsafe { (api.register)(client.0, port.as_ptr(), audio, way as c_ulong, 0) }
        };
        let station = Box::leak(Box::new(Station { tape, ports: (1..=ports).map(register).collect() }));
        // SAFETY: the station is never freed, so it is there whenever the process function is called.
        let status = unsafe { (api.set_process)(client.0, process, (&raw mut *station).cast()) };
        assert_eq!(status, 0);
        // SAFETY: the client's own handle.
        assert_eq!(unsafe { (api.activate)(client.0) }, 0);
        client
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: the client's own handle, used no more.
        unsafe { (Api::get().close)(self.0) };
    }
}

fn text(text: &str) -> CString {
    CString::new(text).expect("no NUL")
}

/// A player and a recorder: two clients, so that a host between them runs after the one and before the other in every
/// period.
pub struct Deck<'a> {
    workshop: &'a Workshop,
    server: &'a JackServer,
    tape: &'static Mutex<Tape>,
    client: Client,
    _player: Client,
}

impl<'a> Deck<'a> {
    /// Two clients of the server, for a host with so many audio inputs and outputs.
    pub fn new(workshop: &'a Workshop, server: &'a JackServer, ins: usize, outs: usize) -> Self {
        let tape: &'static Mutex<Tape> = Box::leak(Box::default());
        let player = Client::start(server, c"player", (Way::Out, ins), player, tape);
        let client = Client::start(server, c"recorder", (Way::In, outs), recorder, tape);
        Self { workshop, server, tape, client, _player: player }
    }

    /// Connects the ports of the client `host`, as soon as it runs; gives how many periods the server had run by then, good
    /// to a few.
    pub fn connect(&self, host: &str, ins: &[&str], outs: &[&str]) -> usize {
        let mut ran = None;
        let into = ins.iter().enumerate().map(|(i, port)| (format!("player:{}", i + 1), format!("{host}:{port}")));
        let out = outs.iter().enumerate().map(|(i, port)| (format!("{host}:{port}"), format!("recorder:{}", i + 1)));
        for (from, to) in into.chain(out) {
            let (from, to) = (text(&from), text(&to));
            // SAFETY: the client's own handle, C strings.
            let connect = || unsafe { (Api::get().connect)(self.client.0, from.as_ptr(), to.as_ptr()) };
            wait_until(&format!("{from:?} is connected to {to:?}"), Duration::from_secs(20), || connect() == 0);
            ran.get_or_insert_with(|| self.periods());
        }
        ran.expect("a host has ports")
    }

    /// Plays a sound into each of the host's inputs, as fast as the host can, and gives what it makes of them.
    pub fn play(&self, sounds: &[Vec<f32>]) -> Vec<Vec<f32>> {
        // Running free, the server waits for every client in every period; in step with the clock it may go on without.
        self.freewheel("y");
        let frames = sounds[0].len();
        self.change(|tape| *tape = Tape { play: sounds.to_vec(), periods: tape.periods, ..Tape::default() });
        let full = || self.change(|tape| tape.recorded()) >= frames;
        wait_until("the host has played", Duration::from_secs(60), full);
        self.freewheel("n");
        let mut record = self.change(|tape| std::mem::take(&mut tape.record));
        for sound in &mut record {
            sound.truncate(frames);
        }
        record
    }

    /// Periods that the server has run since the deck was made.
    fn periods(&self) -> usize {
        self.change(|tape| tape.periods)
    }

    /// The period in which playing began last.
    pub fn played_from(&self) -> usize {
        self.change(|tape| tape.began)
    }

    fn change<R>(&self, job: impl FnOnce(&mut Tape) -> R) -> R {
        job(&mut self.tape.lock().expect("no panic while held"))
    }

    fn freewheel(&self, on: &str) {
        succeed(self.server.command(self.workshop, "jack_freewheel").arg(on));
    }
}
