#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod bidiagonal;
mod interruptible;
mod iso_c;
mod rotations;
mod svd;
mod task_matrix;
mod tsv;

#[cfg(feature = "ndarray")]
pub use iso_c::iso_c;
pub use iso_c::{IsoC, IsoCMethod, iso_c_slices};
pub use mergecore_kernel::KernelError;
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
#[cfg(feature = "ndarray")]
pub use tsv::tsv;
pub use tsv::{Tsv, TsvMethod, tsv_slices};
