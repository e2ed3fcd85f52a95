#![doc = include_str!("../README.md")]

mod dare;
mod method;

pub use dare::{Dare, dare_linear_slices, dare_ties_slices};
#[cfg(feature = "ndarray")]
pub use dare::{dare_linear, dare_ties};
pub use mergecore_kernel::{KernelError, Rescale, StreamKey};
pub use method::{DareLinearMethod, DareTiesMethod};
