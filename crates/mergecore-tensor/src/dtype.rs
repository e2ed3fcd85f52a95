//! The element types a checkpoint can store.

use std::fmt;
use std::str::FromStr;

/// The type of a tensor's elements, as the safetensors format names it.
///
/// Only [`Bf16`](DType::Bf16), [`F16`](DType::F16), [`F32`](DType::F32) and
/// [`F64`](DType::F64) take part in arithmetic ([`DType::is_float`]); tensors of
/// the others can be carried over unchanged.
///
/// ```
/// use mergecore_tensor::DType;
///
/// let dtype: DType = "torch.bfloat16".parse()?;
/// assert_eq!(dtype, DType::Bf16);
/// assert_eq!(dtype.to_string(), "BF16");
/// assert!(dtype.is_float());
/// # Ok::<(), mergecore_tensor::ParseDTypeError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// Boolean, one byte an element.
    Bool,
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// 8-bit float, 5 exponent and 2 mantissa bits.
    F8E5M2,
    /// 8-bit float, 4 exponent and 3 mantissa bits.
    F8E4M3,
    /// 8-bit exponent without sign or mantissa: the block scale of MX formats.
    F8E8M0,
    /// Signed 16-bit integer.
    I16,
    /// Unsigned 16-bit integer.
    U16,
    /// IEEE half precision.
    F16,
    /// bfloat16: the upper half of an `f32`.
    Bf16,
    /// Signed 32-bit integer.
    I32,
    /// Unsigned 32-bit integer.
    U32,
    /// IEEE single precision.
    F32,
    /// IEEE double precision.
    F64,
    /// Signed 64-bit integer.
    I64,
    /// Unsigned 64-bit integer.
    U64,
}

/// Every dtype with its size, its safetensors name and the name that Python
/// frameworks use.
const TABLE: [(DType, usize, &str, &str); 16] = [
    (DType::Bool, 1, "BOOL", "bool"),
    (DType::U8, 1, "U8", "uint8"),
    (DType::I8, 1, "I8", "int8"),
    (DType::F8E5M2, 1, "F8_E5M2", "float8_e5m2"),
    (DType::F8E4M3, 1, "F8_E4M3", "float8_e4m3fn"),
    (DType::F8E8M0, 1, "F8_E8M0", "float8_e8m0fnu"),
    (DType::I16, 2, "I16", "int16"),
    (DType::U16, 2, "U16", "uint16"),
    (DType::F16, 2, "F16", "float16"),
    (DType::Bf16, 2, "BF16", "bfloat16"),
    (DType::I32, 4, "I32", "int32"),
    (DType::U32, 4, "U32", "uint32"),
    (DType::F32, 4, "F32", "float32"),
    (DType::F64, 8, "F64", "float64"),
    (DType::I64, 8, "I64", "int64"),
    (DType::U64, 8, "U64", "uint64"),
];

impl DType {
    fn row(self) -> (usize, &'static str, &'static str) {
        // The table lists the variants in declaration order.
        let (_, size, name, torch) = TABLE[self as usize];
        (size, name, torch)
    }

    /// Bytes per element.
    ///
    /// ```
    /// assert_eq!(mergecore_tensor::DType::Bf16.size(), 2);
    /// ```
    pub fn size(self) -> usize {
        self.row().0
    }

    /// The name in a safetensors header, such as `BF16`.
    ///
    /// ```
    /// assert_eq!(mergecore_tensor::DType::F8E4M3.name(), "F8_E4M3");
    /// ```
    pub fn name(self) -> &'static str {
        self.row().1
    }

    /// The name in config.json and in recipes, such as `bfloat16`.
    ///
    /// ```
    /// assert_eq!(mergecore_tensor::DType::F16.torch_name(), "float16");
    /// ```
    pub fn torch_name(self) -> &'static str {
        self.row().2
    }

    /// Whether elements of this type can be merged: bf16, f16, f32 and f64.
    ///
    /// ```
    /// use mergecore_tensor::DType;
    ///
    /// assert!(DType::F16.is_float());
    /// assert!(!DType::F8E4M3.is_float()); // 8-bit floats are carried over, not merged
    /// ```
    pub fn is_float(self) -> bool {
        matches!(self, DType::Bf16 | DType::F16 | DType::F32 | DType::F64)
    }

    /// Whether elements are whole numbers or truth values, which are copied
    /// when all inputs agree and never averaged.
    ///
    /// ```
    /// use mergecore_tensor::DType;
    ///
    /// assert!(DType::I64.is_integer() && DType::Bool.is_integer());
    /// assert!(!DType::F8E4M3.is_integer());
    /// ```
    pub fn is_integer(self) -> bool {
        !self.is_float() && !matches!(self, DType::F8E5M2 | DType::F8E4M3 | DType::F8E8M0)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A dtype name that is neither a safetensors nor a framework name.
///
/// ```
/// use mergecore_tensor::DType;
///
/// let error = "bf17".parse::<DType>().unwrap_err();
/// assert_eq!(error.name, "bf17");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseDTypeError {
    /// The name as given.
    pub name: String,
}

impl fmt::Display for ParseDTypeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown dtype `{}`; known are bfloat16, float16, float32, float64", self.name)
    }
}

impl std::error::Error for ParseDTypeError {}

impl FromStr for DType {
    type Err = ParseDTypeError;

    /// Reads a safetensors name (`BF16`) or a framework name (`bfloat16`,
    /// `torch.bfloat16`).
    ///
    /// # Errors
    /// [`ParseDTypeError`] for any other text; names are case-sensitive.
    ///
    /// ```
    /// use mergecore_tensor::DType;
    ///
    /// assert_eq!("BF16".parse(), Ok(DType::Bf16));
    /// assert_eq!("float16".parse(), Ok(DType::F16));
    /// assert!("half".parse::<DType>().is_err());
    /// ```
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bare = text.strip_prefix("torch.").unwrap_or(text);
        TABLE
            .iter()
            .find(|(_, _, name, torch)| *name == bare || *torch == bare)
            .map(|row| row.0)
            .ok_or_else(|| ParseDTypeError { name: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_declaration_order_and_names_round_trip() {
        for (i, (dtype, size, name, torch)) in TABLE.iter().enumerate() {
            assert_eq!(*dtype as usize, i);
            assert_eq!(dtype.size(), *size);
            assert_eq!(name.parse(), Ok(*dtype));
            assert_eq!(torch.parse(), Ok(*dtype));
        }
    }

    #[test]
    fn unknown_name_is_reported_as_given() {
        let error = "bf17".parse::<DType>().unwrap_err();
        assert!(error.to_string().contains("`bf17`"));
    }
}
