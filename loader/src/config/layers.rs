//! The places settings come from, each read into the same form: text by key, with its origin.

use super::table::SETTINGS;
use super::{ConfigError, Setting};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// The settings of one place, by key.
pub type Layer = BTreeMap<&'static str, Value>;

/// A setting's text and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// What was written.
    pub raw: Raw,
    /// Where.
    pub origin: Origin,
}

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Raw {
    /// One text.
    Text(String),
    /// A list that needs no splitting.
    List(Vec<String>),
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq)]
pub enum Origin {
    /// A flag of the command line.
    Flag(&'static str),
    /// An environment variable.
    Variable(&'static str),
    /// A line (from 1) of a file.
    Line(PathBuf, usize),
    /// `driftmerge set`, to a running service.
    Set,
    /// Nowhere: the default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "from flag {flag}"),
            Self::Variable(name) => write!(f, "from environment variable {name}"),
            Self::Line(path, line) => write!(f, "from {} line {line}", path.display()),
            Self::Set => write!(f, "from `driftmerge set`"),
            Self::Default => write!(f, "the default"),
        }
    }
}

/// The layer of the command line: those of `given` (key and value) that were said.
///
/// # Panics
/// A key is not in [`SETTINGS`].
pub fn flags_layer(given: impl IntoIterator<Item = (&'static str, Option<Raw>)>) -> Layer {
    let value = |(key, raw): (&'static str, Option<Raw>)| {
        let setting = SETTINGS.iter().find(|s| s.key == key).expect("flags are named as in the table");
        Some((key, Value { raw: raw?, origin: Origin::Flag(setting.flag) }))
    };
    given.into_iter().filter_map(value).collect()
}

/// The layer of the environment, as `get` tells it. An empty variable counts as not set.
///
/// # Errors
/// A value that is not UTF-8.
pub fn environment_layer(get: impl Fn(&str) -> Option<OsString>) -> Result<Layer, ConfigError> {
    let mut layer = Layer::new();
    for Setting { key, variable, .. } in SETTINGS {
        let Some(text) = get(variable).filter(|text| !text.is_empty()) else { continue };
        let text = text.into_string().map_err(|_| {
            ConfigError(format!("environment variable {variable} is not UTF-8; write it in plain text"))
        })?;
        layer.insert(key, Value { raw: Raw::Text(text), origin: Origin::Variable(variable) });
    }
    Ok(layer)
}

/// The layer of a `.env` file: `NAME=value` lines with the names of the environment variables. Others are left to
/// other programs. Quotes around a value and comments behind a blank and `#` are taken off.
///
/// # Errors
/// A line that is neither blank, comment nor assignment.
pub fn dotenv_layer(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let mut layer = Layer::new();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let origin = Origin::Line(path.into(), i + 1);
        let Some((name, value)) = line.strip_prefix("export ").unwrap_or(line).split_once('=') else {
            return Err(ConfigError(format!("{} line {}: `{line}` is not NAME=value", path.display(), i + 1)));
        };
        let value = unquote(value.trim());
        let setting = SETTINGS.iter().find(|s| s.variable == name.trim());
        if let (Some(setting), false) = (setting, value.is_empty()) {
            layer.insert(setting.key, Value { raw: Raw::Text(value.into()), origin });
        }
    }
    Ok(layer)
}

/// A value without its comment, and without its quotes where one pair is around all of it; a list of quoted names keeps
/// them.
fn unquote(value: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    let comment = value.char_indices().find(|(_, c)| {
        match quote {
            Some(open) if open == *c => quote = None,
            // An apostrophe inside a word is none.
            None if matches!(c, '"' | '\'') && (before.is_whitespace() || ",[".contains(before)) => quote = Some(*c),
            _ => {}
        }
        let begins = quote.is_none() && *c == '#' && before.is_whitespace();
        before = *c;
        begins
    });
    let value = value[..comment.map_or(value.len(), |(at, _)| at)].trim_end();
    for quote in ['"', '\''] {
        if let Some(inside) = value.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote))
            && !inside.contains(quote)
        {
            return inside;
        }
    }
    value
}

/// The layer of `config.toml`: the keys of [`SETTINGS`], as text, number or (microphones) list.
///
/// # Errors
/// Not TOML, an unknown key, or a value of another kind.
pub fn toml_layer(path: &Path, text: &str) -> Result<Layer, ConfigError> {
    let table: BTreeMap<Spanned<String>, toml::Value> =
        toml::from_str(text).map_err(|e| ConfigError(format!("{}: {}", path.display(), e.to_string().trim_end())))?;
    let mut layer = Layer::new();
    for (key, value) in table {
        let line = 1 + text[..key.span().start].matches('\n').count();
        let refuse = |why: String| Err(ConfigError(format!("{} line {line}: {why}", path.display())));
        let Some(setting) = SETTINGS.iter().find(|s| s.key == key.as_ref()) else {
            let known: Vec<_> = SETTINGS.iter().map(|s| s.key).collect();
            return refuse(format!("there is no setting `{}`; there are {}", key.as_ref(), known.join(", ")));
        };
        let Some(raw) = raw(value) else {
            return refuse(format!("`{}` must be a text, a number or, for microphones, a list of texts", setting.key));
        };
        if matches!(raw, Raw::List(_)) && setting.key != "microphones" {
            return refuse(format!("`{}` takes one value, not a list", setting.key));
        }
        layer.insert(setting.key, Value { raw, origin: Origin::Line(path.into(), line) });
    }
    Ok(layer)
}

fn raw(value: toml::Value) -> Option<Raw> {
    use toml::Value as V;
    Some(match value {
        V::String(text) => Raw::Text(text),
        V::Integer(number) => Raw::Text(number.to_string()),
        V::Float(number) => Raw::Text(number.to_string()),
        V::Array(items) => {
            let text = |item| if let V::String(text) = item { Some(text) } else { None };
            Raw::List(items.into_iter().map(text).collect::<Option<_>>()?)
        }
        V::Boolean(yes) => Raw::Text(if yes { "yes" } else { "no" }.into()),
        V::Datetime(_) | V::Table(_) => return None,
    })
}
