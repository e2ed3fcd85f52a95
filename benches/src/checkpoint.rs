//! Synthetic checkpoints: Llama models, and mixtures of many small experts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use mergecore::{DType, Element, bf16};
use mergecore_io::{CheckpointWriter, IoError, Layout, TensorSpec};

use crate::Normal;

/// The size of a synthetic model, whose weights are bf16.
#[derive(Debug, Clone, Copy)]
pub struct ModelSize {
    /// How many layers.
    pub layers: usize,
    /// How wide they are, a multiple of 64.
    pub hidden: usize,
    /// How many tokens.
    pub vocab: usize,
    /// How many experts each layer has; with none it is a Llama model's.
    pub experts: usize,
    /// How many bytes a file may hold.
    pub shard_bytes: u64,
}

impl ModelSize {
    /// A fine-grained mixture of experts: 10,011 tensors of a few thousand elements with
    /// 24 layers of 136 experts. Their number is proportional to that of the experts.
    /// In several files, as models of so many tensors are.
    pub fn fine_grained(experts: usize) -> Self {
        ModelSize { layers: 24, hidden: 64, vocab: 512, experts, shard_bytes: 4_000_000 }
    }

    /// The feed-forward width: about 8/3 of the hidden one as in Llama, or half of it
    /// for an expert.
    fn inner(self) -> usize {
        match self.experts {
            0 => (self.hidden * 11 / 4).next_multiple_of(64),
            _ => self.hidden / 2,
        }
    }

    fn head(self) -> usize {
        (self.hidden / 8).min(64)
    }

    fn tensors(self) -> Vec<TensorSpec> {
        let ModelSize { layers, hidden, vocab, experts, .. } = self;
        let (inner, grouped) = (self.inner(), hidden / 8);
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_owned(), vec![vocab, hidden]),
            ("model.norm.weight".to_owned(), vec![hidden]),
            ("lm_head.weight".to_owned(), vec![vocab, hidden]),
        ];
        for layer in 0..layers {
            let mut add = |part: &str, shape: &[usize]| {
                shapes.push((format!("model.layers.{layer}.{part}.weight"), shape.to_owned()));
            };
            add("input_layernorm", &[hidden]);
            let mut feed_forward = |prefix: &str| {
                add(&format!("{prefix}.down_proj"), &[hidden, inner]);
                add(&format!("{prefix}.gate_proj"), &[inner, hidden]);
                add(&format!("{prefix}.up_proj"), &[inner, hidden]);
            };
            match experts {
                0 => feed_forward("mlp"),
                _ => (0..experts).for_each(|n| feed_forward(&format!("mlp.experts.{n}"))),
            }
            if experts > 0 {
                add("mlp.gate", &[experts, hidden]);
                add("self_attn.k_norm", &[self.head()]);
                add("self_attn.q_norm", &[self.head()]);
            }
            add("post_attention_layernorm", &[hidden]);
            add("self_attn.k_proj", &[grouped, hidden]);
            add("self_attn.o_proj", &[hidden, hidden]);
            add("self_attn.q_proj", &[hidden, hidden]);
            add("self_attn.v_proj", &[grouped, hidden]);
        }
        let spec = |(name, shape)| TensorSpec { name, dtype: DType::Bf16, shape };
        shapes.into_iter().map(spec).collect()
    }

    fn config(self) -> String {
        let kind = match self.experts {
            0 => r#""architectures": ["LlamaForCausalLM"], "model_type": "llama""#.to_owned(),
            experts => format!(
                "\"architectures\": [\"Qwen3MoeForCausalLM\"], \"model_type\": \"qwen3_moe\", \
                 \"num_experts\": {experts}, \"num_experts_per_tok\": {}, \
                 \"moe_intermediate_size\": {}, \"decoder_sparse_step\": 1",
                experts.min(8),
                self.inner(),
            ),
        };
        let heads = self.hidden / self.head();
        format!(
            "{{{kind}, \"hidden_size\": {}, \
             \"intermediate_size\": {}, \"num_hidden_layers\": {}, \"num_attention_heads\": {heads}, \
             \"num_key_value_heads\": {}, \"head_dim\": {}, \"vocab_size\": {}, \"rms_norm_eps\": 1e-05, \
             \"tie_word_embeddings\": false, \"torch_dtype\": \"bfloat16\"}}\n",
            self.hidden,
            self.inner(),
            self.layers,
            heads / 8,
            self.head(),
            self.vocab,
        )
    }

    /// A checkpoint in a new folder, all of its weights zero: enough to plan with. Where
    /// the file system can, it takes no more room than its headers.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_empty(self, dir: &Path) -> Result<(), IoError> {
        self.create(dir).map(drop)
    }

    /// A checkpoint in a new folder: the base, or a model trained on from it.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write(self, dir: &Path, trained: Option<u64>) -> Result<(), IoError> {
        let writer = self.create(dir)?;
        for (index, tensor) in writer.layout().tensors().iter().enumerate() {
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
        writer.finish()
    }

    /// config.json and the files of the weights, with nothing but headers in them.
    fn create(self, dir: &Path) -> Result<CheckpointWriter, IoError> {
        let system = |action, path: &Path| {
            let path = path.to_owned();
            move |source| IoError::System { action, path, source }
        };
        std::fs::create_dir_all(dir).map_err(system("create", dir))?;
        let config = dir.join("config.json");
        std::fs::write(&config, self.config()).map_err(system("write", &config))?;
        let layout = Layout::new(self.tensors(), self.shard_bytes, BTreeMap::new())?;
        CheckpointWriter::create(dir, Arc::new(layout))
    }
}
