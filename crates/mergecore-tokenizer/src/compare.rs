//! Whether ids are the same tokens in two vocabularies.

use std::fmt;

use crate::Vocabulary;

/// Why two vocabularies are not known to have the same tokens: what
/// [`Vocabulary::compare`] found.
///
/// ```
/// use mergecore_tokenizer::{Disagreement, Vocabulary};
///
/// let nothing = Vocabulary::default();
/// assert_eq!(nothing.compare(&nothing, 100), Err(Disagreement::Unknown));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Disagreement {
    /// There is nothing to compare: no tokenizer's files, or files of different
    /// kinds.
    Unknown,
    /// An id stands for different tokens.
    Differs {
        /// The first such id.
        id: u32,
        /// The token in the first vocabulary.
        first: String,
        /// The token in the second one, if it has any there.
        second: Option<String>,
        /// How many such ids there are.
        count: usize,
    },
    /// The files that hold the vocabularies, and are not parsed, are not the same.
    Files {
        /// The file's name in the first tokenizer.
        first: &'static str,
        /// In the second one.
        second: &'static str,
    },
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Disagreement::Unknown => f.write_str("there are no tokenizer files to compare"),
            Disagreement::Differs { id, first, second, count } => {
                write!(f, "id {id} is {first:?} in the one and ")?;
                match second {
                    Some(second) => write!(f, "{second:?} in the other")?,
                    None => f.write_str("no token in the other")?,
                }
                match count.saturating_sub(1) {
                    0 => Ok(()),
                    more => write!(f, ", and {more} more differ"),
                }
            }
            Disagreement::Files { first, second } => {
                write!(f, "{first} of the one is not the same file as {second} of the other")
            }
        }
    }
}

impl Vocabulary {
    /// Checks that each of the ids below `ids` for which this vocabulary has a token
    /// is the same token in the other one. Ids without a token here may be anything
    /// there.
    ///
    /// # Errors
    /// [`Disagreement::Differs`] with the lowest such id, [`Disagreement::Files`] where
    /// only whole files can be compared and they differ, or [`Disagreement::Unknown`]
    /// where there is nothing to compare.
    ///
    /// ```
    /// use mergecore_tokenizer::{Disagreement, Vocabulary};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let read = |json: &str| {
    ///     std::fs::write(dir.path().join("vocab.json"), json).unwrap();
    ///     Vocabulary::read(dir.path()).unwrap()
    /// };
    /// let (base, other) = (read(r#"{"a": 0, "b": 1}"#), read(r#"{"a": 0, "c": 1, "b": 2}"#));
    /// assert_eq!(base.compare(&other, 1), Ok(()));
    /// let differs = base.compare(&other, 2).unwrap_err();
    /// assert_eq!(differs.to_string(), r#"id 1 is "b" in the one and "c" in the other"#);
    /// ```
    pub fn compare(&self, other: &Vocabulary, ids: usize) -> Result<(), Disagreement> {
        if !(self.listed && other.listed) {
            match (&self.opaque, &other.opaque) {
                (Some(first), Some(second)) if first == second => {}
                (Some(first), Some(second)) => {
                    return Err(Disagreement::Files { first: first.0, second: second.0 });
                }
                _ => return Err(Disagreement::Unknown),
            }
        }
        // What a file that is the same on both sides says need not be listed by the other.
        let unlisted = if other.listed { 0 } else { self.own };
        let shared = self.tokens.iter().filter(|(id, _)| (**id as usize) < ids);
        let differing: Vec<(&u32, &String)> = shared
            .filter(|(id, token)| match other.tokens.get(id) {
                Some(other) => other != *token,
                None => **id >= unlisted,
            })
            .collect();
        match differing.iter().min() {
            Some((id, first)) => Err(Disagreement::Differs {
                id: **id,
                first: (*first).clone(),
                second: other.tokens.get(id).cloned(),
                count: differing.len(),
            }),
            None => Ok(()),
        }
    }
}
