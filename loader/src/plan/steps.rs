//! The difference between the graph that is wanted and what is there.

use super::arguments::{pairs, shell_word, value_of};
use super::graph::{Graph, Kind};
use super::parts::{Element, Part};
use super::{GRAPH_PROPERTY, Module, PART_PROPERTY, Present};

/// One thing to do to the server.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Load a module.
    Load(Element),
    /// Take one away.
    Unload(Module),
}

impl Step {
    /// The same as a command for a shell.
    pub fn pactl(&self) -> String {
        match self {
            Self::Load(element) => {
                let words = split_words(&element.arguments).map(shell_word).collect::<Vec<_>>().join(" ");
                format!("pactl load-module {} {words}", element.module)
            }
            Self::Unload(module) => format!("pactl unload-module {}  # {}", module.index, module.name),
        }
    }
}

/// What `steps` change, for people: a line for each module that goes (-), comes (+) or stays (blank).
pub fn diff(graph: &Graph, present: &Present, steps: &[Step]) -> Vec<String> {
    let goes = |module: &Module| steps.iter().any(|step| matches!(step, Step::Unload(gone) if gone == module));
    let there = ours(present, Some(graph.name)).into_iter().rev();
    let there = there.map(|m| format!("{} {} {}", if goes(m) { '-' } else { ' ' }, m.name, m.arguments));
    let comes = steps.iter().filter_map(|step| match step {
        Step::Load(element) => Some(format!("+ {} {}", element.module, element.arguments)),
        Step::Unload(_) => None,
    });
    there.chain(comes).collect()
}

/// The arguments of a line as they were written, quotes and all.
fn split_words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let (mut quote, mut escaped) = (None, false);
        let end = rest.char_indices().find(|(_, c)| match c {
            _ if std::mem::take(&mut escaped) => false,
            '\\' => std::mem::replace(&mut escaped, true),
            c if quote == Some(*c) => std::mem::take(&mut quote).is_none(),
            '"' | '\'' if quote.is_none() => quote.replace(*c).is_some(),
            c => quote.is_none() && c.is_whitespace(),
        });
        let (word, after) = rest.split_at(end.map_or(rest.len(), |(i, _)| i));
        rest = after;
        (!word.is_empty()).then_some(word)
    })
}

/// The graph and part as which a module is marked, if it is ours.
pub fn mark(module: &Module) -> Option<(String, String)> {
    let arguments = pairs(&module.arguments);
    let properties = arguments.iter().filter(|(key, _)| key.ends_with("_properties")).flat_map(|(_, v)| pairs(v));
    let (mut graph, mut part) = (None, None);
    for (key, value) in properties {
        match key.as_str() {
            GRAPH_PROPERTY => graph = Some(value),
            PART_PROPERTY => part = Some(value),
            _ => {}
        }
    }
    graph.zip(part)
}

/// The modules of ours, of the graph `name` or of all, the newest first (the order in which to take them away).
pub fn ours<'a>(present: &'a Present, name: Option<&str>) -> Vec<&'a Module> {
    let wanted = |m: &&Module| mark(m).is_some_and(|(graph, _)| name.is_none_or(|name| name == graph));
    let mut found: Vec<_> = present.modules.iter().filter(wanted).collect();
    found.sort_by_key(|m| std::cmp::Reverse(m.index));
    found
}

/// Why the graph cannot be made now.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Blocked {
    /// Another run is at work on it.
    #[error("`driftmerge run` is already at work on `{graph}` (process {process}); stop that one first")]
    Running {
        /// Name of the merged source.
        graph: String,
        /// The other's process.
        process: String,
    },
    /// The server runs the plugin itself.
    #[error(
        "`{graph}` is already loaded inside the server by `driftmerge load`; take it away with `driftmerge unload`"
    )]
    Loaded {
        /// Name of the merged source.
        graph: String,
    },
    /// A name is taken by something that is not ours.
    #[error("the name `{name}` is taken by something that driftmerge did not load; choose another with --play-device")]
    Taken {
        /// The name.
        name: String,
    },
}

/// What has to be done so that the server has `graph`, and has it once. Nothing, if it is there already.
///
/// # Errors
/// Something is in the way that must not be taken away.
pub fn steps(graph: &Graph, present: &Present) -> Result<Vec<Step>, Blocked> {
    let name = graph.name.to_owned();
    if let Some(holder) = present.holders.iter().find(|h| h.graph == name) {
        return Err(Blocked::Running { graph: name, process: holder.process.clone() });
    }
    let there: Vec<(&Module, String)> =
        ours(present, Some(graph.name)).into_iter().filter_map(|m| Some((m, mark(m)?.1))).collect();
    let in_server = matches!(graph.kind, Kind::InServer { .. });
    if !in_server && there.iter().any(|(_, part)| *part == Part::Plugin.mark()) {
        return Err(Blocked::Loaded { graph: name });
    }
    let wanted = graph.elements();
    taken(&wanted, present, &there)?;
    let mut kept: Vec<u32> = Vec::new();
    let mut loads = Vec::new();
    for element in wanted {
        let needs_new = loads.iter().any(|new: &Element| element.part.needs(new.part));
        let same = |m: &Module| m.name == element.module && m.arguments == element.arguments;
        match there.iter().find(|(m, part)| *part == element.part.mark() && same(m)) {
            Some((m, _)) if !needs_new => kept.push(m.index),
            _ => loads.push(element),
        }
    }
    let unloads = there.iter().filter(|(m, _)| !kept.contains(&m.index)).map(|(m, _)| Step::Unload((*m).clone()));
    Ok(unloads.chain(loads.into_iter().map(Step::Load)).collect())
}

/// Whether a name that the graph needs belongs to something that is not ours.
fn taken(wanted: &[Element], present: &Present, there: &[(&Module, String)]) -> Result<(), Blocked> {
    // PipeWire does not tell of every source or sink which module made it; what that was told tells it as well.
    let mine = |key: &str, name: &String| there.iter().any(|(m, _)| value_of(&m.arguments, key).as_ref() == Some(name));
    for element in wanted {
        if let Some(name) = value_of(&element.arguments, "source_name")
            && present.sources.iter().any(|s| s.name == name)
            && !mine("source_name", &name)
        {
            return Err(Blocked::Taken { name });
        }
        if let Some(name) = value_of(&element.arguments, "sink_name")
            && present.sinks.contains(&name)
            && !mine("sink_name", &name)
        {
            return Err(Blocked::Taken { name });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Holder, Mic};
    use driftmerge_dsp::Controls;
    use std::path::Path;

    fn graph(kind: Kind) -> Graph {
        let mics = vec![Mic::local("mic_a"), Mic::local("it's \"b\" $(x)")];
        Graph { name: "driftmerge", mics, echo: None, rate_hz: 48_000, kind }
    }

    fn in_server() -> Kind<'static> {
        Kind::InServer { ladspa: Path::new("/tmp/a b/driftmerge.so"), controls: Controls::default() }
    }

    /// The server after `steps` were done to it.
    fn done(mut present: Present, steps: Vec<Step>) -> Present {
        for step in steps {
            match step {
                Step::Unload(module) => present.modules.retain(|m| *m != module),
                Step::Load(element) => {
                    let index = 1 + present.modules.iter().map(|m| m.index).max().unwrap_or(0);
                    let (name, arguments) = (element.module.to_owned(), element.arguments);
                    present.modules.push(Module { index, name, arguments });
                }
            }
        }
        present
    }

    #[test]
    fn doing_it_twice_does_nothing_the_second_time() {
        for kind in [Kind::Direct, Kind::Loopback, in_server()] {
            let graph = graph(kind);
            let first = steps(&graph, &Present::default()).expect("free");
            assert_eq!(first.len(), graph.elements().len());
            let present = done(Present::default(), first);
            assert_eq!(steps(&graph, &present), Ok(vec![]));
            assert_eq!(ours(&present, None).len(), graph.elements().len());
        }
    }

    #[test]
    fn what_is_missing_is_loaded_and_what_differs_is_replaced_with_all_that_hangs_on_it() {
        let graph = graph(in_server());
        let whole = done(Present::default(), steps(&graph, &Present::default()).expect("free"));
        let mut without_mic = whole.clone();
        without_mic.modules.retain(|m| mark(m).expect("ours").1 != "mic1");
        assert_eq!(steps(&graph, &without_mic).expect("free").len(), 1);

        let other_rate = Graph { rate_hz: 44_100, ..graph.clone() };
        let replaced = done(whole.clone(), steps(&other_rate, &whole).expect("free"));
        assert_eq!(replaced.modules.len(), whole.modules.len());
        assert_eq!(steps(&other_rate, &replaced), Ok(vec![]));
    }

    #[test]
    fn a_loaded_graph_and_a_running_one_are_left_alone() {
        let loaded = done(Present::default(), steps(&graph(in_server()), &Present::default()).expect("free"));
        assert_eq!(steps(&graph(Kind::Direct), &loaded), Err(Blocked::Loaded { graph: "driftmerge".into() }));
        let holder = Holder { graph: "driftmerge".into(), process: "42".into() };
        let running = Present { holders: vec![holder], ..Present::default() };
        assert!(matches!(steps(&graph(in_server()), &running), Err(Blocked::Running { .. })));
    }

    #[test]
    fn names_and_modules_of_others_are_never_touched() {
        let other = Module {
            index: 3,
            name: "module-null-sink".into(),
            arguments: "sink_name=driftmerge_out sink_properties=device.description=driftmerge.graph".into(),
        };
        let present = Present { modules: vec![other], sinks: vec!["driftmerge_out".into()], ..Present::default() };
        assert_eq!(ours(&present, None), Vec::<&Module>::new());
        assert_eq!(steps(&graph(Kind::Direct), &present), Err(Blocked::Taken { name: "driftmerge_out".into() }));
    }

    #[test]
    fn a_line_for_the_shell_gives_the_server_the_same_arguments() {
        for step in steps(&graph(in_server()), &Present::default()).expect("free") {
            let Step::Load(element) = &step else { panic!("nothing to take away") };
            let script = step.pactl().replacen("pactl", "printf '%s '", 1);
            let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh");
            let said = String::from_utf8_lossy(&output.stdout);
            assert_eq!(said.trim_end(), format!("load-module {} {}", element.module, element.arguments));
        }
    }
}
