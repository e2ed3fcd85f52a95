//! YAML as a plain tree, before it means anything.
//!
//! The tree is built by a visitor of our own because a generic value would take the
//! last of two equal keys without a word and know nothing of merge keys (`<<`). It is
//! bounded in depth, in nodes and in bytes, so that no alias can blow it up.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

use crate::error::Limit;
use crate::path::{RecipePath, Segment};

/// Levels of nesting. A recipe has fewer than ten.
pub(crate) const MAX_DEPTH: usize = 64;
/// Values in the tree, with aliases written out.
pub(crate) const MAX_NODES: usize = 200_000;
/// Bytes of text in the tree, with aliases written out.
pub(crate) const MAX_TEXT: usize = 16 << 20;

/// A YAML value. Mappings keep their order; their keys are unique.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// What this is, for "found ...".
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "nothing".into(),
            Self::Bool(value) => format!("`{value}`"),
            Self::Int(value) => format!("the number {value}"),
            Self::Float(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text {}", quoted(text)),
            Self::List(items) => match items.len() {
                0 => "an empty list".into(),
                1 => "a list of 1 element".into(),
                n => format!("a list of {n} elements"),
            },
            Self::Map(entries) => match entries.as_slice() {
                [] => "an empty mapping".into(),
                [(key, _)] => format!("a mapping with the key {}", quoted(key)),
                [(first, _), (second, _)] => {
                    format!("a mapping with the keys {}, {}", quoted(first), quoted(second))
                }
                [(first, _), (second, _), ..] => {
                    format!("a mapping with the keys {}, {}, ...", quoted(first), quoted(second))
                }
            },
        }
    }
}

/// Text in backticks, shortened and on one line.
pub(crate) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    let mut shown: String =
        text.chars().take(SHOWN).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(SHOWN).is_some() {
        shown.push_str("...");
    }
    format!("`{shown}`")
}

/// Why a tree could not be built, where the YAML itself is well-formed.
#[derive(Debug)]
pub(crate) enum Problem {
    DuplicateKey(String),
    /// What a merge key was given.
    BadMerge(String),
    Tag(String),
    Limit(Limit),
}

/// What all seeds of one parse share: the budget, where they are, what went wrong.
#[derive(Debug)]
pub(crate) struct Parse {
    nodes: Cell<usize>,
    text: Cell<usize>,
    path: RefCell<RecipePath>,
    problem: RefCell<Option<Problem>>,
}

impl Parse {
    pub(crate) fn new() -> Self {
        Self {
            nodes: Cell::new(MAX_NODES),
            text: Cell::new(MAX_TEXT),
            path: RefCell::default(),
            problem: RefCell::default(),
        }
    }

    pub(crate) fn seed(&self) -> NodeSeed<'_> {
        NodeSeed { parse: self, depth: 0 }
    }

    /// The problem that made the parse fail and its path; no problem means bad YAML.
    pub(crate) fn into_problem(self) -> (Option<Problem>, RecipePath) {
        (self.problem.into_inner(), self.path.into_inner())
    }

    fn raise<E: Error>(&self, problem: Problem) -> E {
        let text = match &problem {
            Problem::DuplicateKey(key) => format!("the key {} appears twice", quoted(key)),
            Problem::BadMerge(found) => format!("`<<` needs a mapping, found {found}"),
            Problem::Tag(tag) => format!("tag {} is not supported", quoted(tag)),
            Problem::Limit(limit) => limit.to_string(),
        };
        *self.problem.borrow_mut() = Some(problem);
        E::custom(text)
    }

    fn spend<E: Error>(&self, budget: &Cell<usize>, cost: usize, limit: Limit) -> Result<(), E> {
        match budget.get().checked_sub(cost) {
            Some(left) => {
                budget.set(left);
                Ok(())
            }
            None => Err(self.raise(Problem::Limit(limit))),
        }
    }

    fn text<E: Error>(&self, text: &str) -> Result<String, E> {
        self.spend(&self.text, text.len(), Limit::Text)?;
        Ok(text.to_owned())
    }

    /// Runs `inside` one step further down; the path stays there if it fails.
    fn step<T, E>(&self, segment: Segment, inside: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.path.borrow_mut().push(segment);
        let value = inside()?;
        self.path.borrow_mut().pop();
        Ok(value)
    }
}

/// Builds a [`Node`] from any deserializer.
#[derive(Clone, Copy)]
pub(crate) struct NodeSeed<'a> {
    parse: &'a Parse,
    depth: usize,
}

impl NodeSeed<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            return Err(self.parse.raise(Problem::Limit(Limit::Depth)));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        self.parse.spend(&self.parse.nodes, 1, Limit::Nodes)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(value.into()))
    }

    fn visit_i128<E: Error>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Int(value))
    }

    fn visit_u128<E: Error>(self, value: u128) -> Result<Node, E> {
        // Far beyond anything a recipe can hold; the reader will say so.
        Ok(Node::Int(i128::try_from(value).unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Node, E> {
        self.parse.text(text).map(Node::Text)
    }

    fn visit_unit<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Node, D::Error> {
        self.deeper()?.deserialize(inner)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, data: A) -> Result<Node, A::Error> {
        // A YAML tag such as `!include`. The contents are left unread.
        let (tag, contents) = data.variant::<String>()?;
        drop(contents.unit_variant());
        Err(self.parse.raise(Problem::Tag(tag)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut items = Vec::new();
        loop {
            let index = Segment::Index(items.len());
            match self.parse.step(index, || list.next_element_seed(seed))? {
                Some(item) => items.push(item),
                None => return Ok(Node::List(items)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let seed = self.deeper()?;
        let mut entries = Vec::new();
        let mut merged = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(KeySeed { parse: self.parse, seen: &seen })? {
            seen.insert(key.clone());
            let step = Segment::Key(key.clone());
            if key == "<<" {
                self.parse.step(step, || {
                    let value = map.next_value_seed(seed)?;
                    merge_sources(value, &mut merged)
                        .map_err(|found| self.parse.raise(Problem::BadMerge(found)))
                })?;
            } else {
                let value = self.parse.step(step, || map.next_value_seed(seed))?;
                entries.push((key, value));
            }
        }
        for (key, value) in merged {
            if !seen.contains(&key) {
                seen.insert(key.clone());
                entries.push((key, value));
            }
        }
        Ok(Node::Map(entries))
    }
}

/// Collects the entries that a merge key adds, those that win first.
fn merge_sources(value: Node, merged: &mut Vec<(String, Node)>) -> Result<(), String> {
    match value {
        Node::Map(entries) => merged.extend(entries),
        Node::List(items) => {
            for item in items {
                match item {
                    Node::Map(entries) => merged.extend(entries),
                    other => return Err(format!("a list with {} in it", other.describe())),
                }
            }
        }
        other => return Err(other.describe()),
    }
    Ok(())
}

/// Reads a key as it is written (`1`, `yes` and `null` too) and refuses a second one.
struct KeySeed<'a> {
    parse: &'a Parse,
    seen: &'a HashSet<String>,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key of plain text")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.seen.contains(key) {
            let mut path = self.parse.path.borrow_mut();
            path.push(Segment::Key(key.to_owned()));
            return Err(self.parse.raise(Problem::DuplicateKey(key.to_owned())));
        }
        self.parse.text(key)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Int(value) => match i64::try_from(*value) {
                Ok(value) => serializer.serialize_i64(value),
                Err(_) => serializer.serialize_i128(*value),
            },
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Node {
        Parse::new().seed().deserialize(serde_yaml::Deserializer::from_str(text)).unwrap()
    }

    fn problem(text: &str) -> (Problem, String) {
        let parse = Parse::new();
        parse.seed().deserialize(serde_yaml::Deserializer::from_str(text)).unwrap_err();
        let (problem, path) = parse.into_problem();
        (problem.unwrap(), path.to_string())
    }

    fn map(entries: &[(&str, Node)]) -> Node {
        Node::Map(entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect())
    }

    #[test]
    fn scalars_as_yaml_reads_them() {
        let node = parse("[1, -2, 1e-4, .5, +1, 1.0e-4, True, yes, ~, '1', 0x10, 1_000]");
        let text = |text: &str| Node::Text(text.into());
        assert_eq!(
            node,
            Node::List(vec![
                Node::Int(1),
                Node::Int(-2),
                Node::Float(1e-4),
                Node::Float(0.5),
                Node::Int(1),
                Node::Float(1e-4),
                Node::Bool(true),
                text("yes"),
                Node::Null,
                text("1"),
                Node::Int(16),
                text("1_000"),
            ])
        );
    }

    #[test]
    fn merge_keys_add_what_is_not_there() {
        let node = parse("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{y: 4}, *a]}\n");
        let a = map(&[("x", Node::Int(1)), ("y", Node::Int(2))]);
        let b = map(&[("y", Node::Int(3)), ("x", Node::Int(1))]);
        let c = map(&[("y", Node::Int(4)), ("x", Node::Int(1))]);
        assert_eq!(node, map(&[("a", a), ("b", b), ("c", c)]));
    }

    #[test]
    fn problems_know_their_path() {
        let (found, path) = problem("a: [{x: 1}, {x: 1, x: 2}]");
        assert!(matches!(found, Problem::DuplicateKey(key) if key == "x"));
        assert_eq!(path, "a[1].x");
        let (found, path) = problem("a: {<<: 3}");
        assert!(matches!(found, Problem::BadMerge(what) if what == "the number 3"));
        assert_eq!(path, "a.<<");
        let (found, path) = problem("a: !include x.yml");
        assert!(matches!(found, Problem::Tag(tag) if tag == "include"));
        assert_eq!(path, "a");
    }

    #[test]
    fn the_tree_is_bounded() {
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(matches!(problem(&deep).0, Problem::Limit(Limit::Depth)));
        assert!(matches!(problem("&a [*a]").0, Problem::Limit(Limit::Depth)));
        let many = format!("[{}]", "0,".repeat(MAX_NODES));
        assert!(matches!(problem(&many).0, Problem::Limit(Limit::Nodes)));
        let long = format!("- &a {}\n", "x".repeat(1 << 20)) + &"- *a\n".repeat(20);
        assert!(matches!(problem(&long).0, Problem::Limit(Limit::Text)));
    }
}
