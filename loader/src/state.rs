//! What was learnt about a set of microphones, kept between runs.
//!
//! The problem: a power cut, a full disk or two services at a time must never leave a file that makes the next start
//! worse than none. So a file is written whole beside its place and renamed; when read, it is believed only if every
//! part of it is as expected. One file for each list of microphones and rate. What it does not do: decide when to save.

use crate::files::{self, Trust};
use driftmerge_dsp::{Snapshot, SnapshotError};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The layout of the file that this program writes; others are not read.
const VERSION: u32 = 1;
/// After this time devices will have been moved and clocks have aged: 90 days.
const STALE_AFTER: Duration = Duration::from_secs(90 * 24 * 3600);
/// No file of ours is larger, bytes; what is, is none.
const LARGEST_FILE: u64 = 64 << 10;

/// Which microphones, in which order, at which rate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// Names of the microphones, the reference first.
    pub microphones: Vec<String>,
    /// Sample rate, Hz.
    pub rate_hz: u32,
}

/// Why a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be read or written.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is cut short, or no JSON, or has other fields.
    #[error("it is damaged: {0}")]
    Damaged(#[from] serde_json::Error),
    /// It is larger than any that this program writes.
    #[error("it is damaged: {0} bytes are too many")]
    Large(u64),
    /// It is a pipe, a device or a folder.
    #[error("it is damaged: {0}")]
    NoFile(io::Error),
    /// Nobody said where.
    #[error("there is no folder for it, since neither HOME nor XDG_STATE_HOME is set; name one by --state-dir")]
    NoFolder,
    /// Another version of the program wrote it.
    #[error("it has version {0}, this program reads version {VERSION}")]
    Version(u32),
    /// It is about other microphones or another rate.
    #[error("it is about {} at {} Hz", .0.microphones.join(", "), .0.rate_hz)]
    Other(Key),
    /// It is too old, or from the future.
    #[error("it is stale: saved {0} days ago")]
    Stale(i64),
    /// It does not hold one snapshot for each microphone after the reference.
    #[error("it holds {0} snapshots for {1} microphones")]
    Count(usize, usize),
    /// A snapshot in it cannot be used.
    #[error("{0}")]
    Snapshot(#[from] SnapshotError),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    key: Key,
    /// Seconds since 1970.
    saved_s: u64,
    /// For each microphone after the reference what is known about it; null where it never locked.
    snapshots: Vec<Option<Snapshot>>,
}

/// Only what every version has.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

impl Key {
    /// The file for this key in `folder`: part of it can be read by people, the rest tells similar ones apart.
    pub fn path(&self, folder: &Path) -> PathBuf {
        let all = self.microphones.iter().flat_map(|name| name.bytes().chain([0])).chain(self.rate_hz.to_le_bytes());
        let hash = hash(all);
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let first: String = self.microphones.first().map_or("", String::as_str).chars().take(32).map(plain).collect();
        folder.join(format!("{first}-{}-{hash:016x}.json", self.rate_hz))
    }
}

/// What is known about the microphones of `key`, one entry for each after the reference. A file that cannot be used is
/// reported and counts as none; no folder has none.
pub fn load(folder: &Path, key: &Key) -> Vec<Option<Snapshot>> {
    if folder.as_os_str().is_empty() {
        return vec![None; key.microphones.len().saturating_sub(1)];
    }
    let path = key.path(folder);
    match read(&path, key, SystemTime::now()) {
        Ok(Some(snapshots)) => snapshots,
        Ok(None) => vec![None; key.microphones.len().saturating_sub(1)],
        Err(why) => {
            tracing::warn!("saved state {} is not used: {why}; it will be replaced", path.display());
            vec![None; key.microphones.len().saturating_sub(1)]
        }
    }
}

/// Reads the file at `path`, which has to be about `key`; None if there is none.
///
/// # Errors
/// It is there and cannot be used.
pub fn read(path: &Path, key: &Key, now: SystemTime) -> Result<Option<Vec<Option<Snapshot>>>, StateError> {
    let bytes = match files::read(path, LARGEST_FILE, Trust::Anyone) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge => {
            return Err(StateError::Large(fs::metadata(path).map_or(LARGEST_FILE + 1, |found| found.len())));
        }
        Err(e) if e.kind() == io::ErrorKind::InvalidInput => return Err(StateError::NoFile(e)),
        Err(e) => return Err(e.into()),
    };
    let Versioned { version } = serde_json::from_slice(&bytes)?;
    if version != VERSION {
        return Err(StateError::Version(version));
    }
    let document: Document = serde_json::from_slice(&bytes)?;
    if document.key != *key {
        return Err(StateError::Other(document.key));
    }
    let age_s = seconds(now) as i64 - document.saved_s as i64;
    if age_s.unsigned_abs() > STALE_AFTER.as_secs() {
        return Err(StateError::Stale(age_s / (24 * 3600)));
    }
    let microphones = key.microphones.len();
    if document.snapshots.len() + 1 != microphones {
        return Err(StateError::Count(document.snapshots.len(), microphones));
    }
    for snapshot in document.snapshots.iter().flatten() {
        snapshot.check()?;
    }
    Ok(Some(document.snapshots))
}

/// Saves what is known, one entry for each microphone after the reference, and returns the file's path. The file under
/// that name is at any time the old one or the new one, whole.
///
/// # Errors
/// The folder cannot be made or written to; the old file is then as it was.
pub fn save(folder: &Path, key: &Key, snapshots: &[Option<Snapshot>]) -> Result<PathBuf, StateError> {
    let path = key.path(folder);
    fs::create_dir_all(folder)?;
    let document = Document {
        version: VERSION,
        key: key.clone(),
        saved_s: seconds(SystemTime::now()),
        snapshots: snapshots.to_vec(),
    };
    // Written by one call: a full disk is no damaged document.
    let mut bytes = serde_json::to_vec_pretty(&document)?;
    bytes.push(b'\n');
    files::replace(&path, &bytes)?;
    Ok(path)
}

/// Forgets what is known about the microphones of `key`; that nothing is known is no failure.
///
/// # Errors
/// The file cannot be removed.
pub fn forget(folder: &Path, key: &Key) -> io::Result<()> {
    match fs::remove_file(key.path(folder)) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// FNV-1a, 64 bit: it needs no secret, only to stay the same in all versions.
pub(crate) fn hash(bytes: impl Iterator<Item = u8>) -> u64 {
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}
