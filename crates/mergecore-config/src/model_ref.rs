//! References to models: a path or a hub name, a revision, an adapter.

use std::fmt;
use std::str::FromStr;

use crate::node::quoted;

/// A model as a recipe names it, with the adapter to apply to it, if any.
///
/// # Text form
///
/// `path-or-org/name[@revision][+adapter[@revision]]`, read as mergekit reads it:
///
/// * The only `+` separates model and adapter. With several `+` it is not clear which
///   one is meant, so that is an error.
/// * Within each half, the only `@` separates path and revision. Two or more are an
///   error, with one exception: in what is plainly a local path (it begins with `/`,
///   `.` or `~`) an `@` with a `/` somewhere after it belongs to the path, so
///   `/data/me@host/model` is a path and `./model@v1` has the revision `v1`.
///
/// A path with a `+` or `@` that this would split is written as a mapping,
/// `model: {model: {path: ./a+b}}`. Such a reference is [displayed](fmt::Display) like
/// any other, but does not read back from that; every reference that came from text
/// does.
///
/// ```
/// use mergecore_config::ModelRef;
///
/// let model: ModelRef = "org/base@main+org/adapter".parse()?;
/// assert_eq!(model.model.path, "org/base");
/// assert_eq!(model.model.revision.as_deref(), Some("main"));
/// assert_eq!(model.adapter.as_ref().unwrap().path, "org/adapter");
/// assert_eq!(model.to_string(), "org/base@main+org/adapter");
/// # Ok::<(), mergecore_config::ModelRefError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelRef {
    /// The model itself.
    pub model: ModelLocation,
    /// A LoRA adapter to merge into it first.
    pub adapter: Option<ModelLocation>,
    /// The architecture to take it for, instead of the one in its config.json.
    pub override_architecture: Option<String>,
}

impl ModelRef {
    /// The model at `path` (or of that hub name), taken as it is: nothing is split off.
    ///
    /// ```
    /// use mergecore_config::ModelRef;
    ///
    /// assert_eq!(ModelRef::new("./a@b").model.path, "./a@b");
    /// assert_eq!("./a@b".parse::<ModelRef>()?.model.path, "./a");
    /// # Ok::<(), mergecore_config::ModelRefError>(())
    /// ```
    pub fn new(path: impl Into<String>) -> Self {
        Self { model: ModelLocation::new(path), adapter: None, override_architecture: None }
    }

    /// [`ModelLocation::looks_like_hub_name`] of the model.
    ///
    /// ```
    /// assert!(mergecore_config::ModelRef::new("org/name").looks_like_hub_name());
    /// ```
    pub fn looks_like_hub_name(&self) -> bool {
        self.model.looks_like_hub_name()
    }

    /// Whether the text form says all of it and reads back.
    pub(crate) fn has_text_form(&self) -> bool {
        self.override_architecture.is_none() && self.to_string().parse().as_ref() == Ok(self)
    }
}

impl FromStr for ModelRef {
    type Err = ModelRefError;

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// [`ModelRefError`] where a part is missing or it is unclear where one begins.
    fn from_str(text: &str) -> Result<Self, ModelRefError> {
        let (model, adapter) = match text.split_once('+') {
            None => (text, None),
            Some((_, rest)) if rest.contains('+') => {
                return Err(ModelRefError::SeveralPlus { text: text.into() });
            }
            Some((model, adapter)) => (model, Some(adapter)),
        };
        Ok(Self {
            model: ModelLocation::split(model, text)?,
            adapter: adapter.map(|adapter| ModelLocation::split(adapter, text)).transpose()?,
            override_architecture: None,
        })
    }
}

impl fmt::Display for ModelRef {
    /// The text form; `override_architecture` has no place in it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.model.fmt(f)?;
        if let Some(adapter) = &self.adapter {
            write!(f, "+{adapter}")?;
        }
        Ok(())
    }
}

/// A local path or a hub name, and a revision.
///
/// ```
/// use mergecore_config::ModelLocation;
///
/// let mut location = ModelLocation::new("org/name");
/// location.revision = Some("v1".to_owned());
/// assert_eq!(location.to_string(), "org/name@v1");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelLocation {
    /// A path (relative to the current directory) or `org/name` on the hub.
    pub path: String,
    /// A branch, tag or commit on the hub.
    pub revision: Option<String>,
}

impl ModelLocation {
    /// That path or hub name, at no particular revision.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), revision: None }
    }

    /// Whether the path has the shape `org/name` of a Hugging Face repository: two
    /// parts of letters, digits, `-`, `_` and `.`, at most 96 characters each, with no
    /// `-` or `.` at an end and no `--` or `..`.
    ///
    /// Such a path may still be a local directory; only looking can tell.
    ///
    /// ```
    /// use mergecore_config::ModelLocation;
    ///
    /// assert!(ModelLocation::new("mistralai/Mistral-7B-v0.1").looks_like_hub_name());
    /// assert!(!ModelLocation::new("./models/base").looks_like_hub_name());
    /// ```
    pub fn looks_like_hub_name(&self) -> bool {
        match self.path.split_once('/') {
            Some((org, name)) => is_hub_part(org) && is_hub_part(name) && !name.ends_with(".git"),
            None => false,
        }
    }

    /// Reads `path[@revision]`; `whole` is what an error quotes.
    pub(crate) fn split(text: &str, whole: &str) -> Result<Self, ModelRefError> {
        let whole = || whole.to_owned();
        let local = text.starts_with(['/', '.', '~']);
        let (path, revision) = match text.rsplit_once('@') {
            None => (text, None),
            Some((_, revision)) if local && revision.contains('/') => (text, None),
            Some((path, _)) if path.contains('@') && !local => {
                return Err(ModelRefError::SeveralAt { text: whole() });
            }
            Some((path, revision)) => (path, Some(revision)),
        };
        if path.trim().is_empty() {
            return Err(ModelRefError::NoPath { text: whole() });
        }
        if revision.is_some_and(|revision| revision.trim().is_empty()) {
            return Err(ModelRefError::NoRevision { text: whole() });
        }
        Ok(Self { path: path.into(), revision: revision.map(Into::into) })
    }
}

impl fmt::Display for ModelLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(revision) = &self.revision {
            write!(f, "@{revision}")?;
        }
        Ok(())
    }
}

fn is_hub_part(part: &str) -> bool {
    !part.is_empty()
        && part.len() <= 96
        && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && !part.starts_with(['-', '.'])
        && !part.ends_with(['-', '.'])
        && !part.contains("--")
        && !part.contains("..")
}

/// A model reference that cannot be read.
///
/// ```
/// use mergecore_config::{ModelRef, ModelRefError};
///
/// match "a+b+c".parse::<ModelRef>() {
///     Err(ModelRefError::SeveralPlus { text }) => assert_eq!(text, "a+b+c"),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ModelRefError {
    /// Nothing where the path should be.
    #[error("the model reference {} lacks a path; write `org/name` or a path", quoted(text))]
    NoPath {
        /// The reference.
        text: String,
    },
    /// Nothing after the `@`.
    #[error(
        "the model reference {} has nothing after its `@`; name a revision there",
        quoted(text)
    )]
    NoRevision {
        /// The reference.
        text: String,
    },
    /// More than one `+`.
    #[error(
        "the model reference {} has more than one `+`, so where the adapter begins is \
         unclear; write it as a mapping, {{model: {{path: ...}}, adapter: {{path: ...}}}}",
        quoted(text)
    )]
    SeveralPlus {
        /// The reference.
        text: String,
    },
    /// More than one `@`.
    #[error(
        "the model reference {} has more than one `@`, so where the revision begins is \
         unclear; write it as a mapping, {{path: ..., revision: ...}}",
        quoted(text)
    )]
    SeveralAt {
        /// The reference.
        text: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (String, Option<String>, Option<String>) {
        let model: ModelRef = text.parse().unwrap();
        assert_eq!(model.to_string(), text);
        assert!(model.has_text_form());
        (model.model.path, model.model.revision, model.adapter.map(|adapter| adapter.to_string()))
    }

    #[test]
    fn text_form() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(parts("org/x"), ("org/x".into(), None, None));
        assert_eq!(parts("org/x@v1"), ("org/x".into(), some("v1"), None));
        assert_eq!(parts("org/x@refs/pr/1"), ("org/x".into(), some("refs/pr/1"), None));
        assert_eq!(parts("x+y"), ("x".into(), None, some("y")));
        assert_eq!(parts("x@1+y@2"), ("x".into(), some("1"), some("y@2")));
        assert_eq!(parts("./a@b"), ("./a".into(), some("b"), None));
        assert_eq!(parts("/d/u@h/m"), ("/d/u@h/m".into(), None, None));
        assert_eq!(parts("/d/u@h/m@v"), ("/d/u@h/m".into(), some("v"), None));
        assert_eq!(parts("./a+b"), ("./a".into(), None, some("b")));
    }

    #[test]
    fn references_without_a_text_form() {
        assert!(!ModelRef::new("./a+b").has_text_form());
        assert!(!ModelRef::new("./a@b").has_text_form());
        let mut model = ModelRef::new("a");
        assert!(model.has_text_form());
        model.override_architecture = Some("LlamaForCausalLM".into());
        assert!(!model.has_text_form());
    }

    #[test]
    fn hub_names() {
        let hub = |path: &str| ModelRef::new(path).looks_like_hub_name();
        for path in ["a/b", "org-1/Model_2.5-7B", "_a/b_"] {
            assert!(hub(path), "{path}");
        }
        for path in [
            "a", "a/b/c", "/a", "a/", "./a", "../a", "~/a", "a/.b", "a/b..c", "a/b--c", "a/b c",
            "a/b.git", "-a/b", "a/b-", "ä/b", "a\\b", "",
        ] {
            assert!(!hub(path), "{path}");
        }
    }
}
