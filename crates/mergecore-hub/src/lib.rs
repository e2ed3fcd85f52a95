#![doc = include_str!("../README.md")]

mod cache;
mod error;

pub use cache::HubCache;
pub use error::HubError;
