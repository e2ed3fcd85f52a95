#![doc = include_str!("../README.md")]

mod coefficients;
mod slerp;

pub use coefficients::slerp_coefficients;
pub use mergecore_kernel::KernelError;
#[cfg(feature = "ndarray")]
pub use slerp::slerp;
pub use slerp::{Slerp, SlerpMethod, slerp_slices};
