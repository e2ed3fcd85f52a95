//! What can be wrong with a recipe.

use std::path::PathBuf;

use crate::model_ref::ModelRefError;
use crate::node::quoted;
use crate::place::Place;

/// A recipe that cannot be used: where, what is wrong, and what to do.
///
/// Every variant but those about the file itself has a [`Place`] (of several, that of the
/// first), see
/// [`ConfigError::place`].
///
/// ```
/// use mergecore_config::{ConfigError, MergeConfig};
///
/// let text = "merge_method: linear\nmodels:\n  - model: a\ndtype: float17\n";
/// let error = MergeConfig::from_yaml_str(text).unwrap_err();
/// assert!(matches!(error, ConfigError::UnknownDtype { suggestion: Some("float16"), .. }));
/// assert_eq!(error.place().and_then(|place| place.line()), Some(4));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("{}: the recipe cannot be read: {source}; check the path, and that you may read the file", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The path names a directory.
    #[error(
        "{}: this is a directory; name the recipe file itself (often `config.yml` in it)",
        .path.display()
    )]
    IsDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The path names a device, a pipe or a socket.
    #[error(
        "{}: this is {found}, not a file; it is not opened, so save the recipe in a file and name that",
        .path.display()
    )]
    NotAFile {
        /// The path given.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// The file is not UTF-8 text.
    #[error(
        "{}:{line}: byte {offset} of the file is not UTF-8 text; save the recipe as UTF-8",
        .path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line (from 1) of the first byte that is not UTF-8.
        line: usize,
        /// Its offset in the file, from 0.
        offset: usize,
    },
    /// Larger than any recipe; probably not one.
    #[error("{place}: {limit}; a recipe is far smaller, so check that this is one")]
    TooLarge {
        /// Where the limit was met.
        place: Box<Place>,
        /// Which one.
        limit: Limit,
    },
    /// The text is not YAML.
    #[error("{place}: this is not valid YAML: {}{}", problem(place, source), advice(hint))]
    Syntax {
        /// Where the parser stopped.
        place: Box<Place>,
        /// What to try; empty where there is nothing to add.
        hint: &'static str,
        /// The parser's own error.
        source: serde_yaml::Error,
    },
    /// Nothing but white space, comments or `null`.
    #[error("{place}: nothing is in it; a recipe needs at least `merge_method` and `models`")]
    Empty {
        /// The file.
        place: Box<Place>,
    },
    /// More than one YAML document in the text.
    #[error(
        "{place}: a second YAML document begins here, but a recipe is one document; \
         remove the `---` line or put this part in a file of its own"
    )]
    SeveralDocuments {
        /// The start of the second one.
        place: Box<Place>,
    },
    /// A key appears twice in one mapping.
    #[error(
        "{place}: the key {} appears twice{}; remove one of them",
        quoted(key),
        first_line(first)
    )]
    DuplicateKey {
        /// The second appearance.
        place: Box<Place>,
        /// The key.
        key: String,
        /// Line (from 1) of the first appearance.
        first: Option<usize>,
    },
    /// `<<` with something other than a mapping or a list of mappings.
    #[error(
        "{place}: `<<` merges a mapping or a list of mappings into this one, but found {found}; \
         write an alias of one, as in `<<: *name`"
    )]
    BadMergeKey {
        /// The value of the `<<`.
        place: Box<Place>,
        /// What was found.
        found: String,
    },
    /// A YAML tag such as `!include`.
    #[error("{place}: the YAML tag {} means nothing in a recipe; remove it", quoted(&format!("!{tag}")))]
    Tag {
        /// The tagged value.
        place: Box<Place>,
        /// The tag without its `!`.
        tag: String,
    },
    /// A key that has no meaning where it stands.
    #[error("{place}: unknown key {}; {}", quoted(key), keys(suggestion, valid))]
    UnknownKey {
        /// The key.
        place: Box<Place>,
        /// Its spelling.
        key: String,
        /// The valid key that it resembles.
        suggestion: Option<&'static str>,
        /// All keys that are valid there.
        valid: &'static [&'static str],
    },
    /// A key that must be there is not.
    #[error("{place}: `{key}` is missing; add it, as in `{example}`")]
    MissingKey {
        /// The mapping that lacks it.
        place: Box<Place>,
        /// The key.
        key: &'static str,
        /// How it could be written.
        example: &'static str,
    },
    /// Several keys where exactly one, or at most one, may stand, or none of them.
    #[error("{place}: {}", one_of(keys, found, *required))]
    NotExactlyOne {
        /// The mapping.
        place: Box<Place>,
        /// The keys that exclude each other.
        keys: &'static [&'static str],
        /// Those that are there.
        found: Vec<&'static str>,
        /// Whether one of them must be there.
        required: bool,
    },
    /// A value of the wrong kind.
    #[error("{place}: expected {expected}, found {found}")]
    WrongType {
        /// The value.
        place: Box<Place>,
        /// What belongs there.
        expected: &'static str,
        /// What was found.
        found: String,
    },
    /// A number outside its range, or one that cannot be held exactly.
    #[error("{place}: expected {expected}, found {found}")]
    OutOfRange {
        /// The value.
        place: Box<Place>,
        /// The range.
        expected: &'static str,
        /// The number.
        found: String,
    },
    /// A list (or the mapping of modules) without elements where one is needed.
    #[error("{place}: nothing is listed here; {advice}")]
    EmptyList {
        /// The list.
        place: Box<Place>,
        /// What to put in.
        advice: &'static str,
    },
    /// A `layer_range` that contains no layer.
    #[error(
        "{place}: `layer_range: [{start}, {end}]` contains no layer; \
         it counts from 0 and excludes its end, so the end must be greater than the start"
    )]
    EmptyLayerRange {
        /// The range.
        place: Box<Place>,
        /// First layer.
        start: usize,
        /// One past the last layer.
        end: usize,
    },
    /// A parameter's list has both plain values and conditions.
    #[error(
        "{place}: this list mixes plain values (a gradient) with conditions \
         ({{filter, value}}); write every element as a condition, \
         a plain value as `- value: ...`"
    )]
    MixedList {
        /// The first element unlike those before it.
        place: Box<Place>,
    },
    /// A `dtype` or `out_dtype` that is none.
    #[error("{place}: unknown dtype {found}; {}", dtypes(suggestion))]
    UnknownDtype {
        /// The value.
        place: Box<Place>,
        /// Its spelling, in backticks.
        found: String,
        /// The name that it resembles.
        suggestion: Option<&'static str>,
    },
    /// A model reference that cannot be read.
    #[error("{place}: {source}")]
    ModelRef {
        /// The reference.
        place: Box<Place>,
        /// What is wrong with it.
        source: ModelRefError,
    },
    /// More than one of these.
    #[error("{} problems:{}", problems.len(), numbered(&self.lines()))]
    Several {
        /// All of them, in the order of the text.
        problems: Vec<ConfigError>,
    },
}

/// The limits that keep reading a recipe bounded.
///
/// ```
/// use mergecore_config::{ConfigError, Limit, MergeConfig};
///
/// let error = MergeConfig::from_yaml_str(&"[".repeat(100)).unwrap_err();
/// assert!(matches!(error, ConfigError::TooLarge { limit: Limit::Depth, .. }));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Limit {
    /// Size of the file.
    #[error("the text is larger than 1 MiB")]
    File,
    /// Levels of nesting.
    #[error("values are nested more than 64 levels deep, or an alias contains itself")]
    Depth,
    /// Brackets within brackets, over the length of the text.
    #[error("too many brackets are open here for the text to be read in good time")]
    Brackets,
    /// Number of values.
    #[error("there are more than 200,000 values once aliases are written out")]
    Nodes,
    /// Total text.
    #[error("there are more than 16 MiB of text once aliases are written out")]
    Text,
    /// Number of aliases followed.
    #[error("aliases repeat one another too often")]
    Aliases,
}

impl ConfigError {
    /// One error for all problems, if there are any.
    pub(crate) fn all(mut problems: Vec<ConfigError>) -> Option<Self> {
        if problems.len() < 2 {
            return problems.pop();
        }
        let position = |problem: &ConfigError| {
            let place = problem.place()?;
            Some((place.line()?, place.column()?))
        };
        problems.sort_by_key(|problem| position(problem).unwrap_or((usize::MAX, usize::MAX)));
        Some(ConfigError::Several { problems })
    }

    /// The problems that this stands for, one by one: itself, if it is not
    /// [`Several`](ConfigError::Several).
    ///
    /// ```
    /// use mergecore_config::{ConfigError, MergeConfig};
    ///
    /// let text = "merge_method: linear\nmodels: [{modle: a}, {model: b}]\ndtype: float17\n";
    /// let error = MergeConfig::from_yaml_str(text).unwrap_err();
    /// assert!(matches!(error.problems(), [
    ///     ConfigError::UnknownKey { .. },
    ///     ConfigError::UnknownDtype { .. },
    /// ]));
    /// assert!(error.to_string().starts_with("2 problems:\n(1) line 2, column 11: "));
    /// ```
    pub fn problems(&self) -> &[ConfigError] {
        match self {
            ConfigError::Several { problems } => problems,
            one => std::slice::from_ref(one),
        }
    }

    /// A text for each of [the problems](Self::problems): of many the first 20, and at the
    /// end how many are not shown.
    ///
    /// ```
    /// use mergecore_config::MergeConfig;
    ///
    /// let error = MergeConfig::from_yaml_str("merge_method: linear\n").unwrap_err();
    /// assert_eq!(error.lines(), [error.to_string()]);
    /// ```
    pub fn lines(&self) -> Vec<String> {
        let problems = self.problems();
        let mut lines: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
        match problems.len().saturating_sub(SHOWN) {
            0 => {}
            1 => lines.push("1 more problem is not shown".to_owned()),
            more => lines.push(format!("{more} more problems are not shown")),
        }
        lines
    }

    /// Where the mistake is (the first of several); `None` for errors about the file as a
    /// whole.
    ///
    /// ```
    /// use mergecore_config::MergeConfig;
    ///
    /// let error = MergeConfig::from_yaml_str("merge_method: linear\n").unwrap_err();
    /// assert_eq!(error.place().unwrap().line(), Some(1));
    /// let error = MergeConfig::from_path("no/such/file.yml").unwrap_err();
    /// assert!(error.place().is_none());
    /// ```
    pub fn place(&self) -> Option<&Place> {
        match self {
            Self::Read { .. }
            | Self::IsDirectory { .. }
            | Self::NotAFile { .. }
            | Self::NotUtf8 { .. } => None,
            Self::Several { problems } => problems.first()?.place(),
            Self::TooLarge { place, .. }
            | Self::Syntax { place, .. }
            | Self::Empty { place }
            | Self::SeveralDocuments { place }
            | Self::DuplicateKey { place, .. }
            | Self::BadMergeKey { place, .. }
            | Self::Tag { place, .. }
            | Self::UnknownKey { place, .. }
            | Self::MissingKey { place, .. }
            | Self::NotExactlyOne { place, .. }
            | Self::WrongType { place, .. }
            | Self::OutOfRange { place, .. }
            | Self::EmptyList { place, .. }
            | Self::EmptyLayerRange { place, .. }
            | Self::MixedList { place }
            | Self::UnknownDtype { place, .. }
            | Self::ModelRef { place, .. } => Some(place),
        }
    }
}

/// How many of several problems the text shows.
const SHOWN: usize = 20;

fn numbered(lines: &[String]) -> String {
    let lines = lines.iter().enumerate();
    lines.map(|(index, line)| format!("\n({}) {line}", index + 1)).collect()
}

/// The parser's words on one line, without the location that `place` already gives.
fn problem(place: &Place, source: &serde_yaml::Error) -> String {
    // It shows keys as they are.
    let text = source.to_string().replace(char::is_control, " ");
    match (place.line(), place.column()) {
        (Some(line), Some(column)) => {
            text.replacen(&format!(" at line {line} column {column}"), "", 1)
        }
        _ => text,
    }
}

fn advice(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("; {hint}") }
}

fn first_line(first: &Option<usize>) -> String {
    first.map(|line| format!(" (first on line {line})")).unwrap_or_default()
}

fn keys(suggestion: &Option<&str>, valid: &[&str]) -> String {
    match suggestion {
        Some(key) => format!("did you mean `{key}`?"),
        None if valid.contains(&"parameters") => format!(
            "valid keys here: {} (a method's parameters go inside `parameters`)",
            valid.join(", ")
        ),
        None => format!("valid keys here: {}", valid.join(", ")),
    }
}

fn one_of(keys: &[&str], found: &[&str], required: bool) -> String {
    let list = |keys: &[&str], last: &str| -> String {
        let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
        match keys.split_last() {
            Some((end, init)) if !init.is_empty() => format!("{} {last} {end}", init.join(", ")),
            _ => keys.join(""),
        }
    };
    let amount = if required { "exactly one" } else { "at most one" };
    let all = list(keys, "and");
    match found {
        [] => format!("{amount} of {all} is needed, found none; add one"),
        _ => format!("{amount} of {all} may be given, found {}; keep one", list(found, "and")),
    }
}

fn dtypes(suggestion: &Option<&str>) -> String {
    let names = "bfloat16, float16, float32 or float64";
    match suggestion {
        Some(name) => format!("did you mean `{name}`? (it is one of {names})"),
        None => format!("write {names}"),
    }
}
