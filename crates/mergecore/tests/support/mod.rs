//! Random checkpoints of mixed dtypes in a folder, and rounding by another way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mergecore::{DType, MergeConfig, MergeOptions, MergeReport, bf16, f16, merge};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

pub(crate) type Model = BTreeMap<String, Stored>;

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn display(&self) -> std::path::Display<'_> {
        self.0.path().display()
    }

    /// Writes `base`, `a` and `b`, each tensor in a dtype of its own.
    pub(crate) fn write_mixed(&self, seed: u64) -> [Model; 3] {
        let mut random = Random(ChaCha8Rng::seed_from_u64(seed));
        let mut models = [Model::new(), Model::new(), Model::new()];
        for (name, shape) in shapes() {
            let len: usize = shape.iter().product();
            let base: Vec<f64> = (0..len).map(|_| random.normal(0.02)).collect();
            // Two models trained from one base leave some elements as they were.
            for (index, model) in models.iter_mut().enumerate() {
                let values = base.iter().map(|value| match random.below(4) {
                    0 => *value,
                    _ => value + random.normal(0.004) * index as f64,
                });
                let mut values: Vec<f64> = values.collect();
                values.iter_mut().take(2).for_each(|value| *value = -0.0);
                let dtypes = [DType::Bf16, DType::F16, DType::F32, DType::F64];
                let dtype = dtypes[random.below(4) as usize];
                model.insert(name.clone(), Stored::of(dtype, shape.clone(), &values));
            }
        }
        for (name, model) in ["base", "a", "b"].into_iter().zip(&models) {
            self.write(name, model);
        }
        models
    }

    fn write(&self, name: &str, model: &Model) {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        let config = r#"{"zeta": 1, "model_type": "llama", "num_hidden_layers": 3, "layer_types": ["even", "odd", "even"], "torch_dtype": "float32", "vocab_size": 16}"#;
        std::fs::write(dir.join("config.json"), config).unwrap();
        let views = model.iter().map(|(name, tensor)| {
            let dtype = match tensor.dtype {
                DType::Bf16 => Dtype::BF16,
                DType::F16 => Dtype::F16,
                DType::F32 => Dtype::F32,
                _ => Dtype::F64,
            };
            (name.clone(), TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
        });
        serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
    }

    pub(crate) fn merge(
        &self,
        recipe: &str,
        out: &str,
        options: &MergeOptions,
    ) -> mergecore::Result<MergeReport> {
        merge(&MergeConfig::from_yaml_str(recipe)?, self.path(out), options)
    }

    /// The tensors of a checkpoint, by the safetensors crate.
    pub(crate) fn read(&self, name: &str) -> Model {
        let mut model = Model::new();
        for entry in std::fs::read_dir(self.path(name)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "safetensors") {
                let bytes = std::fs::read(path).unwrap();
                for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
                    let dtype = view.dtype().to_string().parse().unwrap();
                    let stored =
                        Stored { dtype, shape: view.shape().to_vec(), bytes: view.data().to_vec() };
                    assert_eq!(model.insert(name, stored), None);
                }
            }
        }
        model
    }
}

/// Layers of several blocks of 65,536 elements, small tensors, one of no element
/// and one of a single number.
fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![16, 24]),
        ("model.norm.weight".to_owned(), vec![24]),
        ("model.empty".to_owned(), vec![0, 4]),
        ("model.scalar".to_owned(), vec![]),
        ("model.conv".to_owned(), vec![3, 5, 7, 2]),
        ("lm_head.weight".to_owned(), vec![16, 24]),
    ];
    for layer in 0..3 {
        shapes.push((format!("model.layers.{layer}.mlp.up_proj.weight"), vec![331, 401]));
        shapes.push((format!("model.layers.{layer}.self_attn.q_proj.weight"), vec![24, 24]));
    }
    shapes
}

impl Stored {
    fn of(dtype: DType, shape: Vec<usize>, values: &[f64]) -> Self {
        let element = |value: &f64| match dtype {
            DType::Bf16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
            DType::F16 => f16::from_f64(*value).to_le_bytes().to_vec(),
            DType::F32 => (*value as f32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        Stored { dtype, shape, bytes: values.iter().flat_map(element).collect() }
    }
}

pub(crate) fn bytes_of(stored: &Stored) -> &[u8] {
    &stored.bytes
}

pub(crate) fn values(stored: &Stored) -> Vec<f64> {
    let chunks = stored.bytes.chunks_exact(stored.dtype.size());
    let value = |bytes: &[u8]| match stored.dtype {
        DType::Bf16 => bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        DType::F16 => f16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
        DType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
        _ => f64::from_le_bytes(bytes.try_into().unwrap()),
    };
    chunks.map(value).collect()
}

/// `value - d` and `value + d`, each rounded to the nearest value of a dtype.
pub(crate) fn round_bounds(dtype: &str, value: f64, d: f64) -> (f64, f64) {
    let round = |value: f64| match dtype {
        "bfloat16" => nearest(value, |bits| bf16::from_bits(bits).to_f64(), 0x7f80),
        "float16" => nearest(value, |bits| f16::from_bits(bits).to_f64(), 0x7c00),
        _ => f64::from(value as f32),
    };
    (round(value - d), round(value + d))
}

/// The nearest of a 16-bit type's values, ties to even, by bisection and the exact
/// midpoint of the neighbours: not the way the library rounds.
fn nearest(value: f64, widen: impl Fn(u16) -> f64, infinity: u16) -> f64 {
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if widen(middle) <= value.abs() { low = middle } else { high = middle }
    }
    let midpoint = (widen(low) + widen(high)) / 2.0;
    let up = value.abs() > midpoint || (value.abs() == midpoint && low % 2 == 1);
    widen(if up { high } else { low }).copysign(value)
}

struct Random(ChaCha8Rng);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0.random_range(0..n)
    }

    /// Nearly normal: the sum of twelve uniform numbers.
    fn normal(&mut self, deviation: f64) -> f64 {
        (0..12).map(|_| self.0.random_range(-0.5..0.5)).sum::<f64>() * deviation
    }
}
