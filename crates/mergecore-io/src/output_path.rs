//! Where an output may be, and where the work on it is done.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::discover::{kind_of, list_directory};
use crate::error::IoError;
use crate::storage::Storage;

/// The output's path with its own name at the end, links followed.
pub(crate) fn resolve(output: &Path) -> Result<PathBuf, IoError> {
    // What `..` leads to, only a directory that is there can say: `new/../a` is `a` as soon as
    // somebody has made `new`.
    if output.components().any(|component| component == Component::ParentDir)
        && let (Some(parent), Some(name)) = (output.parent(), output.file_name())
    {
        let parent = match parent.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(IoError::NoDirectory { path: parent.to_owned() });
            }
            parent => parent.map_err(IoError::system("open", output))?,
        };
        return resolve_name(&parent.join(name));
    }
    resolve_name(output)
}

fn resolve_name(output: &Path) -> Result<PathBuf, IoError> {
    let is_link = fs::symlink_metadata(output).is_ok_and(|metadata| metadata.is_symlink());
    let resolved = match is_link {
        true if fs::metadata(output).is_err() => {
            return Err(IoError::BrokenLink { path: output.to_owned() });
        }
        true => fs::canonicalize(output).map_err(IoError::system("open", output))?,
        // Drops a trailing slash, and a `.` at the end.
        false => output.components().collect(),
    };
    match resolved.file_name() {
        Some(_) => Ok(resolved),
        None => Err(IoError::OutputName { path: output.to_owned() }),
    }
}

pub(crate) fn check_output(
    storage: &Storage,
    output: &Path,
    overwrite: bool,
) -> Result<(), IoError> {
    let metadata = match storage.inspect(output) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(IoError::system("open", output)(error)),
    };
    if !metadata.is_dir() {
        let found = kind_of(metadata.file_type());
        return Err(IoError::OutputNotADirectory { path: output.to_owned(), found });
    }
    let names = list_directory(storage, output)?;
    if names.is_empty() {
        return Ok(());
    }
    if !overwrite {
        return Err(IoError::OutputExists { path: output.to_owned() });
    }
    // Overwriting deletes the whole directory. A slip of the hand must not cost
    // someone a home directory.
    let typical = |name: &String| {
        name == "config.json"
            || [".safetensors", ".bin", ".gguf"].iter().any(|end| name.ends_with(end))
    };
    match names.iter().any(typical) {
        true => Ok(()),
        false => Err(IoError::OutputNotACheckpoint { path: output.to_owned(), found: names }),
    }
}

/// The directory itself, or else the nearest one above it that is there.
pub(crate) fn nearest_directory(dir: &Path) -> &Path {
    let found = dir.ancestors().find(|dir| dir.exists());
    found.filter(|found| !found.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(any(target_os = "linux", target_vendor = "apple"))]
pub(crate) fn may_write(dir: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    Ok(access(dir, Access::WRITE_OK | Access::EXEC_OK)?)
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
pub(crate) fn may_write(_: &Path) -> io::Result<()> {
    Ok(())
}

/// `.<name>.mergecore-partial` beside the output.
pub(crate) fn home(output: &Path) -> Result<PathBuf, IoError> {
    let name = output.file_name().ok_or_else(|| IoError::OutputName { path: output.to_owned() })?;
    let mut home = OsString::from(".");
    home.push(name);
    home.push(".mergecore-partial");
    Ok(output.with_file_name(home))
}

pub(crate) fn parent(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
