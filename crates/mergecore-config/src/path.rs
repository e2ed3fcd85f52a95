//! Where in a recipe something stands, as keys and indices.

use std::fmt;

/// One step of a [`RecipePath`].
///
/// ```
/// use mergecore_config::{RecipePath, Segment};
///
/// let path = RecipePath::root().key("models").index(1);
/// assert_eq!(path.segments(), [Segment::Key("models".to_owned()), Segment::Index(1)]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Segment {
    /// Into a mapping, by its key.
    Key(String),
    /// Into a list, counted from 0.
    Index(usize),
}

/// The keys and indices that lead from the top of a recipe to one of its values.
///
/// ```
/// use mergecore_config::RecipePath;
///
/// let path = RecipePath::root().key("models").index(1).key("parameters").key("density");
/// assert_eq!(path.to_string(), "models[1].parameters.density");
///
/// let path = RecipePath::root().key("tokenizer").key("tokens").key("<|im_start|>");
/// assert_eq!(path.to_string(), r#"tokenizer.tokens["<|im_start|>"]"#);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct RecipePath {
    segments: Vec<Segment>,
}

impl RecipePath {
    /// The recipe itself.
    pub const fn root() -> Self {
        Self { segments: Vec::new() }
    }

    /// The path of the value under `key`.
    #[must_use]
    pub fn key(&self, key: impl Into<String>) -> Self {
        self.with(Segment::Key(key.into()))
    }

    /// The path of the element `index` (from 0).
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Segment::Index(index))
    }

    /// The path of what contains this; `None` for the recipe itself.
    ///
    /// ```
    /// use mergecore_config::RecipePath;
    ///
    /// let models = RecipePath::root().key("models");
    /// assert_eq!(models.index(1).parent(), Some(models));
    /// assert_eq!(RecipePath::root().parent(), None);
    /// ```
    pub fn parent(&self) -> Option<Self> {
        let (_, init) = self.segments.split_last()?;
        Some(Self { segments: init.to_vec() })
    }

    /// The steps from the top down.
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Whether this is the path of the recipe itself.
    pub fn is_root(&self) -> bool {
        self.segments.is_empty()
    }

    fn with(&self, segment: Segment) -> Self {
        let mut segments = Vec::with_capacity(self.segments.len() + 1);
        segments.extend_from_slice(&self.segments);
        segments.push(segment);
        Self { segments }
    }

    pub(crate) fn push(&mut self, segment: Segment) {
        self.segments.push(segment);
    }

    pub(crate) fn pop(&mut self) {
        self.segments.pop();
    }
}

impl fmt::Display for RecipePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str("the recipe");
        }
        for (i, segment) in self.segments.iter().enumerate() {
            match segment {
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Key(key) if is_plain(key) => {
                    if i > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Segment::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    !key.is_empty()
        && key.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | '<'))
        && (!key.contains('<') || key == "<<")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_quotes_only_unusual_keys() {
        let root = RecipePath::root();
        assert_eq!(root.to_string(), "the recipe");
        assert_eq!(root.index(3).to_string(), "[3]");
        assert_eq!(root.key("a b").key("c").to_string(), "[\"a b\"].c");
        assert_eq!(root.key("").to_string(), "[\"\"]");
        assert_eq!(root.key("x").key("<<").to_string(), "x.<<");
        assert_eq!(root.key("x").key("y").parent(), Some(root.key("x")));
        assert_eq!(root.parent(), None);
    }
}
