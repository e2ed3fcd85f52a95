#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bytes;
mod dtype;
mod element;
mod elements;
mod nonfinite;
mod simd;

#[cfg(target_endian = "big")]
compile_error!("checkpoints are little-endian, and so is every CPU that this crate knows");

pub use bytes::{narrow_bytes, widen_bytes};
pub use dtype::{DType, ParseDTypeError};
pub use element::{Element, narrow_run};
pub use elements::{Elements, ElementsMut};
pub use half::{bf16, f16};
pub use nonfinite::NonFinite;
pub use simd::{Simd, Vectorize};
