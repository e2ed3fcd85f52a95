//! What the fuzz targets share.

mod bytes;
#[cfg(unix)]
mod faults;
#[cfg(unix)]
mod model;
mod numbers;
mod scratch;
mod tensor_file;

pub use bytes::Bytes;
#[cfg(unix)]
pub use faults::{Outlook, add_faults};
#[cfg(unix)]
pub use model::{File, INDEX, Model, Shape};
pub use numbers::{Float, Special, Stored, Values, stored};
pub use scratch::Scratch;
pub use tensor_file::TensorFile;
