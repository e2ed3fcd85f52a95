//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use mergecore::MergeOptions;

use crate::size::parse_size;

/// Merge large language models by a YAML recipe.
#[derive(Debug, Parser)]
#[command(name = "mergecore", version, after_help = EXIT_STATUS)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_STATUS: &str = "\
Methods: linear, slerp, task_arithmetic, ties, dare_linear, dare_ties, passthrough.
Exit status: 0 done, 1 the merge failed, 2 the recipe or the command line is wrong.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Merge the models that a recipe names into a new checkpoint.
    #[command(after_help = "\
Example:
  mergecore merge recipe.yml merged-model --out-shard-size 2GB

Model paths in the recipe are relative to the current directory.")]
    Merge(MergeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The recipe, a YAML file.
    pub(crate) config: PathBuf,
    /// The directory to write; must not exist yet, unless --overwrite is given.
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    /// Copy the base model's tokenizer files (the default).
    #[arg(long, overrides_with = "no_copy_tokenizer", help_heading = "Output")]
    copy_tokenizer: bool,
    /// Write no tokenizer files.
    #[arg(long, help_heading = "Output")]
    no_copy_tokenizer: bool,
    /// Most tensor bytes in a file: 5B (5 * 10^9), 500M, 2GB, 2GiB.
    #[arg(long, value_name = "SIZE", default_value = "5B", value_parser = parse_size, help_heading = "Output")]
    out_shard_size: u64,
    /// Replace an existing output.
    #[arg(long, help_heading = "Output")]
    overwrite: bool,
    /// Leave the hashes of what is read and written out of the manifest.
    #[arg(long, help_heading = "Output")]
    no_hash: bool,
    /// Write no model card (README.md).
    #[arg(long, alias = "no-write-model-card", help_heading = "Output")]
    no_model_card: bool,

    /// Merge models of different architectures.
    #[arg(long, help_heading = "Merging")]
    allow_crimes: bool,
    /// Go on where an input holds NaN or infinity.
    #[arg(long, help_heading = "Merging")]
    allow_nonfinite: bool,
    /// Seed of the random masks (dare_linear, dare_ties).
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Merging")]
    random_seed: u64,

    /// Threads to use [default: one a core].
    #[arg(long, value_name = "N", value_parser = parse_threads, help_heading = "Resources")]
    threads: Option<u32>,
    /// Bytes that buffers may take: 64MiB. Changes no byte of the output.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Resources")]
    max_memory: Option<u64>,
    /// Accepted for compatibility: reading is always lazy.
    #[arg(long, help_heading = "Resources")]
    lazy_unpickle: bool,

    /// Print nothing but errors.
    #[arg(long, short, help_heading = "Messages")]
    pub(crate) quiet: bool,
}

fn parse_threads(text: &str) -> Result<u32, &'static str> {
    let threads = text.parse().ok().filter(|threads| (1..=1024).contains(threads));
    threads.ok_or("give a number from 1 to 1024, or leave the option out for one a core")
}

impl MergeArgs {
    pub(crate) fn options(&self) -> MergeOptions {
        MergeOptions {
            threads: self.threads.map(|threads| threads as usize),
            max_memory: self.max_memory,
            max_shard_bytes: self.out_shard_size,
            seed: self.random_seed,
            overwrite: self.overwrite,
            hash: !self.no_hash,
            allow_nonfinite: self.allow_nonfinite,
            allow_mixed_architectures: self.allow_crimes,
            copy_tokenizer: !self.no_copy_tokenizer,
            model_card: !self.no_model_card,
            ..MergeOptions::default()
        }
    }
}
