//! What people read on standard output and standard error.
//!
//! The problem: the reader may have gone (`driftmerge list | head -1`), the disk behind it may be full, and texts from
//! devices and other programs may hold escape sequences. So nothing here panics: a reader who has gone wanted no more,
//! which is no failure, any other error is one; and [`plain`] makes control characters visible.

use crate::exit::Failure;
use std::borrow::Cow;
use std::fmt;
use std::io::{self, Write as _};

/// Prints a line on standard output.
///
/// # Errors
/// It cannot be written, for another reason than that nobody reads it.
pub fn line(text: impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    finish(writeln!(out, "{text}").and_then(|()| out.flush()))
}

/// Prints a text as it stands on standard output.
///
/// # Errors
/// As [`line()`].
pub fn text(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    finish(out.write_all(text.as_bytes()).and_then(|()| out.flush()))
}

/// Prints lines on standard output.
///
/// # Errors
/// As [`line()`].
pub fn lines(lines: impl IntoIterator<Item = impl fmt::Display>) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    finish(lines.into_iter().try_for_each(|line| writeln!(out, "{line}")).and_then(|()| out.flush()))
}

fn finish(written: io::Result<()>) -> Result<(), Failure> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Runtime(anyhow::Error::new(error).context("standard output cannot be written")))
        }
        _ => Ok(()),
    }
}

/// Writes to standard error; that it cannot be written must not end anything.
pub fn to_stderr(text: impl fmt::Display) {
    let mut err = io::stderr().lock();
    let _ = write!(err, "{text}").and_then(|()| err.flush());
}

/// `text` with its control characters escaped, so that it is one line and moves nothing on a terminal.
pub fn plain(text: &str) -> Cow<'_, str> {
    // Besides the control characters: what turns the direction of writing around.
    let odd = |c: char| c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let escape = |c: char| if odd(c) { c.escape_default().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(escape).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_and_newlines_become_visible_and_letters_stay() {
        assert_eq!(plain("Mikrofon für Ü\u{1b}[2J\nx\u{202e}y"), "Mikrofon für Ü\\u{1b}[2J\\nx\\u{202e}y");
        assert!(matches!(plain("Mikrofon für Ü"), Cow::Borrowed(_)));
    }
}
