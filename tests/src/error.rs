//! Everything that can keep a checkpoint from being measured.

use std::path::PathBuf;

/// Why a checkpoint's perplexity could not be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's report.
        source: std::io::Error,
    },
    /// A file is not the JSON that was expected.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: serde_json::Error,
    },
    /// config.json asks for something that candle's Llama would silently not do.
    #[error("{path}: `{key}` is {found}, expected {expected}")]
    Config {
        /// config.json.
        path: PathBuf,
        /// The key at fault.
        key: &'static str,
        /// Its value.
        found: String,
        /// What candle's Llama can do.
        expected: String,
    },
    /// A shard does not hold what the index says.
    #[error("{path} and model.safetensors.index.json disagree about {tensors:?}")]
    Index {
        /// The shard.
        path: PathBuf,
        /// Tensors that only one of the two names.
        tensors: Vec<String>,
    },
    /// The checkpoint's tensors are not those of a Llama of its config.json.
    #[error("{path} asks for tensors that are missing, {missing:?}, or not for {unused:?}")]
    Tensors {
        /// config.json.
        path: PathBuf,
        /// Tensors of such a model that the checkpoint lacks.
        missing: Vec<String>,
        /// Tensors of the checkpoint that such a model would not use.
        unused: Vec<String>,
    },
    /// The text is shorter than one row.
    #[error("the text has {found} tokens, expected at least {expected}")]
    ShortText {
        /// Tokens in the text.
        found: usize,
        /// Tokens in a row.
        expected: usize,
    },
    /// tokenizer.json could not be read or applied.
    #[error("tokenizer: {0}")]
    Tokenizer(#[source] tokenizers::Error),
    /// candle could not load or run the model.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}
