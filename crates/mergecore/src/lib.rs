#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod card;
mod check;
mod error;
#[cfg(feature = "hub")]
mod hub;
mod merge;

pub use card::{load_recipe, render_model_card, save_model_card};
pub use check::{reproduce, verify};
pub use error::{Error, Result};
#[cfg(feature = "hub")]
pub use hub::hub_locator;
pub use merge::{
    builtin_methods, merge, merge_with, open_model, partial_work, plan, plan_for_output, plan_with,
};

pub use mergecore_config::{
    Conditional, ConfigError, FloatType, InputModel, MergeConfig, MergeInput, ModelLocation,
    ModelRef, Module, ModuleInput, OutputSlice, Parameters, Place, RecipePath, Scalar, Setting,
    SliceSource, Value, nearest,
};
pub use mergecore_engine::{
    Architecture, CancelFlag, CardError, EngineError, Fault, ManifestError, MergeOptions,
    MergePlan, MergeReport, Model, ModelCardOptions, ModelCardTemplate, ModelLocator,
    ModelNotFound, OpenError, Operation, PlannedTensor, Problems, Progress, ProgressCallback,
    Registry, Reproduction, Role, Stack, Tally, TensorInput, Verification, locate_model,
    stream_key,
};
#[cfg(feature = "hub")]
pub use mergecore_hub::{HubCache, HubError};
pub use mergecore_io::{
    Checkpoint, Companion, CompanionKind, IoError, Layout, Storage, StorageCall, StorageHook,
    StoredTensor, TensorSource,
};
/// What a merge method of one's own is written with.
pub use mergecore_kernel as kernel;
pub use mergecore_kernel::{
    Consensus, Elect, Election, ElementWise, KernelError, Method, Rescale, StreamKey, ndarray,
};
pub use mergecore_tensor::{DType, Element, Simd, bf16, f16};

pub use mergecore_adaptive::{
    ArceeFusion, ModelStock, NearSwap, arcee_fusion, arcee_fusion_slices, model_stock,
    model_stock_slices, nearswap, nearswap_slices,
};
pub use mergecore_dare::{
    Dare, Della, dare_linear, dare_linear_slices, dare_ties, dare_ties_slices, della, della_linear,
    della_linear_slices, della_slices,
};
pub use mergecore_linear::{Linear, linear, linear_slices};
pub use mergecore_slerp::{
    Karcher, MultiSlerp, NuSlerp, Slerp, karcher, karcher_slices, multislerp, multislerp_slices,
    nuslerp, nuslerp_slices, slerp, slerp_slices,
};
#[cfg(feature = "spectral")]
pub use mergecore_spectral::{IsoC, Tsv, iso_c, iso_c_slices, tsv, tsv_slices};
pub use mergecore_ties::{
    Breadcrumbs, ConsensusTa, MagMax, Ram, RamPlus, Sce, TaskArithmetic, Ties, TrimScope,
    breadcrumbs, breadcrumbs_slices, breadcrumbs_ties, breadcrumbs_ties_slices, consensus_ta,
    consensus_ta_slices, magmax, magmax_slices, ram, ram_slices, ramplus_tl, ramplus_tl_slices,
    sce, sce_slices, task_arithmetic, task_arithmetic_slices, ties, ties_slices,
};
