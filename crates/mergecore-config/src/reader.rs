//! The walk over a [`Node`] tree: where it stands, what it may find, what it says if it
//! finds something else.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;

use crate::error::ConfigError;
use crate::node::{Node, quoted};
use crate::path::RecipePath;
use crate::place::{Note, Place, Source};
use crate::probe::Target;
use crate::suggest::nearest;

pub(crate) type Result<T> = std::result::Result<T, ConfigError>;

/// Bytes of text that may be parsed to find lines and columns: each place is a parse, and
/// a recipe of a megabyte can hold ten thousand mistakes.
const BUDGET: usize = 1 << 26;
/// Notes that name their place. Each is a parse of the recipe, so that a long recipe of
/// nothing but such keys would take minutes.
const MAX_NOTES: usize = 50;

/// What a whole walk shares.
pub(crate) struct Reader<'a> {
    source: Option<&'a Source>,
    notes: RefCell<Vec<Note>>,
    problems: RefCell<Vec<ConfigError>>,
    /// Keys that are none, with the valid ones that they resemble.
    slips: RefCell<HashSet<(RecipePath, Option<&'static str>)>>,
    /// Of the budget.
    left: Cell<usize>,
    /// How many there were to make besides.
    more: Cell<usize>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(source: Option<&'a Source>) -> Self {
        Self {
            source,
            notes: RefCell::default(),
            problems: RefCell::default(),
            slips: RefCell::default(),
            left: Cell::new(BUDGET),
            more: Cell::default(),
        }
    }

    pub(crate) fn root<'r>(&'r self, node: &'r Node) -> Cursor<'r> {
        Cursor { reader: self, node, path: RecipePath::root() }
    }

    /// The notes, if there were no problems.
    pub(crate) fn finish(self) -> Result<Vec<Note>> {
        let (mut notes, more) = (self.notes.into_inner(), self.more.get());
        if more > 0 {
            let place = Place::new(self.source.and_then(Source::file), None, RecipePath::root());
            let are = if more == 1 { "key has" } else { "keys have" };
            notes.push(Note::new(place, format!("{more} more {are} no effect for such reasons")));
        }
        let slips = self.slips.into_inner().into_iter();
        let slips: HashSet<(RecipePath, &str)> =
            slips.filter_map(|(path, meant)| Some((path.parent()?, meant?))).collect();
        let slipped = |place: &Place, keys: &[&'static str]| {
            keys.iter().any(|key| slips.contains(&(place.path().clone(), *key)))
        };
        let mut problems = self.problems.into_inner();
        // A key that is misspelt is not missing besides.
        problems.retain(|problem| match problem {
            ConfigError::MissingKey { place, key, .. } => !slipped(place, &[key]),
            ConfigError::NotExactlyOne { place, keys, found, .. } => {
                !(found.is_empty() && slipped(place, keys))
            }
            _ => true,
        });
        match ConfigError::all(problems) {
            Some(error) => Err(error),
            None => Ok(notes),
        }
    }

    fn place(&self, path: &RecipePath, target: Target) -> Place {
        let Some(source) = self.source else { return Place::new(None, None, path.clone()) };
        // A small recipe has other costs.
        match self.left.get().checked_sub(source.text().len().max(1 << 10)) {
            Some(left) => {
                self.left.set(left);
                source.place(path, target)
            }
            None => Place::new(source.file(), None, path.clone()),
        }
    }
}

/// A node and its path.
#[derive(Clone)]
pub(crate) struct Cursor<'r> {
    reader: &'r Reader<'r>,
    pub(crate) node: &'r Node,
    pub(crate) path: RecipePath,
}

impl<'r> Cursor<'r> {
    pub(crate) fn place(&self) -> Box<Place> {
        Box::new(self.reader.place(&self.path, Target::Value))
    }

    fn key_place(&self) -> Box<Place> {
        Box::new(self.reader.place(&self.path, Target::Key))
    }

    /// What was read, or `None` and the problem among the others: reading goes on.
    pub(crate) fn keep<T>(&self, read: Result<T>) -> Option<T> {
        read.map_err(|problem| self.reader.problems.borrow_mut().push(problem)).ok()
    }

    /// Notes that this key has no effect.
    pub(crate) fn note(&self, text: &str) {
        let Reader { notes, more, .. } = self.reader;
        if notes.borrow().len() == MAX_NOTES {
            more.set(more.get() + 1);
        } else {
            notes.borrow_mut().push(Note::new(*self.key_place(), text));
        }
    }

    pub(crate) fn wrong(&self, expected: &'static str) -> ConfigError {
        ConfigError::WrongType { place: self.place(), expected, found: self.node.describe() }
    }

    pub(crate) fn out_of_range(&self, expected: &'static str) -> ConfigError {
        let found = match self.node {
            Node::Int(value) => value.to_string(),
            Node::Float(value) => value.to_string(),
            other => other.describe(),
        };
        ConfigError::OutOfRange { place: self.place(), expected, found }
    }

    pub(crate) fn is_null(&self) -> bool {
        *self.node == Node::Null
    }

    /// The entries of a mapping, in order.
    pub(crate) fn entries(
        &self,
        expected: &'static str,
    ) -> Result<impl Iterator<Item = (&'r str, Cursor<'r>)> + use<'r>> {
        let Node::Map(entries) = self.node else {
            return Err(self.wrong(expected));
        };
        let (reader, path) = (self.reader, self.path.clone());
        Ok(entries.iter().map(move |(key, node)| {
            let path = path.key(key);
            (key.as_str(), Cursor { reader, node, path })
        }))
    }

    /// A mapping with known keys; others are among the problems.
    pub(crate) fn fields(
        &self,
        expected: &'static str,
        valid: &'static [&'static str],
    ) -> Result<Fields<'r>> {
        for (key, value) in self.entries(expected)?.filter(|(key, _)| !valid.contains(key)) {
            let suggestion = nearest(key, valid.iter().copied())
                .and_then(|near| valid.iter().copied().find(|key| *key == near));
            if self.reader.slips.borrow_mut().insert((value.path.clone(), suggestion)) {
                self.keep::<()>(Err(ConfigError::UnknownKey {
                    place: value.key_place(),
                    key: key.to_owned(),
                    suggestion,
                    valid,
                }));
            }
        }
        Ok(Fields { map: self.clone() })
    }

    /// The elements of a list.
    pub(crate) fn items(&self, expected: &'static str) -> Result<Vec<Cursor<'r>>> {
        let Node::List(items) = self.node else {
            return Err(self.wrong(expected));
        };
        let items = items.iter().enumerate();
        Ok(items
            .map(|(i, node)| Cursor { reader: self.reader, node, path: self.path.index(i) })
            .collect())
    }

    /// The elements of a list that has some.
    pub(crate) fn some_items(
        &self,
        expected: &'static str,
        advice: &'static str,
    ) -> Result<Vec<Cursor<'r>>> {
        let items = self.items(expected)?;
        if items.is_empty() {
            let place = self.place();
            return Err(ConfigError::EmptyList { place, advice });
        }
        Ok(items)
    }

    /// Text. A number or `true` is none; it has lost its spelling.
    pub(crate) fn text(&self, expected: &'static str) -> Result<&'r str> {
        match self.node {
            Node::Text(text) => Ok(text),
            Node::Int(_) | Node::Float(_) | Node::Bool(_) => Err(ConfigError::WrongType {
                place: self.place(),
                expected,
                found: format!("{}; put it in quotes if it is text", self.node.describe()),
            }),
            _ => Err(self.wrong(expected)),
        }
    }

    /// A whole number that is not negative, also as text or as `2.0`.
    pub(crate) fn whole(&self, expected: &'static str) -> Result<usize> {
        let value = match self.node {
            Node::Int(value) => return self.fits(usize::try_from(*value).ok(), expected),
            Node::Float(value) => Some(*value),
            Node::Text(text) => crate::value::Scalar::from(text.as_str()).as_f64(),
            _ => None,
        };
        let Some(value) = value else {
            return Err(self.wrong(expected));
        };
        let exact = value >= 0.0 && value <= (1_u64 << 53) as f64 && value.fract() == 0.0;
        self.fits(exact.then_some(value as usize), expected)
    }

    fn fits(&self, value: Option<usize>, expected: &'static str) -> Result<usize> {
        value.ok_or_else(|| self.out_of_range(expected))
    }

    /// A boolean, also as YAML 1.1 writes it.
    pub(crate) fn boolean(&self) -> Result<bool> {
        let value = match self.node {
            Node::Bool(value) => Some(*value),
            Node::Text(text) => crate::value::Scalar::from(text.as_str()).as_bool(),
            _ => None,
        };
        value.ok_or_else(|| self.wrong("true or false"))
    }

    pub(crate) fn quoted(&self) -> String {
        match self.node {
            Node::Text(text) => quoted(text),
            other => other.describe(),
        }
    }
}

/// A mapping whose keys have been checked.
pub(crate) struct Fields<'r> {
    map: Cursor<'r>,
}

impl<'r> Fields<'r> {
    /// As [`Cursor::keep`].
    pub(crate) fn keep<T>(&self, read: Result<T>) -> Option<T> {
        self.map.keep(read)
    }

    /// The value of `key`; `null` counts as absent.
    pub(crate) fn get(&self, key: &str) -> Option<Cursor<'r>> {
        self.raw(key).filter(|value| !value.is_null())
    }

    /// The value of `key`, `null` too.
    pub(crate) fn raw(&self, key: &str) -> Option<Cursor<'r>> {
        let Node::Map(entries) = self.map.node else {
            return None;
        };
        let (_, node) = entries.iter().find(|(known, _)| known == key)?;
        Some(Cursor { reader: self.map.reader, node, path: self.map.path.key(key) })
    }

    /// The value of a key that must be there.
    pub(crate) fn need(&self, key: &'static str, example: &'static str) -> Result<Cursor<'r>> {
        self.get(key).ok_or_else(|| ConfigError::MissingKey {
            place: match self.raw(key) {
                Some(null) => null.place(),
                None => self.map.place(),
            },
            key,
            example,
        })
    }

    /// The one of `keys` that is there.
    pub(crate) fn one_of(
        &self,
        keys: &'static [&'static str],
    ) -> Result<(&'static str, Cursor<'r>)> {
        match self.single(keys, true)? {
            Some(found) => Ok(found),
            None => Err(self.not_one(keys, Vec::new(), true)),
        }
    }

    /// The one of `keys` that is there, if any.
    pub(crate) fn at_most_one_of(
        &self,
        keys: &'static [&'static str],
    ) -> Result<Option<(&'static str, Cursor<'r>)>> {
        self.single(keys, false)
    }

    fn single(
        &self,
        keys: &'static [&'static str],
        required: bool,
    ) -> Result<Option<(&'static str, Cursor<'r>)>> {
        let mut found: Vec<_> =
            keys.iter().filter_map(|key| Some((*key, self.get(key)?))).collect();
        if found.len() > 1 {
            let names = found.iter().map(|(key, _)| *key).collect();
            return Err(self.not_one(keys, names, required));
        }
        Ok(found.pop())
    }

    fn not_one(
        &self,
        keys: &'static [&'static str],
        found: Vec<&'static str>,
        required: bool,
    ) -> ConfigError {
        // Point at the second of them, the one that is too many.
        let place = match found.get(1).and_then(|key| self.raw(key)) {
            Some(second) => second.key_place(),
            None => self.map.place(),
        };
        ConfigError::NotExactlyOne { place, keys, found, required }
    }
}
