//! Where in a file something stands: file, line and column beside the path.

use std::fmt;
use std::sync::Arc;

use crate::path::RecipePath;
use crate::probe::{self, Target};

/// A place in a recipe: its path and, where the text is known, line and column.
///
/// Displayed as `recipe.yml:8:16: models[1].parameters.density`, shorter where the
/// file or the text is unknown.
///
/// ```
/// use mergecore_config::{MergeConfig, RecipePath};
///
/// let config = MergeConfig::from_yaml_str("merge_method: linear\nmodels: [{model: a}]\n")?;
/// let place = config.place(&RecipePath::root().key("merge_method"));
/// assert_eq!((place.file(), place.line(), place.column()), (None, Some(1), Some(15)));
/// assert_eq!(place.path().to_string(), "merge_method");
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    file: Option<Arc<str>>,
    position: Option<(usize, usize)>,
    path: RecipePath,
}

impl Place {
    pub(crate) fn new(
        file: Option<Arc<str>>,
        position: Option<(usize, usize)>,
        path: RecipePath,
    ) -> Self {
        Self { file, position, path }
    }

    /// The file, as it was named when the recipe was read.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line, counted from 1.
    pub fn line(&self) -> Option<usize> {
        self.position.map(|(line, _)| line)
    }

    /// The column in characters, counted from 1.
    pub fn column(&self) -> Option<usize> {
        self.position.map(|(_, column)| column)
    }

    /// The path within the recipe.
    pub fn path(&self) -> &RecipePath {
        &self.path
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.position) {
            (Some(file), Some((line, column))) => write!(f, "{file}:{line}:{column}")?,
            (Some(file), None) => f.write_str(file)?,
            (None, Some((line, column))) => write!(f, "line {line}, column {column}")?,
            (None, None) => return self.path.fmt(f),
        }
        if !self.path.is_root() {
            write!(f, ": {}", self.path)?;
        }
        Ok(())
    }
}

/// Something in a recipe that was accepted but has no effect, and why.
///
/// ```
/// use mergecore_config::MergeConfig;
///
/// let text = "name: my-merge\nmerge_method: linear\nmodels: [{model: a}]\n";
/// let config = MergeConfig::from_yaml_str(text)?;
/// let note = &config.notes()[0];
/// assert_eq!(note.place().path().to_string(), "name");
/// assert!(note.text().contains("no effect"));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    place: Place,
    text: String,
}

impl Note {
    pub(crate) fn new(place: Place, text: impl Into<String>) -> Self {
        Self { place, text: text.into() }
    }

    /// Where it stands.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// What there is to say, without the place.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// The text of a recipe and the name of its file.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    text: Arc<str>,
    file: Option<Arc<str>>,
}

impl Source {
    pub(crate) fn new(text: impl Into<Arc<str>>, file: Option<String>) -> Self {
        Self { text: text.into(), file: file.map(Into::into) }
    }

    /// The text as given.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The text as YAML: without a byte order mark.
    pub(crate) fn yaml(&self) -> &str {
        self.text.strip_prefix('\u{feff}').unwrap_or(&self.text)
    }

    pub(crate) fn file(&self) -> Option<Arc<str>> {
        self.file.clone()
    }

    pub(crate) fn place(&self, path: &RecipePath, target: Target) -> Place {
        let position = probe::locate(self.yaml(), path, target);
        Place::new(self.file(), position, path.clone())
    }

    pub(crate) fn at(&self, error: &serde_yaml::Error, path: RecipePath) -> Place {
        let position = error.location().map(|l| (l.line(), l.column()));
        Place::new(self.file(), position, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_what_is_known() {
        let path = RecipePath::root().key("dtype");
        let place = |file: Option<&str>, position, path: &RecipePath| {
            Place::new(file.map(Into::into), position, path.clone()).to_string()
        };
        assert_eq!(place(Some("r.yml"), Some((8, 16)), &path), "r.yml:8:16: dtype");
        assert_eq!(place(None, Some((8, 16)), &path), "line 8, column 16: dtype");
        assert_eq!(place(Some("r.yml"), None, &path), "r.yml: dtype");
        assert_eq!(place(None, None, &path), "dtype");
        let root = RecipePath::root();
        assert_eq!(place(Some("r.yml"), Some((1, 1)), &root), "r.yml:1:1");
        assert_eq!(place(None, None, &root), "the recipe");
    }
}
