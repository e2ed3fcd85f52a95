//! What a merge method declares of itself, and how it is bound to a tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;

use crate::{Kernel, KernelError, Rescale};

/// A merge method as recipes name it.
///
/// A method declares its inputs and parameters once; whoever drives it (the
/// engine) validates, fills in defaults and reports mistakes from that
/// declaration, then binds the method to each output tensor.
pub trait Method: Send + Sync + fmt::Debug {
    /// The name in recipes: `ties`.
    fn name(&self) -> &str;

    /// The name for people: `TIES`.
    fn title(&self) -> &str;

    /// Where the method comes from: its paper's address, if it has one.
    fn source(&self) -> Option<&str> {
        None
    }

    /// The inputs it takes.
    fn inputs(&self) -> Inputs;

    /// The parameters it takes.
    fn parameters(&self) -> &[Parameter];

    /// The kernel for one output tensor.
    ///
    /// # Errors
    /// Where the arguments, each of them valid, do not fit together.
    fn bind(&self, arguments: &Binding) -> Result<Box<dyn Kernel>, KernelError>;
}

/// The inputs a method takes, for every tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// Whether one of them is the base, which comes first and takes no
    /// per-model parameters.
    pub base: bool,
    /// How many there may be besides.
    pub models: RangeInclusive<usize>,
}

/// One parameter's declaration.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// The name in recipes.
    pub name: &'static str,
    /// Whether each model has a value of its own.
    pub scope: Scope,
    /// Type and range.
    pub kind: ParameterKind,
    /// What holds where the recipe says nothing.
    pub default: Default,
    /// One line of explanation.
    pub help: &'static str,
}

/// The parameters that methods on task vectors share.
impl Parameter {
    /// `weight`: share of a model's task vector.
    pub const WEIGHT: Self = Parameter {
        name: "weight",
        scope: Scope::PerModel,
        kind: ParameterKind::ANY_NUMBER,
        default: Default::Required,
        help: "share of this model's change from the base",
    };
    /// `density`: fraction of a task vector that is kept.
    pub const DENSITY: Self = Parameter {
        name: "density",
        scope: Scope::PerModel,
        kind: ParameterKind::FRACTION,
        default: Default::Number(1.0),
        help: "fraction of this model's change that is kept",
    };
    /// `normalize`; each method sets its own default.
    pub const NORMALIZE: Self = Parameter {
        name: "normalize",
        scope: Scope::Shared,
        kind: ParameterKind::Flag,
        default: Default::Unset,
        help: "divide by the sum of the weights used",
    };
    /// `lambda`: factor on the combined task vector.
    pub const LAMBDA: Self = Parameter {
        name: "lambda",
        scope: Scope::Shared,
        kind: ParameterKind::ANY_NUMBER,
        default: Default::Number(1.0),
        help: "factor on the combined change",
    };
    /// `rescale_norm`: what rescaling matches.
    pub const RESCALE_NORM: Self = Parameter {
        name: "rescale_norm",
        scope: Scope::Shared,
        kind: ParameterKind::Choice(Rescale::NAMES),
        default: Default::Unset,
        help: "what rescaling makes good: the density, or a norm of the change",
    };
}

/// Whether each model has a value of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One value for the tensor.
    Shared,
    /// One value for each model (the base not counted where there is one).
    PerModel,
}

/// A parameter's type and range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterKind {
    /// A finite number between two bounds, both allowed.
    Number {
        /// The smallest value allowed.
        min: f64,
        /// The largest value allowed.
        max: f64,
    },
    /// `true` or `false`.
    Flag,
    /// One of several words.
    Choice(&'static [&'static str]),
}

impl ParameterKind {
    /// Any finite number.
    pub const ANY_NUMBER: Self = ParameterKind::Number { min: f64::MIN, max: f64::MAX };
    /// A number from 0 to 1.
    pub const FRACTION: Self = ParameterKind::Number { min: 0.0, max: 1.0 };
}

impl fmt::Display for ParameterKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParameterKind::Number { min: f64::MIN, max: f64::MAX } => f.write_str("a number"),
            ParameterKind::Number { min, max: f64::MAX } => write!(f, "a number, at least {min}"),
            ParameterKind::Number { min, max } => write!(f, "a number between {min} and {max}"),
            ParameterKind::Flag => f.write_str("true or false"),
            ParameterKind::Choice(names) => write!(f, "one of {}", names.join(", ")),
        }
    }
}

/// What holds where a recipe gives no value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Default {
    /// Nothing: a value must be given.
    Required,
    /// The parameter stays unset.
    Unset,
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
}

/// A validated argument.
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A number within the declared range.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// One of the declared words.
    Text(String),
}

/// Validated arguments by parameter name, defaults filled in.
#[derive(Debug, Clone, PartialEq, std::default::Default)]
pub struct Arguments(BTreeMap<&'static str, Argument>);

impl Arguments {
    /// Sets a parameter's value.
    pub fn insert(&mut self, name: &'static str, value: Argument) {
        self.0.insert(name, value);
    }

    /// A number, where it is set.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.0.get(name) {
            Some(Argument::Number(value)) => Some(*value),
            _ => None,
        }
    }

    /// A flag, where it is set.
    pub fn flag(&self, name: &str) -> Option<bool> {
        match self.0.get(name) {
            Some(Argument::Flag(value)) => Some(*value),
            _ => None,
        }
    }

    /// A word, where it is set.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.0.get(name) {
            Some(Argument::Text(value)) => Some(value),
            _ => None,
        }
    }
}

/// Everything a method is told of one output tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Arguments of the shared parameters.
    pub shared: Arguments,
    /// Arguments of the per-model parameters, one a model, in order.
    pub models: Vec<Arguments>,
    /// Key of this tensor's random stream.
    pub stream: StreamKey,
}

impl Binding {
    /// A per-model number, one a model.
    ///
    /// # Panics
    /// If the parameter has no value, which a declaration as required or with a
    /// default excludes.
    pub fn numbers(&self, name: &str) -> Vec<f64> {
        let value = |model: &Arguments| model.number(name).expect("a declared parameter is set");
        self.models.iter().map(value).collect()
    }
}

/// The key of one tensor's random stream: whoever holds it can draw the masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey(pub [u8; 32]);

impl StreamKey {
    /// A key for callers without tensor names: the seed itself.
    pub fn from_seed(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        StreamKey(key)
    }
}
