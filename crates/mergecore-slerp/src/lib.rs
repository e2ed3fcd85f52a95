#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod coefficients;
mod columns;
mod karcher;
mod multislerp;
mod nuslerp;
mod pair;
mod rows;
mod share;
mod slerp;
mod sphere;

pub use coefficients::slerp_coefficients;
#[cfg(feature = "ndarray")]
pub use karcher::karcher;
pub use karcher::{Karcher, KarcherMethod, karcher_slices};
pub use mergecore_kernel::KernelError;
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
#[cfg(feature = "ndarray")]
pub use multislerp::multislerp;
pub use multislerp::{MultiSlerp, MultiSlerpMethod, multislerp_slices};
#[cfg(feature = "ndarray")]
pub use nuslerp::nuslerp;
pub use nuslerp::{NuSlerp, NuSlerpMethod, nuslerp_slices};
#[cfg(feature = "ndarray")]
pub use slerp::slerp;
pub use slerp::{Slerp, SlerpMethod, slerp_slices};
