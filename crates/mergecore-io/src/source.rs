//! Where tensors' elements come from.

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use mergecore_tensor::DType;

use crate::checkpoint::SourceFile;
use crate::error::IoError;
use crate::header::element_count;
use crate::page_cache;
use crate::storage::Storage;

/// Something with a shape and a dtype that can fill a buffer with any run of its
/// elements: a tensor in a file, or one that is computed from others.
///
/// The contract of [`read`](TensorSource::read): elements are in row-major order
/// and little-endian, `out` is exactly as long as the elements asked for, every
/// call gives the same bytes, and many threads may call at once.
///
/// ```
/// use mergecore_io::{IoError, TensorSource};
/// use mergecore_tensor::DType;
///
/// #[derive(Debug)]
/// struct Zeros(Vec<usize>);
///
/// impl TensorSource for Zeros {
///     fn dtype(&self) -> DType {
///         DType::F32
///     }
///     fn shape(&self) -> &[usize] {
///         &self.0
///     }
///     fn read(&self, _: std::ops::Range<u64>, out: &mut [u8]) -> Result<(), IoError> {
///         out.fill(0);
///         Ok(())
///     }
/// }
///
/// let zeros = Zeros(vec![2, 3]);
/// assert_eq!(zeros.len(), 6);
/// let mut row = [1; 12]; // three elements of four bytes
/// zeros.read(3..6, &mut row)?;
/// assert_eq!(row, [0; 12]);
/// # Ok::<(), IoError>(())
/// ```
pub trait TensorSource: Send + Sync + Debug {
    /// The type of the elements.
    fn dtype(&self) -> DType;

    /// The dimensions, outermost first; empty for a single number.
    fn shape(&self) -> &[usize];

    /// Fills `out` with the elements of a range, counted from 0 in row-major
    /// order, as little-endian bytes.
    ///
    /// # Errors
    ///
    /// If the range leaves the tensor, `out` has not the range's length in
    /// bytes, or the elements cannot be read.
    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<(), IoError>;

    /// The number of elements. Shapes whose product exceeds 64 bits give the
    /// largest number; no stored tensor has one.
    fn len(&self) -> u64 {
        element_count(self.shape()).unwrap_or(u64::MAX)
    }

    /// Whether there are no elements, some dimension being 0.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that these elements will be read soon, so that storage can be asked for them
    /// meanwhile. Does nothing by default.
    fn prefetch(&self, _elements: Range<u64>) {}

    /// Says that these elements will not be read again, so that memory need not be filled
    /// with them. Does nothing by default.
    fn release(&self, _elements: Range<u64>) {}

    /// The stored tensor that this is, if it is one as it lies in its file.
    fn as_stored(&self) -> Option<&StoredTensor> {
        None
    }
}

/// A tensor of a [`Checkpoint`](crate::Checkpoint), read by position when asked.
///
/// A clone is a second handle to the same open file. A tensor may outlive the
/// checkpoint that it came from.
///
/// ```
/// use mergecore_io::{Checkpoint, TensorSource};
///
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
/// # let json = br#"{"w":{"dtype":"U8","shape":[2,2],"data_offsets":[0,4]}}"#;
/// # let file = [&(json.len() as u64).to_le_bytes()[..], &json[..], &[10, 11, 12, 13]].concat();
/// # std::fs::write(dir.path().join("model.safetensors"), file).unwrap();
/// # let checkpoint = Checkpoint::open(dir.path())?;
/// let tensor = checkpoint.tensor("w").unwrap().clone();
/// drop(checkpoint);
/// let mut second_row = [0; 2];
/// tensor.read(2..4, &mut second_row)?;
/// assert_eq!(second_row, [12, 13]);
/// assert_eq!((tensor.file_name(), tensor.byte_len()), ("model.safetensors", 4));
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StoredTensor(Arc<Stored>);

#[derive(Debug)]
struct Stored {
    name: String,
    dtype: DType,
    shape: Vec<usize>,
    file: Arc<OpenFile>,
    bytes: Range<u64>,
}

/// A weights file, held open for as long as one of its tensors is.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub(crate) about: SourceFile,
    pub(crate) file: File,
    pub(crate) storage: Storage,
}

impl StoredTensor {
    /// `bytes` lie in the file and fit shape and dtype: the header was checked.
    pub(crate) fn new(
        name: String,
        dtype: DType,
        shape: Vec<usize>,
        file: Arc<OpenFile>,
        bytes: Range<u64>,
    ) -> Self {
        StoredTensor(Arc::new(Stored { name, dtype, shape, file, bytes }))
    }

    /// The tensor's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The name of the file that holds it.
    pub fn file_name(&self) -> &str {
        &self.0.file.about.name
    }

    /// Its size in bytes.
    pub fn byte_len(&self) -> u64 {
        self.0.bytes.end - self.0.bytes.start
    }

    /// Its bytes in the file, counted from the file's beginning.
    pub fn byte_range(&self) -> Range<u64> {
        self.0.bytes.clone()
    }

    /// Where elements lie in the file.
    pub(crate) fn file_range(&self, elements: &Range<u64>) -> Range<u64> {
        let (start, size) = (self.0.bytes.start, self.0.dtype.size() as u64);
        start + elements.start * size..start + elements.end * size
    }

    pub(crate) fn file(&self) -> &File {
        &self.0.file.file
    }
}

impl TensorSource for StoredTensor {
    fn prefetch(&self, elements: Range<u64>) {
        page_cache::will_need(self.file(), self.file_range(&elements));
    }

    fn release(&self, elements: Range<u64>) {
        page_cache::done_with(self.file(), self.file_range(&elements));
    }

    fn as_stored(&self) -> Option<&StoredTensor> {
        Some(self)
    }

    fn dtype(&self) -> DType {
        self.0.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.0.shape
    }

    fn read(&self, elements: Range<u64>, out: &mut [u8]) -> Result<(), IoError> {
        let stored = &*self.0;
        let size = stored.dtype.size() as u64;
        if elements.start > elements.end || elements.end > self.len() {
            return Err(IoError::ElementRange {
                tensor: stored.name.clone(),
                range: elements,
                len: self.len(),
            });
        }
        let expected = (elements.end - elements.start) * size;
        if out.len() as u64 != expected {
            return Err(IoError::BufferSize {
                tensor: stored.name.clone(),
                expected,
                found: out.len() as u64,
            });
        }
        let path = &stored.file.about.path;
        let OpenFile { file, storage, .. } = &*stored.file;
        storage.read_at(file, path, out, self.file_range(&elements).start).map_err(|error| {
            match error.kind() {
                io::ErrorKind::UnexpectedEof => IoError::Shrunk {
                    path: path.clone(),
                    reading: format!("tensor `{}`", stored.name),
                },
                _ => IoError::system("read", path)(error),
            }
        })
    }
}
