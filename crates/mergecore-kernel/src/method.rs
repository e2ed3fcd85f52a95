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
///
/// ```
/// use mergecore_kernel::{
///     Argument, Arguments, Base, Binding, Combination, Extent, Inputs, Kernel, KernelError,
///     Method, Parameter, Step, StreamKey, merge_slices,
/// };
///
/// #[derive(Debug)]
/// struct Sum(Vec<f64>);
///
/// impl Kernel for Sum {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(Combination::new(self.0.clone())))
///     }
/// }
///
/// #[derive(Debug)]
/// struct SumMethod;
///
/// impl Method for SumMethod {
///     fn name(&self) -> &str { "sum" }
///     fn title(&self) -> &str { "Sum" }
///     fn inputs(&self) -> Inputs { Inputs { base: Base::None, models: 1..=usize::MAX } }
///     fn parameters(&self) -> &[Parameter] { &[Parameter::WEIGHT] }
///     fn bind(&self, arguments: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
///         Ok(Box::new(Sum(arguments.numbers("weight"))))
///     }
/// }
///
/// let mut model = Arguments::default();
/// model.insert("weight", Argument::Number(2.0));
/// let stream = StreamKey::from_seed(0);
/// let shared = Arguments::default();
/// let binding = Binding { base: false, shared, models: vec![model], stream };
/// let mut out = [0.0f32];
/// merge_slices(&*SumMethod.bind(&binding)?, &[&[1.5f32]], &[1], &mut out)?;
/// assert_eq!(out, [3.0]);
/// # Ok::<(), KernelError>(())
/// ```
pub trait Method: Send + Sync + fmt::Debug {
    /// The name in recipes: `ties`.
    fn name(&self) -> &str;

    /// The name for people: `TIES`.
    fn title(&self) -> &str;

    /// What it does, in one line that begins with a verb; empty by default.
    fn summary(&self) -> &str {
        ""
    }

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
///
/// ```
/// use mergecore_kernel::{Base, Inputs};
///
/// // A base and one model or more besides.
/// let inputs = Inputs { base: Base::Required, models: 1..=usize::MAX };
/// assert!(!inputs.models.contains(&0));
/// assert_eq!(inputs.to_string(), "the base model and at least one model besides");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inputs {
    /// Whether one of them is the base, which comes first and takes no
    /// per-model parameters.
    pub base: Base,
    /// How many there may be besides.
    pub models: RangeInclusive<usize>,
}

/// In words.
impl fmt::Display for Inputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let models = |n: usize| if n == 1 { "one model".to_owned() } else { format!("{n} models") };
        let (least, most) = (*self.models.start(), *self.models.end());
        let others = match (least, most) {
            (least, most) if least == most => format!("exactly {}", models(least)),
            (0, usize::MAX) => "any number of models".to_owned(),
            (least, usize::MAX) => format!("at least {}", models(least)),
            (least, most) => format!("{least} to {}", models(most)),
        };
        match self.base {
            Base::None => f.write_str(&others),
            Base::Optional => write!(f, "{others}, besides a base model where one is named"),
            Base::Required => write!(f, "the base model and {others} besides"),
        }
    }
}

/// Whether a method takes a base model apart from the others.
///
/// ```
/// use mergecore_kernel::Base;
///
/// assert!(Base::Optional.takes(true) && !Base::Optional.takes(false));
/// assert!(!Base::None.takes(true)); // it is an input like the others
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// It has none: a recipe's base model only donates configuration and tokenizer, and is
    /// merged where it is one of the models.
    None,
    /// It has one where the recipe names one.
    Optional,
    /// It has one.
    Required,
}

impl Base {
    /// Whether the first input is the base, given whether the recipe names one.
    pub fn takes(self, named: bool) -> bool {
        match self {
            Base::None => false,
            Base::Optional => named,
            Base::Required => true,
        }
    }
}

/// One parameter's declaration.
///
/// ```
/// use mergecore_kernel::{DefaultValue, Parameter, ParameterKind, Scope};
///
/// const EPSILON: Parameter = Parameter {
///     name: "epsilon",
///     scope: Scope::PerModel,
///     kind: ParameterKind::FRACTION,
///     default: DefaultValue::Number(0.1),
///     help: "half of the spread of this model's densities",
/// };
/// // A declaration of the common ones can be changed in part.
/// const NORMALIZE: Parameter = Parameter { default: DefaultValue::Flag(true), ..Parameter::NORMALIZE };
/// assert_eq!((EPSILON.name, NORMALIZE.name), ("epsilon", "normalize"));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Parameter {
    /// The name in recipes.
    pub name: &'static str,
    /// Whether each model has a value of its own.
    pub scope: Scope,
    /// Type and range.
    pub kind: ParameterKind,
    /// What holds where the recipe says nothing.
    pub default: DefaultValue,
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
        default: DefaultValue::Required,
        help: "share of this model's change from the base",
    };
    /// `density`: fraction of a task vector that is kept.
    pub const DENSITY: Self = Parameter {
        name: "density",
        scope: Scope::PerModel,
        kind: ParameterKind::FRACTION,
        default: DefaultValue::Number(1.0),
        help: "fraction of this model's change that is kept",
    };
    /// `normalize`; each method sets its own default.
    pub const NORMALIZE: Self = Parameter {
        name: "normalize",
        scope: Scope::Shared,
        kind: ParameterKind::Flag,
        default: DefaultValue::Unset,
        help: "divide by the sum of the weights used",
    };
    /// `lambda`: factor on the combined task vector.
    pub const LAMBDA: Self = Parameter {
        name: "lambda",
        scope: Scope::Shared,
        kind: ParameterKind::ANY_NUMBER,
        default: DefaultValue::Number(1.0),
        help: "factor on the combined change",
    };
    /// `consensus`: how the sign of an element is elected.
    pub const CONSENSUS: Self = Parameter {
        name: "consensus",
        scope: Scope::Shared,
        kind: ParameterKind::Choice(&["sum", "count"]),
        default: DefaultValue::Text("sum"),
        help: "elect an element's sign by the sum of the changes, or by their number",
    };
    /// `elect`: which changes vote in the election of signs.
    pub const ELECT: Self = Parameter {
        name: "elect",
        scope: Scope::Shared,
        kind: ParameterKind::Choice(&["weighted", "unweighted"]),
        default: DefaultValue::Text("weighted"),
        help: "whether changes vote times their model's weight",
    };
    /// `rescale_norm`: what rescaling matches.
    pub const RESCALE_NORM: Self = Parameter {
        name: "rescale_norm",
        scope: Scope::Shared,
        kind: ParameterKind::Choice(Rescale::NAMES),
        default: DefaultValue::Unset,
        help: "what rescaling makes good: the density, or a norm of the change",
    };
}

/// Whether each model has a value of its own.
///
/// ```
/// use mergecore_kernel::{Parameter, Scope};
///
/// assert_eq!(Parameter::WEIGHT.scope, Scope::PerModel);
/// assert_eq!(Parameter::LAMBDA.scope, Scope::Shared);
/// assert_eq!(Scope::PerModel.to_string(), "per model");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One value for the tensor.
    Shared,
    /// One value for each model (the base not counted where there is one).
    PerModel,
}

/// In words.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::Shared => "shared",
            Scope::PerModel => "per model",
        })
    }
}

/// A parameter's type and range.
///
/// ```
/// use mergecore_kernel::ParameterKind;
///
/// let at_least_one = ParameterKind::Number { min: 1.0, max: f64::MAX };
/// assert_eq!(at_least_one.to_string(), "a number, at least 1");
/// assert_eq!(ParameterKind::FRACTION.to_string(), "a number between 0 and 1");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ParameterKind {
    /// A finite number between two bounds, both allowed.
    Number {
        /// The smallest value allowed.
        min: f64,
        /// The largest value allowed.
        max: f64,
    },
    /// A whole number between two bounds, both allowed.
    Integer {
        /// The smallest value allowed.
        min: u32,
        /// The largest value allowed.
        max: u32,
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
            ParameterKind::Integer { min, max: u32::MAX } => {
                write!(f, "a whole number, at least {min}")
            }
            ParameterKind::Integer { min, max } => {
                write!(f, "a whole number between {min} and {max}")
            }
            ParameterKind::Flag => f.write_str("true or false"),
            ParameterKind::Choice(names) => write!(f, "one of {}", names.join(", ")),
        }
    }
}

/// What holds where a recipe gives no value.
///
/// Import it under another name (`use mergecore_kernel::DefaultValue`) where the
/// standard library's trait is needed too.
///
/// ```
/// use mergecore_kernel::{DefaultValue, Parameter};
///
/// assert_eq!(Parameter::DENSITY.default, DefaultValue::Number(1.0));
/// assert_eq!(Parameter::WEIGHT.default, DefaultValue::Required);
/// assert_eq!(DefaultValue::Number(1e-5).to_string(), "1e-5");
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DefaultValue {
    /// Nothing: a value must be given.
    Required,
    /// The parameter stays unset.
    Unset,
    /// A number.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// A word.
    Text(&'static str),
}

/// As a recipe would say it, or `required` or `unset`.
impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultValue::Required => f.write_str("required"),
            DefaultValue::Unset => f.write_str("unset"),
            DefaultValue::Number(number) if *number != 0.0 && number.abs() < 1e-3 => {
                write!(f, "{number:e}")
            }
            DefaultValue::Number(number) => write!(f, "{number}"),
            DefaultValue::Flag(flag) => write!(f, "{flag}"),
            DefaultValue::Text(text) => f.write_str(text),
        }
    }
}

/// A validated argument.
///
/// ```
/// use mergecore_kernel::{Argument, Arguments};
///
/// let mut shared = Arguments::default();
/// shared.insert("normalize", Argument::Flag(true));
/// shared.insert("rescale_norm", Argument::Text("l2".to_owned()));
/// assert_eq!(shared.flag("normalize"), Some(true));
/// assert_eq!(shared.text("rescale_norm"), Some("l2"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Argument {
    /// A number within the declared range, whole where it is declared so.
    Number(f64),
    /// A flag.
    Flag(bool),
    /// One of the declared words.
    Text(String),
}

/// Validated arguments by parameter name, defaults filled in.
///
/// ```
/// use mergecore_kernel::{Argument, Arguments};
///
/// let mut arguments = Arguments::default();
/// arguments.insert("lambda", Argument::Number(0.5));
/// assert_eq!(arguments.number("lambda"), Some(0.5));
/// assert_eq!(arguments.flag("normalize"), None); // not set
/// assert_eq!(arguments.text("lambda"), None); // not a word
/// ```
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
///
/// ```
/// use mergecore_kernel::{Argument, Arguments, Binding, StreamKey};
///
/// let weight = |value| {
///     let mut arguments = Arguments::default();
///     arguments.insert("weight", Argument::Number(value));
///     arguments
/// };
/// let binding = Binding {
///     base: true,
///     shared: Arguments::default(),
///     models: vec![weight(0.25), weight(0.75)],
///     stream: StreamKey::from_seed(1),
/// };
/// assert_eq!(binding.numbers("weight"), [0.25, 0.75]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Binding {
    /// Whether the first input is the base.
    pub base: bool,
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
///
/// ```
/// use mergecore_kernel::StreamKey;
///
/// assert_eq!(StreamKey::from_seed(7), StreamKey::from_seed(7));
/// assert_ne!(StreamKey::from_seed(7), StreamKey::from_seed(8));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StreamKey(pub [u8; 32]);

impl StreamKey {
    /// A key for callers without tensor names: the seed itself.
    ///
    /// The eight bytes of the seed, little-endian, then zeros.
    ///
    /// ```
    /// let mut key = [0; 32];
    /// key[..2].copy_from_slice(&[0x34, 0x12]);
    /// assert_eq!(mergecore_kernel::StreamKey::from_seed(0x1234).0, key);
    /// ```
    pub fn from_seed(seed: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        StreamKey(key)
    }
}
