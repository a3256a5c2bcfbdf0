//! Module arguments and shell words: the one place where names from outside are quoted.
//!
//! The server reads `key=value key="value" …`; inside double quotes a backslash makes the next character plain.

/// Characters that mean themselves both to the server and to a shell.
fn plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "._-,:/+@%".contains(c)
}

/// A value as the server reads it.
pub fn quote(value: &str) -> String {
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    let mut quoted = String::from('"');
    for c in value.chars() {
        if matches!(c, '"' | '\\') {
            quoted.push('\\');
        }
        quoted.push(c);
    }
    quoted.push('"');
    quoted
}

/// An argument line of `key=value` pairs.
pub fn line<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    pairs.into_iter().map(|(key, value)| format!("{key}={}", quote(value))).collect::<Vec<_>>().join(" ")
}

/// The pairs of an argument line, unquoted; what is no pair ends it.
pub fn pairs(line: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while let Some((key, after)) = rest.split_once('=') {
        let (value, after) = value(after);
        found.push((key.to_owned(), value));
        rest = after.trim_start();
    }
    found
}

/// The value of `key` in an argument line.
pub fn value_of(line: &str, key: &str) -> Option<String> {
    pairs(line).into_iter().find(|(found, _)| found == key).map(|(_, value)| value)
}

/// The value at the beginning of `text`, and what follows it.
fn value(text: &str) -> (String, &str) {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''));
    let mut value = String::new();
    let mut escaped = false;
    for (i, c) in text.char_indices().skip(usize::from(quote.is_some())) {
        match c {
            _ if escaped => {
                escaped = false;
                value.push(c);
            }
            '\\' => escaped = true,
            _ if Some(c) == quote => return (value, &text[i + c.len_utf8()..]),
            _ if quote.is_none() && c.is_whitespace() => return (value, &text[i..]),
            _ => value.push(c),
        }
    }
    (value, "")
}

/// A word as a POSIX shell reads it.
pub fn shell_word(word: &str) -> String {
    if !word.is_empty() && word.chars().all(|c| plain(c) || c == '=') {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NASTY: [&str; 8] =
        ["plain.name-1", "two words", r#"say "hi""#, r"back\slash", "it's", "$(reboot); `id` | & > *", "key=value", ""];

    #[test]
    fn the_server_reads_back_every_name_as_it_was() {
        for (i, name) in NASTY.iter().enumerate() {
            let line = line([("source", *name), ("sink", NASTY[NASTY.len() - 1 - i])]);
            let wanted = [("source", *name), ("sink", NASTY[NASTY.len() - 1 - i])];
            assert_eq!(pairs(&line), wanted.map(|(k, v)| (k.to_owned(), v.to_owned())), "{line}");
        }
    }

    #[test]
    fn no_name_leaves_its_shell_word() {
        for name in NASTY {
            let script = format!("printf %s {}", shell_word(name));
            let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
            assert_eq!(String::from_utf8_lossy(&output.stdout), name);
        }
    }
}
