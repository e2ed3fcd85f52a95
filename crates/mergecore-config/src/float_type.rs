//! The dtypes a recipe can ask for.

use std::fmt;

/// A floating-point dtype, as `dtype` and `out_dtype` name it.
///
/// ```
/// use mergecore_config::FloatType;
///
/// let dtype = FloatType::from_name("bf16").unwrap();
/// assert_eq!(dtype, FloatType::Bf16);
/// assert_eq!(dtype.to_string(), "bfloat16");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FloatType {
    /// `bfloat16`
    Bf16,
    /// `float16`
    F16,
    /// `float32`
    F32,
    /// `float64`
    F64,
}

impl FloatType {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Bf16, Self::F16, Self::F32, Self::F64];

    /// The dtype of that name: the long names, common short ones, with or without
    /// `torch.`, in any letter case.
    ///
    /// ```
    /// use mergecore_config::FloatType;
    ///
    /// assert_eq!(FloatType::from_name("torch.bfloat16"), Some(FloatType::Bf16));
    /// assert_eq!(FloatType::from_name("fp16"), Some(FloatType::F16));
    /// assert_eq!(FloatType::from_name("int8"), None);
    /// ```
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.trim().to_ascii_lowercase();
        Some(match name.strip_prefix("torch.").unwrap_or(&name) {
            "bfloat16" | "bf16" => Self::Bf16,
            "float16" | "fp16" | "f16" | "half" => Self::F16,
            "float32" | "fp32" | "f32" | "float" => Self::F32,
            "float64" | "fp64" | "f64" | "double" => Self::F64,
            _ => return None,
        })
    }

    /// The long name, such as `bfloat16`.
    ///
    /// ```
    /// assert_eq!(mergecore_config::FloatType::F32.as_str(), "float32");
    /// ```
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back() {
        for dtype in FloatType::ALL {
            assert_eq!(FloatType::from_name(dtype.as_str()), Some(dtype));
            assert_eq!(FloatType::from_name(&format!("torch.{dtype}")), Some(dtype));
        }
        for name in ["", "torch.", "int64", "float8", "torch.torch.float16"] {
            assert_eq!(FloatType::from_name(name), None, "{name}");
        }
    }
}
