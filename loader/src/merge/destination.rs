//! Where a result is written to.
//!
//! The problem: a path may name a file, a link to one, a pipe, a device, or (`-`) standard output. A file is written
//! beside its place under another name and renamed when it is whole; what is no file is written into as it is, and never
//! replaced. A link is followed, so that its target is replaced and not the link.

use crate::exit::Failure;
use anyhow::Context as _;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{self, File, Metadata, Permissions};
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::NamedTempFile;

/// Links that lead to each other end somewhere, or nowhere.
const MOST_LINKS: usize = 40;
/// How often it is looked whether a pipe has a reader.
const LOOK: Duration = Duration::from_millis(20);
/// Bytes gathered before they are written.
const BUFFER: usize = 1 << 16;

/// A place that was looked at and can be written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// As it was named.
    named: PathBuf,
    place: Place,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// A file, which may not be there yet; links are followed.
    File { path: PathBuf, mode: u32 },
    /// A pipe or a device.
    Stream,
    /// Standard output.
    Stdout,
}

/// What is being written.
#[derive(Debug)]
pub enum Writing {
    /// A file, under another name.
    File {
        /// The file.
        file: BufWriter<NamedTempFile>,
        /// Its name in the end.
        path: PathBuf,
    },
    /// A pipe, a device or standard output.
    Stream(BufWriter<File>),
}

impl Destination {
    /// Looks at `path`; nothing is written yet.
    ///
    /// # Errors
    /// It names a folder, a disk, a socket or a file that is write-protected, or a terminal is to show it.
    pub fn at(path: &Path) -> Result<Self, Failure> {
        let refuse = |why: &str| Err(Failure::Usage(format!("{} cannot be written to: {why}", path.display())));
        let named = path.to_owned();
        if path == Path::new("-") {
            if io::stdout().is_terminal() {
                return refuse("standard output is a terminal; send it to a file or a program, or name a file");
            }
            return Ok(Self { named, place: Place::Stdout });
        }
        let file = |path: PathBuf, mode| Ok(Self { named: named.clone(), place: Place::File { path, mode } });
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => refuse("it is a folder; name a file in it"),
            Ok(found) if found.is_file() && found.mode() & 0o222 == 0 => {
                refuse("it is write-protected; choose another file, or allow it by chmod")
            }
            Ok(found) if found.is_file() => match (path.canonicalize(), File::options().append(true).open(path)) {
                (Ok(path), Ok(_)) => file(path, found.mode() & 0o7777),
                (Err(why), _) | (_, Err(why)) => refuse(&why.to_string()),
            },
            Ok(found) if streams(&found) => Ok(Self { named, place: Place::Stream }),
            Ok(_) => refuse("it is a disk or a socket; name a file, a pipe or a character device"),
            Err(why) if why.kind() == io::ErrorKind::NotFound => file(end_of_links(path.to_owned()), 0),
            Err(why) => refuse(&why.to_string()),
        }
    }

    /// Whether both name the same file, or both standard output.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.place, &other.place) {
            (Place::Stdout, Place::Stdout) => true,
            (Place::File { path, .. }, Place::File { path: other, .. }) => {
                path == other || same_file(path, other) || absolute(path) == absolute(other)
            }
            // Two streams into one pipe would be mixed; a device that takes all may take both.
            (Place::Stream, Place::Stream) => {
                same_file(&self.named, &other.named)
                    && fs::metadata(&self.named).is_ok_and(|found| found.file_type().is_fifo())
            }
            _ => false,
        }
    }

    /// Whether that is the file `path`, which is there.
    pub fn is(&self, path: &Path) -> bool {
        same_file(&self.named, path)
    }

    /// Whether it is standard output.
    pub fn is_stdout(&self) -> bool {
        self.place == Place::Stdout
    }

    /// Begins to write. A pipe is waited for until it has a reader, or `stop` is set.
    ///
    /// # Errors
    /// The folder does not exist or cannot be written to, or the pipe or device cannot be opened.
    pub fn begin(&self, stop: &AtomicBool) -> anyhow::Result<Writing> {
        let name = self.named.display();
        match &self.place {
            Place::File { path, mode } => {
                let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
                // A new file has the rights that a new file usually gets.
                let mode = if *mode == 0 { 0o666 } else { *mode };
                let file = tempfile::Builder::new()
                    .prefix(".driftmerge-")
                    .permissions(Permissions::from_mode(mode))
                    .tempfile_in(folder)
                    .with_context(|| {
                        format!("{name} cannot be written: no file can be made in {}", folder.display())
                    })?;
                Ok(Writing::File { file: BufWriter::with_capacity(BUFFER, file), path: path.clone() })
            }
            Place::Stream => {
                let file = open_stream(&self.named, stop).with_context(|| format!("{name} cannot be written"))?;
                Ok(Writing::Stream(BufWriter::with_capacity(BUFFER, file)))
            }
            Place::Stdout => {
                let handle = rustix::io::dup(io::stdout()).context("standard output cannot be written")?;
                Ok(Writing::Stream(BufWriter::with_capacity(BUFFER, File::from(handle))))
            }
        }
    }
}

impl Write for Writing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::File { file, .. } => file.write(bytes),
            Self::Stream(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::File { file, .. } => file.flush(),
            Self::Stream(stream) => stream.flush(),
        }
    }
}

impl Writing {
    /// Completes it: a file gets its name.
    ///
    /// # Errors
    /// The disk is full or gone, or nobody reads any more.
    pub fn finish(self) -> io::Result<()> {
        match self {
            Self::Stream(mut stream) => stream.flush(),
            Self::File { file, path } => {
                let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
                file.as_file().sync_all()?;
                file.persist(path).map(drop).map_err(|error| error.error)
            }
        }
    }
}

/// Whether it takes bytes one after the other.
fn streams(found: &Metadata) -> bool {
    found.file_type().is_fifo() || found.file_type().is_char_device()
}

/// Whether both name one file that exists.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// The path with its folder's true name.
fn absolute(path: &Path) -> Option<PathBuf> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Some(folder.canonicalize().ok()?.join(path.file_name()?))
}

/// Where a link leads that may lead to nothing yet.
fn end_of_links(mut path: PathBuf) -> PathBuf {
    for _ in 0..MOST_LINKS {
        let Ok(target) = fs::read_link(&path) else { break };
        path = path.parent().unwrap_or(Path::new("")).join(target);
    }
    path
}

/// Opens a pipe or a device. That nobody reads a pipe yet must not keep signals from being heeded.
fn open_stream(path: &Path, stop: &AtomicBool) -> io::Result<File> {
    let file = loop {
        let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits() as i32;
        match File::options().write(true).custom_flags(flags).open(path) {
            Err(why) if why.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => {
                if stop.load(Ordering::Relaxed) {
                    return Err(io::Error::new(io::ErrorKind::Interrupted, "stopped by a signal"));
                }
                std::thread::sleep(LOOK);
            }
            opened => break opened?,
        }
    };
    // What is there may have been exchanged since it was looked at.
    if !streams(&file.metadata()?) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no longer what it was"));
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? - OFlags::NONBLOCK)?;
    Ok(file)
}
