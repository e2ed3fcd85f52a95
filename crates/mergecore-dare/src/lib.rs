#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod dare;
mod method;

pub use dare::{Dare, dare_linear_slices, dare_ties_slices};
#[cfg(feature = "ndarray")]
pub use dare::{dare_linear, dare_ties};
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
pub use mergecore_kernel::{Consensus, Elect, Election, KernelError, Rescale, StreamKey};
pub use method::{DareLinearMethod, DareTiesMethod};
