#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod coefficients;
mod slerp;

pub use coefficients::slerp_coefficients;
pub use mergecore_kernel::KernelError;
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
#[cfg(feature = "ndarray")]
pub use slerp::slerp;
pub use slerp::{Slerp, SlerpMethod, slerp_slices};
