//! Checkpoint directories in the making: right as they come, and then with faults.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Bytes, TensorFile};

pub const INDEX: &str = "model.safetensors.index.json";

/// The kinds of file that [`Model`] has, for choosing one of them.
#[derive(Debug, Clone)]
pub enum File {
    Content(Vec<u8>),
    Link(String),
    Fifo,
    Directory,
}

/// What two models have in common, so that they can be merged.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    pub tied: bool,
    /// A list of numbers, one a layer, such as `model.scale.0`.
    pub scales: bool,
    /// A tensor of integers.
    pub positions: bool,
    /// A tensor without elements.
    pub empty: bool,
    pub layers: usize,
    pub hidden: usize,
    pub vocabulary: usize,
}

impl Shape {
    pub fn read(input: &mut Bytes<'_>) -> Self {
        let flags = input.byte();
        Shape {
            tied: flags & 1 != 0,
            scales: flags & 2 != 0,
            positions: flags & 4 != 0,
            empty: flags & 8 != 0,
            layers: input.below(3) + 1,
            hidden: input.below(4) + 1,
            vocabulary: input.below(8) + 1,
        }
    }

    /// Names, shapes, and whether it is of floats.
    fn tensors(&self) -> Vec<(String, Vec<usize>, bool)> {
        let (hidden, vocabulary) = (self.hidden, self.vocabulary);
        let mut all =
            vec![("model.embed_tokens.weight".to_owned(), vec![vocabulary, hidden], true)];
        for layer in 0..self.layers {
            let name = |rest: &str| format!("model.layers.{layer}.{rest}");
            all.push((name("mlp.weight"), vec![hidden, hidden], true));
            all.push((name("norm.weight"), vec![hidden], true));
            if self.scales {
                all.push((format!("model.scale.{layer}"), vec![], true));
            }
        }
        all.push(("model.norm.weight".to_owned(), vec![hidden], true));
        if self.positions {
            all.push(("model.position_ids".to_owned(), vec![1, hidden], false));
        }
        if self.empty {
            all.push(("model.nothing".to_owned(), vec![0, hidden], true));
        }
        if !self.tied {
            all.push(("lm_head.weight".to_owned(), vec![vocabulary, hidden], true));
        }
        all
    }
}

/// A checkpoint directory that is not written yet.
pub struct Model {
    pub config: Map<String, Value>,
    /// Names and contents of the weights files.
    pub shards: Vec<(String, TensorFile)>,
    /// The index's entries; a tensor may stand here twice.
    pub index: Option<Vec<(String, String)>>,
    /// All other files, and those that are to replace one of the above.
    pub files: BTreeMap<String, File>,
    /// Bytes to cut off a file's end, or to add where the number is negative.
    pub cuts: BTreeMap<String, i64>,
    /// What the first eight bytes of a weights file say instead.
    pub lengths: BTreeMap<String, u64>,
    /// A name that is no text.
    pub foreign_name: bool,
}

impl Model {
    /// A model with values that a byte chooses.
    pub fn new(shape: &Shape, dtype: &str, shards: usize, mut seed: u64) -> Self {
        let tensors = shape.tensors();
        let count = shards.clamp(1, tensors.len());
        let name = |shard: usize| match count {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{count:05}.safetensors", shard + 1),
        };
        let mut files: Vec<(String, TensorFile)> =
            (0..count).map(|shard| (name(shard), TensorFile::default())).collect();
        let mut index = Vec::new();
        for (at, (tensor, dimensions, float)) in tensors.into_iter().enumerate() {
            let len: usize = dimensions.iter().product();
            let mut bytes = Vec::new();
            for element in 0..len {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                // Numbers that every dtype holds.
                let value = ((seed >> 33) % 33) as f64 / 16.0 - 1.0;
                if float {
                    bytes.extend(stored(dtype, value));
                } else {
                    bytes.extend((element as i64).to_le_bytes());
                }
            }
            let (file, content) = &mut files[at % count];
            content.add(&tensor, if float { dtype } else { "I64" }, &dimensions, &bytes);
            index.push((tensor, file.clone()));
        }
        let config = json!({
            "model_type": "llama", "architectures": ["LlamaForCausalLM"],
            "num_hidden_layers": shape.layers, "vocab_size": shape.vocabulary,
            "hidden_size": shape.hidden, "tie_word_embeddings": shape.tied,
        });
        let Value::Object(config) = config else { unreachable!() };
        Model {
            config,
            shards: files,
            index: (count > 1).then_some(index),
            files: BTreeMap::new(),
            cuts: BTreeMap::new(),
            lengths: BTreeMap::new(),
            foreign_name: false,
        }
    }

    /// Writes it into an empty directory.
    pub fn write(&self, dir: &Path) {
        let mut files = BTreeMap::new();
        let mut config = serde_json::to_vec(&self.config).expect("JSON");
        self.cut("config.json", &mut config);
        files.insert("config.json".to_owned(), File::Content(config));
        for (name, shard) in &self.shards {
            let mut bytes = shard.bytes();
            if let Some(length) = self.lengths.get(name) {
                bytes[..8].copy_from_slice(&length.to_le_bytes());
            }
            self.cut(name, &mut bytes);
            files.insert(name.clone(), File::Content(bytes));
        }
        if let Some(index) = &self.index {
            let text = |text: &String| Value::from(text.as_str()).to_string();
            let entries: Vec<String> = index
                .iter()
                .map(|(tensor, shard)| format!("{}:{}", text(tensor), text(shard)))
                .collect();
            let mut bytes = format!(r#"{{"weight_map":{{{}}}}}"#, entries.join(",")).into_bytes();
            self.cut(INDEX, &mut bytes);
            files.insert(INDEX.to_owned(), File::Content(bytes));
        }
        files.extend(self.files.clone());
        for (name, file) in files {
            let path = dir.join(name);
            match file {
                File::Content(bytes) => fs::write(path, bytes).expect("a file is written"),
                File::Link(target) => symlink(target, path).expect("a link is made"),
                File::Directory => fs::create_dir(path).expect("a directory is made"),
                File::Fifo => {
                    use rustix::fs::{CWD, FileType, Mode, mknodat};
                    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)
                        .expect("a named pipe is made");
                }
            }
        }
        if self.foreign_name {
            let name = std::ffi::OsStr::from_bytes(b"notes-\xff.txt");
            fs::write(dir.join(name), b"no text").expect("a file is written");
        }
    }

    fn cut(&self, name: &str, bytes: &mut Vec<u8>) {
        match self.cuts.get(name) {
            Some(cut) if *cut >= 0 => {
                bytes.truncate(bytes.len().saturating_sub(usize::try_from(*cut).unwrap_or(0)));
            }
            Some(more) => {
                bytes.resize(bytes.len() + usize::try_from(more.unsigned_abs()).unwrap_or(0), b' ');
            }
            None => {}
        }
    }
}

/// A number as a checkpoint stores it; exact for the few numbers that models here are made of.
fn stored(dtype: &str, value: f64) -> Vec<u8> {
    use mergecore_tensor::{bf16, f16};
    match dtype {
        "BF16" => bf16::from_f64(value).to_le_bytes().into(),
        "F16" => f16::from_f64(value).to_le_bytes().into(),
        "F64" => value.to_le_bytes().into(),
        _ => (value as f32).to_le_bytes().into(),
    }
}
