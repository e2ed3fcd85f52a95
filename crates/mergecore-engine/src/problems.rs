//! All that is wrong, not the first of it only.

use std::collections::HashMap;
use std::fmt;
use std::mem::discriminant;

use crate::EngineError;

/// How many problems of one kind a message shows.
const SHOWN: usize = 20;

/// The problems found so far by who goes on looking after the first.
///
/// ```
/// use mergecore_engine::{EngineError, Model, ModelNotFound, Problems, locate_model};
/// # use mergecore_config::MergeConfig;
/// # use mergecore_engine::{MergeOptions, MergePlan, Registry};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let mut registry = Registry::new();
/// # registry.register(example::Mean);
/// # let options = MergeOptions::default();
/// # let busy = || Err::<(), _>(EngineError::Cancelled);
///
/// let mut problems = Problems::new();
/// problems.add(busy()); // a check of the caller's own, which fails
/// let config = MergeConfig::from_yaml_str("
/// merge_method: mean
/// models: [{model: a}, {model: c}]
/// parameters: {weihgt: 1}
/// ")?;
/// // What planning finds joins what is there.
/// let plan = problems.add(MergePlan::new(&config, &registry, &options));
/// let error = problems.finish(plan).unwrap_err();
/// assert!(matches!(error.problems(), [
///     EngineError::Model { .. }, // in the order of the recipe
///     EngineError::UnknownParameter { .. },
///     EngineError::Cancelled,
/// ]));
/// assert!(error.to_string().starts_with("3 problems:\n(1) line 3, column 30: models[1].model: "));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<EngineError>,
}

impl Problems {
    /// None yet.
    pub const fn new() -> Self {
        Problems { found: Vec::new() }
    }

    /// The value, or the problem added to the others: all of them, where the error
    /// stands for several.
    ///
    /// ```
    /// use mergecore_engine::{EngineError, Problems};
    ///
    /// let mut problems = Problems::new();
    /// assert_eq!(problems.add(Ok(1)), Some(1));
    /// assert_eq!(problems.add::<i32>(Err(EngineError::Cancelled)), None);
    /// assert_eq!(problems.as_slice().len(), 1);
    /// ```
    pub fn add<T>(&mut self, result: Result<T, EngineError>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.push(error);
                None
            }
        }
    }

    pub(crate) fn push(&mut self, error: EngineError) {
        match error {
            EngineError::Several { problems } => self.found.extend(problems.found),
            one => self.found.push(one),
        }
    }

    /// Those found so far.
    pub fn as_slice(&self) -> &[EngineError] {
        &self.found
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// One error for them all, if there are any: a lone problem itself, or
    /// [`EngineError::Several`] in the order of the recipe, those without a place in it
    /// last.
    ///
    /// # Errors
    /// If there are problems.
    ///
    /// ```
    /// use mergecore_engine::{EngineError, Problems};
    ///
    /// assert!(Problems::new().into_result().is_ok());
    /// let mut problems = Problems::new();
    /// problems.add::<()>(Err(EngineError::Cancelled));
    /// assert!(matches!(problems.into_result(), Err(EngineError::Cancelled)));
    /// ```
    pub fn into_result(mut self) -> Result<(), EngineError> {
        if self.found.len() > 1 {
            self.found.sort_by_key(position);
            return Err(EngineError::Several { problems: self });
        }
        self.found.pop().map_or(Ok(()), Err)
    }

    /// The value where nothing was found, else [the error](Self::into_result).
    ///
    /// # Errors
    /// If there are problems.
    ///
    /// # Panics
    /// If there is neither a value nor a problem.
    ///
    /// ```
    /// use mergecore_engine::{EngineError, Problems};
    ///
    /// let mut problems = Problems::new();
    /// let seven = problems.add(Ok(7));
    /// problems.add::<()>(Err(EngineError::Cancelled));
    /// assert!(matches!(problems.finish(seven), Err(EngineError::Cancelled)));
    /// assert_eq!(Problems::new().finish(Some(7))?, 7);
    /// # Ok::<(), EngineError>(())
    /// ```
    pub fn finish<T>(self, value: Option<T>) -> Result<T, EngineError> {
        self.into_result()?;
        Ok(value.expect("what is not there was refused with a reason"))
    }

    /// A text for each, for messages: of many problems of one kind the first 20, and
    /// at the end how many are not shown.
    ///
    /// ```
    /// use mergecore_engine::{EngineError, Problems};
    ///
    /// let mut problems = Problems::new();
    /// for _ in 0..40 {
    ///     problems.add::<()>(Err(EngineError::Cancelled));
    /// }
    /// let lines = problems.lines();
    /// assert_eq!((lines.len(), lines[0].as_str()), (21, "the merge was cancelled; no output was written"));
    /// assert_eq!(lines[20], "20 more problems of the same kind are not shown");
    /// ```
    pub fn lines(&self) -> Vec<String> {
        let mut of_kind = HashMap::new();
        let mut lines: Vec<String> = Vec::new();
        let mut hidden = 0;
        for problem in &self.found {
            let shown = of_kind.entry(discriminant(problem)).or_insert(0);
            *shown += 1;
            if *shown <= SHOWN {
                lines.push(problem.to_string());
            } else {
                hidden += 1;
            }
        }
        if hidden > 0 {
            let kinds = of_kind.values().filter(|count| **count > SHOWN).count();
            let problems = if hidden == 1 { "problem" } else { "problems" };
            let kinds = if kinds == 1 { "the same kind" } else { "the same kinds" };
            let are = if hidden == 1 { "is" } else { "are" };
            lines.push(format!("{hidden} more {problems} of {kinds} {are} not shown"));
        }
        lines
    }
}

/// Where in the recipe's text a problem stands; what has no place there comes last.
fn position(problem: &EngineError) -> (usize, usize) {
    let place = problem.place();
    let position = place.and_then(|place| Some((place.line()?, place.column()?)));
    position.unwrap_or((usize::MAX, usize::MAX))
}

/// `2 problems:` and a numbered line each.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.found.len();
        write!(f, "{count} {}:", if count == 1 { "problem" } else { "problems" })?;
        for (index, line) in self.lines().iter().enumerate() {
            write!(f, "\n({}) {line}", index + 1)?;
        }
        Ok(())
    }
}
