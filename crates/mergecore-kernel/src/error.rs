//! What can be wrong with a kernel's input.

use std::fmt;

use crate::DefaultValue;

/// Why a merge of arrays, or the binding of a method to a tensor, failed.
///
/// ```
/// use mergecore_kernel::KernelError;
///
/// match KernelError::check_fraction("density", 1.5) {
///     Err(KernelError::ParameterRange { parameter, value, .. }) => {
///         assert_eq!((parameter, value), ("density", 1.5));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum KernelError {
    /// An input's shape differs from the first one's.
    Shape {
        /// Which input, counted from zero.
        input: usize,
        /// Shape of the first input.
        expected: Vec<usize>,
        /// Shape of this one.
        found: Vec<usize>,
    },
    /// A slice's length is not the number of elements of the shape.
    Length {
        /// `input 3` or `the output`.
        what: String,
        /// The shape given.
        shape: Vec<usize>,
        /// Its number of elements.
        expected: usize,
        /// The slice's length.
        found: usize,
    },
    /// The method takes another number of inputs.
    InputCount {
        /// The method's name.
        method: &'static str,
        /// What it takes, in words.
        expected: &'static str,
        /// How many were given.
        found: usize,
    },
    /// A per-model parameter has another number of values than there are models.
    ParameterCount {
        /// The parameter's name.
        parameter: &'static str,
        /// Number of models (the base not counted).
        expected: usize,
        /// Number of values.
        found: usize,
    },
    /// A parameter's value is out of its range.
    ParameterRange {
        /// The parameter's name.
        parameter: &'static str,
        /// The value given.
        value: f64,
        /// The range, in words.
        expected: &'static str,
    },
    /// Two parameters, each within its range, do not fit together.
    ParameterPair {
        /// Both parameters' names.
        parameters: (&'static str, &'static str),
        /// Their values.
        values: (f64, f64),
        /// What must hold, in words.
        expected: &'static str,
    },
    /// The driver could not read an input, or was told to stop; it says which.
    Interrupted,
    /// The data allow no result.
    Undefined {
        /// What the data are.
        what: String,
        /// What to do about it.
        instead: &'static str,
    },
    /// The weights of a normalised average cancel.
    WeightsCancel {
        /// The sum of the weights.
        sum: f64,
    },
}

// By hand: a derive would bring three more crates to each method crate.
impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KernelError::Shape { input, expected, found } => write!(
                f,
                "input {input} has shape {found:?} but input 0 has {expected:?}; all inputs of a merge must have one shape"
            ),
            KernelError::Length { what, shape, expected, found } => {
                write!(f, "{what} has {found} elements where the shape {shape:?} has {expected}")
            }
            KernelError::InputCount { method, expected, found } => {
                write!(f, "{method} takes {expected}, not {found}")
            }
            KernelError::ParameterCount { parameter, expected, found } => {
                write!(
                    f,
                    "{found} values of `{parameter}` for {expected} models; give one for each"
                )
            }
            KernelError::ParameterRange { parameter, value, expected } => {
                write!(f, "`{parameter}` is {value}, but must be {expected}")
            }
            KernelError::ParameterPair { parameters: (a, b), values: (x, y), expected } => {
                write!(f, "`{a}` is {x} and `{b}` is {y}, but {expected}")
            }
            KernelError::Interrupted => f.write_str("reading the inputs was broken off"),
            KernelError::Undefined { what, instead } => write!(f, "{what}; {instead}"),
            KernelError::WeightsCancel { sum } => write!(
                f,
                "the weights sum to {}, and an average divides by their sum; choose other weights, or set `normalize: false`",
                DefaultValue::Number(*sum) // which is short where the number is tiny
            ),
        }
    }
}

impl std::error::Error for KernelError {}

impl KernelError {
    /// Checks that a per-model parameter has one value a model.
    ///
    /// # Errors
    /// [`KernelError::ParameterCount`] where it has not.
    ///
    /// ```
    /// use mergecore_kernel::KernelError;
    ///
    /// assert!(KernelError::check_count("weight", &[0.5, 0.5], 2).is_ok());
    /// assert!(KernelError::check_count("weight", &[1.0], 2).is_err());
    /// ```
    pub fn check_count(parameter: &'static str, values: &[f64], models: usize) -> Result<(), Self> {
        if values.len() == models {
            return Ok(());
        }
        Err(KernelError::ParameterCount { parameter, expected: models, found: values.len() })
    }

    /// Checks that a parameter's value is finite.
    ///
    /// # Errors
    /// [`KernelError::ParameterRange`] where it is not.
    ///
    /// ```
    /// use mergecore_kernel::KernelError;
    ///
    /// let error = KernelError::check_finite("lambda", f64::INFINITY).unwrap_err();
    /// assert_eq!(error.to_string(), "`lambda` is inf, but must be a finite number");
    /// ```
    pub fn check_finite(parameter: &'static str, value: f64) -> Result<(), Self> {
        if value.is_finite() {
            return Ok(());
        }
        Err(KernelError::ParameterRange { parameter, value, expected: "a finite number" })
    }

    /// Checks that a parameter's value is a fraction.
    ///
    /// # Errors
    /// [`KernelError::ParameterRange`] where it lies outside 0 to 1.
    ///
    /// ```
    /// use mergecore_kernel::KernelError;
    ///
    /// assert!(KernelError::check_fraction("density", 0.2).is_ok());
    /// assert!(KernelError::check_fraction("density", f64::NAN).is_err());
    /// ```
    pub fn check_fraction(parameter: &'static str, value: f64) -> Result<(), Self> {
        if (0.0..=1.0).contains(&value) {
            return Ok(());
        }
        Err(KernelError::ParameterRange { parameter, value, expected: "between 0 and 1" })
    }
}
