//! The socket of a running service: it reports status, takes changes, and shuts down on request.
//!
//! The problem: whoever connects must not be able to hold the sound up, and must be the same user. The socket is in a
//! folder that only its user may enter; the other end's user is checked besides, by what the kernel says of it. A client
//! says one line of JSON, a [`Request`], and gets one, an [`Answer`]. Nothing waits for a client: what it has said is looked
//! at in each turn of the service's loop, and idle clients and oversized requests are disconnected.

use super::runtime_folder;
use crate::exit::Failure;
use crate::plan::Blocked;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(2);
/// So many clients are listened to at a time; for another one the oldest has to go.
const CLIENTS: usize = 16;
/// The longest request, bytes.
const REQUEST_LIMIT: usize = 4096;

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// The status.
    Status,
    /// That something be done.
    Do(Order),
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// Other values of settings: key and text.
    Set(Vec<(String, String)>),
    /// Forget what was learnt.
    Reset,
    /// Keep what was learnt, now.
    Save,
    /// The end; the connection is closed when the service has tidied up.
    Stop,
}

/// What it gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The status.
    Status(Status),
    /// It was done; in words.
    Done(String),
    /// The request cannot be followed as it is; why.
    Refused(String),
    /// It was tried and failed; why.
    Failed(String),
}

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
    /// Whether the sound server answers; where it does not, it is waited for.
    pub server: bool,
    /// What is wrong now, in words.
    pub notices: Vec<String>,
    /// Sample rate, Hz.
    pub rate_hz: u32,
    /// Time since the start, s.
    pub up_s: f64,
    /// Whether capture is suspended because nobody records the merged source.
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
    clients: Vec<Client>,
    /// Who wants to know when the service has ended: their connections are closed by it.
    waiting: Vec<UnixStream>,
}

/// Somebody who has connected and has not said all yet.
struct Client {
    stream: UnixStream,
    said: Vec<u8>,
    since: Instant,
}

/// Claims the name of the merged source for this process and opens the socket for it; None, and a word in the log, where
/// there is no place for a socket.
///
/// # Errors
/// Another `driftmerge` works on that source.
pub(super) fn claim(name: &str) -> Result<Option<Control>, Failure> {
    match Control::open(name) {
        Ok(control) => Ok(Some(control)),
        Err(ClaimError::Taken { process }) => Err(Blocked::Running { graph: name.to_owned(), process }.into()),
        Err(ClaimError::Io(why)) => {
            tracing::warn!(
                "`driftmerge status` will not work, for there is no socket for it: {why}; name a folder of yours by \
                 XDG_RUNTIME_DIR"
            );
            Ok(None)
        }
    }
}

/// Why a socket cannot be had.
#[derive(Debug, thiserror::Error)]
enum ClaimError {
    #[error("another service listens there, process {process}")]
    Taken { process: String },
    #[error("{0}")]
    Io(#[from] io::Error),
}

impl Control {
    /// Opens the socket for the merged source `name`, in place of one that nobody listens to. Whoever holds it holds the
    /// name: two that try at the same moment take turns.
    fn open(name: &str) -> Result<Self, ClaimError> {
        let folder = runtime_folder::made()?;
        let path = runtime_folder::socket_in(&folder, name);
        let _alone = runtime_folder::lock(&folder)?;
        if let Some(process) = listener_at(&path)? {
            return Err(ClaimError::Taken { process });
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path, clients: Vec::new(), waiting: Vec::new() })
    }

    /// Waits until somebody says something or `other` ends, at most for `limit`.
    pub fn wait(&self, other: BorrowedFd, limit: Duration) {
        let clients = self.clients.iter().map(|client| client.stream.as_fd());
        let all = [other, self.listener.as_fd()].into_iter().chain(clients);
        wait_for(all, limit);
    }

    /// Answers all who have said what they want, as `act` does it. Never waits.
    pub fn answer(&mut self, mut act: impl FnMut(Request) -> Answer) {
        while let Ok((stream, _)) = self.listener.accept() {
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if same_user(&stream) {
                self.clients.push(Client { stream, said: Vec::new(), since: Instant::now() });
            } else {
                tracing::warn!("another user was refused at {}", self.path.display());
                tell(&stream, &Answer::Refused("this service belongs to another user".into()));
            }
            // One that has come and says what it wants is served before it could be the oldest.
            self.serve(&mut act);
            if self.clients.len() > CLIENTS {
                let oldest = self.clients.remove(0);
                tell(&oldest.stream, &Answer::Refused("others wait, and this one says nothing".into()));
            }
        }
        self.serve(&mut act);
    }

    fn serve(&mut self, act: &mut impl FnMut(Request) -> Answer) {
        for mut client in std::mem::take(&mut self.clients) {
            match client.request() {
                Ok(None) => self.clients.push(client),
                Ok(Some(request)) => {
                    let stop = request == Request::Do(Order::Stop);
                    tell(&client.stream, &act(request));
                    if stop {
                        self.waiting.push(client.stream);
                    }
                }
                Err(why) => tell(&client.stream, &Answer::Refused(why)),
            }
        }
    }
}

/// Waits until one of `handles` has something to read, at most for `limit`.
pub(super) fn wait_for<'a>(handles: impl Iterator<Item = BorrowedFd<'a>>, limit: Duration) {
    let mut handles: Vec<PollFd> = handles.map(|handle| PollFd::from_borrowed_fd(handle, PollFlags::IN)).collect();
    let limit = Timespec::try_from(limit).ok();
    // Interrupted: as if the time were over.
    let _ = poll(&mut handles, limit.as_ref());
}

/// The process that listens at `path`, if one does. A service that stands still counts, and is not waited for.
fn listener_at(path: &Path) -> io::Result<Option<String>> {
    use rustix::io::Errno;
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket: OwnedFd = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) => {
            let process = socket_peercred(&socket).map(|peer| peer.pid.as_raw_nonzero().to_string());
            Ok(Some(process.unwrap_or_else(|_| "unknown".into())))
        }
        // Its queue of clients is full.
        Err(Errno::AGAIN) => Ok(Some("unknown".into())),
        Err(Errno::CONNREFUSED | Errno::NOENT | Errno::NOTSOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Client {
    /// The whole request; None: there is more to come.
    fn request(&mut self) -> Result<Option<Request>, String> {
        let mut bytes = [0; 512];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err("the request has no end".into()),
                Ok(count) => self.said.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let late = self.since.elapsed() > PATIENCE;
                    return if late { Err("nothing was asked for".into()) } else { Ok(None) };
                }
                Err(error) => return Err(error.to_string()),
            }
            if let Some(end) = self.said.iter().position(|byte| *byte == b'\n') {
                let request = serde_json::from_slice(&self.said[..end]);
                return request.map(Some).map_err(|why| format!("the request is of another version: {why}"));
            }
            if self.said.len() > REQUEST_LIMIT {
                return Err(format!("the request has more than {REQUEST_LIMIT} bytes"));
            }
        }
    }
}

/// A new socket has room for an answer; who does not take it gets none.
fn tell(mut stream: &UnixStream, answer: &Answer) {
    let mut line = serde_json::to_vec(answer).unwrap_or_default();
    line.push(b'\n');
    let _ = stream.write_all(&line);
}

/// Whether the other end is of the same user, or of root, who may do anything anyway.
pub(super) fn same_user(stream: &UnixStream) -> bool {
    socket_peercred(stream).is_ok_and(|peer| peer.uid.is_root() || peer.uid == rustix::process::geteuid())
}
