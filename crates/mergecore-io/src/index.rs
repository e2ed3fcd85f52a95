//! The index of a sharded checkpoint: which file holds which tensor.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::natural::natural_order;

/// The index's file name.
pub const INDEX_FILE: &str = "model.safetensors.index.json";

/// What an index says. Its shard names are plain file names.
///
/// ```
/// let text = br#"{"weight_map": {"b": "2.safetensors", "c": "2.safetensors", "a": "1.safetensors"}}"#;
/// let index = mergecore_io::parse_index(text)?;
/// assert_eq!(index.shards(), ["1.safetensors", "2.safetensors"]);
/// assert_eq!(index.shard_of("c"), Some("2.safetensors"));
/// assert_eq!(index.shard_of("d"), None);
/// # Ok::<(), mergecore_io::IndexError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Index {
    /// Every tensor with its shard's file name, in [natural order](natural_order)
    /// of the tensors.
    pub tensors: Vec<(String, String)>,
}

impl Index {
    /// The shards' file names, each once, in natural order.
    pub fn shards(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.tensors.iter().map(|(_, shard)| shard.as_str()).collect();
        // Most tensors are in the shard of the one before.
        names.dedup();
        names.sort_by(|a, b| natural_order(a, b));
        names.dedup();
        names
    }

    /// The shard that holds `tensor`.
    pub fn shard_of(&self, tensor: &str) -> Option<&str> {
        let found = self.tensors.binary_search_by(|(name, _)| natural_order(name, tensor)).ok()?;
        Some(&self.tensors[found].1)
    }
}

/// Why an index cannot be accepted.
///
/// ```
/// use mergecore_io::{IndexError, parse_index};
///
/// let text = br#"{"weight_map": {"w": "../elsewhere.safetensors"}}"#;
/// match parse_index(text) {
///     Err(IndexError::ShardName { tensor, shard }) => {
///         assert_eq!((tensor.as_str(), shard.as_str()), ("w", "../elsewhere.safetensors"));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IndexError {
    /// Not JSON, or not an object with a `weight_map` from names to names.
    #[error(
        "line {line}, column {column}: not a safetensors index (an object whose `weight_map` gives \
         each tensor a file name): {source}; fetch the file again"
    )]
    Json {
        /// Line, counted from 1.
        line: usize,
        /// Column, counted from 1.
        column: usize,
        /// The parser's report.
        source: serde_json::Error,
    },
    /// `weight_map` lists nothing.
    #[error("`weight_map` lists no tensors; fetch the file again")]
    Empty,
    /// A tensor is listed twice.
    #[error("`weight_map` lists tensor `{tensor}` twice; remove the entry that is wrong")]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A shard's name is not a plain file name.
    #[error(
        "tensor `{tensor}` is said to be in {shard:?}, which is not the plain name of a \
         .safetensors file in this directory; names that lead elsewhere are not followed, so \
         correct the index or fetch it again"
    )]
    ShardName {
        /// The tensor.
        tensor: String,
        /// The name given.
        shard: String,
    },
}

/// Reads an index (`model.safetensors.index.json`) from its bytes.
///
/// Shard names are untrusted: only plain names of `.safetensors` files are
/// accepted, so joining one to a directory stays in that directory.
///
/// # Errors
///
/// See [`IndexError`].
///
/// ```
/// let index = mergecore_io::parse_index(br#"{"weight_map": {"w": "a.safetensors"}}"#).unwrap();
/// assert_eq!(index.shard_of("w"), Some("a.safetensors"));
/// assert!(mergecore_io::parse_index(br#"{"weight_map": {"w": "../a.safetensors"}}"#).is_err());
/// ```
pub fn parse_index(bytes: &[u8]) -> Result<Index, IndexError> {
    let parsed: IndexFile = serde_json::from_slice(bytes).map_err(|source| IndexError::Json {
        line: source.line(),
        column: source.column(),
        source,
    })?;
    let mut tensors = parsed.weight_map.0;
    if tensors.is_empty() {
        return Err(IndexError::Empty);
    }
    let mut seen = HashSet::with_capacity(tensors.len());
    for (tensor, shard) in &tensors {
        if !is_plain_name(shard) {
            return Err(IndexError::ShardName { tensor: tensor.clone(), shard: shard.clone() });
        }
        if !seen.insert(tensor) {
            return Err(IndexError::DuplicateTensor { tensor: tensor.clone() });
        }
    }
    tensors.sort_by(|a, b| natural_order(&a.0, &b.0));
    Ok(Index { tensors })
}

/// Neither separators nor, for Windows, drives and streams.
fn is_plain_name(name: &str) -> bool {
    name.ends_with(".safetensors")
        && name != ".safetensors"
        && !name.starts_with("..")
        && !name.chars().any(|c| matches!(c, '/' | '\\' | ':') || c.is_control())
}

#[derive(serde::Deserialize)]
struct IndexFile {
    weight_map: WeightMap,
}

/// The entries as written: a map type would silently keep one of two that share
/// a name.
struct WeightMap(Vec<(String, String)>);

impl<'de> Deserialize<'de> for WeightMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = WeightMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to file names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WeightMap, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(WeightMap(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_listed_once_in_natural_order() {
        let text = br#"{"metadata":{"total_size":1},"weight_map":{
            "layers.10.w":"m-2.safetensors","layers.2.w":"m-1.safetensors","embed":"m-1.safetensors","x":"m-10.safetensors"}}"#;
        let index = parse_index(text).unwrap();
        assert_eq!(index.shards(), ["m-1.safetensors", "m-2.safetensors", "m-10.safetensors"]);
        assert_eq!(index.tensors[1].0, "layers.2.w");
        assert_eq!(index.shard_of("layers.10.w"), Some("m-2.safetensors"));
        assert_eq!(index.shard_of("layers.3.w"), None);
    }
}
