//! The command line: one definition for parsing, help, completions and man pages.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use clap_complete::Shell;
use mergecore::{MergeOptions, ModelCardTemplate, builtin_methods};

use crate::size::parse_size;

/// Merge large language models by a YAML recipe.
///
/// Reads checkpoints (safetensors), combines their weights as a recipe says, and writes a
/// new checkpoint that loads wherever the inputs did. What headers and recipe can show to
/// be wrong is reported before anything is read.
#[derive(Debug, Parser)]
#[command(name = "mergecore", version, styles = STYLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  mergecore inspect org/name                   what a model consists of
  mergecore plan recipe.yml                    what a merge would do
  mergecore merge recipe.yml merged-model      do it
  mergecore verify merged-model                look the result through

A recipe, such as ties.yml:
  merge_method: ties
  base_model: org/base
  models:
    - {model: org/a, parameters: {weight: 0.5, density: 0.5}}
    - {model: ./my-finetune, parameters: {weight: 0.5, density: 0.5}}
  dtype: bfloat16

Models are directories or names in the local Hugging Face cache (HF_HUB_CACHE, HF_HOME),
`org/name` or `org/name@revision`.
";

const EXIT_STATUS: &str = "\
Exit status: 0 done, 1 the merge failed, 2 the recipe or the command line is wrong.";

/// The command's definition.
pub(crate) fn command() -> clap::Command {
    let registry = builtin_methods();
    let methods: Vec<&str> = registry.names().collect();
    let methods = format!("Methods: {}.", methods.join(", "));
    Cli::command()
        .after_help(format!("{methods}\n{EXIT_STATUS}\n\n`mergecore --help` has examples."))
        .after_long_help(format!("{EXAMPLES}\n{methods}\n{EXIT_STATUS}"))
}

/// The command line's arguments, or the end of the program with help or an error.
pub(crate) fn parse() -> Cli {
    let mut command = command();
    let matches = command.get_matches_mut();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Merge the models that a recipe names into a new checkpoint.
    ///
    /// The output directory appears under its name only when it is complete. Its path is
    /// printed on stdout, everything else on stderr. A merge that was stopped goes on where it
    /// was when the same command is given again.
    #[command(after_help = MERGE_EXAMPLES)]
    Merge(MergeArgs),
    /// Show what a merge would do: models, files, tensors. No tensor is read.
    ///
    /// Everything is checked that recipe and headers can show to be wrong, and nothing is
    /// written.
    #[command(after_help = PLAN_EXAMPLES)]
    Plan(PlanArgs),
    /// Show what a model consists of: layers, tensors, dtypes, sizes.
    #[command(after_help = INSPECT_EXAMPLES)]
    Inspect(InspectArgs),
    /// Look an output through: every file and tensor against the hashes in its manifest.
    ///
    /// A single bit that is not as it was written is found, and the tensor or file named.
    #[command(after_help = VERIFY_EXAMPLES)]
    Verify(VerifyArgs),
    /// Repeat the merge that a manifest tells of, and compare every tensor and file.
    ///
    /// Nothing is written, and the model card is not compared. Models are looked for as in a merge, and where they are not found,
    /// in the directories where they were.
    #[command(after_help = REPRODUCE_EXAMPLES)]
    Reproduce(ReproduceArgs),
    /// List the merge methods, or describe one with its parameters.
    #[command(after_help = METHODS_EXAMPLES)]
    Methods(MethodsArgs),
    /// Print the JSON Schema of recipes, with which editors complete and check them.
    #[command(after_help = SCHEMA_EXAMPLES)]
    Schema,
    /// Print a completion script for a shell.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Print the man page, or write those of all commands to a directory.
    #[command(after_help = MAN_EXAMPLES)]
    Man {
        /// The directory, which must exist.
        dir: Option<PathBuf>,
    },
}

const MERGE_EXAMPLES: &str = "\
Examples:
  mergecore merge recipe.yml merged-model
  mergecore merge recipe.yml merged-model --out-shard-size 2GB --overwrite
  mergecore merge dare.yml merged-model --random-seed 7
  mergecore merge recipe.yml merged-model --username me --model-card-template card.md.jinja
  HF_HUB_CACHE=/data/hub mergecore merge recipe.yml merged-model

Model paths in the recipe are relative to the current directory. Names, `org/name` or
`org/name@revision`, are looked up in the local Hugging Face cache; nothing is downloaded.";

const PLAN_EXAMPLES: &str = "\
Examples:
  mergecore plan recipe.yml
  mergecore plan recipe.yml --verbose            every tensor with its inputs
  mergecore plan recipe.yml --json | jq .tally";

const INSPECT_EXAMPLES: &str = "\
Examples:
  mergecore inspect models/base
  mergecore inspect org/name@revision
  mergecore inspect models/base --json | jq '.tensors[].dtype'";

const METHODS_EXAMPLES: &str = "\
Examples:
  mergecore methods
  mergecore methods ties
  mergecore methods --markdown > methods.md";

const SCHEMA_EXAMPLES: &str = "\
Example:
  mergecore schema > recipe.schema.json

An editor with a YAML language server then completes and checks a recipe whose first line is
  # yaml-language-server: $schema=recipe.schema.json";

const VERIFY_EXAMPLES: &str = "\
Examples:
  mergecore verify merged-model
  mergecore verify merged-model --quiet && echo right";

const REPRODUCE_EXAMPLES: &str = "\
Examples:
  mergecore reproduce merged-model
  mergecore reproduce downloads/their-manifest.json";

const COMPLETIONS_EXAMPLES: &str = "\
Examples:
  mergecore completions bash > ~/.local/share/bash-completion/completions/mergecore
  mergecore completions zsh > ~/.zfunc/_mergecore
  mergecore completions fish > ~/.config/fish/completions/mergecore.fish";

const MAN_EXAMPLES: &str = "\
Examples:
  mergecore man | man -l -
  mergecore man /usr/local/share/man/man1";

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    /// The recipe, a YAML file.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    /// The directory to write; must not exist yet, unless --overwrite is given.
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,

    #[command(flatten)]
    planning: PlanningArgs,

    /// Replace an existing output.
    #[arg(long, help_heading = "Output")]
    overwrite: bool,
    /// Discard what an interrupted merge has left beside the output, and begin anew.
    #[arg(long, help_heading = "Output")]
    restart: bool,
    /// Leave the hashes of what is read and written out of the manifest.
    #[arg(long, help_heading = "Output")]
    no_hash: bool,

    /// Write no model card (README.md).
    #[arg(long, alias = "no-write-model-card", help_heading = "Model card")]
    no_model_card: bool,
    /// Render this Jinja template as the model card: it can use model_name, models,
    /// yaml_config, username, merge_method, base_model, license.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "no_model_card",
        help_heading = "Model card"
    )]
    model_card_template: Option<PathBuf>,
    /// The owner of the merged model, for the model card.
    #[arg(long, value_name = "NAME", help_heading = "Model card")]
    username: Option<String>,

    /// Go on where an input holds NaN or infinity, or the output would.
    #[arg(long, help_heading = "Merging")]
    allow_nonfinite: bool,

    #[command(flatten)]
    threads: ThreadsArg,
    /// Bytes that buffers may take, 64MiB say; ties counts with a few MiB a thread besides.
    /// Changes no byte of the output.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, help_heading = "Resources")]
    max_memory: Option<u64>,
    /// Accepted for compatibility: reading is always lazy.
    #[arg(long, help_heading = "Resources")]
    lazy_unpickle: bool,

    /// Print nothing but errors.
    #[arg(long, short, conflicts_with = "verbose", help_heading = "Messages")]
    pub(crate) quiet: bool,
    /// Print also where the models were found and what they consist of.
    #[arg(long, short, help_heading = "Messages")]
    pub(crate) verbose: bool,
}

/// What decides on a merge's plan.
#[derive(Debug, Args)]
struct PlanningArgs {
    /// Copy the base model's tokenizer files (the default).
    #[arg(long, overrides_with = "no_copy_tokenizer", help_heading = "Output")]
    copy_tokenizer: bool,
    /// Write no tokenizer files.
    #[arg(long, help_heading = "Output")]
    no_copy_tokenizer: bool,
    /// Most tensor bytes in a file: 5B (5 * 10^9), 500M, 2GB, 2GiB.
    #[arg(long, value_name = "SIZE", default_value = "5B", value_parser = parse_size, help_heading = "Output")]
    out_shard_size: u64,
    /// Merge models of different architectures.
    #[arg(long, help_heading = "Merging")]
    allow_crimes: bool,
    /// Seed of the random masks (dare_linear, dare_ties).
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Merging")]
    random_seed: u64,
}

#[derive(Debug, Args)]
pub(crate) struct PlanArgs {
    /// The recipe, a YAML file.
    #[arg(value_name = "CONFIG")]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    planning: PlanningArgs,
    /// Print everything as JSON.
    #[arg(long, help_heading = "Messages")]
    pub(crate) json: bool,
    /// Print every tensor.
    #[arg(long, short, help_heading = "Messages")]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct MethodsArgs {
    /// The method to describe.
    pub(crate) name: Option<String>,
    /// Print a page of Markdown about all methods.
    #[arg(long, conflicts_with = "name")]
    pub(crate) markdown: bool,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// A model's directory, or its name in the local Hugging Face cache.
    #[arg(value_name = "MODEL")]
    pub(crate) model: String,
    /// Print everything as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// Print every tensor, not one line for those alike in all layers.
    #[arg(long, short)]
    pub(crate) verbose: bool,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The output directory of a merge, or the manifest in it.
    #[arg(value_name = "OUT")]
    pub(crate) output: PathBuf,
    #[command(flatten)]
    threads: ThreadsArg,
    /// Print nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ReproduceArgs {
    /// A merge's manifest, whatever its name, or the directory with its merge_manifest.json.
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: PathBuf,
    #[command(flatten)]
    threads: ThreadsArg,
    /// Print nothing but errors.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Args)]
struct ThreadsArg {
    /// Threads to use [default: one a core].
    #[arg(long, value_name = "N", value_parser = parse_threads, help_heading = "Resources")]
    threads: Option<u32>,
}

impl ThreadsArg {
    fn options(&self) -> MergeOptions {
        let threads = self.threads.map(|threads| threads as usize);
        MergeOptions { threads, ..MergeOptions::default() }
    }
}

impl VerifyArgs {
    pub(crate) fn options(&self) -> MergeOptions {
        self.threads.options()
    }
}

impl ReproduceArgs {
    pub(crate) fn options(&self) -> MergeOptions {
        self.threads.options()
    }
}

fn parse_threads(text: &str) -> Result<u32, &'static str> {
    let threads = text.parse().ok().filter(|threads| (1..=1024).contains(threads));
    threads.ok_or("give a number from 1 to 1024, or leave the option out for one a core")
}

impl PlanningArgs {
    fn options(&self) -> MergeOptions {
        MergeOptions {
            max_shard_bytes: self.out_shard_size,
            seed: self.random_seed,
            allow_mixed_architectures: self.allow_crimes,
            copy_tokenizer: !self.no_copy_tokenizer,
            ..MergeOptions::default()
        }
    }
}

impl PlanArgs {
    pub(crate) fn options(&self) -> MergeOptions {
        self.planning.options()
    }
}

impl MergeArgs {
    pub(crate) fn options(&self) -> Result<MergeOptions, mergecore::EngineError> {
        let template = self.model_card_template.as_ref().map(ModelCardTemplate::from_path);
        Ok(MergeOptions {
            threads: self.threads.options().threads,
            max_memory: self.max_memory,
            overwrite: self.overwrite,
            restart: self.restart,
            hash: !self.no_hash,
            allow_nonfinite: self.allow_nonfinite,
            model_card: !self.no_model_card,
            model_card_template: template.transpose()?,
            username: self.username.clone(),
            ..self.planning.options()
        })
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_definition_is_consistent() {
        super::command().debug_assert();
    }
}
