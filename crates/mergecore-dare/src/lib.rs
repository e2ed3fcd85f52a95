#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod dare;
mod dare_method;
mod della;
mod della_method;
mod magprune;
mod rank;

pub use dare::{Dare, dare_linear_slices, dare_ties_slices};
#[cfg(feature = "ndarray")]
pub use dare::{dare_linear, dare_ties};
pub use dare_method::{DareLinearMethod, DareTiesMethod};
pub use della::{Della, della_linear_slices, della_slices};
#[cfg(feature = "ndarray")]
pub use della::{della, della_linear};
pub use della_method::{DellaLinearMethod, DellaMethod};
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
pub use mergecore_kernel::{Consensus, Elect, Election, KernelError, Rescale, StreamKey};
