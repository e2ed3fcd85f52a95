#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(feature = "ndarray")]
mod arrays;
mod chacha;
mod combine;
#[cfg(feature = "conformance")]
pub mod conformance;
mod deltas;
mod driver;
mod election;
mod element_wise;
mod error;
mod gram;
mod kernel;
mod key_range;
mod mask;
mod method;
mod prune;
mod rescale;
mod select;
mod stored;
mod survey;
mod task_vectors;
mod tile;

#[cfg(feature = "ndarray")]
pub use arrays::{merge_arrays, merge_arrays_onto_base, merge_model_arrays};
pub use combine::Combination;
pub use driver::{
    TensorSlices, Worker, blocks, merge_models, merge_slices, merge_slices_onto_base, merge_tensors,
};
pub use election::{Consensus, Elect, Election};
pub use element_wise::ElementWise;
pub use error::KernelError;
pub use gram::{Gram, GramScan, dot};
pub use kernel::{Apply, ErasedPartial, ErasedScan, Kernel, Order, ReadInputs, Scan, Step, Whole};
pub use mask::RandomMask;
pub use mergecore_tensor::{DType, Element, Elements, ElementsMut, Found, Losses, Simd, Vectorize};
pub use method::{
    Argument, Arguments, Base, Binding, DefaultValue, Inputs, Method, Parameter, ParameterKind,
    Scope, StreamKey,
};
#[cfg(feature = "ndarray")]
pub use ndarray;
pub use prune::{KeepAll, Prune};
pub use rescale::Rescale;
pub use select::{Cutoff, Keys, magnitude_key, select};
pub use stored::{StoredWork, TypedApply, over_stored};
pub use survey::{Concatenation, Survey, SurveyRun, keep_count};
pub use task_vectors::TaskVectors;
pub use tile::{BLOCK, Extent, TILE, Tile};
