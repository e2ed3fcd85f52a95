#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod linear;
mod passthrough;

#[cfg(feature = "ndarray")]
pub use linear::linear;
pub use linear::{Linear, LinearMethod, linear_slices};
pub use mergecore_kernel::KernelError;
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
pub use passthrough::{Passthrough, PassthroughMethod};
