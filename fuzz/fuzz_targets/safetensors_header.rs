//! Headers and indexes are untrusted. Every input is tried as a whole file, as the
//! JSON of a header, and as an index.
//!
//! Oracle: the `safetensors` crate on a buffer of the file's length. What it rejects
//! must be rejected; what it accepts must be accepted with the same tensors, unless a
//! dtype is one that mergecore lacks or a name stands there twice. Accepted byte ranges must tile the data. An
//! accepted index must never lead out of its directory.

#![no_main]

use std::path::{Component, Path};

use libfuzzer_sys::fuzz_target;
use mergecore_io::{HeaderError, parse_header, parse_index};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, Metadata};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

/// Data beyond this is not built in memory.
const MAX_DATA: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    check_file(input);
    check_header_text(input);
    check_index(input);
});

/// The input as a header, with as much data behind it as it asks for, one byte
/// less and one byte more.
fn check_header_text(json: &[u8]) {
    let wanted = serde_json::from_slice::<Metadata>(json).map_or(0, |metadata| metadata.data_len());
    let mut file = (json.len() as u64).to_le_bytes().to_vec();
    file.extend(json);
    let data_start = file.len();
    if wanted > MAX_DATA {
        let error = parse_header(&file, data_start as u64).expect_err("the data is not there");
        assert!(!error.to_string().is_empty());
        return;
    }
    for data in [Some(wanted), wanted.checked_sub(1), Some(wanted + 1)].into_iter().flatten() {
        file.resize(data_start + data, 0);
        check_file(&file);
    }
}

fn check_file(file: &[u8]) {
    // The reference adds lengths without checking for overflow.
    let json = file.get(8..).unwrap_or_default();
    let length = file.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
    let header = usize::try_from(length).ok().and_then(|n| json.get(..n));
    let metadata = header.and_then(|text| serde_json::from_slice::<Metadata>(text).ok());
    let addable = metadata.is_none_or(|metadata| metadata.data_len() < usize::MAX / 2);
    let reference = if addable { SafeTensors::read_metadata(file).ok() } else { None };

    match (parse_header(file, file.len() as u64), reference) {
        (Ok(header), Some((_, reference))) => {
            let expected = reference.tensors();
            assert_eq!(header.entries.len(), expected.len());
            let mut next = header.data_start;
            for entry in &header.entries {
                let info = expected[&entry.name];
                assert_eq!(entry.dtype.name(), info.dtype.to_string());
                assert_eq!(entry.shape, info.shape);
                assert_eq!(entry.bytes.start, header.data_start + info.data_offsets.0 as u64);
                assert_eq!(entry.bytes.end, header.data_start + info.data_offsets.1 as u64);
                assert_eq!(entry.bytes.start, next, "gap or overlap before {:?}", entry.name);
                assert!(entry.bytes.end >= entry.bytes.start);
                next = entry.bytes.end;
            }
            assert_eq!(next, file.len() as u64);
            let pairs = reference.metadata().iter().flatten().count();
            assert_eq!(header.metadata.len(), pairs);
        }
        (Err(HeaderError::Dtype { tensor, dtype }), Some((_, reference))) => {
            let info = reference.info(&tensor).expect("the error names a tensor of the file");
            assert_eq!(info.dtype.to_string(), dtype);
            assert!(is_unsupported(info.dtype), "{dtype} is supported");
        }
        // The reference knows no limit.
        (Err(HeaderError::Rank { tensor, rank }), Some((_, reference))) => {
            let info = reference.info(&tensor).expect("the error names a tensor of the file");
            assert!(info.shape.len() == rank && rank > 64, "{rank}");
        }
        // The reference takes the later of the two.
        (Err(HeaderError::DuplicateTensor { tensor }), Some((length, _))) => {
            let names: Names = serde_json::from_slice(&json[..length]).expect("a header is JSON");
            assert!(names.0.iter().filter(|name| **name == tensor).count() > 1, "{tensor:?}");
        }
        (Err(error), Some(_)) => panic!("rejected a good file: {error}"),
        (Ok(header), None) => panic!("accepted a bad file: {header:?}"),
        (Err(error), None) => assert!(!error.to_string().is_empty()),
    }
}

/// The keys of an object, as often as they stand there.
struct Names(Vec<String>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Names(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Names {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        while let Some((name, IgnoredAny)) = map.next_entry()? {
            self.0.push(name);
        }
        Ok(self)
    }
}

fn is_unsupported(dtype: Dtype) -> bool {
    use Dtype::*;
    matches!(dtype, F4 | F6_E2M3 | F6_E3M2 | F8_E4M3FNUZ | F8_E5M2FNUZ | C64)
}

fn check_index(text: &[u8]) {
    let Ok(index) = parse_index(text) else { return };
    assert!(!index.tensors.is_empty());
    for (tensor, shard) in &index.tensors {
        assert_eq!(index.shard_of(tensor), Some(shard.as_str()));
        let parts: Vec<Component<'_>> = Path::new(shard).components().collect();
        assert!(
            matches!(parts.as_slice(), [Component::Normal(name)] if name.to_str() == Some(shard))
        );
        assert!(
            !shard.contains(['/', '\\', ':', '\0']),
            "{shard:?} leaves the directory on some system"
        );
    }
    let shards = index.shards();
    assert!(shards.windows(2).all(|pair| pair[0] != pair[1]));
}
