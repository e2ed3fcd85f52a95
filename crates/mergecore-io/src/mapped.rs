//! Zero-copy views of a checkpoint's tensors, for programs that want them.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::path::Path;

use memmap2::Mmap;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::Error as NameError;

use crate::checkpoint::Checkpoint;
use crate::discover::open_regular;
use crate::error::IoError;
use crate::source::{StoredTensor, TensorSource};
use crate::storage::Storage;

/// A checkpoint whose weights files are mapped into memory.
///
/// **Caveat.** While a checkpoint is mapped, its files must not be changed by
/// anyone. If another process truncates one, touching a view kills this process
/// (SIGBUS); if another writes to one, the bytes under a view change. Use this
/// only on files that you control. The positioned reads of [`Checkpoint`] have
/// no such hazard, which is why merging uses those.
///
/// ```
/// use mergecore_io::MappedCheckpoint;
///
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
/// # let json = br#"{"norm":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
/// # let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[0; 8]].concat();
/// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
/// # let dir = dir.path();
/// let mapped = MappedCheckpoint::open(dir)?;
/// let view = mapped.view("norm").unwrap();
/// assert_eq!((view.shape(), view.data().len()), (&[2][..], 8));
/// assert_eq!(mapped.checkpoint().len(), 1);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug)]
pub struct MappedCheckpoint {
    checkpoint: Checkpoint,
    maps: HashMap<String, Mmap>,
}

impl MappedCheckpoint {
    /// Opens and maps the checkpoint in `dir`. Pages are loaded when touched.
    ///
    /// # Errors
    ///
    /// As [`Checkpoint::open`], and if a file cannot be mapped.
    pub fn open(dir: &Path) -> Result<MappedCheckpoint, IoError> {
        let checkpoint = Checkpoint::open(dir)?;
        let mut maps = HashMap::new();
        for source in checkpoint.files() {
            let (file, _) = open_regular(&Storage::default(), &source.path)?;
            // SAFETY: the map is read-only, and bytes of any value are valid. That
            // nobody truncates or writes the file while it is mapped cannot be
            // enforced; the type's documentation makes it the caller's promise.
            let map = unsafe { Mmap::map(&file) }.map_err(IoError::system("map", &source.path))?;
            if (map.len() as u64) < source.bytes {
                let reading = "its header".to_owned();
                return Err(IoError::Shrunk { path: source.path.clone(), reading });
            }
            maps.insert(source.name.clone(), map);
        }
        Ok(MappedCheckpoint { checkpoint, maps })
    }

    /// The checkpoint, for everything but the bytes.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The tensor of that name, in place. Its data need not be aligned to its
    /// elements.
    pub fn view(&self, name: &str) -> Option<TensorView<'_>> {
        let tensor = self.checkpoint.tensor(name)?;
        let data = self.bytes(tensor)?;
        TensorView::new(dtype_named(tensor.dtype().name())?, tensor.shape().to_vec(), data).ok()
    }

    fn bytes(&self, tensor: &StoredTensor) -> Option<&[u8]> {
        let range = tensor.byte_range();
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        self.maps.get(tensor.file_name())?.get(start..end)
    }
}

fn dtype_named(name: &str) -> Option<Dtype> {
    let name: serde::de::value::StrDeserializer<'_, NameError> = name.into_deserializer();
    Dtype::deserialize(name).ok()
}
