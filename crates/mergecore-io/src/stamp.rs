//! Whether a file is still what it was.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::error::IoError;
use crate::storage::Storage;

/// What changes when a file is written to or replaced, as far as the system shows it without the
/// file being read: its length, the time it was written, and on systems like Unix its number on
/// the file system and the time it was changed.
///
/// The time it was changed is the one that nobody can put back, so that it alone shows a file
/// that was overwritten in place and given its old time of writing. A new mode, owner, name
/// or hard link changes it too, and nothing but reading the file again would tell these apart: they
/// count as a change, because a merge that is refused costs time, and one of old and new mixed
/// costs the output that somebody relies on.
///
/// What is serialised, for a process that looks at the file later, leaves the file system's
/// device out: that one may have another number after the system was started anew.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # std::fs::write(dir.path().join("config.json"), "{}").unwrap();
/// # let file = [&2u64.to_le_bytes()[..], b"{}"].concat();
/// # std::fs::write(dir.path().join("model.safetensors"), &file).unwrap();
/// # let dir = dir.path();
/// use mergecore_io::{Checkpoint, Stamp};
///
/// let stamp = Checkpoint::open(dir)?.files()[0].stamp.clone();
/// let kept: Stamp = serde_json::from_str(&serde_json::to_string(&stamp).unwrap()).unwrap();
/// assert_eq!(kept.change_to(&stamp), None);
///
/// let longer = [&3u64.to_le_bytes()[..], b"{} "].concat();
/// std::fs::write(dir.join("model.safetensors"), longer).unwrap();
/// let now = Checkpoint::open(dir)?.files()[0].stamp.clone();
/// assert_eq!(kept.change_to(&now).as_deref(), Some("had 10 bytes and has 11"));
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    bytes: u64,
    modified_unix_nanoseconds: Option<i64>,
    changed_unix_nanoseconds: Option<i64>,
    inode: Option<u64>,
    /// `None` also where it is not known any more.
    #[serde(skip)]
    device: Option<u64>,
}

impl Stamp {
    pub(crate) fn of(metadata: &Metadata) -> Self {
        let modified_unix_nanoseconds = metadata.modified().ok().and_then(unix_nanoseconds);
        let stamp = Stamp {
            bytes: metadata.len(),
            modified_unix_nanoseconds,
            changed_unix_nanoseconds: None,
            inode: None,
            device: None,
        };
        with_identity(stamp, metadata)
    }

    /// How the file is another `now`, as something to say of it; `None` where nothing shows that
    /// it is.
    pub fn change_to(&self, now: &Stamp) -> Option<String> {
        if self.bytes != now.bytes {
            return Some(format!("had {} bytes and has {}", self.bytes, now.bytes));
        }
        let devices = self.device.zip(now.device);
        if self.inode != now.inode || devices.is_some_and(|(then, now)| then != now) {
            return Some("was replaced: another file has taken its name".to_owned());
        }
        if self.modified_unix_nanoseconds != now.modified_unix_nanoseconds {
            return Some("was written to".to_owned());
        }
        (self.changed_unix_nanoseconds != now.changed_unix_nanoseconds).then(|| {
            "was written to and given its old time of writing, or has another mode, owner or link"
                .to_owned()
        })
    }

    /// Whether the name still leads to the same file, and `open`, the file once opened, is as
    /// it was.
    pub(crate) fn check(
        &self,
        path: &Path,
        storage: &Storage,
        open: Option<&File>,
    ) -> Result<(), IoError> {
        let changed = |how: String| IoError::Changed { path: path.to_owned(), how };
        let named = match storage.inspect(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(changed("it is not there any more".to_owned()));
            }
            Err(error) => return Err(IoError::system("open", path)(error)),
        };
        let open = open.map(File::metadata).transpose().map_err(IoError::system("open", path))?;
        let now = std::iter::once(&named).chain(&open);
        match now.map(Stamp::of).find_map(|now| self.change_to(&now)) {
            Some(how) => Err(changed(format!("it {how}"))),
            None => Ok(()),
        }
    }
}

fn unix_nanoseconds(time: SystemTime) -> Option<i64> {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_nanos()).ok(),
        Err(before) => i64::try_from(before.duration().as_nanos()).ok().map(|before| -before),
    }
}

#[cfg(unix)]
fn with_identity(stamp: Stamp, metadata: &Metadata) -> Stamp {
    use std::os::unix::fs::MetadataExt;
    let seconds = metadata.ctime().checked_mul(1_000_000_000);
    let changed = seconds.and_then(|seconds| seconds.checked_add(metadata.ctime_nsec()));
    let (inode, device) = (Some(metadata.ino()), Some(metadata.dev()));
    Stamp { changed_unix_nanoseconds: changed, inode, device, ..stamp }
}

#[cfg(not(unix))]
fn with_identity(stamp: Stamp, _: &Metadata) -> Stamp {
    stamp
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Whatever happened, the later stamp must say so; a device that was forgotten says nothing.
    #[test]
    fn each_change_is_told() {
        let stamp = Stamp {
            bytes: 9,
            modified_unix_nanoseconds: Some(1),
            changed_unix_nanoseconds: Some(2),
            inode: Some(3),
            device: Some(4),
        };
        type Change = fn(&mut Stamp);
        let changes: [(Change, &str); 7] = [
            (|_| {}, ""),
            (|now| now.bytes = 8, "had 9 bytes and has 8"),
            (|now| now.inode = Some(8), "was replaced: another file has taken its name"),
            (|now| now.device = Some(8), "was replaced: another file has taken its name"),
            (|now| now.modified_unix_nanoseconds = None, "was written to"),
            (
                |now| now.changed_unix_nanoseconds = Some(8),
                "was written to and given its old time of writing, or has another mode, owner or link",
            ),
            (|now| now.device = None, ""),
        ];
        for (change, text) in changes {
            let mut now = stamp.clone();
            change(&mut now);
            assert_eq!(stamp.change_to(&now).unwrap_or_default(), text);
        }
    }

    #[test]
    fn a_device_is_not_remembered() {
        let stamp = Stamp::of(&std::fs::metadata(".").unwrap());
        let kept: Stamp = serde_json::from_str(&serde_json::to_string(&stamp).unwrap()).unwrap();
        assert_eq!(kept, Stamp { device: None, ..stamp });
    }

    #[test]
    fn times_before_1970_are_times() {
        let before = UNIX_EPOCH - Duration::from_nanos(5);
        assert_eq!(unix_nanoseconds(before), Some(-5));
        assert_eq!(unix_nanoseconds(UNIX_EPOCH + Duration::from_nanos(5)), Some(5));
    }
}
