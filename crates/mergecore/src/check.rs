//! Whether an output is what it was.

use std::path::Path;

use mergecore_engine::{MergeOptions, Reproduction, Verification};

use crate::Result;
use crate::merge::{builtin_methods, with_locator};

/// Looks an output through, given by its directory or the manifest in it: every file and every
/// tensor against the hashes in its merge_manifest.json. A single bit that is not as it was
/// written is found, and so is a file that loaders may take for weights and that the merge did
/// not write.
///
/// Of `options`, threads, progress, cancel flag and storage are used.
///
/// # Errors
/// If there is no manifest that can be relied on, threads cannot be started, or it is
/// cancelled. What is wrong with the output is in [`Verification::faults`].
///
/// ```
/// use mergecore::{MergeOptions, load_recipe, merge, verify};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("merged");
///
/// let config = load_recipe("models/recipes/tiny_ties.yml")?;
/// merge(&config, &out, &MergeOptions::default())?;
/// assert!(verify(&out, &MergeOptions::default())?.is_right());
///
/// std::fs::write(out.join("config.json"), "{}").unwrap();
/// let found = verify(&out, &MergeOptions::default())?;
/// assert!(found.faults[0].to_string().starts_with("config.json was changed"));
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn verify(output: impl AsRef<Path>, options: &MergeOptions) -> Result<Verification> {
    Ok(mergecore_engine::verify(output, options)?)
}

/// Repeats the merge that a manifest tells of, given by its file (whatever its name) or the
/// directory that it is in, with the built-in methods, and compares the hash of every tensor
/// and of every other file that the merge would write, except for manifest and model card (no byte
/// of the model follows from the options of the card, which are not recorded). Nothing is written.
///
/// Models are looked for as [`merge`](crate::merge()) does, and where they are not found, in
/// the directories where they were.
///
/// # Errors
/// If there is no manifest that can be relied on, or the merge cannot be planned or fails. What
/// came out another is in [`Reproduction::differences`].
///
/// ```
/// use mergecore::{MergeOptions, load_recipe, merge, reproduce};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// # let folder = tempfile::tempdir().unwrap();
/// # let out = folder.path().join("merged");
///
/// let config = load_recipe("models/recipes/tiny_ties.yml")?;
/// merge(&config, &out, &MergeOptions { seed: 5, ..MergeOptions::default() })?;
/// let repeated = reproduce(out.join("merge_manifest.json"), &MergeOptions::default())?;
/// assert!(repeated.is_same(), "{:?}", repeated.differences);
/// assert!(repeated.files > 3); // model.safetensors, config.json, the tokenizer's, the recipe
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn reproduce(manifest: impl AsRef<Path>, options: &MergeOptions) -> Result<Reproduction> {
    let options = with_locator(options);
    Ok(mergecore_engine::reproduce(manifest, &builtin_methods(), &options)?)
}
