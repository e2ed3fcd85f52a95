//! Checkpoints in a folder, random or of constants, and rounding by another way.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mergecore::{DType, MergeConfig, MergeOptions, MergeReport, bf16, f16, merge};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, serialize_to_file};
use serde_json::{Value, json};

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Tensor {
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) type Model = BTreeMap<String, Tensor>;

pub(crate) const FLOATS: [DType; 4] = [DType::Bf16, DType::F16, DType::F32, DType::F64];

impl Tensor {
    /// The values, each rounded to a float dtype.
    pub(crate) fn of(dtype: DType, shape: &[usize], values: &[f64]) -> Self {
        let element = |value: &f64| match dtype {
            DType::Bf16 => bf16::from_f64(*value).to_le_bytes().to_vec(),
            DType::F16 => f16::from_f64(*value).to_le_bytes().to_vec(),
            DType::F32 => (*value as f32).to_le_bytes().to_vec(),
            _ => value.to_le_bytes().to_vec(),
        };
        Tensor { dtype, shape: shape.to_vec(), bytes: values.iter().flat_map(element).collect() }
    }

    /// Four f32 elements of one value.
    pub(crate) fn constant(value: f64) -> Self {
        Tensor::of(DType::F32, &[2, 2], &[value; 4])
    }

    pub(crate) fn values(&self) -> Vec<f64> {
        let value = |bytes: &[u8]| match self.dtype {
            DType::Bf16 => bf16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
            DType::F16 => f16::from_le_bytes(bytes.try_into().unwrap()).to_f64(),
            DType::F32 => f64::from(f32::from_le_bytes(bytes.try_into().unwrap())),
            _ => f64::from_le_bytes(bytes.try_into().unwrap()),
        };
        self.bytes.chunks_exact(self.dtype.size()).map(value).collect()
    }

    /// The value of all elements.
    pub(crate) fn value(&self) -> f64 {
        let values = self.values();
        assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
        values[0]
    }
}

/// The tensors of a model of that many layers, all of one value, named as in
/// Llama.
pub(crate) fn llama(layers: usize, value: f64) -> Model {
    let outside = ["model.embed_tokens", "model.norm", "lm_head"].map(str::to_owned);
    let inside = (0..layers).flat_map(|layer| {
        ["self_attn.q_proj", "mlp.up_proj"].map(|part| format!("model.layers.{layer}.{part}"))
    });
    let name = |name| (format!("{name}.weight"), Tensor::constant(value));
    outside.into_iter().chain(inside).map(name).collect()
}

pub(crate) fn llama_config(layers: usize) -> Value {
    json!({ "model_type": "llama", "num_hidden_layers": layers })
}

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    /// In memory, where there is such a place: for tests that sync thousands of times.
    pub(crate) fn in_memory() -> Self {
        Folder(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, config: &Value, model: &Model) {
        self.write_sharded(name, config, model, 1);
    }

    /// Writes a Llama of constants.
    pub(crate) fn write_llama(&self, name: &str, layers: usize, value: f64) {
        self.write(name, &llama_config(layers), &llama(layers, value));
    }

    /// Writes a checkpoint of several files, each with every n-th tensor.
    pub(crate) fn write_sharded(&self, name: &str, config: &Value, model: &Model, files: usize) {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), format!("{config:#}")).unwrap();
        let file_name = |file| match files {
            1 => "model.safetensors".to_owned(),
            _ => format!("model-{:05}-of-{files:05}.safetensors", file + 1),
        };
        let mut weight_map = serde_json::Map::new();
        for file in 0..files {
            let tensors = model.iter().skip(file).step_by(files);
            weight_map
                .extend(tensors.clone().map(|(name, _)| (name.clone(), file_name(file).into())));
            let views = tensors.map(|(name, tensor)| {
                let dtype: Dtype = serde_json::from_value(tensor.dtype.name().into()).unwrap();
                (name, TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes).unwrap())
            });
            serialize_to_file(views, None, &dir.join(file_name(file))).unwrap();
        }
        if files > 1 {
            let index = json!({ "metadata": {}, "weight_map": weight_map });
            std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
        }
    }

    /// Writes a base and two models trained from it.
    pub(crate) fn write_random(&self, seed: u64) -> [Model; 3] {
        self.write_random_of(seed, &shapes())
    }

    pub(crate) fn write_random_of(&self, seed: u64, shapes: &[(String, Vec<usize>)]) -> [Model; 3] {
        let mut random = Random::new(seed);
        let base = random.model(shapes);
        let models = [base.clone(), random.trained(&base), random.trained(&base)];
        for (name, model) in ["base", "a", "b"].into_iter().zip(&models) {
            self.write(name, &llama_config(2), model);
        }
        models
    }

    /// The recipe read, `DIR/` standing for this folder.
    pub(crate) fn recipe(&self, recipe: &str) -> mergecore::Result<MergeConfig> {
        let dir = format!("{}/", self.0.path().display());
        Ok(MergeConfig::from_yaml_str(&recipe.replace("DIR/", &dir))?)
    }

    pub(crate) fn merge_with(
        &self,
        recipe: &str,
        out: &str,
        options: &MergeOptions,
    ) -> mergecore::Result<MergeReport> {
        merge(&self.recipe(recipe)?, self.path(out), options)
    }

    /// Merges by a recipe that must be right; yields the output's tensors.
    pub(crate) fn merge(&self, recipe: &str) -> Model {
        let options = MergeOptions { overwrite: true, ..MergeOptions::default() };
        self.merge_with(recipe, "out", &options).unwrap();
        self.read("out")
    }

    /// The text of the error that the recipe ends with, found in chunks of one block.
    pub(crate) fn refuse(&self, recipe: &str) -> String {
        let options = MergeOptions { max_memory: Some(1), ..MergeOptions::default() };
        let error = self.merge_with(recipe, "refused", &options).unwrap_err();
        assert!(!self.path("refused").exists());
        error.to_string()
    }

    /// What planning the recipe has to say.
    pub(crate) fn notes(&self, recipe: &str) -> Vec<String> {
        let config = self.recipe(recipe).unwrap();
        mergecore::plan(&config, &MergeOptions::default()).unwrap().notes().to_vec()
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
                    let (shape, bytes) = (view.shape().to_vec(), view.data().to_vec());
                    assert_eq!(model.insert(name, Tensor { dtype, shape, bytes }), None);
                }
            }
        }
        model
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(self.path(name)).unwrap()).unwrap()
    }

    /// The names of what lies in this folder, hidden files too.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

/// A Llama of ranks 0 to 4: tensors of several blocks of 65,536 elements, small
/// ones, one of no element and one of a single number. More than 200,000 elements.
pub(crate) fn shapes() -> Vec<(String, Vec<usize>)> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![16, 24]),
        ("model.norm.weight".to_owned(), vec![65_537]),
        ("model.empty".to_owned(), vec![0, 4]),
        ("model.scalar".to_owned(), vec![]),
        ("model.conv".to_owned(), vec![3, 5, 7, 2]),
        ("model.block".to_owned(), vec![2, 128, 256]),
        ("lm_head.weight".to_owned(), vec![16, 24]),
    ];
    for layer in 0..2 {
        shapes.push((
            format!("model.layers.{layer}.mlp.up_proj.weight"),
            vec![331, 401 * layer + 60],
        ));
        for head in 0..6 {
            shapes.push((format!("model.layers.{layer}.heads.{head}.weight"), vec![24 + head, 5]));
        }
    }
    shapes
}

pub(crate) struct Random(ChaCha8Rng);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(ChaCha8Rng::seed_from_u64(seed))
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        self.0.random_range(0..n)
    }

    /// Nearly normal: the sum of twelve uniform numbers.
    fn normal(&mut self, deviation: f64) -> f64 {
        (0..12).map(|_| self.0.random_range(-0.5..0.5)).sum::<f64>() * deviation
    }

    /// Weights like real ones, each tensor in a dtype of its own. Some are zeros
    /// of either sign.
    pub(crate) fn model(&mut self, shapes: &[(String, Vec<usize>)]) -> Model {
        let mut model = Model::new();
        for (name, shape) in shapes {
            let value = |_| match self.below(500) {
                0 => 0.0,
                1 => -0.0,
                _ => self.normal(0.02),
            };
            let values: Vec<f64> = (0..shape.iter().product()).map(value).collect();
            model.insert(name.clone(), Tensor::of(FLOATS[self.below(4)], shape, &values));
        }
        model
    }

    /// A model trained from this one, which leaves some elements as they were and
    /// has dtypes of its own.
    pub(crate) fn trained(&mut self, base: &Model) -> Model {
        let mut model = Model::new();
        for (name, base) in base {
            let trained = |value| match self.below(4) {
                0 => value,
                _ => value + self.normal(0.001),
            };
            let values: Vec<f64> = base.values().into_iter().map(trained).collect();
            model.insert(name.clone(), Tensor::of(FLOATS[self.below(4)], &base.shape, &values));
        }
        model
    }
}

/// The value rounded to a dtype: to the nearest, of two the even one.
pub(crate) fn round(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::Bf16 => nearest(value, |bits| bf16::from_bits(bits as u16).to_f64(), 0x7f80),
        DType::F16 => nearest(value, |bits| f16::from_bits(bits as u16).to_f64(), 0x7c00),
        DType::F32 => nearest(value, |bits| f64::from(f32::from_bits(bits)), 0x7f80_0000),
        _ => value,
    }
}

/// The nearest of a type's values, ties to even, by bisection over its bit patterns
/// and the exact midpoint of the neighbours: not the way the library rounds. Values
/// that overflow are not needed here.
fn nearest(value: f64, widen: impl Fn(u32) -> f64, infinity: u32) -> f64 {
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if widen(middle) <= value.abs() { low = middle } else { high = middle }
    }
    let midpoint = (widen(low) + widen(high)) / 2.0;
    let up = value.abs() > midpoint || (value.abs() == midpoint && low % 2 == 1);
    widen(if up { high } else { low }).copysign(value)
}

/// Whether a result is correctly rounded: it lies between the exact value less and
/// plus a 10^-12th of the inputs' magnitudes, each rounded.
pub(crate) fn is_rounded(dtype: DType, got: f64, exact: f64, magnitudes: f64) -> bool {
    let d = 1e-12 * magnitudes;
    (round(dtype, exact - d)..=round(dtype, exact + d)).contains(&got)
}

#[test]
fn the_other_way_to_round_rounds() {
    for (dtype, value, expected) in [
        (DType::Bf16, 1.0 + 1.0 / 256.0, 1.0),
        (DType::Bf16, 1.0 + 3.0 / 256.0, 1.0 + 1.0 / 64.0),
        (DType::Bf16, -1.0 - 1.1 / 256.0, -1.0 - 1.0 / 128.0),
        (DType::F16, 1.0 + 1.0 / 2048.0, 1.0),
        (DType::F16, 1e-8, 0.0),
        (DType::F16, 5e-8, 2f64.powi(-24)),
        (DType::F32, 0.1, f64::from(0.1f32)),
    ] {
        assert_eq!(round(dtype, value), expected, "{value} to {dtype}");
    }
}
