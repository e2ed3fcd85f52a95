//! The recipe's file, before it is understood.

use std::fs::{self, File, FileType};
use std::io::Read;
use std::path::Path;

use crate::brackets::too_much_work;
use crate::error::{ConfigError, Limit};
use crate::path::RecipePath;
use crate::place::{Place, Source};

/// Bytes of a recipe file. The largest real ones have some ten thousand.
const MAX_FILE: usize = 1 << 20;

/// The file's text. Only regular files are opened, and what the shell hands over: a named
/// pipe would block until somebody writes into it.
pub(crate) fn read_file(path: &Path) -> Result<String, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let kind = fs::metadata(path).map_err(failed)?.file_type();
    if kind.is_dir() {
        return Err(ConfigError::IsDirectory { path: path.to_owned() });
    }
    if !kind.is_file() && !is_handed_over(path) {
        return Err(ConfigError::NotAFile { path: path.to_owned(), found: name_of(kind) });
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() > MAX_FILE {
        let file = Some(path.display().to_string().into());
        return Err(ConfigError::TooLarge {
            place: Box::new(Place::new(file, None, RecipePath::root())),
            limit: Limit::File,
        });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        ConfigError::NotUtf8 {
            path: path.to_owned(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            offset,
        }
    })
}

/// As for a file, for a text.
pub(crate) fn check_size(source: &Source) -> Result<(), ConfigError> {
    let too_large = |position, limit| {
        let place = Place::new(source.file(), position, RecipePath::root());
        Err(ConfigError::TooLarge { place: Box::new(place), limit })
    };
    if source.text().len() > MAX_FILE {
        return too_large(None, Limit::File);
    }
    match too_much_work(source.yaml()) {
        None => Ok(()),
        position => too_large(position, Limit::Brackets),
    }
}

/// Whether the path is of an open file, as of `<(...)` or of standard input: to read those
/// is what whoever gives them asks for, whatever they are.
fn is_handed_over(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

/// What something that is no regular file is.
fn name_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a named pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    let _ = kind;
    "something special"
}
