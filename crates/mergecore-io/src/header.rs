//! The header of a safetensors file, read as the untrusted bytes it is.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io;
use std::ops::Range;

use mergecore_tensor::DType;
use safetensors::Dtype;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::natural::natural_order;

/// The longest header, in bytes, that is read or written: the format's own limit.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;

/// The most dimensions of a tensor: PyTorch and NumPy have no more.
const MAX_RANK: usize = 64;

/// Bytes of the length in front of the header.
pub(crate) const PREFIX: u64 = 8;

/// What the header of a safetensors file says.
///
/// ```
/// let json = br#"{"__metadata__":{"format":"pt"},"w":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}}"#;
/// let mut file = (json.len() as u64).to_le_bytes().to_vec();
/// file.extend(json);
/// file.extend([1, 2, 3]);
/// let header = mergecore_io::parse_header(&file, file.len() as u64)?;
/// assert_eq!(header.metadata["format"], "pt");
/// assert_eq!(file[header.data_start as usize..], [1, 2, 3]);
/// # Ok::<(), mergecore_io::HeaderError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Header {
    /// The tensors in the order of their bytes in the file.
    pub entries: Vec<HeaderEntry>,
    /// The file's `__metadata__`; empty where it has none.
    pub metadata: BTreeMap<String, String>,
    /// Where tensor data begins in the file.
    pub data_start: u64,
}

/// One tensor of a safetensors file.
///
/// ```
/// use mergecore_tensor::DType;
///
/// let json = br#"{"w":{"dtype":"F16","shape":[2,3],"data_offsets":[0,12]}}"#;
/// let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[0; 12]].concat();
/// let entry = &mergecore_io::parse_header(&file, file.len() as u64)?.entries[0];
/// assert_eq!((entry.name.as_str(), entry.dtype), ("w", DType::F16));
/// assert_eq!(entry.bytes.end - entry.bytes.start, 2 * 3 * 2);
/// # Ok::<(), mergecore_io::HeaderError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeaderEntry {
    /// The tensor's name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Its bytes, counted from the beginning of the file.
    pub bytes: Range<u64>,
}

/// Why a file's header cannot be accepted.
///
/// ```
/// use mergecore_io::{HeaderError, parse_header};
///
/// let json = br#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[0; 5]].concat();
/// match parse_header(&file, file.len() as u64) {
///     Err(HeaderError::Truncated { expected, found }) => assert_eq!(expected - found, 3),
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not even the header's length fits in the file.
    #[error(
        "the file has only {file_len} bytes, fewer than the 8 that a safetensors file begins with; \
         it is empty or its download was cut off, so fetch it again"
    )]
    TooShort {
        /// The file's length.
        file_len: u64,
    },
    /// The file is a Git LFS pointer.
    #[error(
        "this is not the weights but a Git LFS pointer to them, left by a clone without Git LFS; \
         run `git lfs pull` in that directory or download the file itself"
    )]
    LfsPointer,
    /// The header claims more than the format allows.
    #[error(
        "its first 8 bytes announce a header of {header_len} bytes, beyond the limit of \
         {MAX_HEADER_BYTES}; this is probably not a safetensors file, so fetch it again"
    )]
    TooLong {
        /// The length announced.
        header_len: u64,
    },
    /// The header runs beyond the end of the file.
    #[error(
        "the header should be {header_len} bytes long, but the file ends {missing} bytes before \
         its end; the download was probably cut off, so fetch the file again"
    )]
    HeaderTruncated {
        /// The length announced.
        header_len: u64,
        /// Bytes that are missing.
        missing: u64,
    },
    /// [`parse_header`] was given too small a part of the file.
    #[error("{needed} bytes are needed to read the header, and {given} were given")]
    Incomplete {
        /// Bytes of length and header together.
        needed: u64,
        /// Bytes given.
        given: u64,
    },
    /// The header is not text.
    #[error(
        "the header is not UTF-8 (from its byte {position} on); the file is damaged, so fetch it again"
    )]
    NotUtf8 {
        /// First byte of the header that is wrong.
        position: usize,
    },
    /// The header is not JSON, or not of the form that safetensors prescribes.
    #[error(
        "the header is not what a safetensors file has there: {source}; the file is damaged, so fetch it again"
    )]
    Json {
        /// The parser's report.
        source: serde_json::Error,
    },
    /// A tensor's entry in the header has the wrong form.
    #[error(
        "the header's entry for tensor `{tensor}` is malformed: {source}; write the file again"
    )]
    Entry {
        /// The tensor.
        tensor: String,
        /// The parser's report.
        source: serde_json::Error,
    },
    /// Two tensors of one name.
    #[error(
        "the header lists tensor `{tensor}` twice, and only one of the two can be meant; the file \
         must be written again"
    )]
    DuplicateTensor {
        /// The tensor.
        tensor: String,
    },
    /// A dtype that cannot be read.
    #[error(
        "tensor `{tensor}` has dtype {dtype}, which is not supported; use a checkpoint stored as \
         BF16, F16 or F32"
    )]
    Dtype {
        /// The tensor.
        tensor: String,
        /// Its dtype, as the header has it.
        dtype: String,
    },
    /// A tensor does not begin where the one before it ends.
    #[error(
        "tensor `{tensor}` begins at byte {found} of the data, but the tensors before it end at \
         byte {expected}; there must be no gap and no overlap, so the file must be written again"
    )]
    Offset {
        /// The tensor.
        tensor: String,
        /// Where it should begin.
        expected: u64,
        /// Where the header puts it.
        found: u64,
    },
    /// A tensor's bytes do not match its shape and dtype.
    #[error(
        "tensor `{tensor}` of shape {shape:?} and dtype {dtype} needs {expected} bytes, but the \
         header gives it bytes {}..{}; the file must be written again",
        found.start, found.end
    )]
    Size {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its dtype.
        dtype: DType,
        /// Bytes that shape and dtype ask for.
        expected: u64,
        /// Its bytes by the header, counted from the beginning of the data.
        found: Range<u64>,
    },
    /// More dimensions than any framework has.
    #[error(
        "tensor `{tensor}` has {rank} dimensions, and the frameworks that load checkpoints have at \
         most {MAX_RANK}; the file must be written again"
    )]
    Rank {
        /// The tensor.
        tensor: String,
        /// Its number of dimensions.
        rank: usize,
    },
    /// A shape whose size no computer can address.
    #[error(
        "tensor `{tensor}` has shape {shape:?}, too large to be true; the file must be written again"
    )]
    Overflow {
        /// The tensor.
        tensor: String,
        /// Its shape.
        shape: Vec<usize>,
    },
    /// The file ends before its data does.
    #[error(
        "the file is truncated: its header describes {expected} bytes and it has {found}, \
         {} too few; the download was probably cut off, so fetch it again",
        expected - found
    )]
    Truncated {
        /// The length that the header asks for.
        expected: u64,
        /// The file's length.
        found: u64,
    },
    /// The file goes on after its data.
    #[error(
        "the file has {} bytes after its last tensor: its header describes {expected} bytes and it \
         has {found}; it is damaged or something was appended, so fetch it again",
        found - expected
    )]
    TrailingBytes {
        /// The length that the header asks for.
        expected: u64,
        /// The file's length.
        found: u64,
    },
}

/// Reads the header at the beginning of a safetensors file of `file_len` bytes.
///
/// `bytes` holds at least the first 8 bytes and the header; what follows is not
/// looked at. Whatever is accepted has its tensors' bytes inside the file,
/// disjoint and without gaps, under different names.
///
/// # Errors
///
/// See [`HeaderError`]. Everything that the `safetensors` crate rejects is
/// rejected, and so are the dtypes that [`DType`] lacks, tensors of more than 64
/// dimensions, and two tensors of one name, of which other readers take the later without
/// a word.
///
/// ```
/// let json = br#"{"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
/// let mut file = (json.len() as u64).to_le_bytes().to_vec();
/// file.extend(json);
/// let header = mergecore_io::parse_header(&file, file.len() as u64 + 12).unwrap();
/// assert_eq!(header.entries[0].shape, [2, 3]);
/// assert_eq!(header.entries[0].bytes.end, file.len() as u64 + 12);
/// ```
pub fn parse_header(bytes: &[u8], file_len: u64) -> Result<Header, HeaderError> {
    let given = bytes.len() as u64;
    let Some((prefix, rest)) = bytes.split_first_chunk() else {
        return Err(match file_len {
            0..PREFIX => HeaderError::TooShort { file_len },
            _ => HeaderError::Incomplete { needed: PREFIX, given },
        });
    };
    let header_len = header_len(*prefix, file_len)?;
    let json = usize::try_from(header_len).ok().and_then(|n| rest.get(..n));
    let Some(json) = json else {
        return Err(HeaderError::Incomplete { needed: PREFIX + header_len, given });
    };
    parse_json(json, file_len)
}

/// Reads the header of an open file, touching nothing behind it. The outer
/// error is the file system's.
pub(crate) fn read_header(
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    file_len: u64,
) -> io::Result<Result<Header, HeaderError>> {
    if file_len < PREFIX {
        return Ok(Err(HeaderError::TooShort { file_len }));
    }
    let mut prefix = [0; PREFIX as usize];
    read(&mut prefix, 0)?;
    // The length is checked before anything is allocated for it.
    let header_len = match header_len(prefix, file_len) {
        Ok(len) => len,
        Err(error) => return Ok(Err(error)),
    };
    let mut json = vec![0; header_len as usize];
    read(&mut json, PREFIX)?;
    Ok(parse_json(&json, file_len))
}

fn header_len(prefix: [u8; 8], file_len: u64) -> Result<u64, HeaderError> {
    if file_len < PREFIX {
        return Err(HeaderError::TooShort { file_len });
    }
    if &prefix == b"version " {
        return Err(HeaderError::LfsPointer);
    }
    let header_len = u64::from_le_bytes(prefix);
    if header_len > MAX_HEADER_BYTES {
        return Err(HeaderError::TooLong { header_len });
    }
    match (PREFIX + header_len).checked_sub(file_len) {
        Some(missing @ 1..) => Err(HeaderError::HeaderTruncated { header_len, missing }),
        _ => Ok(header_len),
    }
}

fn parse_json(json: &[u8], file_len: u64) -> Result<Header, HeaderError> {
    let text = std::str::from_utf8(json)
        .map_err(|error| HeaderError::NotUtf8 { position: error.valid_up_to() })?;
    let Listed { metadata, mut tensors } =
        serde_json::from_str(text).map_err(|error| explain(text, error))?;
    if let Some(tensor) = named_twice(&tensors) {
        return Err(HeaderError::DuplicateTensor { tensor });
    }
    tensors.sort_by(|(name, info), (other_name, other)| {
        let order = info.data_offsets.cmp(&other.data_offsets);
        order.then_with(|| natural_order(name, other_name))
    });

    let data_start = PREFIX + json.len() as u64;
    let mut entries = Vec::with_capacity(tensors.len());
    let mut end = 0;
    for (tensor, info) in tensors {
        let found = info.data_offsets.0 as u64..info.data_offsets.1 as u64;
        if found.start != end {
            return Err(HeaderError::Offset { tensor, expected: end, found: found.start });
        }
        let Some(dtype) = supported(info.dtype) else {
            return Err(HeaderError::Dtype { tensor, dtype: info.dtype.to_string() });
        };
        let Shape { dims: shape, rank } = info.shape;
        if rank > MAX_RANK {
            return Err(HeaderError::Rank { tensor, rank });
        }
        let Some(expected) = byte_len(&shape, dtype) else {
            return Err(HeaderError::Overflow { tensor, shape });
        };
        if found.start.checked_add(expected) != Some(found.end) {
            return Err(HeaderError::Size { tensor, shape, dtype, expected, found });
        }
        end = found.end;
        let Some(in_file) = data_start.checked_add(end) else {
            return Err(HeaderError::Overflow { tensor, shape });
        };
        let bytes = data_start + found.start..in_file;
        entries.push(HeaderEntry { name: tensor, dtype, shape, bytes });
    }

    let expected = data_start + end;
    if expected > file_len {
        return Err(HeaderError::Truncated { expected, found: file_len });
    }
    if expected < file_len {
        return Err(HeaderError::TrailingBytes { expected, found: file_len });
    }
    Ok(Header { entries, metadata: metadata.unwrap_or_default(), data_start })
}

/// The first name that was there before.
fn named_twice(tensors: &[(String, Info)]) -> Option<String> {
    let mut seen = HashSet::with_capacity(tensors.len());
    let again = tensors.iter().find(|(name, _)| !seen.insert(name.as_str()));
    again.map(|(name, _)| name.clone())
}

/// A header as it is written.
struct Listed {
    metadata: Option<BTreeMap<String, String>>,
    tensors: Vec<(String, Info)>,
}

impl<'de> Deserialize<'de> for Listed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Listed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map from tensor names to dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Listed, A::Error> {
                let (mut metadata, mut tensors) = (None, Vec::new());
                while let Some(name) = map.next_key::<String>()? {
                    if name == "__metadata__" {
                        set(&mut metadata, "__metadata__", map.next_value()?)?;
                    } else {
                        tensors.push((name, map.next_value()?));
                    }
                }
                Ok(Listed { metadata: metadata.flatten(), tensors })
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// What is written of a tensor.
struct Info {
    dtype: Dtype,
    shape: Shape,
    data_offsets: (usize, usize),
}

/// As many of the dimensions as a tensor may have, and how many are written.
struct Shape {
    dims: Vec<usize>,
    rank: usize,
}

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Dims;

        impl<'de> Visitor<'de> for Dims {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut shape = Shape { dims: Vec::new(), rank: 0 };
                while let Some(dim) = seq.next_element()? {
                    if shape.rank < MAX_RANK {
                        shape.dims.push(dim);
                    }
                    shape.rank += 1;
                }
                Ok(shape)
            }
        }

        deserializer.deserialize_seq(Dims)
    }
}

/// Any value: parsed in full, and not kept.
struct Discarded;

impl<'de> Deserialize<'de> for Discarded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = Discarded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_i64<E>(self, _: i64) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_u64<E>(self, _: u64) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_f64<E>(self, _: f64) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_str<E>(self, _: &str) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_unit<E>(self) -> Result<Discarded, E> {
                Ok(Discarded)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Discarded, A::Error> {
                while seq.next_element::<Discarded>()?.is_some() {}
                Ok(Discarded)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Discarded, A::Error> {
                while map.next_entry::<Discarded, Discarded>()?.is_some() {}
                Ok(Discarded)
            }
        }

        deserializer.deserialize_any(Anything)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Dtype,
    Shape,
    DataOffsets,
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Info {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = Info;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("dtype, shape and data_offsets")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Info, A::Error> {
                let (mut dtype, mut shape, mut data_offsets) = (None, None, None);
                while let Some(field) = map.next_key()? {
                    match field {
                        Field::Dtype => set(&mut dtype, "dtype", map.next_value()?)?,
                        Field::Shape => set(&mut shape, "shape", map.next_value()?)?,
                        Field::DataOffsets => {
                            set(&mut data_offsets, "data_offsets", map.next_value()?)?;
                        }
                        // Not skipped but read: other readers refuse what is no value, or
                        // nested too deep.
                        Field::Other => {
                            let _: Discarded = map.next_value()?;
                        }
                    }
                }
                Ok(Info {
                    dtype: dtype.ok_or_else(|| A::Error::missing_field("dtype"))?,
                    shape: shape.ok_or_else(|| A::Error::missing_field("shape"))?,
                    data_offsets: data_offsets
                        .ok_or_else(|| A::Error::missing_field("data_offsets"))?,
                })
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Info, A::Error> {
                let fields = Deserialize::deserialize(SeqAccessDeserializer::new(seq));
                fields.map(|(dtype, shape, data_offsets)| Info { dtype, shape, data_offsets })
            }
        }

        deserializer.deserialize_struct("Info", &["dtype", "shape", "data_offsets"], Fields)
    }
}

/// Sets what may be given only once.
fn set<T, E: Error>(slot: &mut Option<T>, name: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(name)),
    }
}

/// The dtype of that name, if it is one that can be read.
fn supported(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::F8_E5M2 => DType::F8E5M2,
        Dtype::F8_E4M3 => DType::F8E4M3,
        Dtype::F8_E8M0 => DType::F8E8M0,
        Dtype::I16 => DType::I16,
        Dtype::U16 => DType::U16,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::Bf16,
        Dtype::I32 => DType::I32,
        Dtype::U32 => DType::U32,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        Dtype::I64 => DType::I64,
        Dtype::U64 => DType::U64,
        _ => return None,
    })
}

/// Looks through a header that was rejected for the tensor that is to blame,
/// which the parser's own report does not name.
fn explain(text: &str, error: serde_json::Error) -> HeaderError {
    // Beyond this, all values of a header that is wrong would take gigabytes.
    const MOST: usize = 10_000_000;
    let values = (text.len() <= MOST).then(|| serde_json::from_str(text));
    let Some(Ok(Value::Object(map))) = values else {
        return HeaderError::Json { source: error };
    };
    for (tensor, value) in map.into_iter().filter(|(name, _)| name != "__metadata__") {
        let dtype = value.get("dtype").and_then(Value::as_str).map(str::to_owned);
        if let Err(source) = serde_json::from_value::<Info>(value) {
            return match dtype {
                Some(dtype) if dtype.parse::<DType>().is_err() => {
                    HeaderError::Dtype { tensor, dtype }
                }
                _ => HeaderError::Entry { tensor, source },
            };
        }
    }
    HeaderError::Json { source: error }
}

/// Elements of a shape; `None` where they cannot be counted.
pub(crate) fn element_count(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |n, dim| n.checked_mul(*dim as u64))
}

/// Bytes of a tensor; `None` where they cannot be counted. The number of bits
/// must fit too, because other readers count in bits.
pub(crate) fn byte_len(shape: &[usize], dtype: DType) -> Option<u64> {
    let bits = element_count(shape)?.checked_mul(8 * dtype.size() as u64)?;
    Some(bits / 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use safetensors::SafeTensors;

    fn file(json: &str) -> Vec<u8> {
        [&(json.len() as u64).to_le_bytes(), json.as_bytes()].concat()
    }

    fn parse(json: &str, data: u64) -> Result<Header, HeaderError> {
        let bytes = file(json);
        parse_header(&bytes, bytes.len() as u64 + data)
    }

    #[test]
    fn entries_come_in_file_order_and_any_rank_is_accepted() {
        let json = r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},
            "__metadata__":{"format":"pt"},
            "scalar":{"dtype":"F32","shape":[],"data_offsets":[0,4]},
            "none":{"dtype":"F64","shape":[3,0],"data_offsets":[4,4]}}"#;
        let header = parse(json, 6).unwrap();
        let names: Vec<_> = header.entries.iter().map(|e| e.name.as_str()).collect();
        assert_eq!(names, ["scalar", "none", "b"]);
        assert_eq!(header.metadata["format"], "pt");
        assert_eq!(header.data_start, 8 + json.len() as u64);
        assert_eq!(header.entries[2].bytes, header.data_start + 4..header.data_start + 6);
    }

    /// What the `safetensors` crate makes of a header with no data behind it must be what
    /// is made of it here, but for dtypes.
    fn assert_agrees(json: &str) {
        let bytes = file(json);
        match (parse_header(&bytes, bytes.len() as u64), SafeTensors::read_metadata(&bytes)) {
            (Ok(header), Ok((_, reference))) => {
                assert_eq!(header.entries.len(), reference.tensors().len(), "{json}");
                for entry in &header.entries {
                    let info = reference.info(&entry.name).unwrap();
                    assert_eq!(info.dtype.to_string(), entry.dtype.name(), "{json}");
                    assert_eq!(info.shape, entry.shape, "{json}");
                }
                let metadata: BTreeMap<_, _> =
                    reference.metadata().clone().unwrap_or_default().into_iter().collect();
                assert_eq!(header.metadata, metadata, "{json}");
            }
            (Err(HeaderError::Dtype { .. }), Ok(_)) | (Err(_), Err(_)) => {}
            // The reference takes the later of the two.
            (Err(HeaderError::DuplicateTensor { tensor }), Ok((_, reference))) => {
                assert!(reference.info(&tensor).is_some(), "{json}");
            }
            (found, _) => panic!("{json}: {found:?}"),
        }
    }

    #[test]
    fn unusual_headers_are_read_as_by_other_readers() {
        let entry = r#"{"dtype":"U8","shape":[0],"data_offsets":[0,0]}"#;
        for json in [
            "{}".to_owned(),
            "{} ".to_owned(),
            "[]".to_owned(),
            r#"{"__metadata__":null}"#.to_owned(),
            r#"{"__metadata__":{"a":"1","a":"2"}}"#.to_owned(),
            r#"{"__metadata__":{"a":1}}"#.to_owned(),
            r#"{"__metadata__":null,"__metadata__":null}"#.to_owned(),
            r#"{"\u005f_metadata__":{"a":"b"}}"#.to_owned(),
            format!(r#"{{"w":{entry},"w":{entry}}}"#),
            format!(r#"{{"w":{{"dtype":"U8","shape":[9],"data_offsets":[0,9]}},"w":{entry}}}"#),
            format!(r#"{{"w":{entry},"w":{{"dtype":"U8"}}}}"#),
            format!(r#"{{"b":{entry},"a":{entry}}}"#),
            r#"{"w":["U8",[0],[0,0]]}"#.to_owned(),
            r#"{"w":["U8",[0],[0,0],1]}"#.to_owned(),
            r#"{"w":{"dtype":{"U8":null},"shape":[0],"data_offsets":[0,0]}}"#.to_owned(),
            r#"{"w":{"dtype":"U8","shape":[0.0],"data_offsets":[0,0]}}"#.to_owned(),
            r#"{"w":{"dtype":"U8","shape":[-0],"data_offsets":[0,0]}}"#.to_owned(),
            r#"{"w":{"dtype":"U8","shape":[0],"data_offsets":[0,0,0]}}"#.to_owned(),
            r#"{"w":{"dtype":"U8","dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#.to_owned(),
            r#"{"w":{"dtype":"F4","shape":[0],"data_offsets":[0,0]}}"#.to_owned(),
        ] {
            assert_agrees(&json);
        }
        // Fields that nobody knows are passed over, but must be JSON that can be read.
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for value in ["1", "null", r#"{"a":[1,{}]}"#, "1e999", r#""\ud800""#, &deep] {
            let rest = r#""dtype":"U8","shape":[0],"data_offsets":[0,0]"#;
            assert_agrees(&format!(r#"{{"w":{{"extra":{value},{rest}}}}}"#));
        }
    }

    proptest! {
        #[test]
        fn damaged_headers_are_read_as_by_other_readers(
            edits in proptest::collection::vec(
                (0..200usize, proptest::sample::select(b"0159,:.{}[]\"\\ae-_".to_vec())), 0..3,
            ),
        ) {
            let mut json = br#"{"__metadata__":{"format":"pt"},"a":{"dtype":"U8","shape":[0,1],"data_offsets":[0,0]},"b":{"dtype":"F64","shape":[5,0],"data_offsets":[0,0],"a":[1,{"a":"b"}]}}"#.to_vec();
            for (place, byte) in edits {
                let place = place % json.len();
                json[place] = byte;
            }
            assert_agrees(std::str::from_utf8(&json).unwrap());
        }
    }
}
