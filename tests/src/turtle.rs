//! The Turtle files of the bundle as statements that tests can look up.

use std::collections::BTreeMap;
use std::fs;

use oxrdf::{NamedOrBlankNode, Term};
use oxttl::TurtleParser;

use crate::hosts::bundle;

const INDEX: &str = "http://lv2plug.in/ns/lv2core#index";

/// The statements of a file: all objects by subject and predicate. Literals are their text.
pub struct Facts(pub BTreeMap<(String, String), Vec<String>>);

impl Facts {
    /// Reads a file of the bundle.
    pub fn read(file: &str) -> Self {
        let text = fs::read(bundle().folder().join(file)).expect("the bundle has it");
        let mut facts: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let parser = TurtleParser::new().with_base_iri("file:///bundle/").expect("a good base");
        for triple in parser.for_slice(&text) {
            let triple = triple.unwrap_or_else(|error| panic!("{file}: {error}"));
            let subject = match triple.subject {
                NamedOrBlankNode::NamedNode(node) => node.into_string(),
                NamedOrBlankNode::BlankNode(node) => node.into_string(),
            };
            let object = match triple.object {
                Term::NamedNode(node) => node.into_string(),
                Term::BlankNode(node) => node.into_string(),
                Term::Literal(literal) => literal.value().to_owned(),
            };
            facts.entry((subject, triple.predicate.into_string())).or_default().push(object);
        }
        Self(facts)
    }

    /// All objects of `subject` and `predicate`, in no meaningful order.
    pub fn all(&self, subject: &str, predicate: &str) -> &[String] {
        self.0.get(&(subject.to_owned(), predicate.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// The only object of `subject` and `predicate`.
    pub fn one(&self, subject: &str, predicate: &str) -> &str {
        match self.all(subject, predicate) {
            [one] => one,
            other => panic!("{subject} {predicate}: {other:?}"),
        }
    }

    /// The only object, as a number.
    pub fn number(&self, subject: &str, predicate: &str) -> f32 {
        self.one(subject, predicate).parse().expect("a number")
    }

    /// The plugin's ports by index.
    pub fn ports(&self, plugin: &str) -> Vec<&str> {
        let mut ports: Vec<&str> =
            self.all(plugin, "http://lv2plug.in/ns/lv2core#port").iter().map(String::as_str).collect();
        ports.sort_by_key(|port| self.number(port, INDEX) as usize);
        for (i, port) in ports.iter().enumerate() {
            assert_eq!(self.number(port, INDEX), i as f32, "no index is left out or given twice");
        }
        ports
    }
}
