//! A file of lines that a crash cannot make say something that was not written.

use std::fs::File;
use std::path::{Path, PathBuf};

use twox_hash::XxHash3_64;

use crate::discover::{open_regular, read_small_file};
use crate::error::IoError;
use crate::storage::Storage;

/// A file to which lines are added, each with its checksum, so that of lines half written when
/// the process or the machine stopped nothing is believed.
///
/// A line is the 64 bits of XXH3 of its text in 16 hexadecimal digits, a space, and the text.
///
/// ```
/// use mergecore_io::{Journal, Storage};
///
/// let dir = tempfile::tempdir().unwrap();
/// let path = dir.path().join("journal");
/// let (mut journal, lines) = Journal::open(&path, &Storage::new())?;
/// assert!(lines.is_empty());
/// journal.append("begun")?;
/// journal.append("one done")?;
/// drop(journal);
///
/// // The machine stops while a third line is being written.
/// let mut text = std::fs::read_to_string(&path).unwrap();
/// text.push_str("99aa06d3014798d86001c32446");
/// std::fs::write(&path, text).unwrap();
/// let (_, lines) = Journal::open(&path, &Storage::new())?;
/// assert_eq!(lines, ["begun", "one done"]);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    storage: Storage,
    /// Where the next line goes.
    end: u64,
}

impl Journal {
    /// Opens a journal, made where it is not there, and yields the lines that are whole. What
    /// comes after the last of them is cut off.
    ///
    /// # Errors
    /// [`IoError::System`], [`IoError::NotAFile`] and [`IoError::FileTooLarge`].
    pub fn open(path: &Path, storage: &Storage) -> Result<(Journal, Vec<String>), IoError> {
        let content = match path.symlink_metadata() {
            Ok(_) => {
                open_regular(storage, path)?;
                read_small_file(storage, path)?
            }
            Err(_) => Vec::new(),
        };
        let (lines, end) = whole_lines(&content);
        let file = storage.open_or_create(path).map_err(IoError::system("create", path))?;
        if end < content.len() as u64 {
            storage.set_len(&file, path, end)?;
        }
        Ok((Journal { path: path.to_owned(), file, storage: storage.clone(), end }, lines))
    }

    /// Adds a line, which holds no line break. It is handed to the system at once, and is on
    /// the disk when that has written it.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn append(&mut self, line: &str) -> Result<(), IoError> {
        let text = format!("{} {line}\n", checksum(line));
        self.storage.write_at(&self.file, &self.path, text.as_bytes(), self.end)?;
        self.end += text.len() as u64;
        Ok(())
    }

    /// Waits until all lines are on the disk.
    ///
    /// # Errors
    /// [`IoError::System`].
    pub fn sync(&self) -> Result<(), IoError> {
        self.storage.sync(&self.file, &self.path)
    }
}

fn checksum(line: &str) -> String {
    format!("{:016x}", XxHash3_64::oneshot(line.as_bytes()))
}

/// The lines up to the first that is not whole, and where that one begins.
fn whole_lines(content: &[u8]) -> (Vec<String>, u64) {
    let (mut lines, mut end) = (Vec::new(), 0);
    for line in content.split_inclusive(|byte| *byte == b'\n') {
        let whole = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok());
        match whole.and_then(|line| line.split_once(' ')) {
            Some((sum, text)) if sum == checksum(text) => lines.push(text.to_owned()),
            _ => break,
        }
        end += line.len() as u64;
    }
    (lines, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_cut_off_or_flipped_the_lines_before_stay() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal");
        let written = ["first", "", "third ü"];
        let (mut journal, _) = Journal::open(&path, &Storage::new()).unwrap();
        written.iter().for_each(|line| journal.append(line).unwrap());
        let content = std::fs::read(&path).unwrap();
        let starts: Vec<usize> = [0]
            .into_iter()
            .chain(content.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i + 1))
            .collect();
        for at in 0..content.len() {
            let whole = starts.iter().filter(|start| **start <= at).count() - 1;
            let cut = &content[..at];
            let mut flipped = content.clone();
            flipped[at] ^= 1;
            for damaged in [cut, &flipped] {
                std::fs::write(&path, damaged).unwrap();
                let (mut journal, lines) = Journal::open(&path, &Storage::new()).unwrap();
                assert_eq!(lines, written[..whole], "at {at}");
                journal.append("more").unwrap();
                let (_, lines) = Journal::open(&path, &Storage::new()).unwrap();
                assert_eq!(lines.last().unwrap(), "more", "at {at}");
                assert_eq!(lines.len(), whole + 1, "at {at}");
            }
        }
    }
}
