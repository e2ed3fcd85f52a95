#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod band;
mod breadcrumbs;
mod breadcrumbs_method;
mod magnitudes;
mod task_arithmetic;
mod ties;
mod trim;

pub use breadcrumbs::{Breadcrumbs, breadcrumbs_slices, breadcrumbs_ties_slices};
#[cfg(feature = "ndarray")]
pub use breadcrumbs::{breadcrumbs, breadcrumbs_ties};
pub use breadcrumbs_method::{BreadcrumbsMethod, BreadcrumbsTiesMethod};
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
pub use mergecore_kernel::{Consensus, Elect, Election, KernelError, Rescale};
#[cfg(feature = "ndarray")]
pub use task_arithmetic::task_arithmetic;
pub use task_arithmetic::{TaskArithmetic, TaskArithmeticMethod, task_arithmetic_slices};
#[cfg(feature = "ndarray")]
pub use ties::ties;
pub use ties::{Ties, TiesMethod, ties_slices};
pub use trim::keep_count;
