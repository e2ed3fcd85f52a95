//! The values that a parameter can take.

/// One plain value.
///
/// ```
/// use mergecore_config::Scalar;
///
/// assert_eq!(Scalar::from(1), Scalar::Number(1.0));
/// assert_eq!(Scalar::from("l2"), Scalar::Text("l2".to_owned()));
/// assert_eq!(Scalar::from("l2").to_string(), "l2");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar {
    /// `true` or `false`.
    Bool(bool),
    /// Any number; whole numbers too.
    Number(f64),
    /// Anything else. May still [read as a number](Scalar::as_f64) or as a
    /// [boolean](Scalar::as_bool).
    Text(String),
}

impl Scalar {
    /// The number, also where it is written as text (`"0.5"`, `1e-4`, `1_000`).
    /// Booleans are no numbers; neither are whole numbers with leading zeros (`010`),
    /// which YAML 1.1 takes for octal.
    ///
    /// ```
    /// use mergecore_config::Scalar;
    ///
    /// assert_eq!(Scalar::from("1e-4").as_f64(), Some(1e-4));
    /// assert_eq!(Scalar::from("mean").as_f64(), None);
    /// assert_eq!(Scalar::from(true).as_f64(), None);
    /// ```
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::Bool(_) => None,
            Self::Number(value) => Some(*value),
            Self::Text(text) => number(text),
        }
    }

    /// The boolean, also as `yes`, `no`, `on`, `off`, 1 or 0.
    ///
    /// ```
    /// use mergecore_config::Scalar;
    ///
    /// assert_eq!(Scalar::from("on").as_bool(), Some(true));
    /// assert_eq!(Scalar::from("FALSE").as_bool(), Some(false));
    /// assert_eq!(Scalar::from(0.5).as_bool(), None);
    /// ```
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Number(value) if *value == 1.0 => Some(true),
            Self::Number(value) if *value == 0.0 => Some(false),
            Self::Number(_) => None,
            Self::Text(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Some(true),
                "false" | "no" | "off" | "0" => Some(false),
                _ => None,
            },
        }
    }

    /// The text, where it is text.
    ///
    /// ```
    /// use mergecore_config::Scalar;
    ///
    /// assert_eq!(Scalar::from("l2").as_str(), Some("l2"));
    /// assert_eq!(Scalar::from(2.0).as_str(), None);
    /// ```
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl std::fmt::Display for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// The decimal numbers that PyYAML's users know, `1e-4` and `1_000` included.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !digits
            .bytes()
            .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-' | b'_'))
    {
        return None;
    }
    let is_octal = digits.len() > 1
        && digits.starts_with('0')
        && digits.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    if is_octal && digits.bytes().any(|b| b != b'0') {
        return None;
    }
    let value: f64 = if digits.contains('_') {
        // An underscore separates digits; anywhere else it makes a word.
        let bytes = digits.as_bytes();
        let digit =
            |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
        let separates = |i: usize| digit(i.checked_sub(1)) && digit(Some(i + 1));
        if !(0..bytes.len()).all(|i| bytes[i] != b'_' || separates(i)) {
            return None;
        }
        text.replace('_', "").parse().ok()?
    } else {
        text.parse().ok()?
    };
    value.is_finite().then_some(value)
}

/// A value as it is written in a recipe: one scalar, or a list over the layers.
///
/// ```
/// use mergecore_config::{Scalar, Value};
///
/// assert_eq!(Value::from(0.5), Value::Scalar(Scalar::Number(0.5)));
/// assert!(matches!(Value::from(vec![0.0, 0.5, 1.0]), Value::Gradient(points) if points.len() == 3));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The same everywhere.
    Scalar(Scalar),
    /// From the first layer to the last; never empty when it comes from a recipe.
    Gradient(Vec<Scalar>),
}

/// A value that applies where its filter matches.
///
/// ```
/// use mergecore_config::Conditional;
///
/// let attention = Conditional::new("self_attn", 0.3);
/// assert!(attention.matches("model.layers.0.self_attn.q_proj.weight"));
/// assert!(!attention.matches("model.norm.weight"));
/// assert!(Conditional::otherwise(0.5).matches("model.norm.weight"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Conditional {
    /// A substring of the tensor's name; `None` and `*` match all.
    pub filter: Option<String>,
    /// What it then is.
    pub value: Value,
}

impl Conditional {
    /// `value` for tensors whose name contains `filter`.
    pub fn new(filter: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { filter: Some(filter.into()), value: value.into() }
    }

    /// `value` for all tensors.
    pub fn otherwise(value: impl Into<Value>) -> Self {
        Self { filter: None, value: value.into() }
    }

    /// Whether this applies to a tensor of that name.
    pub fn matches(&self, tensor_name: &str) -> bool {
        match self.filter.as_deref() {
            None | Some("*") => true,
            Some(filter) => tensor_name.contains(filter),
        }
    }
}

/// What a recipe says about one parameter at one level.
///
/// ```
/// use mergecore_config::{Conditional, Setting};
///
/// let plain: Setting = 0.5.into();
/// let gradient: Setting = vec![0.0, 0.5, 1.0].into();
/// let by_name: Setting = vec![
///     Conditional::new("self_attn", vec![0.0, 1.0]),
///     Conditional::otherwise(0.5),
/// ]
/// .into();
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Setting {
    /// One value for every tensor.
    Value(Value),
    /// The first whose filter matches. (A single condition is a list of one.)
    Conditional(Vec<Conditional>),
}

macro_rules! from_scalar {
    ($($type:ty => $wrap:expr),* $(,)?) => {$(
        impl From<$type> for Scalar {
            fn from(value: $type) -> Self {
                ($wrap)(value)
            }
        }

        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::Scalar(value.into())
            }
        }

        impl From<$type> for Setting {
            fn from(value: $type) -> Self {
                Self::Value(value.into())
            }
        }

        impl From<Vec<$type>> for Value {
            fn from(values: Vec<$type>) -> Self {
                Self::Gradient(values.into_iter().map(Into::into).collect())
            }
        }

        impl From<Vec<$type>> for Setting {
            fn from(values: Vec<$type>) -> Self {
                Self::Value(values.into())
            }
        }
    )*};
}

from_scalar! {
    bool => Scalar::Bool,
    f64 => Scalar::Number,
    i32 => |value| Scalar::Number(f64::from(value)),
    &str => |value: &str| Scalar::Text(value.to_owned()),
    String => Scalar::Text,
}

impl From<Scalar> for Value {
    fn from(value: Scalar) -> Self {
        Self::Scalar(value)
    }
}

impl From<Scalar> for Setting {
    fn from(value: Scalar) -> Self {
        Self::Value(value.into())
    }
}

impl From<Vec<Scalar>> for Value {
    fn from(points: Vec<Scalar>) -> Self {
        Self::Gradient(points)
    }
}

impl From<Vec<Scalar>> for Setting {
    fn from(points: Vec<Scalar>) -> Self {
        Self::Value(points.into())
    }
}

impl From<Value> for Setting {
    fn from(value: Value) -> Self {
        Self::Value(value)
    }
}

impl From<Conditional> for Setting {
    fn from(condition: Conditional) -> Self {
        Self::Conditional(vec![condition])
    }
}

impl From<Vec<Conditional>> for Setting {
    fn from(conditions: Vec<Conditional>) -> Self {
        Self::Conditional(conditions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_reads_as_a_number() {
        for (text, value) in [
            ("1e-4", 1e-4),
            ("1.0e-4", 1e-4),
            ("+1", 1.0),
            (".5", 0.5),
            ("-.5", -0.5),
            ("1.", 1.0),
            ("1_000", 1000.0),
            ("1_000.2_5", 1000.25),
            ("0.5", 0.5),
            ("0", 0.0),
            (" 2 ", 2.0),
        ] {
            assert_eq!(Scalar::from(text).as_f64(), Some(value), "{text}");
        }
        for text in [
            "", ".", "+", "e5", "inf", "nan", "1e999", "0x10", "010", "_1", "1_", "1__0", "1 2",
            "+-1", "1e", "half", "1._5", "1_e5",
        ] {
            assert_eq!(Scalar::from(text).as_f64(), None, "{text}");
        }
    }

    #[test]
    fn booleans_of_yaml_1_1() {
        for text in ["true", "Yes", "ON", "1"] {
            assert_eq!(Scalar::from(text).as_bool(), Some(true));
        }
        for text in ["False", "NO", "off", "0"] {
            assert_eq!(Scalar::from(text).as_bool(), Some(false));
        }
        assert_eq!(Scalar::from(1.0).as_bool(), Some(true));
        for text in ["y", "n", "", "maybe", "2"] {
            assert_eq!(Scalar::from(text).as_bool(), None);
        }
    }

    #[test]
    fn filters_are_substrings() {
        let condition = Conditional::new("mlp", 1.0);
        assert!(condition.matches("model.layers.0.mlp.up_proj.weight"));
        assert!(!condition.matches("model.norm.weight"));
        assert!(Conditional::new("*", 1.0).matches("anything"));
        assert!(Conditional::otherwise(1.0).matches(""));
    }
}
