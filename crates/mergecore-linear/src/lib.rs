#![doc = include_str!("../README.md")]

mod linear;
mod passthrough;

#[cfg(feature = "ndarray")]
pub use linear::linear;
pub use linear::{Linear, LinearMethod, linear_slices};
pub use mergecore_kernel::KernelError;
pub use passthrough::{Passthrough, PassthroughMethod};
