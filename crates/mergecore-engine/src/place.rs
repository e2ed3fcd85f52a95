//! Whether an output may be where it is to be.

use std::path::{Path, PathBuf};

use mergecore_io::{Checkpoint, StagedDir};

use crate::{EngineError, MergeOptions};

/// Where an input is: its directory, and the weights that are read there, as far as it
/// could be opened.
pub(crate) struct InputPlace {
    pub(crate) dir: PathBuf,
    pub(crate) files: Vec<PathBuf>,
}

impl InputPlace {
    pub(crate) fn of(checkpoint: &Checkpoint) -> Self {
        let files = checkpoint.files().iter().map(|file| file.path.clone()).collect();
        InputPlace { dir: checkpoint.dir().to_owned(), files }
    }
}

/// Whether there may be an output at that path, beside these inputs.
pub(crate) fn check_place(
    output: &Path,
    inputs: impl IntoIterator<Item = InputPlace>,
    options: &MergeOptions,
) -> Result<(), EngineError> {
    // Whatever else is wrong with it comes from this.
    check_apart(output, inputs)?;
    Ok(StagedDir::check(output, options.overwrite, &options.storage)?)
}

/// Neither may the output lie in an input's directory nor the reverse.
fn check_apart(
    output: &Path,
    inputs: impl IntoIterator<Item = InputPlace>,
) -> Result<(), EngineError> {
    let output = absolute(output);
    for InputPlace { dir, files } in inputs {
        let input = absolute(&dir);
        let overlaps = output.starts_with(&input) || input.starts_with(&output);
        // What is replaced is deleted: not what an input's files are links to.
        if overlaps || files.iter().any(|file| absolute(file).starts_with(&output)) {
            return Err(EngineError::OutputOverlapsInput { output, input });
        }
    }
    Ok(())
}

/// The path without links and dots as far as it exists.
pub(crate) fn absolute(path: &Path) -> PathBuf {
    if let Ok(found) = path.canonicalize() {
        return found;
    }
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) if parent != Path::new("") => absolute(parent).join(name),
        (Some(_), Some(name)) => absolute(Path::new(".")).join(name),
        _ => path.to_owned(),
    }
}
