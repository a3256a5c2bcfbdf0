//! One channel of a microphone that has several, by what people call it: `NAME:left`, `NAME:right`, `NAME:2`.

use super::devices::{NotFound, find};
use super::{Present, Source};

/// A channel of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Counted from 0.
    pub index: usize,
    /// Where it is, as the server writes it.
    pub position: String,
    /// What it was called.
    pub said: String,
}

/// The source that `name` means, and the channel of it that it asks for. A name that is a source's own, colons and all, asks
/// for none.
///
/// # Errors
/// There is no such source, or it has no such channel.
pub fn find_channel<'a>(present: &'a Present, name: &str) -> Result<(&'a Source, Option<Channel>), NotFound> {
    let error = match find(present, name) {
        Ok(source) => return Ok((source, None)),
        Err(error @ NotFound::Ambiguous { .. }) => return Err(error),
        Err(error) => error,
    };
    let Some((rest, said)) = name.rsplit_once(':').filter(|(_, said)| is_channel(said)) else { return Err(error) };
    let source = find(present, rest)?;
    let positions: Vec<&str> = source.positions.split(',').filter(|position| !position.is_empty()).collect();
    let at = |position: &str| positions.iter().position(|there| *there == position);
    let index = match said {
        "left" => at("front-left").or((positions.len() > 1).then_some(0)),
        "right" => at("front-right").or((positions.len() > 1).then_some(1)),
        number => number.parse::<usize>().ok().and_then(|number| number.checked_sub(1)),
    };
    let Some((index, position)) = index.and_then(|index| Some((index, positions.get(index)?))) else {
        return Err(NotFound::Channel {
            name: name.to_owned(),
            device: source.name.clone(),
            channels: positions.join(", "),
        });
    };
    Ok((source, Some(Channel { index, position: (*position).to_owned(), said: said.to_owned() })))
}

fn is_channel(said: &str) -> bool {
    matches!(said, "left" | "right") || said.parse::<u8>().is_ok_and(|number| (1..=32).contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn present() -> Present {
        let source = |name: &str, positions: &str| Source {
            name: name.into(),
            positions: positions.into(),
            ..Source::default()
        };
        Present {
            sources: vec![
                source("laptop", "front-left,front-right"),
                source("array", "aux0,aux1,aux2"),
                source("mono", "mono"),
                source("odd:2", "mono"),
            ],
            ..Present::default()
        }
    }

    #[test]
    fn a_channel_is_found_by_its_side_and_by_its_number() {
        let present = present();
        for (name, source, index, position) in [
            ("laptop:left", "laptop", 0, "front-left"),
            ("laptop:right", "laptop", 1, "front-right"),
            ("array:right", "array", 1, "aux1"),
            ("array:3", "array", 2, "aux2"),
            ("lap*:2", "laptop", 1, "front-right"),
            ("mono:1", "mono", 0, "mono"),
        ] {
            let (found, channel) = find_channel(&present, name).expect(name);
            let channel = channel.expect("one was asked for");
            assert_eq!((found.name.as_str(), channel.index, channel.position.as_str()), (source, index, position));
        }
        for name in ["laptop", "odd:2"] {
            assert_eq!(find_channel(&present, name).expect(name).1, None, "{name}");
        }
    }

    #[test]
    fn a_channel_that_is_not_there_is_told_with_those_that_are() {
        let error = find_channel(&present(), "laptop:3").expect_err("two channels").to_string();
        assert!(error.contains("front-left, front-right"), "{error}");
        assert!(matches!(find_channel(&present(), "mono:right"), Err(NotFound::Channel { .. })));
        assert!(matches!(find_channel(&present(), "none:left"), Err(NotFound::Missing { .. })));
    }
}
