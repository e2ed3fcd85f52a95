//! A file of records that a crash cannot make say something that was not written.

use std::fs::File;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use crate::discover::{open_regular, read_small_file};
use crate::error::IoError;
use crate::storage::Storage;

/// Bytes of a record before its content: checksum and length.
const HEAD: usize = 8 + 4;

/// A file to which records are added, each with its checksum, so that of one half written when
/// the process or the machine stopped nothing is believed.
///
/// A record is the 64 bits of XXH3 of what follows, the content's length in 32 bits, both
/// little-endian, and the content.
///
/// ```
/// use mergecore_io::{Journal, Storage};
///
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("journal");
/// let (mut journal, records) = Journal::open(&path, &Storage::new())?;
/// assert!(records.is_empty());
/// journal.append(b"begun")?;
/// journal.append(b"one done")?;
/// journal.append(b"two done")?;
/// drop(journal);
///
/// // The machine stopped before all of the third was on the disk.
/// let mut content = std::fs::read(&path).unwrap();
/// content.pop();
/// std::fs::write(&path, content).unwrap();
/// let (_, records) = Journal::open(&path, &Storage::new())?;
/// assert_eq!(records, [&b"begun"[..], b"one done"]);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    storage: Storage,
    /// Where the next record goes.
    end: u64,
}

impl Journal {
    /// Opens a journal, made where it is not there, and yields the content of the records
    /// that are whole, up to the first that is not. What comes after them is cut off.
    ///
    /// # Errors
    /// [`IoError::System`], [`IoError::NotAFile`] and [`IoError::FileTooLarge`].
    pub fn open(path: &Path, storage: &Storage) -> Result<(Journal, Vec<Vec<u8>>), IoError> {
        let content = match path.symlink_metadata() {
            Ok(_) => {
                open_regular(storage, path)?;
                read_small_file(storage, path)?
            }
            Err(_) => Vec::new(),
        };
        let (records, end) = whole_records(&content);
        let file = storage.open_or_create(path).map_err(IoError::system("create", path))?;
        if end < content.len() as u64 {
            storage.set_len(&file, path, end)?;
        }
        Ok((Journal { path: path.to_owned(), file, storage: storage.clone(), end }, records))
    }

    /// Adds a record. It is handed to the system at once, and is on the disk when that has
    /// written it.
    ///
    /// # Errors
    /// [`IoError::System`].
    ///
    /// # Panics
    /// If the content has 4 GiB or more.
    pub fn append(&mut self, content: &[u8]) -> Result<(), IoError> {
        let len = u32::try_from(content.len()).expect("a record is shorter than 4 GiB");
        let mut record = Vec::with_capacity(HEAD + content.len());
        record.extend([0; 8]);
        record.extend(len.to_le_bytes());
        record.extend(content);
        let sum = XxHash3_64::oneshot(&record[8..]);
        record[..8].copy_from_slice(&sum.to_le_bytes());
        self.storage.write_at(&self.file, &self.path, &record, self.end)?;
        self.end += record.len() as u64;
        Ok(())
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn sync(&self) -> Result<(), IoError> {
        self.storage.sync(&self.file, &self.path)
    }
}

/// The content of the records up to the first that is not whole, and where that one begins.
fn whole_records(journal: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut records, mut rest) = (Vec::new(), journal);
    while let Some((content, after)) = first_record(rest) {
        records.push(content.to_owned());
        rest = after;
    }
    (records, (journal.len() - rest.len()) as u64)
}

/// The content of the record that begins here, and what follows it; `None` where there is none
/// that is whole.
fn first_record(journal: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sum, summed) = journal.split_first_chunk()?;
    let (len, content) = summed.split_first_chunk()?;
    let (content, after) = content.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let summed = &summed[..len.len() + content.len()];
    (XxHash3_64::oneshot(summed) == u64::from_le_bytes(*sum)).then_some((content, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_cut_off_or_flipped_the_records_before_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let written = [&b"first"[..], b"", b"\n\xff third"];
        let (mut journal, _) = Journal::open(&path, &Storage::new()).unwrap();
        let mut ends = Vec::new();
        for content in written {
            journal.append(content).unwrap();
            ends.push(path.metadata().unwrap().len() as usize);
        }
        let content = std::fs::read(&path).unwrap();
        for at in 0..content.len() {
            let whole = ends.iter().filter(|end| **end <= at).count();
            let cut = content[..at].to_owned();
            let flipped = (0..8).map(|bit| {
                let mut flipped = content.clone();
                flipped[at] ^= 1 << bit;
                flipped
            });
            for damaged in flipped.chain([cut]) {
                std::fs::write(&path, damaged).unwrap();
                let (mut journal, records) = Journal::open(&path, &Storage::new()).unwrap();
                assert_eq!(records, written[..whole], "at {at}");
                journal.append(b"more").unwrap();
                let (_, records) = Journal::open(&path, &Storage::new()).unwrap();
                assert_eq!(records.last().unwrap(), b"more", "at {at}");
                assert_eq!(records.len(), whole + 1, "at {at}");
            }
        }
    }

    #[test]
    fn zeros_are_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut journal, _) = Journal::open(&path, &Storage::new()).unwrap();
        journal.append(b"first").unwrap();
        // As a power failure may leave them, where the length of a file was on the disk.
        let mut content = std::fs::read(&path).unwrap();
        content.extend([0; 100]);
        std::fs::write(&path, content).unwrap();
        let (_, records) = Journal::open(&path, &Storage::new()).unwrap();
        assert_eq!(records, [b"first"]);
    }
}
