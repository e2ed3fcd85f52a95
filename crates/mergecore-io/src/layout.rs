//! Where every byte of a checkpoint will lie, decided before any is written.

use std::collections::BTreeMap;
use std::ops::Range;

use mergecore_tensor::DType;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::discover::SINGLE_FILE;
use crate::error::IoError;
use crate::header::{MAX_HEADER_BYTES, PREFIX, byte_len};
use crate::natural::natural_order;

/// File sizes are signed on most systems.
const MAX_FILE_BYTES: u64 = i64::MAX as u64;

/// A tensor to be written.
///
/// ```
/// use mergecore_io::{Layout, TensorSpec};
/// use mergecore_tensor::DType;
///
/// let bias = TensorSpec { name: "bias".to_owned(), dtype: DType::Bf16, shape: vec![32_000] };
/// let layout = Layout::new(vec![bias], u64::MAX, Default::default())?;
/// assert_eq!(layout.total_bytes(), 64_000);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub dtype: DType,
    /// Its dimensions, outermost first; empty for a single number.
    pub shape: Vec<usize>,
}

/// The files of a checkpoint and each tensor's place in them.
///
/// Tensors are taken in [natural order](natural_order) of their names and shards
/// are filled in that order. Within a shard, tensors with wider elements come
/// first, so that each begins at a multiple of its element's size. The result
/// depends on the tensors, the limit and the metadata, and not on the order in
/// which the tensors are given.
///
/// ```
/// use mergecore_io::{Layout, TensorSpec};
/// use mergecore_tensor::DType;
///
/// let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::Bf16, shape: vec![4, 8] };
/// let layout = Layout::new(vec![tensor("b"), tensor("a")], 64, Default::default())?;
/// assert_eq!(layout.shards()[0].file_name(), "model-00001-of-00002.safetensors");
/// assert_eq!(layout.placement(1).unwrap().shard, 0); // "a"
/// assert_eq!(layout.total_bytes(), 128);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    tensors: Vec<TensorSpec>,
    placements: Vec<Placement>,
    /// Indices of `tensors` in natural order.
    order: Vec<usize>,
    shards: Vec<Shard>,
}

/// One file of a [`Layout`].
///
/// ```
/// use mergecore_io::{Layout, TensorSpec, parse_header};
/// use mergecore_tensor::DType;
///
/// let tensor = TensorSpec { name: "w".into(), dtype: DType::F32, shape: vec![2] };
/// let layout = Layout::new(vec![tensor], u64::MAX, Default::default())?;
/// let shard = &layout.shards()[0];
/// assert_eq!(shard.file_name(), "model.safetensors");
/// assert_eq!(shard.file_len(), shard.header().len() as u64 + 8);
/// let header = parse_header(shard.header(), shard.file_len()).unwrap();
/// assert_eq!(header.entries[0].name, "w");
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    file_name: String,
    header: Vec<u8>,
    file_len: u64,
}

/// A tensor's place in a [`Layout`].
///
/// ```
/// use mergecore_io::{Layout, TensorSpec};
/// use mergecore_tensor::DType;
///
/// let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::F32, shape: vec![2] };
/// let layout = Layout::new(vec![tensor("b"), tensor("a")], u64::MAX, Default::default())?;
/// let (b, a) = (layout.placement(0).unwrap(), layout.placement(1).unwrap());
/// assert_eq!((a.shard, b.shard), (0, 0));
/// assert_eq!(a.bytes.end, b.bytes.start);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Placement {
    /// Which of [`Layout::shards`].
    pub shard: usize,
    /// Its bytes, counted from the beginning of that file.
    pub bytes: Range<u64>,
}

impl Shard {
    /// The file's name.
    pub fn file_name(&self) -> &str {
        &self.file_name
    }

    /// What the file begins with: the header's length, the header, and spaces
    /// up to a multiple of 8 bytes.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The file's length in bytes.
    pub fn file_len(&self) -> u64 {
        self.file_len
    }
}

impl Layout {
    /// Lays out `tensors` in shards of up to `max_shard_bytes` of tensor data; a
    /// tensor larger than that gets a shard of its own. `metadata` goes to every
    /// file's `__metadata__`, with `format` always `pt`.
    ///
    /// # Errors
    ///
    /// [`IoError::DuplicateName`], [`IoError::ReservedName`],
    /// [`IoError::OutputTooLarge`] and [`IoError::HeaderTooLarge`].
    ///
    /// ```
    /// use mergecore_io::{IoError, Layout, TensorSpec};
    /// use mergecore_tensor::DType;
    ///
    /// let tensor = TensorSpec { name: "w".into(), dtype: DType::U8, shape: vec![1] };
    /// let twice = vec![tensor.clone(), tensor];
    /// let error = Layout::new(twice, u64::MAX, Default::default()).unwrap_err();
    /// assert!(matches!(error, IoError::DuplicateName { tensor } if tensor == "w"));
    /// ```
    pub fn new(
        tensors: Vec<TensorSpec>,
        max_shard_bytes: u64,
        mut metadata: BTreeMap<String, String>,
    ) -> Result<Layout, IoError> {
        metadata.insert("format".to_owned(), "pt".to_owned());
        let order = ordered_names(&tensors)?;
        let groups = group(&tensors, &order, max_shard_bytes)?;

        let mut placements = vec![Placement { shard: 0, bytes: 0..0 }; tensors.len()];
        let mut shards = Vec::with_capacity(groups.len());
        for (shard, mut members) in groups.iter().cloned().enumerate() {
            // A stable sort: equal widths stay in natural order.
            members.sort_by_key(|(index, _)| std::cmp::Reverse(tensors[*index].dtype.size()));
            let file_name = shard_name(shard, groups.len());
            let header = header_bytes(&tensors, &members, &metadata);
            let header_len = header.len() as u64 - PREFIX;
            if header_len > MAX_HEADER_BYTES {
                return Err(IoError::HeaderTooLarge { file: file_name, bytes: header_len });
            }
            let mut file_len = header.len() as u64;
            for (index, bytes) in members {
                let end = file_len + bytes;
                placements[index] = Placement { shard, bytes: file_len..end };
                file_len = end;
            }
            shards.push(Shard { file_name, header, file_len });
        }
        Ok(Layout { tensors, placements, order, shards })
    }

    /// The files, in the order of their numbers.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The tensors, in the order given to [`Layout::new`].
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// The place of the tensor with that index in the order given to
    /// [`Layout::new`].
    pub fn placement(&self, index: usize) -> Option<&Placement> {
        self.placements.get(index)
    }

    /// The index of the tensor of that name in the order given to
    /// [`Layout::new`].
    ///
    /// ```
    /// # use mergecore_io::{Layout, TensorSpec};
    /// # use mergecore_tensor::DType;
    /// let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::U8, shape: vec![4] };
    /// let layout = Layout::new(vec![tensor("b"), tensor("a")], 4, Default::default())?;
    /// assert_eq!(layout.find("a"), Some(1));
    /// assert_eq!(layout.tensors()[1].name, "a");
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn find(&self, name: &str) -> Option<usize> {
        let found = self
            .order
            .binary_search_by(|index| natural_order(&self.tensors[*index].name, name))
            .ok()?;
        Some(self.order[found])
    }

    /// The bytes of all tensors together, headers not counted.
    pub fn total_bytes(&self) -> u64 {
        self.placements.iter().map(|place| place.bytes.end - place.bytes.start).sum()
    }

    /// The content of model.safetensors.index.json; `None` where there is only
    /// one file, which needs no index.
    ///
    /// ```
    /// # use mergecore_io::{Layout, TensorSpec};
    /// # use mergecore_tensor::DType;
    /// let tensor = |name: &str| TensorSpec { name: name.into(), dtype: DType::U8, shape: vec![4] };
    /// let layout = Layout::new(vec![tensor("b"), tensor("a")], 4, Default::default())?;
    /// let index = layout.index_json().unwrap();
    /// assert_eq!(index["metadata"]["total_size"], 8);
    /// assert_eq!(index["weight_map"]["b"], "model-00002-of-00002.safetensors");
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn index_json(&self) -> Option<Value> {
        if self.shards.len() < 2 {
            return None;
        }
        let files = self.order.iter().map(|&index| {
            let file = &self.shards[self.placements[index].shard].file_name;
            (self.tensors[index].name.clone(), Value::from(file.as_str()))
        });
        let weight_map: Map<String, Value> = files.collect();
        Some(json!({ "metadata": { "total_size": self.total_bytes() }, "weight_map": weight_map }))
    }

    /// The index as it is written, where there are several files.
    pub fn index_text(&self) -> Option<String> {
        Some(format!("{:#}\n", self.index_json()?))
    }
}

/// The tensors' indices in natural order of their names.
fn ordered_names(tensors: &[TensorSpec]) -> Result<Vec<usize>, IoError> {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by(|a, b| natural_order(&tensors[*a].name, &tensors[*b].name));
    for pair in order.windows(2) {
        if tensors[pair[0]].name == tensors[pair[1]].name {
            return Err(IoError::DuplicateName { tensor: tensors[pair[0]].name.clone() });
        }
    }
    match tensors.iter().find(|tensor| tensor.name == "__metadata__") {
        Some(tensor) => Err(IoError::ReservedName { tensor: tensor.name.clone() }),
        None => Ok(order),
    }
}

/// The members of each shard, as tensor index and size in bytes. At least one
/// shard, even without tensors.
fn group(
    tensors: &[TensorSpec],
    order: &[usize],
    max_shard_bytes: u64,
) -> Result<Vec<Vec<(usize, u64)>>, IoError> {
    let mut shards = vec![Vec::new()];
    let (mut filled, mut total) = (0u64, 0u64);
    for &index in order {
        let spec = &tensors[index];
        let too_large =
            || IoError::OutputTooLarge { tensor: spec.name.clone(), shape: spec.shape.clone() };
        let bytes = byte_len(&spec.shape, spec.dtype).ok_or_else(too_large)?;
        // Room for headers in every sum below, should all be in one file.
        total = total
            .checked_add(bytes)
            .filter(|sum| *sum < MAX_FILE_BYTES - 2 * MAX_HEADER_BYTES)
            .ok_or_else(too_large)?;
        let last = shards.last().is_some_and(|members| !members.is_empty());
        if last && filled + bytes > max_shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(members) = shards.last_mut() {
            members.push((index, bytes));
        }
    }
    Ok(shards)
}

fn shard_name(shard: usize, count: usize) -> String {
    match count {
        1 => SINGLE_FILE.to_owned(),
        _ => format!("model-{:05}-of-{count:05}.safetensors", shard + 1),
    }
}

/// A value of the map that a header is.
#[derive(Serialize)]
#[serde(untagged)]
enum HeaderItem<'a> {
    Metadata(&'a BTreeMap<String, String>),
    Tensor { dtype: &'static str, shape: &'a [usize], data_offsets: [u64; 2] },
}

/// The beginning of a file, up to its first tensor. Always the same bytes for
/// the same content.
fn header_bytes(
    tensors: &[TensorSpec],
    members: &[(usize, u64)],
    metadata: &BTreeMap<String, String>,
) -> Vec<u8> {
    let mut start = 0;
    let entries = members.iter().map(|&(index, bytes)| {
        let TensorSpec { name, dtype, shape } = &tensors[index];
        let data_offsets = [start, start + bytes];
        start += bytes;
        (name.as_str(), HeaderItem::Tensor { dtype: dtype.name(), shape, data_offsets })
    });
    let items = std::iter::once(("__metadata__", HeaderItem::Metadata(metadata))).chain(entries);
    let mut json = Vec::new();
    serde_json::Serializer::new(&mut json)
        .collect_map(items)
        .expect("strings and numbers can be written to memory");
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.append(&mut json);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
        TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
    }

    fn layout(tensors: Vec<TensorSpec>, max: u64) -> Layout {
        Layout::new(tensors, max, BTreeMap::new()).unwrap()
    }

    #[test]
    fn one_file_has_the_plain_name_and_no_index() {
        let layout = layout(vec![spec("a", DType::F32, &[2])], 8);
        assert_eq!(layout.shards()[0].file_name(), "model.safetensors");
        assert_eq!(layout.index_json(), None);
    }

    #[test]
    fn a_tensor_over_the_limit_gets_its_own_shard() {
        let tensors =
            ["a", "b", "c", "d"].map(|n| spec(n, DType::U8, &[if n == "b" { 100 } else { 4 }]));
        let layout = layout(tensors.to_vec(), 8);
        let shards: Vec<usize> = layout.placements.iter().map(|place| place.shard).collect();
        assert_eq!(shards, [0, 1, 2, 2]);
        let index = layout.index_json().unwrap();
        assert_eq!(index["metadata"]["total_size"], 112);
        assert_eq!(index["weight_map"]["c"], "model-00003-of-00003.safetensors");
    }

    #[test]
    fn wider_elements_come_first_then_names() {
        let tensors = vec![
            spec("x.2", DType::Bf16, &[1]),
            spec("x.10", DType::F32, &[1]),
            spec("x.1", DType::Bf16, &[3]),
            spec("x.0", DType::U8, &[1]),
        ];
        let layout = layout(tensors, u64::MAX);
        let start = layout.shards()[0].header().len() as u64;
        let starts: Vec<u64> =
            layout.placements.iter().map(|place| place.bytes.start - start).collect();
        assert_eq!(starts, [10, 0, 4, 12]);
        assert_eq!(start % 8, 0);
    }

    #[test]
    fn metadata_is_sorted_and_always_says_pt() {
        let metadata = [("z", "1"), ("a", "\"2\""), ("format", "np")];
        let metadata = metadata.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect();
        let layout = Layout::new(vec![], 1, metadata).unwrap();
        let text = String::from_utf8(layout.shards()[0].header()[8..].to_vec()).unwrap();
        assert_eq!(text.trim_end(), r#"{"__metadata__":{"a":"\"2\"","format":"pt","z":"1"}}"#);
    }

    #[test]
    fn tensors_are_found_by_name() {
        let layout = layout(vec![spec("b", DType::U8, &[]), spec("a", DType::U8, &[0])], 1);
        assert_eq!(layout.find("b"), Some(0));
        assert_eq!(layout.find("a"), Some(1));
        assert_eq!(layout.find("c"), None);
        assert_eq!(layout.placement(2), None);
    }

    #[test]
    fn sizes_beyond_a_file_are_refused() {
        for shape in [vec![usize::MAX, 2], vec![usize::MAX, 2, 0], vec![1 << 60], vec![1 << 62]] {
            let tensors = vec![spec("a", DType::F64, &[1]), spec("b", DType::F64, &shape)];
            let error = Layout::new(tensors, u64::MAX, BTreeMap::new()).unwrap_err();
            assert!(
                matches!(&error, IoError::OutputTooLarge { tensor, .. } if tensor == "b"),
                "{error}"
            );
        }
    }
}
