//! Finds microphones by the names people give.

use super::{Present, Source};

/// How many names to offer where one is wrong.
const OFFERS: usize = 3;

/// A microphone that the server does not have.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("there is no microphone `{name}`; {}", offer(nearest))]
pub struct Missing {
    /// The name that was given.
    pub name: String,
    /// The nearest names that exist.
    pub nearest: Vec<String>,
}

fn offer(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return "the server has no microphones at all; plug one in and look with `driftmerge list`".into();
    }
    let names: Vec<_> = nearest.iter().map(|n| format!("`{n}`")).collect();
    format!("the nearest are {}; `driftmerge list` shows all", names.join(", "))
}

/// The sources that are microphones (or all, with monitors), without those of our own.
pub fn microphones(present: &Present, monitors: bool) -> impl Iterator<Item = &Source> {
    let ours: Vec<u32> = super::ours(present, None).iter().map(|m| m.index).collect();
    present.sources.iter().filter(move |source| {
        (monitors || source.monitor_of.is_none()) && source.module.is_none_or(|module| !ours.contains(&module))
    })
}

/// The source that `name` means: the one of that name, or the only microphone of that description. A monitor is taken
/// only where its own name is given.
///
/// # Errors
/// There is none.
pub fn find<'a>(present: &'a Present, name: &str) -> Result<&'a Source, Missing> {
    if let Some(source) = microphones(present, true).find(|s| s.name == name) {
        return Ok(source);
    }
    let mut described = microphones(present, false).filter(|s| s.description == name);
    if let (Some(source), None) = (described.next(), described.next()) {
        return Ok(source);
    }
    let mut nearest: Vec<(usize, String)> =
        microphones(present, false).map(|s| (distance(name, &s.name), s.name.clone())).collect();
    nearest.sort();
    nearest.truncate(OFFERS);
    Err(Missing { name: name.to_owned(), nearest: nearest.into_iter().map(|(_, n)| n).collect() })
}

/// How many letters must be changed, put in or taken out to make one word of the other; a word that contains the
/// other is nearest.
fn distance(one: &str, other: &str) -> usize {
    let (one, other) = (one.to_lowercase(), other.to_lowercase());
    if one.contains(&other) || other.contains(&one) {
        return 0;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let cost = (diagonal + usize::from(a != *b)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], cost);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Module;

    fn source(name: &str, description: &str, monitor_of: Option<&str>, module: Option<u32>) -> Source {
        Source {
            name: name.into(),
            description: description.into(),
            rate_hz: 48_000,
            channels: 1,
            monitor_of: monitor_of.map(Into::into),
            module,
            state: "idle",
        }
    }

    fn present() -> Present {
        let arguments = "source_name=driftmerge source_properties='driftmerge.graph=driftmerge driftmerge.part=source'";
        Present {
            modules: vec![Module { index: 9, name: "module-remap-source".into(), arguments: arguments.into() }],
            sources: vec![
                source("alsa_input.usb-0", "Twin", None, None),
                source("alsa_input.usb-1", "Twin", None, None),
                source("alsa_input.pci", "Built-in", None, None),
                source("speaker.monitor", "Monitor of Speaker", Some("speaker"), None),
                source("driftmerge", "driftmerge", None, Some(9)),
            ],
            ..Present::default()
        }
    }

    #[test]
    fn a_description_that_two_share_is_not_enough() {
        let present = present();
        assert_eq!(find(&present, "Built-in").expect("the only one").name, "alsa_input.pci");
        assert!(find(&present, "Twin").is_err());
        assert!(find(&present, "Monitor of Speaker").is_err());
        assert_eq!(find(&present, "speaker.monitor").expect("said in so many words").name, "speaker.monitor");
    }

    #[test]
    fn a_wrong_name_is_told_with_the_nearest_and_never_with_our_own() {
        let missing = find(&present(), "alsa_input.usb-2").expect_err("missing");
        assert_eq!(missing.nearest, ["alsa_input.usb-0", "alsa_input.usb-1", "alsa_input.pci"]);
        assert!(missing.to_string().contains("`alsa_input.usb-2`"));
        assert!(find(&present(), "driftmerge").is_err());
    }
}
