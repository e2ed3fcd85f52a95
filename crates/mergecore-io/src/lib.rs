#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod checkpoint;
mod companions;
mod discover;
mod error;
mod header;
mod index;
mod journal;
mod layout;
mod mapped;
mod natural;
mod output_path;
mod page_cache;
mod positioned;
mod quantisation;
mod rows;
mod source;
mod staging;
mod stamp;
mod storage;
mod work_lock;
mod writer;

pub use checkpoint::{Checkpoint, SourceFile};
pub use companions::{Companion, CompanionKind};
pub use discover::{MAX_CONFIG_BYTES, MAX_FILE_BYTES, may_be_weights};
pub use error::IoError;
pub use header::{Header, HeaderEntry, HeaderError, MAX_HEADER_BYTES, parse_header};
pub use index::{INDEX_FILE, Index, IndexError, parse_index};
pub use journal::Journal;
pub use layout::{Layout, Placement, Shard, TensorSpec};
pub use mapped::MappedCheckpoint;
pub use natural::natural_order;
pub use quantisation::{Quantisation, detect_quantisation};
pub use rows::Rows;
pub use source::{StoredTensor, TensorSource};
pub use staging::StagedDir;
pub use stamp::Stamp;
pub use storage::{Storage, StorageCall, StorageHook};
pub use writer::{CheckpointWriter, sync_dir};
