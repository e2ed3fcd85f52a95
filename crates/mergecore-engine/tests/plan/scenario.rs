//! Random recipes over random checkpoints.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use mergecore_tensor::DType;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

pub(crate) const FLOATS: [DType; 4] = [DType::Bf16, DType::F16, DType::F32, DType::F64];
const INTEGERS: [DType; 3] = [DType::Bool, DType::I16, DType::U32];

/// Parts of a layer; some hold numbers that count no layers.
const PARTS: [&str; 7] = [
    "attn.q.weight",
    "attn.q.bias",
    "mlp.up.weight",
    "mlp.experts.0.weight",
    "mlp.experts.10.weight",
    "norm.weight",
    "ids",
];
const OUTSIDE: [&str; 5] =
    ["model.embed_tokens.weight", "model.wpe", "model.norm.weight", "lm_head.weight", "steps"];
const FILTERS: [&str; 9] =
    ["attn", "mlp", "layers.1.", "norm", "experts.1", "*", "weight", "embed", "none has this"];

/// A tensor of the architecture.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) name: &'static str,
    pub(crate) shape: Vec<usize>,
    /// `None` for a float, of whatever dtype each model stores.
    pub(crate) integer: Option<DType>,
}

/// What a recipe says about a parameter at one place.
#[derive(Debug, Clone)]
pub(crate) enum Setting {
    Points(Vec<f64>),
    Conditions(Vec<(Option<&'static str>, Vec<f64>)>),
}

/// The settings of one place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) weight: Option<Setting>,
    pub(crate) gain: Option<Setting>,
}

/// Consecutive layers, the first of them for each model.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) first: Vec<usize>,
    pub(crate) layers: usize,
    pub(crate) settings: Settings,
}

#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) layers: usize,
    pub(crate) parts: Vec<Part>,
    pub(crate) outside: Vec<Part>,
    pub(crate) models: usize,
    pub(crate) takes_base: bool,
    pub(crate) base: Option<usize>,
    /// Whether the base is among `models`.
    pub(crate) lists_base: bool,
    /// `None` for whole models.
    pub(crate) slices: Option<Vec<Slice>>,
    pub(crate) settings: Settings,
    /// Of each model, in each list.
    pub(crate) own_settings: Vec<Settings>,
    pub(crate) dtype: Option<DType>,
    pub(crate) max_shard_bytes: u64,
    /// Decides which model stores which tensor in which dtype.
    pub(crate) dtypes: u64,
}

fn part(name: &'static str) -> impl Strategy<Value = Part> {
    let integer = prop_oneof![4 => Just(None), 1 => select(&INTEGERS[..]).prop_map(Some)];
    (vec(0usize..6, 0..4), integer).prop_map(move |(shape, integer)| Part { name, shape, integer })
}

fn parts(names: &'static [&'static str]) -> impl Strategy<Value = Vec<Part>> {
    subsequence(names, 1..=names.len())
        .prop_flat_map(|names| names.into_iter().map(part).collect::<Vec<_>>())
}

fn settings() -> impl Strategy<Value = Settings> {
    let points = || vec((-8i32..9).prop_map(|point| f64::from(point) / 4.0), 1..5);
    let condition = (option::of(select(&FILTERS[..])), points());
    let setting = prop_oneof![
        points().prop_map(Setting::Points),
        vec(condition, 1..4).prop_map(Setting::Conditions),
    ];
    let one = option::of(setting);
    (one.clone(), one).prop_map(|(weight, gain)| Settings { weight, gain })
}

pub(crate) fn scenarios() -> impl Strategy<Value = Scenario> {
    let sizes = (1usize..6, 1usize..4, any::<bool>(), option::of(0usize..3));
    sizes.prop_flat_map(|(layers, models, takes_base, base)| {
        // Beside a base that the method takes there must be another model.
        let models = if takes_base { models.max(2) } else { models };
        let base = if takes_base { Some(base.unwrap_or(0)) } else { base };
        let base = base.map(|base| base % models);
        let slice =
            (1..=layers).prop_flat_map(move |count| {
                (vec(0..=layers - count, models), settings())
                    .prop_map(move |(first, settings)| Slice { first, layers: count, settings })
            });
        let inputs = (option::of(vec(slice, 1..4)), any::<bool>(), vec(settings(), models));
        let output = (option::of(select(&FLOATS[..])), 1u64..600, any::<u64>());
        (parts(&PARTS), parts(&OUTSIDE), inputs, settings(), output).prop_map(
            move |(parts, outside, inputs, settings, output)| {
                let (slices, lists_base, own_settings) = inputs;
                let (dtype, max_shard_bytes, dtypes) = output;
                Scenario {
                    layers,
                    parts,
                    outside,
                    models,
                    takes_base,
                    base,
                    lists_base: lists_base || models == 1,
                    slices,
                    settings,
                    own_settings,
                    dtype,
                    max_shard_bytes,
                    dtypes,
                }
            },
        )
    })
}

/// A number that `seed` and something make, the same each time.
fn hashed(seed: u64, of: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    (seed, of).hash(&mut hasher);
    hasher.finish()
}

pub(crate) fn directory(model: usize) -> String {
    format!("model-{model}")
}

impl Scenario {
    /// Every tensor of a model, by its name.
    pub(crate) fn names(&self) -> Vec<(String, &Part)> {
        let outside = self.outside.iter().map(|part| (part.name.to_owned(), part));
        let layers = (0..self.layers).flat_map(|layer| {
            let name = move |part: &Part| format!("model.layers.{layer}.{}", part.name);
            self.parts.iter().map(move |part| (name(part), part))
        });
        outside.chain(layers).collect()
    }

    /// What a model stores a tensor in.
    pub(crate) fn stored_dtype(&self, model: usize, name: &str, part: &Part) -> DType {
        let float = || FLOATS[hashed(self.dtypes, (model, name)) as usize % FLOATS.len()];
        part.integer.unwrap_or_else(float)
    }

    /// The models in the order in which the recipe lists them.
    pub(crate) fn listed(&self) -> Vec<usize> {
        let unlisted =
            |model: &usize| self.slices.is_none() && !self.lists_base && self.base == Some(*model);
        (0..self.models).filter(|model| !unlisted(model)).collect()
    }

    /// Writes the models to `folder` and yields the recipe. `order` decides in which
    /// order keys and tensors stand, and how many files there are.
    pub(crate) fn write(&self, folder: &Path, order: u64) -> String {
        for model in 0..self.models {
            self.write_model(&folder.join(directory(model)), model, order);
        }
        shuffled(&self.recipe(folder), order)
    }

    fn write_model(&self, dir: &Path, model: usize, order: u64) {
        std::fs::create_dir(dir).unwrap();
        let config = json!({
            "model_type": "test",
            "torch_dtype": "float32",
            "num_hidden_layers": self.layers,
            "layer_types": (0..self.layers).map(|layer| format!("{model}/{layer}")).collect::<Vec<_>>(),
            "inner": { "dtype": "float16", "n_layers": 99 },
        });
        std::fs::write(dir.join("config.json"), shuffled(&config, order)).unwrap();
        let files = 1 + hashed(order, model) as usize % 3;
        let mut names = self.names();
        // The order of the data.
        names.sort_by_key(|(name, _)| hashed(order, ("data", name)));
        let mut weight_map = Map::new();
        for file in 0..files {
            let file_name = format!("part-{file}.safetensors");
            let mut header = Map::new();
            let mut end = 0;
            for (name, part) in names.iter().skip(file).step_by(files) {
                let dtype = self.stored_dtype(model, name, part);
                let start = end;
                end += part.shape.iter().product::<usize>() * dtype.size();
                let entry = json!({ "dtype": dtype.name(), "shape": part.shape, "data_offsets": [start, end] });
                header.insert(name.clone(), entry);
                weight_map.insert(name.clone(), file_name.clone().into());
            }
            if header.is_empty() {
                continue;
            }
            let header = shuffled(&header.into(), order);
            let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
            std::fs::write(dir.join(&file_name), &bytes).unwrap();
            let file = std::fs::File::options().write(true).open(dir.join(&file_name)).unwrap();
            file.set_len((bytes.len() + end) as u64).unwrap();
        }
        let index = json!({ "metadata": {}, "weight_map": weight_map });
        std::fs::write(dir.join("model.safetensors.index.json"), shuffled(&index, order)).unwrap();
    }

    fn recipe(&self, folder: &Path) -> Value {
        let model = |model: usize| Value::from(folder.join(directory(model)).to_str().unwrap());
        let mut recipe = json!({
            "merge_method": "recording",
            "parameters": parameters(&self.settings),
        });
        if let Some(base) = self.base {
            recipe["base_model"] = model(base);
        }
        if let Some(dtype) = self.dtype {
            recipe["dtype"] = dtype.torch_name().into();
        }
        let own = |index: usize| parameters(&self.own_settings[index]);
        let listed = self.listed();
        match &self.slices {
            None => {
                let entry = |index| json!({ "model": model(index), "parameters": own(index) });
                recipe["models"] = listed.into_iter().map(entry).collect();
            }
            Some(slices) => {
                let slice = |slice: &Slice| {
                    let source = |index: usize| {
                        let first = slice.first[index];
                        let range = [first, first + slice.layers];
                        json!({ "model": model(index), "layer_range": range, "parameters": own(index) })
                    };
                    let sources: Vec<Value> = listed.iter().map(|index| source(*index)).collect();
                    json!({ "sources": sources, "parameters": parameters(&slice.settings) })
                };
                recipe["slices"] = slices.iter().map(slice).collect();
            }
        }
        recipe
    }
}

fn parameters(settings: &Settings) -> Value {
    let points = |points: &[f64]| match points {
        [point] => json!(point),
        points => json!(points),
    };
    let setting = |setting: &Setting| match setting {
        Setting::Points(list) => points(list),
        Setting::Conditions(conditions) => {
            let condition = |(filter, list): &(Option<&str>, Vec<f64>)| match filter {
                Some(filter) => json!({ "filter": filter, "value": points(list) }),
                None => json!({ "value": points(list) }),
            };
            conditions.iter().map(condition).collect()
        }
    };
    let named = [("weight", &settings.weight), ("gain", &settings.gain)];
    let given = named.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?)));
    Value::Object(given.map(|(name, value)| (name.to_owned(), setting(value))).collect())
}

/// JSON (which is YAML too) with the keys of every object in an order of their own.
fn shuffled(value: &Value, order: u64) -> String {
    match value {
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_by_key(|key| hashed(order, key));
            let entry = |key: &String| format!("{}: {}", json!(key), shuffled(&map[key], order));
            let entries: Vec<String> = keys.into_iter().map(entry).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(|item| shuffled(item, order)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    }
}
