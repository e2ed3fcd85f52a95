#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arcee_fusion;
mod divergence;
mod importance;
mod model_stock;
mod nearswap;

#[cfg(feature = "ndarray")]
pub use arcee_fusion::arcee_fusion;
pub use arcee_fusion::{ArceeFusion, ArceeFusionMethod, arcee_fusion_slices};
pub use mergecore_kernel::KernelError;
#[cfg(feature = "ndarray")]
pub use mergecore_kernel::ndarray;
#[cfg(feature = "ndarray")]
pub use model_stock::model_stock;
pub use model_stock::{ModelStock, ModelStockMethod, model_stock_slices};
#[cfg(feature = "ndarray")]
pub use nearswap::nearswap;
pub use nearswap::{NearSwap, NearSwapMethod, nearswap_slices};
