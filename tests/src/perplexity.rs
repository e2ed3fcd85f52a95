//! Perplexity of a causal language model on a text.

use std::path::Path;

use candle_core::{D, DType, Device, Tensor};
use candle_nn::ops::log_softmax;
use candle_transformers::models::llama::{Cache, Config, Llama};
use tokenizers::Tokenizer;

use crate::{Error, checkpoint};

/// Tokens of the text that count.
const TOKENS: usize = 16_000;
/// Tokens in a row; no row sees another.
const ROW: usize = 128;

/// Perplexity on `text` of the Llama checkpoint in `model_dir`.
///
/// The text is tokenised as a whole with the checkpoint's own tokenizer, its first
/// 16,000 tokens are cut into rows of 128 (an incomplete last row is dropped), and
/// within each row every token but the first is predicted from those before it. The
/// perplexity is exp of the mean cross-entropy, in nats, of these predictions. Weights
/// of any dtype are widened to f32.
///
/// # Errors
///
/// If a file of the checkpoint is missing or malformed, if config.json describes a model
/// that is not a plain Llama, if its tensors are not exactly those of the model that
/// config.json describes, or if the text is shorter than one row.
///
/// # Panics
///
/// If a tensor's shape is not what config.json implies: so candle reports it. If the
/// system grants no thread.
pub fn perplexity(model_dir: &Path, text: &str) -> Result<f64, Error> {
    let (model, config) = checkpoint::load(model_dir)?;
    let ids = tokenise(model_dir, text)?;
    if ids.len() < ROW {
        return Err(Error::ShortText { found: ids.len(), expected: ROW });
    }
    // More threads do not make steps this small faster, and tests run side by side.
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().expect("a thread");
    Ok(thread.install(|| mean_entropy(&model, &config, &ids))?.exp())
}

/// The logits of what follows `text`, one a row of vocabulary, by the Mistral checkpoint in
/// `model_dir` and its own tokenizer.
///
/// # Errors
///
/// If a file of the checkpoint is missing or malformed, or if its tensors are not exactly
/// those of the model that config.json describes, in name and shape.
pub fn mistral_logits(model_dir: &Path, text: &str) -> Result<Vec<f32>, Error> {
    let mut model = checkpoint::load_mistral(model_dir)?;
    let ids = tokenise(model_dir, text)?;
    let ids = Tensor::from_slice(&ids, (1, ids.len()), &Device::Cpu)?;
    Ok(model.forward(&ids, 0)?.flatten_all()?.to_vec1()?)
}

/// Mean over rows of the mean cross-entropy of a row's predictions.
fn mean_entropy(model: &Llama, config: &Config, ids: &[u32]) -> candle_core::Result<f64> {
    let rows = ids.len() / ROW;
    let rows = Tensor::from_slice(&ids[..rows * ROW], (rows, ROW), &Device::Cpu)?;

    // candle's Llama gives the logits of the last position only. So all rows advance
    // together, a token at a time, and attend to earlier ones through the cache.
    let mut cache = Cache::new(true, DType::F32, config, &Device::Cpu)?;
    let mut entropy = 0.0;
    for position in 0..ROW - 1 {
        let token = rows.narrow(1, position, 1)?.contiguous()?;
        let next = rows.narrow(1, position + 1, 1)?.contiguous()?;
        let logits = model.forward(&token, position, &mut cache)?;
        let log_likelihood = log_softmax(&logits, D::Minus1)?.gather(&next, D::Minus1)?;
        entropy -= f64::from(log_likelihood.mean_all()?.to_scalar::<f32>()?);
    }
    Ok(entropy / (ROW - 1) as f64)
}

/// The first token ids of `text`, special tokens included.
fn tokenise(model_dir: &Path, text: &str) -> Result<Vec<u32>, Error> {
    let tokenizer =
        Tokenizer::from_file(model_dir.join("tokenizer.json")).map_err(Error::Tokenizer)?;
    let encoding = tokenizer.encode(text, true).map_err(Error::Tokenizer)?;
    let ids = encoding.get_ids();
    Ok(ids[..ids.len().min(TOKENS)].to_vec())
}
