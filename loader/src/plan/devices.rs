//! Finds microphones by what people call them.
//!
//! ```text
//! NAME                        the server's name for the source, or all of its description
//! GLOB                        the same with * and ?
//! usb:VID:PID[:SERIAL][@BUS]  as `lsusb` tells them; BUS tells identical ones apart
//! card:NAME[@BUS]             the only microphone of a card
//! tunnel:HOST[:PORT]/SOURCE   a source of another machine's server
//! ```
//!
//! One channel of it is `NAME:left`, `NAME:right` or `NAME:2`, see [`super::channel`].
//!
//! A monitor is taken only where its own name is said in full, and our own sources never are. What fits two is refused,
//! with the words that tell them apart. Pure: it looks at what [`Present`] holds.

use super::{Device, Present, Source};

/// How many names to offer where one is wrong.
const OFFERS: usize = 3;

/// What a microphone is called, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// A name, a description, or a pattern of one.
    Name(String),
    /// A USB device.
    Usb {
        /// Vendor and product.
        ids: (u16, u16),
        /// Its serial number, if that matters.
        serial: Option<String>,
        /// Where it is plugged in, if that matters.
        bus_path: Option<String>,
    },
    /// A card.
    Card {
        /// Its name.
        name: String,
        /// Where it is plugged in, if that matters.
        bus_path: Option<String>,
    },
    /// A source of another server.
    Tunnel(Tunnel),
}

/// A source of another server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// The server's address, as `module-tunnel-source` wants it.
    pub server: String,
    /// The source's name there.
    pub source: String,
}

/// Why a microphone cannot be had.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum NotFound {
    /// The server does not have it.
    #[error("there is no microphone `{name}`; {}", offer(nearest))]
    Missing {
        /// What was asked for.
        name: String,
        /// The nearest names that exist.
        nearest: Vec<String>,
    },
    /// Several fit.
    #[error("`{name}` fits {} microphones; say which: {}", addresses.len(), in_quotes(addresses))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// For each that fits what fits it alone.
        addresses: Vec<String>,
    },
    /// It has no such channel.
    #[error("`{name}` asks for a channel that `{device}` does not have; there are {channels}")]
    Channel {
        /// What was asked for.
        name: String,
        /// The source.
        device: String,
        /// Its channels.
        channels: String,
    },
    /// It cannot be understood.
    #[error("`{name}` does not name a microphone: {why}")]
    Unclear {
        /// What was asked for.
        name: String,
        /// Why not.
        why: &'static str,
    },
}

fn in_quotes(names: &[String]) -> String {
    names.iter().map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ")
}

fn offer(nearest: &[String]) -> String {
    if nearest.is_empty() {
        return "the server has no microphones at all; plug one in and look with `driftmerge list`".into();
    }
    format!("the nearest are {}; `driftmerge list` shows all", in_quotes(nearest))
}

/// Takes apart what a microphone is called.
///
/// # Errors
/// It begins like one of the longer forms and does not go on like it.
pub fn parse(name: &str) -> Result<Selector, NotFound> {
    let unclear = |why| NotFound::Unclear { name: name.to_owned(), why };
    if let Some(rest) = name.strip_prefix("usb:") {
        let (rest, bus_path) = bus(rest);
        let mut parts = rest.splitn(3, ':');
        let mut id =
            || parts.next().and_then(hexadecimal).ok_or_else(|| unclear("write usb:VID:PID, as in usb:046d:0825"));
        let ids = (id()?, id()?);
        let serial = parts.next().filter(|serial| !serial.is_empty()).map(str::to_owned);
        return Ok(Selector::Usb { ids, serial, bus_path });
    }
    if let Some(rest) = name.strip_prefix("card:") {
        let (card, bus_path) = bus(rest);
        let card = Some(card).filter(|card| !card.is_empty()).ok_or_else(|| unclear("the card has no name"))?;
        return Ok(Selector::Card { name: card.to_owned(), bus_path });
    }
    if let Some(rest) = name.strip_prefix("tunnel:") {
        let Some((host, source)) =
            rest.rsplit_once('/').filter(|(host, source)| !host.is_empty() && !source.is_empty())
        else {
            return Err(unclear("write tunnel:HOST/SOURCE, as in tunnel:192.168.1.5/alsa_input.usb-Webcam.mono"));
        };
        let known = ["tcp:", "tcp4:", "tcp6:", "unix:"].iter().any(|kind| host.starts_with(kind));
        let server = if known { host.to_owned() } else { format!("tcp:{host}") };
        return Ok(Selector::Tunnel(Tunnel { server, source: source.to_owned() }));
    }
    Ok(Selector::Name(name.to_owned()))
}

fn bus(text: &str) -> (&str, Option<String>) {
    match text.split_once('@') {
        Some((rest, bus_path)) => (rest, Some(bus_path.to_owned())),
        None => (text, None),
    }
}

/// A vendor's or product's number; some servers write `0x` before it.
fn hexadecimal(text: &str) -> Option<u16> {
    u16::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// The sources that are microphones (or all, with monitors), without those of our own.
pub fn microphones(present: &Present, monitors: bool) -> impl Iterator<Item = &Source> {
    let ours: Vec<u32> = super::ours(present, None).iter().map(|m| m.index).collect();
    present.sources.iter().filter(move |source| {
        (monitors || source.monitor_of.is_none()) && source.module.is_none_or(|module| !ours.contains(&module))
    })
}

/// The source that `name` means.
///
/// # Errors
/// There is none, there are several, or `name` cannot be understood.
pub fn find<'a>(present: &'a Present, name: &str) -> Result<&'a Source, NotFound> {
    if let Some(source) = microphones(present, true).find(|s| s.name == name) {
        return Ok(source);
    }
    let selector = parse(name)?;
    let mut found: Vec<&Source> = microphones(present, false).filter(|s| fits(&selector, s)).collect();
    match (found.pop(), found.is_empty()) {
        (Some(source), true) => Ok(source),
        (Some(last), false) => {
            found.push(last);
            Err(NotFound::Ambiguous { name: name.to_owned(), addresses: found.into_iter().map(address).collect() })
        }
        (None, _) => {
            let mut nearest: Vec<(usize, String)> =
                microphones(present, false).map(|s| (distance(name, &s.name), s.name.clone())).collect();
            nearest.sort();
            nearest.truncate(OFFERS);
            let nearest = nearest.into_iter().map(|(_, n)| n).collect();
            Err(NotFound::Missing { name: name.to_owned(), nearest })
        }
    }
}

/// Whether `source` is what `selector` asks for.
fn fits(selector: &Selector, source: &Source) -> bool {
    let Device { usb, serial, bus_path, cards } = &source.device;
    let plugged_in = |wanted: &Option<String>| wanted.as_ref().is_none_or(|wanted| bus_path == wanted);
    match selector {
        Selector::Name(pattern) => matches(pattern, &source.description) || matches(pattern, &source.name),
        Selector::Usb { ids, serial: wanted, bus_path } => {
            // The server writes maker and model before the number.
            let same = |wanted: &String| {
                serial.strip_suffix(wanted.as_str()).is_some_and(|s| s.is_empty() || s.ends_with('_'))
            };
            let read = |(vendor, product): &(String, String)| Some((hexadecimal(vendor)?, hexadecimal(product)?));
            usb.as_ref().and_then(read) == Some(*ids) && wanted.as_ref().is_none_or(same) && plugged_in(bus_path)
        }
        Selector::Card { name, bus_path } => cards.iter().any(|card| matches(name, card)) && plugged_in(bus_path),
        Selector::Tunnel(_) => false,
    }
}

/// Whether `text` is `pattern`, in which `*` stands for any letters and `?` for one.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    // Where the last star stood, and how much of the text it has taken so far.
    let mut star = None;
    let (mut p, mut t) = (0, 0);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

/// What fits this source alone and goes on to do so when it is plugged in again: for a USB device what it is and where it
/// is, for others the name.
pub fn address(source: &Source) -> String {
    match (&source.device.usb, source.device.bus_path.as_str()) {
        (Some((vendor, product)), bus_path) if !bus_path.is_empty() => {
            let plain = |id: &str| id.strip_prefix("0x").unwrap_or(id).to_owned();
            format!("usb:{}:{}@{bus_path}", plain(vendor), plain(product))
        }
        _ => source.name.clone(),
    }
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

    fn source(name: &str, description: &str) -> Source {
        Source { name: name.into(), description: description.into(), ..Source::default() }
    }

    fn webcam(name: &str, serial: &str, bus_path: &str) -> Source {
        let device = Device {
            usb: Some(("046d".into(), "0x0825".into())),
            serial: format!("046d_C270_{serial}"),
            bus_path: bus_path.into(),
            cards: vec![format!("alsa_card.{bus_path}"), "HD Webcam C270".into()],
        };
        Source { device, ..source(name, "Twin") }
    }

    fn present() -> Present {
        let arguments = "source_name=driftmerge source_properties='driftmerge.graph=driftmerge driftmerge.part=source'";
        let monitor = source("speaker.monitor", "Monitor of Speaker");
        Present {
            modules: vec![Module { index: 9, name: "module-remap-source".into(), arguments: arguments.into() }],
            sources: vec![
                webcam("alsa_input.usb-0", "A1", "pci-0:usb-0:1"),
                webcam("alsa_input.usb-1", "B2", "pci-0:usb-0:2"),
                source("alsa_input.pci", "Built-in"),
                Source { monitor_of: Some("speaker".into()), ..monitor },
                Source { module: Some(9), ..source("driftmerge", "driftmerge") },
            ],
            ..Present::default()
        }
    }

    #[track_caller]
    fn found(name: &str) -> String {
        find(&present(), name).unwrap_or_else(|e| panic!("{e}")).name.clone()
    }

    #[test]
    fn each_form_finds_its_microphone() {
        assert_eq!(found("Built-in"), "alsa_input.pci");
        assert_eq!(found("alsa_input.p*"), "alsa_input.pci");
        assert_eq!(found("Buil?-*n"), "alsa_input.pci");
        assert_eq!(found("usb:046d:0825:B2"), "alsa_input.usb-1");
        assert_eq!(found("usb:046D:0825:046d_C270_A1"), "alsa_input.usb-0");
        assert_eq!(found("usb:46d:825@pci-0:usb-0:2"), "alsa_input.usb-1");
        assert_eq!(found("card:alsa_card.pci-0:usb-0:1"), "alsa_input.usb-0");
        assert_eq!(found("card:HD Webcam*@pci-0:usb-0:2"), "alsa_input.usb-1");
    }

    #[test]
    fn identical_ones_are_refused_with_words_that_tell_them_apart() {
        for name in ["Twin", "alsa_input.usb-*", "usb:046d:0825", "card:HD Webcam C270"] {
            let error = find(&present(), name).expect_err(name);
            let NotFound::Ambiguous { addresses, .. } = &error else { panic!("{name}: {error}") };
            assert_eq!(addresses, &["usb:046d:0825@pci-0:usb-0:1", "usb:046d:0825@pci-0:usb-0:2"], "{name}");
            for address in addresses {
                assert!(error.to_string().contains(address));
                found(address);
            }
        }
    }

    #[test]
    fn a_monitor_is_taken_by_its_own_full_name_only() {
        assert_eq!(found("speaker.monitor"), "speaker.monitor");
        for name in ["Monitor of Speaker", "*.monitor", "speaker*", "Monitor*"] {
            assert!(matches!(find(&present(), name), Err(NotFound::Missing { .. })), "{name}");
        }
        assert!(matches!(find(&present(), "*"), Err(NotFound::Ambiguous { addresses, .. }) if addresses.len() == 3));
    }

    #[test]
    fn a_serial_number_is_not_taken_for_the_end_of_another() {
        assert!(find(&present(), "usb:046d:0825:1").is_err());
        assert!(find(&present(), "usb:046d:0826").is_err());
        assert!(find(&present(), "usb:046d:0825@pci-0:usb-0:3").is_err());
    }

    #[test]
    fn what_cannot_be_understood_is_said() {
        for (name, word) in [
            ("usb:", "usb:046d:0825"),
            ("usb:046d", "usb:046d:0825"),
            ("usb:webcam:0825", "usb:046d:0825"),
            ("card:", "no name"),
            ("tunnel:host", "tunnel:HOST/SOURCE"),
            ("tunnel:/mic", "tunnel:HOST/SOURCE"),
        ] {
            let error = parse(name).expect_err(name).to_string();
            assert!(error.contains(word) && error.contains(&format!("`{name}`")), "{error}");
        }
    }

    #[test]
    fn a_tunnel_has_an_address_and_a_source() {
        for (name, server, source) in [
            ("tunnel:box/mic", "tcp:box", "mic"),
            ("tunnel:192.168.1.5:4714/alsa_input.usb", "tcp:192.168.1.5:4714", "alsa_input.usb"),
            ("tunnel:unix:/run/other/native/mic", "unix:/run/other/native", "mic"),
        ] {
            let wanted = Tunnel { server: server.into(), source: source.into() };
            assert_eq!(parse(name), Ok(Selector::Tunnel(wanted)));
        }
    }

    #[test]
    fn a_wrong_name_is_told_with_the_nearest_and_never_with_our_own() {
        let missing = find(&present(), "alsa_input.usb-2").expect_err("missing");
        let NotFound::Missing { nearest, .. } = &missing else { panic!("{missing}") };
        assert_eq!(nearest, &["alsa_input.usb-0", "alsa_input.usb-1", "alsa_input.pci"]);
        assert!(missing.to_string().contains("`alsa_input.usb-2`"));
        assert!(find(&present(), "driftmerge").is_err());
    }

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("a*b*c", "axxbyybzzc", true),
            ("a*b", "axbx", false),
            ("?", "", false),
            ("ü?", "üß", true),
            ("**a", "bba", true),
            ("abc", "abcd", false),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }
}
