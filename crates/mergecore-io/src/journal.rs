//! A file of records that a crash cannot make say something that was not written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::discover::open_regular;
use crate::error::IoError;
use crate::storage::Storage;

/// What a journal begins with. Another number, and it is not read.
const BEGINNING: &[u8] = b"mergecore journal 1\n";
/// Bytes of a record before its content: checksum and length.
const HEAD: usize = 8 + 4;
/// Bytes of the longest journal: that of some ten million tensors.
const MAX_BYTES: u64 = 1 << 30;

/// A file to which records are added, each with its checksum, so that of one half written when
/// the process or the machine stopped nothing is believed.
///
/// After a line that says what it is come the records: the 64 bits of XXH3 of what follows, the
/// content's length in 32 bits, both little-endian, and the content.
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
    file: Arc<File>,
    storage: Storage,
    /// Where the next record goes.
    end: u64,
}

impl Journal {
    /// Opens a journal, made where it is not there, and yields the content of the records
    /// that are whole, up to the first that is not. What comes after them is cut off.
    ///
    /// # Errors
    /// [`IoError::OddWork`] where something else is there, which stays, or the first record is
    /// damaged in a way in which no crash leaves it; [`IoError::System`], [`IoError::NotAFile`].
    pub fn open(path: &Path, storage: &Storage) -> Result<(Journal, Vec<Vec<u8>>), IoError> {
        let content = match path.symlink_metadata() {
            Ok(_) => read(path, storage)?,
            Err(_) => Vec::new(),
        };
        let (records, end) = whole_records(&content);
        let file = storage.open_or_create(path).map_err(IoError::system("create", path))?;
        if end < content.len() as u64 {
            storage.set_len(&file, path, end)?;
        }
        let (path, file, storage) = (path.to_owned(), Arc::new(file), storage.clone());
        Ok((Journal { path, file, storage, end }, records))
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
        let beginning = if self.end == 0 { BEGINNING } else { &[] };
        let mut bytes = Vec::with_capacity(beginning.len() + HEAD + content.len());
        bytes.extend(beginning);
        bytes.extend([0; 8]);
        bytes.extend(len.to_le_bytes());
        bytes.extend(content);
        let (sum, summed) = bytes[beginning.len()..].split_at_mut(8);
        sum.copy_from_slice(&XxHash3_64::oneshot(summed).to_le_bytes());
        self.storage.write_at(&self.file, &self.path, &bytes, self.end)?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    /// What makes this journal one that says nothing, also when this is dropped and others
    /// write to it.
    ///
    /// ```
    /// # use mergecore_io::{Journal, Storage};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("journal");
    /// let (mut journal, _) = Journal::open(&path, &Storage::new())?;
    /// journal.append(b"begun")?;
    /// let erase = journal.eraser();
    /// journal.append(b"one done")?;
    /// std::thread::spawn(erase).join().unwrap();
    /// journal.append(b"two done")?;
    /// let (_, records) = Journal::open(&path, &Storage::new())?;
    /// assert!(records.is_empty());
    /// # Ok::<(), mergecore_io::IoError>(())
    /// ```
    pub fn eraser(&self) -> impl FnOnce() + Send + use<> {
        let (path, file, storage) =
            (self.path.clone(), Arc::clone(&self.file), self.storage.clone());
        move || {
            // There is nobody to be told of an error.
            if storage.set_len(&file, &path, 0).is_ok() {
                let _ = storage.sync(&file, &path);
            }
        }
    }

    /// Waits until all records are on the disk.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn sync(&self) -> Result<(), IoError> {
        self.storage.sync(&self.file, &self.path)
    }
}

/// The content of a file that can be taken for a journal, or for what a crash left of one.
fn read(path: &Path, storage: &Storage) -> Result<Vec<u8>, IoError> {
    let odd = |found| IoError::OddWork { path: path.to_owned(), found };
    let (_, metadata) = open_regular(storage, path)?;
    if metadata.len() > MAX_BYTES {
        return Err(odd("a file of more than a gigabyte"));
    }
    let content = storage.read_at_most(path, MAX_BYTES)?;
    match content.strip_prefix(BEGINNING) {
        Some(records) if is_damaged(records) => Err(odd("a damaged journal")),
        Some(_) => Ok(content),
        // The length is on the disk, and what was written is not.
        None if BEGINNING.starts_with(&content) || content[0] == 0 => Ok(content),
        None => Err(odd("a file that does not begin as a journal")),
    }
}

/// Whether the first record is there to its end and is another than was written, and not zeros.
fn is_damaged(records: &[u8]) -> bool {
    let len = records.get(8..HEAD).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes);
    let is_there = len.is_some_and(|len| records.len() - HEAD >= len as usize);
    is_there && first_record(records).is_none() && records[..HEAD] != [0; HEAD]
}

/// The content of the records up to the first that is not whole, and where that one begins.
fn whole_records(journal: &[u8]) -> (Vec<Vec<u8>>, u64) {
    let (mut records, mut rest) = (Vec::new(), journal.strip_prefix(BEGINNING).unwrap_or(&[]));
    while let Some((content, after)) = first_record(rest) {
        records.push(content.to_owned());
        rest = after;
    }
    // A journal begins with its first record.
    let end = if records.is_empty() { 0 } else { journal.len() - rest.len() };
    (records, end as u64)
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

    /// A journal of these records, and where each of them ends.
    fn journal(path: &Path, written: &[&[u8]]) -> Vec<usize> {
        let (mut journal, _) = Journal::open(path, &Storage::new()).unwrap();
        let append = |content: &&[u8]| {
            journal.append(content).unwrap();
            path.metadata().unwrap().len() as usize
        };
        written.iter().map(append).collect()
    }

    #[test]
    fn whatever_is_cut_off_or_flipped_the_records_before_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let written = [&b"first"[..], b"", b"\n\xff third"];
        let ends = journal(&path, &written);
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
                std::fs::write(&path, &damaged).unwrap();
                let (mut journal, records) = match Journal::open(&path, &Storage::new()) {
                    Ok(opened) => opened,
                    Err(error) => {
                        assert!(matches!(error, IoError::OddWork { .. }), "{error}");
                        assert!(whole == 0 && damaged.len() == content.len(), "at {at}");
                        assert!(std::fs::read(&path).unwrap() == damaged, "at {at}");
                        continue;
                    }
                };
                assert_eq!(records, written[..whole], "at {at}");
                journal.append(b"more").unwrap();
                let (_, records) = Journal::open(&path, &Storage::new()).unwrap();
                assert_eq!(records.last().unwrap(), b"more", "at {at}");
                assert_eq!(records.len(), whole + 1, "at {at}");
            }
        }
    }

    /// As a power failure may leave them, where the length of a file was on the disk.
    #[test]
    fn zeros_are_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let first = journal(&path, &[b"first", b"second"])[0];
        let content = std::fs::read(&path).unwrap();
        for (zeros, expected) in [
            (0..content.len(), &[][..]),
            (0..first, &[]),
            (BEGINNING.len()..content.len(), &[]),
            (first..content.len(), &[b"first"]),
        ] {
            let mut content = content.clone();
            content[zeros.clone()].fill(0);
            std::fs::write(&path, content).unwrap();
            let (_, records) = Journal::open(&path, &Storage::new()).unwrap();
            assert_eq!(records, expected, "{zeros:?}");
        }
    }

    #[test]
    fn one_that_was_made_anew_is_not_erased() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let (mut old, _) = Journal::open(&path, &Storage::new()).unwrap();
        old.append(b"old").unwrap();
        let erase = old.eraser();
        std::fs::remove_file(&path).unwrap();
        journal(&path, &[b"new"]);
        erase();
        let (_, records) = Journal::open(&path, &Storage::new()).unwrap();
        assert_eq!(records, [b"new"]);
    }

    #[test]
    fn what_is_no_journal_is_refused_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        journal(&path, &[b"first", b"second"]);
        let content = std::fs::read(&path).unwrap();
        let mut damaged = content.clone();
        damaged[BEGINNING.len() + HEAD] ^= 1;
        let other = [b"mergecore journal 2\n", &content[BEGINNING.len()..]].concat();
        for (content, what) in [
            (&b"Dear diary"[..], "a file that does not begin as a journal"),
            (&other, "a file that does not begin as a journal"),
            (&damaged, "a damaged journal"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Journal::open(&path, &Storage::new()).unwrap_err();
            assert!(matches!(&error, IoError::OddWork { found, .. } if *found == what), "{error}");
            assert!(std::fs::read(&path).unwrap() == content);
        }
        let file = File::create(&path).unwrap();
        file.set_len(MAX_BYTES + 1).unwrap();
        let error = Journal::open(&path, &Storage::new()).unwrap_err();
        assert!(error.to_string().contains("is a file of more than a gigabyte"), "{error}");
        assert_eq!(path.metadata().unwrap().len(), MAX_BYTES + 1);
    }
}
