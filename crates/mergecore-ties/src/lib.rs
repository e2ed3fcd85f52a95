#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod band;
mod breadcrumbs;
mod breadcrumbs_method;
mod consensus_ta;
mod elementwise;
mod magmax;
mod magnitudes;
mod ram;
mod ramplus_tl;
mod sce;
mod task_arithmetic;
mod ties;
mod trim;
mod variance;

pub use breadcrumbs::{Breadcrumbs, breadcrumbs_slices, breadcrumbs_ties_slices};
#[cfg(feature = "ndarray")]
pub use breadcrumbs::{breadcrumbs, breadcrumbs_ties};
pub use breadcrumbs_method::{BreadcrumbsMethod, BreadcrumbsTiesMethod};
#[cfg(feature = "ndarray")]
pub use consensus_ta::consensus_ta;
pub use consensus_ta::{ConsensusTa, ConsensusTaMethod, consensus_ta_slices};
#[cfg(feature = "ndarray")]
pub use magmax::magmax;
pub use magmax::{MagMax, MagMaxMethod, magmax_slices};
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
pub use mergecore_kernel::{
    Consensus, Elect, Election, KernelError, Rescale, TensorSlices, keep_count, merge_tensors,
};
#[cfg(feature = "ndarray")]
pub use ram::ram;
pub use ram::{Ram, RamMethod, ram_slices};
#[cfg(feature = "ndarray")]
pub use ramplus_tl::ramplus_tl;
pub use ramplus_tl::{RamPlus, RamPlusMethod, ramplus_tl_slices};
#[cfg(feature = "ndarray")]
pub use sce::sce;
pub use sce::{Sce, SceMethod, sce_slices};
#[cfg(feature = "ndarray")]
pub use task_arithmetic::task_arithmetic;
pub use task_arithmetic::{TaskArithmetic, TaskArithmeticMethod, task_arithmetic_slices};
#[cfg(feature = "ndarray")]
pub use ties::ties;
pub use ties::{Ties, TiesMethod, TrimScope, ties_slices};
