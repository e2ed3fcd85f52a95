//! A file of records that a crash cannot make say something that was not written.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twox_hash::XxHash3_64;

use crate::discover::{MAX_FILE_BYTES, open_regular};
use crate::error::IoError;
use crate::storage::Storage;

/// What a journal begins with. Another number, and it is not read.
const BEGINNING: &[u8] = b"mergecore journal 1\n";
/// Bytes of a record before its content: checksum and length.
const HEAD: usize = 8 + 4;
/// What those of all versions begin with.
const NAME: &[u8] = b"mergecore journal ";
/// Bytes of the least that disks write at once.
const SECTOR: usize = 512;

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
    /// [`IoError::OddWork`] where something else is there, which stays, or more than
    /// [`MAX_FILE_BYTES`], or the beginning is damaged in a way in which no crash leaves it;
    /// [`IoError::System`], [`IoError::NotAFile`] and [`IoError::BrokenLink`].
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

    /// A closure that empties this journal, so that nothing it holds is believed, also when this
    /// is dropped and others write to it: not a file that was made anew under its name. If it
    /// cannot be emptied, nobody is told.
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
}

/// The content of a file that can be taken for a journal, or for what a crash left of one.
fn read(path: &Path, storage: &Storage) -> Result<Vec<u8>, IoError> {
    let odd = |found| IoError::OddWork { path: path.to_owned(), found };
    let (file, metadata) = open_regular(storage, path)?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(odd("a file of more than 100 MB"));
    }
    let content = storage.read_all(file, path, MAX_FILE_BYTES)?;
    match content.strip_prefix(BEGINNING) {
        Some(_) if is_damaged(&content) => Err(odd("a damaged journal")),
        Some(_) => Ok(content),
        // The length is on the disk, and what was written is not.
        None if BEGINNING.starts_with(&content) || content[0] == 0 => Ok(content),
        None if content.starts_with(NAME) => {
            Err(odd("the journal of another version of mergecore"))
        }
        None => Err(odd("a file that is no journal")),
    }
}

/// Whether the first record is there to its end and is another than was written, and not because
/// a part of it did not reach the disk, where there are zeros then.
fn is_damaged(journal: &[u8]) -> bool {
    let records = &journal[BEGINNING.len()..];
    let len = records.get(8..HEAD).and_then(|len| len.try_into().ok()).map(u32::from_le_bytes);
    let Some(record) = len.and_then(|len| records.get(..HEAD + len as usize)) else { return false };
    let to_its_end = &journal[..BEGINNING.len() + record.len()];
    let is_lost = |sector: &[u8]| sector.iter().all(|byte| *byte == 0);
    let is_torn = is_lost(&record[..HEAD]) || to_its_end.chunks(SECTOR).any(is_lost);
    !is_torn && first_record(records).is_none()
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
                let opened = Journal::open(&path, &Storage::new());
                // With another length, the first record may be one of which the end is not there.
                let length = BEGINNING.len() + 8..BEGINNING.len() + HEAD;
                if damaged.len() == content.len() && whole == 0 && !length.contains(&at) {
                    assert!(matches!(opened, Err(IoError::OddWork { .. })), "at {at}");
                }
                let Ok((mut journal, records)) = opened else {
                    assert!(damaged.len() == content.len() && whole == 0, "at {at}");
                    assert!(std::fs::read(&path).unwrap() == damaged, "at {at}");
                    continue;
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
    fn of_a_long_record_a_part_may_not_have_reached_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        journal(&path, &[&[1; 10_000], b"second"]);
        let content = std::fs::read(&path).unwrap();
        for zeros in [4096..8192, 4096..content.len(), 9728..content.len(), 512..1024] {
            let mut content = content.clone();
            content[zeros].fill(0);
            std::fs::write(&path, content).unwrap();
            let (_, records) = Journal::open(&path, &Storage::new()).unwrap();
            assert!(records.is_empty());
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
            (&b"Dear diary"[..], "a file that is no journal"),
            (&other, "the journal of another version of mergecore"),
            (&damaged, "a damaged journal"),
        ] {
            std::fs::write(&path, content).unwrap();
            let error = Journal::open(&path, &Storage::new()).unwrap_err();
            assert!(matches!(&error, IoError::OddWork { found, .. } if *found == what), "{error}");
            assert!(std::fs::read(&path).unwrap() == content);
        }
        let file = File::create(&path).unwrap();
        file.set_len(MAX_FILE_BYTES + 1).unwrap();
        let error = Journal::open(&path, &Storage::new()).unwrap_err();
        assert!(error.to_string().contains("is a file of more than 100 MB"), "{error}");
        assert_eq!(path.metadata().unwrap().len(), MAX_FILE_BYTES + 1);
    }
}
