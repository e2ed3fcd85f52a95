//! Makes synthetic Llama checkpoints for measurements: a base and two models
//! trained on from it, bf16.
//!
//! ```sh
//! cargo run --release -p mergecore-benches --bin make-checkpoint -- DIR [LAYERS [HIDDEN [VOCAB]]]
//! ```
//!
//! writes DIR/base, DIR/a and DIR/b. The defaults (22, 2048, 32000) give 1.1 billion
//! parameters, 2.2 GB a model; 10, 1536, 32000 give 0.6 GB.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use mergecore::{DType, Element, bf16};
use mergecore_benches::Normal;
use mergecore_io::{CheckpointWriter, Layout, TensorSpec};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let dir = args.first().ok_or("usage: make-checkpoint DIR [LAYERS [HIDDEN [VOCAB]]]")?;
    let number =
        |index: usize, default: usize| args.get(index).map_or(Ok(default), |text| text.parse());
    let size = Size { layers: number(1, 22)?, hidden: number(2, 2048)?, vocab: number(3, 32_000)? };
    for (name, seed) in [("base", None), ("a", Some(1)), ("b", Some(2))] {
        size.write(&Path::new(dir).join(name), seed)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Size {
    layers: usize,
    hidden: usize,
    vocab: usize,
}

impl Size {
    /// The feed-forward width, about 8/3 of the hidden one as in Llama.
    fn inner(self) -> usize {
        (self.hidden * 11 / 4).next_multiple_of(64)
    }

    fn tensors(self) -> Vec<TensorSpec> {
        let Size { layers, hidden, vocab } = self;
        let (inner, grouped) = (self.inner(), hidden / 8);
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
            ("lm_head.weight".to_owned(), vec![vocab, hidden]),
        ];
        for layer in 0..layers {
            let parts = [
                ("input_layernorm", vec![hidden]),
                ("mlp.down_proj", vec![hidden, inner]),
                ("mlp.gate_proj", vec![inner, hidden]),
                ("mlp.up_proj", vec![inner, hidden]),
                ("post_attention_layernorm", vec![hidden]),
                ("self_attn.k_proj", vec![grouped, hidden]),
                ("self_attn.o_proj", vec![hidden, hidden]),
                ("self_attn.q_proj", vec![hidden, hidden]),
                ("self_attn.v_proj", vec![grouped, hidden]),
            ];
            let name = |part: &str| format!("model.layers.{layer}.{part}.weight");
            shapes.extend(parts.map(|(part, shape)| (name(part), shape)));
        }
        shapes
            .into_iter()
            .map(|(name, shape)| TensorSpec { name, dtype: DType::Bf16, shape })
            .collect()
    }

    /// Writes a checkpoint: the base, or a model trained on from it.
    fn write(self, dir: &Path, trained: Option<u64>) -> Result<(), Box<dyn Error>> {
        std::fs::create_dir_all(dir)?;
        let config = format!(
            "{{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": {}, \
             \"intermediate_size\": {}, \"num_hidden_layers\": {}, \"num_attention_heads\": {}, \
             \"num_key_value_heads\": {}, \"head_dim\": 64, \"vocab_size\": {}, \"rms_norm_eps\": 1e-05, \
             \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\"}}\n",
            self.hidden,
            self.inner(),
            self.layers,
            self.hidden / 64,
            self.hidden / 512,
            self.vocab,
        );
        std::fs::write(dir.join("config.json"), config)?;
        let layout = Arc::new(Layout::new(self.tensors(), 5_000_000_000, BTreeMap::new())?);
        let writer = CheckpointWriter::create(dir, Arc::clone(&layout))?;
        for (index, tensor) in layout.tensors().iter().enumerate() {
            let mut base = Normal::new(index as u64);
            let mut change = Normal::new(1_000_000 * trained.unwrap_or(0) + index as u64 + 77);
            let total: usize = tensor.shape.iter().product();
            let mut done = 0;
            while done < total {
                let count = (total - done).min(1 << 20);
                let value = |_| {
                    let stored = bf16::narrow(base.next(0.02));
                    let moved = trained.map(|_| bf16::narrow(stored.widen() + change.next(0.001)));
                    moved.unwrap_or(stored).to_le_bytes()
                };
                let bytes: Vec<u8> = (0..count).flat_map(value).collect();
                writer.write(index, 2 * done as u64, &bytes)?;
                done += count;
            }
        }
        writer.finish()?;
        Ok(())
    }
}
