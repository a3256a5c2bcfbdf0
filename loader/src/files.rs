//! Files that may not be what they should: read only if they are regular, of the right owner and small, and replaced
//! only as a whole.
//!
//! The problem: a FIFO in the place of a settings file hangs whoever opens it, a device in its place fills the memory,
//! and in a folder that others can write to somebody else decides what is read. So a file is opened without waiting,
//! looked at through its handle, and read up to a limit.

use rustix::fs::OFlags;
use std::fs::{File, Metadata};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Whose file is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Anybody's, symbolic links included: the user named it, or put it where settings are.
    Anyone,
    /// Only a file of this user's that nobody else can write to, and no symbolic link.
    OwnOnly,
}

/// Reads the file at `path`, which may have up to `limit` bytes.
///
/// # Errors
/// There is none ([`io::ErrorKind::NotFound`]), it cannot be read, it is no regular file, it is too large, or it is not
/// to be trusted.
pub fn read(path: &Path, limit: u64, trust: Trust) -> io::Result<Vec<u8>> {
    let mut flags = OFlags::NONBLOCK;
    if trust == Trust::OwnOnly {
        flags |= OFlags::NOFOLLOW;
    }
    // Without NONBLOCK a FIFO would be waited for before it could be looked at.
    let file = File::options().read(true).custom_flags(flags.bits() as i32).open(path)?;
    check(&file.metadata()?, limit, trust)?;
    let mut bytes = Vec::new();
    // It may grow while it is read.
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(too_large(bytes.len() as u64, limit));
    }
    Ok(bytes)
}

fn check(found: &Metadata, limit: u64, trust: Trust) -> io::Result<()> {
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    if found.len() > limit {
        return Err(too_large(found.len(), limit));
    }
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if trust == Trust::OwnOnly && (!own || found.mode() & 0o022 != 0) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "it belongs to, or can be changed by, another user",
        ));
    }
    Ok(())
}

fn too_large(size: u64, limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, format!("{size} bytes are too many, at most {limit} are expected"))
}

/// Reads a text of the user's: a byte order mark in front is dropped.
///
/// # Errors
/// As [`read`], or it is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit, Trust::Anyone)?)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))?;
    Ok(match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    })
}

/// Writes `bytes` to the file at `path`, which holds the old bytes or the new ones at any time, never a part.
///
/// # Errors
/// The folder cannot be written to, or the disk is full; the old file is then as it was.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    // The new name itself is safe only when the folder is.
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_fifo_a_device_a_link_a_large_file_and_one_that_others_can_change_are_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let fifo = at("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo").success());
        fs::write(at("good"), "text").expect("written");
        fs::write(at("large"), [b'x'; 101]).expect("written");
        fs::write(at("open"), "text").expect("written");
        fs::set_permissions(at("open"), fs::Permissions::from_mode(0o666)).expect("changed");
        symlink(at("good"), at("link")).expect("linked");
        let refused = |path: &Path, trust| read(path, 100, trust).is_err();
        for path in [fifo.as_path(), Path::new("/dev/zero"), &at("large"), folder.path()] {
            assert!(refused(path, Trust::Anyone) && refused(path, Trust::OwnOnly), "{}", path.display());
        }
        for name in ["open", "link"] {
            assert_eq!(
                (refused(&at(name), Trust::Anyone), refused(&at(name), Trust::OwnOnly)),
                (false, true),
                "{name}"
            );
        }
        assert_eq!(read(&at("good"), 100, Trust::OwnOnly).expect("readable"), b"text");
        assert_eq!(read(&at("none"), 100, Trust::OwnOnly).expect_err("missing").kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_text() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("text");
        replace(&file, "\u{feff}A=b".as_bytes()).expect("written");
        assert_eq!(read_text(&file, 100).expect("readable"), "A=b");
    }
}
