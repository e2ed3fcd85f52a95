#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bytes;
mod dtype;
mod element;
mod nonfinite;

pub use bytes::{narrow_bytes, widen_bytes};
pub use dtype::{DType, ParseDTypeError};
pub use element::{Element, narrow_slice, widen_slice};
pub use half::{bf16, f16};
pub use nonfinite::{NonFinite, find_nonfinite};
