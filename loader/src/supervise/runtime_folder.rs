//! The folder for what lives no longer than the session: sockets of running services, former defaults.
//!
//! The problem: without `XDG_RUNTIME_DIR` it is in a folder that everybody can write to, where somebody else may have
//! made it first. So it is believed, for reading as for writing, only if it is a folder of this user's alone.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest path that a socket can have, bytes.
const SOCKET_PATH_LIMIT: usize = 107;
/// How long another process may hold the folder's lock; it does so for some milliseconds.
const LOCK_LIMIT: Duration = Duration::from_secs(2);

/// Where it is, whoever made it.
fn place() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|folder| Path::new(folder).is_absolute()) {
        Some(folder) => Path::new(&folder).join("driftmerge"),
        None => std::env::temp_dir().join(format!("driftmerge-{}", rustix::process::geteuid().as_raw())),
    }
}

/// The folder, if it is there and only this user (or root, who may do anything anyway) can change what is in it.
///
/// # Errors
/// It is not there, or not to be trusted.
pub(super) fn existing() -> io::Result<PathBuf> {
    let folder = place();
    let found = fs::symlink_metadata(&folder)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw() || found.uid() == 0;
    if found.is_dir() && ours && found.mode() & 0o022 == 0 { Ok(folder) } else { Err(untrusted(&folder)) }
}

fn untrusted(folder: &Path) -> io::Error {
    let why = format!("{} must be a folder of yours with mode 0700", folder.display());
    io::Error::new(io::ErrorKind::PermissionDenied, why)
}

/// The folder, made where it is missing, if it is this user's alone.
///
/// # Errors
/// It cannot be made, or is not to be trusted.
pub(super) fn made() -> io::Result<PathBuf> {
    let folder = place();
    let named = |why: io::Error| io::Error::new(why.kind(), format!("{} cannot be made: {why}", folder.display()));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(named)?;
    let found = fs::symlink_metadata(&folder)?;
    let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode().trailing_zeros() >= 6;
    if found.is_dir() && ours { Ok(folder) } else { Err(untrusted(&folder)) }
}

/// Where the service of the merged source `name` listens, inside `folder`.
pub(super) fn socket_in(folder: &Path, name: &str) -> PathBuf {
    let whole = folder.join(format!("{name}.sock"));
    if whole.as_os_str().as_bytes().len() <= SOCKET_PATH_LIMIT {
        return whole;
    }
    let start: String = name.chars().take(16).collect();
    folder.join(format!("{start}-{:016x}.sock", crate::state::hash(name.bytes())))
}

/// Where it listens, for messages.
pub(super) fn socket(name: &str) -> PathBuf {
    socket_in(&place(), name)
}

/// Holds the folder alone until it is dropped: between finding a socket dead and binding it anew, no other process may
/// do the same.
///
/// # Errors
/// Another process holds it for too long.
pub(super) fn lock(folder: &Path) -> io::Result<File> {
    let handle = File::open(folder)?;
    let begin = Instant::now();
    loop {
        match flock(&handle, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(handle),
            Err(rustix::io::Errno::WOULDBLOCK) if begin.elapsed() < LOCK_LIMIT => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
