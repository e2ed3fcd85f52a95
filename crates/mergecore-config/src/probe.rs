//! Finds the line and column of a path.
//!
//! serde hands out no locations while all goes well; it only attaches one to an
//! error. So the text is parsed once more by a seed that walks down the path and
//! raises an error on what it was looking for.

use std::cell::Cell;
use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use crate::path::{RecipePath, Segment};

/// What of a path is looked for: the value there, or the key that leads to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Key,
    Value,
}

/// Line and column (from 1) of `path` in `text`, else of its nearest ancestor there.
pub(crate) fn locate(text: &str, path: &RecipePath, target: Target) -> Option<(usize, usize)> {
    let segments = path.segments();
    (0..=segments.len()).rev().find_map(|len| {
        let target = if len == segments.len() { target } else { Target::Value };
        locate_exactly(text, &segments[..len], target)
    })
}

/// Raises an error on the root of the document, to learn where it is.
pub(crate) fn root_location(document: serde_yaml::Deserializer<'_>) -> serde_yaml::Error {
    let trail = Trail::default();
    match Probe::new(&[], Target::Value, &[], &trail).deserialize(document) {
        Err(error) => error,
        Ok(()) => serde_yaml::Error::custom("the document is empty"),
    }
}

fn locate_exactly(text: &str, segments: &[Segment], target: Target) -> Option<(usize, usize)> {
    // A key not found in a mapping may come from a merge key (`<<`) of it. Each pass
    // learns of one more mapping where to follow it.
    let mut merges = Vec::new();
    loop {
        let trail = Trail::default();
        let probe = Probe::new(segments, target, &merges, &trail);
        let outcome = probe.deserialize(serde_yaml::Deserializer::from_str(text));
        match outcome {
            Err(error) if trail.hit.get() => {
                let location = error.location()?;
                return Some((location.line(), location.column()));
            }
            _ => {}
        }
        let depth = trail.merge_at.get()?;
        if merges.contains(&depth) {
            return None;
        }
        merges.push(depth);
    }
}

#[derive(Default)]
struct Trail {
    hit: Cell<bool>,
    /// Depth of a mapping that lacks the key but has a merge key.
    merge_at: Cell<Option<usize>>,
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    rest: &'a [Segment],
    depth: usize,
    target: Target,
    merges: &'a [usize],
    in_merge: bool,
    trail: &'a Trail,
}

impl<'a> Probe<'a> {
    fn new(rest: &'a [Segment], target: Target, merges: &'a [usize], trail: &'a Trail) -> Self {
        Self { rest, depth: 0, target, merges, in_merge: false, trail }
    }

    fn raise<E: Error>(&self) -> E {
        self.trail.hit.set(true);
        E::custom("here")
    }

    fn next(&self) -> Self {
        Self { rest: &self.rest[1..], depth: self.depth + 1, in_merge: false, ..*self }
    }

    fn scalar<E: Error>(self) -> Result<(), E> {
        if self.rest.is_empty() {
            return Err(self.raise());
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.scalar()
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        if self.rest.is_empty() {
            return Err(self.raise());
        }
        Err(A::Error::custom("a tag on the way"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        match self.rest.first() {
            None => return Err(self.raise()),
            Some(Segment::Index(wanted)) => {
                for _ in 0..*wanted {
                    if list.next_element::<IgnoredAny>()?.is_none() {
                        return Ok(());
                    }
                }
                list.next_element_seed(self.next())?;
            }
            // The list of mappings that a merge key may name.
            Some(Segment::Key(_)) if self.in_merge => {
                while list.next_element_seed(self)?.is_some() {}
            }
            Some(Segment::Key(_)) => {}
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let wanted = match self.rest.first() {
            None => return Err(self.raise()),
            Some(Segment::Key(key)) => key,
            // A single condition stands for a list of one.
            Some(Segment::Index(0)) => return self.next().visit_map(map),
            Some(Segment::Index(_)) => {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(());
            }
        };
        let follow_merges = self.in_merge || self.merges.contains(&self.depth);
        let seed = KeyProbe { wanted, probe: self };
        while let Some(key) = map.next_key_seed(seed)? {
            match key {
                Key::Wanted => map.next_value_seed(self.next())?,
                Key::Merge if follow_merges => {
                    map.next_value_seed(Self { in_merge: true, ..self })?
                }
                Key::Merge => {
                    self.trail.merge_at.set(Some(self.depth));
                    map.next_value::<IgnoredAny>()?;
                }
                Key::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

enum Key {
    Wanted,
    Merge,
    Other,
}

#[derive(Clone, Copy)]
struct KeyProbe<'a> {
    wanted: &'a str,
    probe: Probe<'a>,
}

impl<'de> DeserializeSeed<'de> for KeyProbe<'_> {
    type Value = Key;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyProbe<'_> {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
        if key == self.wanted {
            if self.probe.rest.len() == 1 && self.probe.target == Target::Key {
                return Err(self.probe.raise());
            }
            return Ok(Key::Wanted);
        }
        Ok(if key == "<<" { Key::Merge } else { Key::Other })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> RecipePath {
        RecipePath::root()
    }

    const BLOCK: &str = "\
# a comment
models:
  - model: a
  - model: b
    parameters:
      density: 0.5
dtype:
";

    #[test]
    fn block_style() {
        let density = root().key("models").index(1).key("parameters").key("density");
        assert_eq!(locate(BLOCK, &density, Target::Value), Some((6, 16)));
        assert_eq!(locate(BLOCK, &density, Target::Key), Some((6, 7)));
        let models = root().key("models");
        assert_eq!(locate(BLOCK, &models, Target::Key), Some((2, 1)));
        assert_eq!(locate(BLOCK, &models, Target::Value), Some((3, 3)));
        assert_eq!(locate(BLOCK, &models.index(1), Target::Value), Some((4, 5)));
        assert_eq!(locate(BLOCK, &root(), Target::Value), Some((2, 1)));
        assert_eq!(locate(BLOCK, &root().key("dtype"), Target::Key), Some((7, 1)));
        assert_eq!(locate(BLOCK, &root().key("dtype"), Target::Value).unwrap().0, 7);
    }

    #[test]
    fn flow_style_counts_characters() {
        let text = "a: {é: 1, b: [1, 'zwei', {c: null}]}";
        let b = root().key("a").key("b");
        assert_eq!(locate(text, &b, Target::Key), Some((1, 11)));
        assert_eq!(locate(text, &b.index(1), Target::Value), Some((1, 18)));
        assert_eq!(locate(text, &b.index(2).key("c"), Target::Key), Some((1, 27)));
        assert_eq!(locate(text, &b.index(2).key("c"), Target::Value), Some((1, 30)));
    }

    #[test]
    fn what_is_missing_gives_its_ancestor() {
        let path = root().key("models").index(0).key("parameters").key("weight");
        assert_eq!(locate(BLOCK, &path, Target::Key), Some((3, 5)));
        assert_eq!(locate(BLOCK, &root().key("models").index(9), Target::Value), Some((3, 3)));
    }

    #[test]
    fn through_merge_keys_and_aliases() {
        let text = "\
base: &base {x: 1, y: 2}
other: &other
  z: 3
one:
  x: 9
  <<: *base
two:
  <<: [*base, *other]
three: *other
";
        let at = |path: RecipePath| locate(text, &path, Target::Value);
        assert_eq!(at(root().key("one").key("x")), Some((5, 6)));
        assert_eq!(at(root().key("one").key("y")), Some((1, 23)));
        assert_eq!(at(root().key("two").key("z")), Some((3, 6)));
        assert_eq!(at(root().key("three").key("z")), Some((3, 6)));
        assert_eq!(at(root().key("one").key("<<")), Some((1, 7)));
    }

    #[test]
    fn one_condition_reads_as_a_list_of_one() {
        let text = "t: {filter: mlp, value: 0.5}";
        let value = root().key("t").index(0).key("value");
        assert_eq!(locate(text, &value, Target::Value), Some((1, 25)));
    }

    #[test]
    fn broken_text_has_no_place() {
        assert_eq!(locate("a: [", &root().key("b"), Target::Value), Some((1, 1)));
        assert_eq!(locate("[", &root().key("b"), Target::Value), Some((1, 1)));
    }
}
