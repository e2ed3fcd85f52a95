#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bytes;
mod dtype;
mod element;
mod elements;
mod found;
mod narrow;
mod nonfinite;
mod simd;

#[cfg(target_endian = "big")]
compile_error!("checkpoints are little-endian, and so is every CPU that this crate knows");

pub use bytes::{narrow_bytes, widen_bytes};
pub use dtype::{DType, ParseDTypeError};
pub use element::Element;
pub use elements::{Elements, ElementsMut};
pub use found::{Found, Losses};
pub use half::{bf16, f16};
pub use narrow::narrow_run;
pub use simd::{Simd, Vectorize};
