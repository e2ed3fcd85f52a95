//! What a checkpoint's tensors are, read from their names and config.json.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use mergecore_io::{Checkpoint, TensorSource};
use serde_json::{Map, Value};

/// Keys of config.json that count the layers of a stack.
const LAYER_COUNTS: [&str; 12] = [
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "num_encoder_layers",
    "decoder_layers",
    "encoder_layers",
    "num_transformer_layers",
    "num_blocks",
    "n_blocks",
    "depth",
];

/// Path components that mark an embedding without the word itself.
const EMBEDDINGS: [&str; 3] = ["wte", "wpe", "wtte"];

/// Path components that mark the output head although they speak of embeddings.
const HEADS: [&str; 5] = ["lm_head", "embed_out", "unembed", "output_embeddings", "embedding_out"];

/// Endings of tensors that old checkpoints store although they hold no weights:
/// they are recomputed on loading, so that a model may lack them. With the rank
/// that tells them from weights of that name.
const RECOMPUTED: [(&str, Option<usize>); 3] = [
    (".rotary_emb.inv_freq", None),
    (".attn.masked_bias", Some(0)),
    // A causal mask of shape [1, 1, n, n].
    (".attn.bias", Some(4)),
];

/// What the names and config.json of a checkpoint say of its structure.
///
/// ```
/// use mergecore_engine::Architecture;
/// use mergecore_io::Checkpoint;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
///
/// let checkpoint = Checkpoint::open("a".as_ref())?;
/// let architecture = Architecture::infer(&checkpoint);
/// assert_eq!(architecture.stacks()[0].layers, 1);
/// assert_eq!(architecture.vocabulary_sizes(), [4]);
/// assert!(architecture.is_tied() && !architecture.lacks_its_layers());
/// // Tensors with a row for each token are told by their shape.
/// assert!(architecture.is_by_token("model.embed_tokens.weight", &[4, 2]));
/// assert!(!architecture.is_by_token("model.norm.weight", &[2]));
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    stacks: Vec<Stack>,
    /// Whether config.json counts layers.
    counts_layers: bool,
    tied: Option<bool>,
    vocabulary_sizes: Vec<usize>,
    /// The same, to look a size up.
    known_sizes: BTreeSet<usize>,
    embeddings: Embeddings,
}

/// The embeddings that can stand in for a head, in the order of their names: of those alike
/// the first two, which show that there are several. Looked up by shape, because a model may have
/// as many heads as tensors.
#[derive(Debug, Clone, PartialEq, Default)]
struct Embeddings {
    by_shape: HashMap<Vec<usize>, Vec<String>>,
    /// Those with a row for each token, by the shape of a row.
    by_row: HashMap<Vec<usize>, Vec<String>>,
}

impl Embeddings {
    fn add(&mut self, name: &str, shape: &[usize], is_by_token: bool) {
        let add = |names: &mut Vec<String>| {
            if names.len() < 2 {
                names.push(name.to_owned());
            }
        };
        add(self.by_shape.entry(shape.to_vec()).or_default());
        if let (Some(row), true) = (shape.get(1..), is_by_token) {
            add(self.by_row.entry(row.to_vec()).or_default());
        }
    }

    /// The only one that has that shape, or rows like it for tokens.
    fn only_one_like(&self, shape: &[usize]) -> Option<&str> {
        let by_row = shape.get(1..).and_then(|row| self.by_row.get(row));
        let mut names = self.by_shape.get(shape).into_iter().chain(by_row).flatten();
        let first = names.next()?;
        names.all(|name| name == first).then_some(first)
    }
}

/// Layers that are numbered under one prefix.
///
/// ```
/// # use mergecore_engine::Model;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let model = Model::open(&"a".parse()?, None).unwrap();
/// let stack = &model.architecture.stacks()[0];
/// assert_eq!((stack.prefix.as_str(), stack.layers), ("model.layers", 1));
/// assert!(stack.config_path.is_empty()); // counted at the top of config.json
/// assert_eq!(stack.count_keys, ["num_hidden_layers"]);
/// # Ok::<(), mergecore_config::ModelRefError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stack {
    /// The path before the number: `model.layers`.
    pub prefix: String,
    /// How many layers there are.
    pub layers: usize,
    /// The object within config.json (empty for the top) whose keys count them.
    pub config_path: Vec<String>,
    /// The keys in that object that count them.
    pub count_keys: Vec<String>,
}

/// A tensor's part in the model.
///
/// ```
/// use mergecore_engine::Role;
/// # use mergecore_engine::Model;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let architecture = Model::open(&"a".parse()?, None).unwrap().architecture;
///
/// assert_eq!(architecture.role("model.embed_tokens.weight"), Role::Before);
/// let role = architecture.role("model.layers.0.mlp.weight");
/// assert_eq!(role, Role::Layer { stack: 0, layer: 0, rest: "mlp.weight" });
/// assert_eq!(architecture.role("lm_head.weight"), Role::After);
/// # Ok::<(), mergecore_config::ModelRefError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role<'a> {
    /// In a layer.
    Layer {
        /// Which of the stacks.
        stack: usize,
        /// Which layer.
        layer: usize,
        /// The path after the number, without the dot; empty where the number ends the name.
        rest: &'a str,
    },
    /// Before the layers: embeddings and what belongs to them.
    Before,
    /// After the layers: final norm, head, and all the rest.
    After,
}

impl Architecture {
    /// Infers the structure of a checkpoint.
    ///
    /// A group of numbered components is a stack of layers where it counts from
    /// zero without a gap to a layer count of config.json. Only the outermost
    /// number counts: experts within a layer are no layers.
    pub fn infer(checkpoint: &Checkpoint) -> Self {
        let tensors = checkpoint.tensors().map(|tensor| (tensor.name(), tensor.shape()));
        Architecture::of(tensors, checkpoint.config())
    }

    /// From the tensors' names and shapes.
    fn of<'a>(
        tensors: impl Iterator<Item = (&'a str, &'a [usize])> + Clone,
        config: &Map<String, Value>,
    ) -> Self {
        let mut groups: BTreeMap<&str, BTreeSet<usize>> = BTreeMap::new();
        for (name, _) in tensors.clone() {
            if let Some((prefix, number, _)) = split_at_number(name) {
                groups.entry(prefix).or_default().insert(number);
            }
        }
        let counts = layer_counts(config);
        // The first of those that agree; config.json may hold very many.
        let by_layers: BTreeMap<usize, &LayerCount> =
            counts.iter().rev().map(|count| (count.layers, count)).collect();
        let mut stacks = Vec::new();
        for (prefix, numbers) in groups {
            // They are distinct: as many as the last one counts to, from zero on.
            let gapless = numbers.last() == Some(&(numbers.len() - 1));
            let count = by_layers.get(&numbers.len()).filter(|_| gapless);
            if let Some(count) = count {
                stacks.push(Stack {
                    prefix: prefix.to_owned(),
                    layers: numbers.len(),
                    config_path: count.path.iter().copied().map(str::to_owned).collect(),
                    count_keys: count.keys.iter().copied().map(str::to_owned).collect(),
                });
            }
        }
        let objects = objects(config).into_iter();
        let vocabulary_sizes: Vec<usize> =
            objects.filter_map(|(_, object)| as_usize(object.get("vocab_size")?)).collect();
        let mut architecture = Architecture {
            stacks,
            counts_layers: !counts.is_empty(),
            tied: tied(config),
            known_sizes: vocabulary_sizes.iter().copied().collect(),
            vocabulary_sizes,
            embeddings: Embeddings::default(),
        };
        let mut embeddings = Embeddings::default();
        for (name, shape) in tensors.filter(|(name, _)| architecture.role(name) == Role::Before) {
            embeddings.add(name, shape, architecture.is_by_token(name, shape));
        }
        architecture.embeddings = embeddings;
        architecture
    }

    /// The stacks of layers, ordered by prefix.
    pub fn stacks(&self) -> &[Stack] {
        &self.stacks
    }

    /// Whether config.json counts layers although none were recognised: names and
    /// count do not agree.
    pub fn lacks_its_layers(&self) -> bool {
        self.counts_layers && self.stacks.is_empty()
    }

    /// A tensor's part in the model.
    pub fn role<'a>(&self, name: &'a str) -> Role<'a> {
        if let Some((prefix, layer, rest)) = split_at_number(name)
            && let Ok(stack) =
                self.stacks.binary_search_by(|stack| stack.prefix.as_str().cmp(prefix))
        {
            return Role::Layer { stack, layer, rest };
        }
        if is_embedding(name) { Role::Before } else { Role::After }
    }

    /// The sizes of vocabulary that config.json states, its `vocab_size` first.
    pub fn vocabulary_sizes(&self) -> &[usize] {
        &self.vocabulary_sizes
    }

    /// Whether a tensor has a row for each token: it lies outside the layers and its
    /// first dimension is a vocabulary's size.
    pub fn is_by_token(&self, name: &str, shape: &[usize]) -> bool {
        let rows = shape.first();
        rows.is_some_and(|rows| self.known_sizes.contains(rows))
            && !matches!(self.role(name), Role::Layer { .. })
    }

    /// The tensor that stands in for an output head that is not stored because it
    /// is the embedding: the only embedding of the head's shape, or with another
    /// number of tokens. `None` if there are several, if `head` is no head's name, or if
    /// config.json says that the two are not tied.
    ///
    /// ```
    /// # use mergecore_engine::Model;
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// # let _folder = example::folder();
    /// # let Model { architecture, .. } = Model::open(&"a".parse()?, None).unwrap();
    /// let stored = architecture.tied_to("lm_head.weight", &[4, 2]);
    /// assert_eq!(stored, Some("model.embed_tokens.weight"));
    /// # Ok::<(), mergecore_config::ModelRefError>(())
    /// ```
    pub fn tied_to(&self, head: &str, shape: &[usize]) -> Option<&str> {
        let may_be = self.tied != Some(false) && is_head(head);
        may_be.then(|| self.embeddings.only_one_like(shape)).flatten()
    }

    /// Whether the output head is declared to be the embedding.
    pub fn is_tied(&self) -> bool {
        self.tied == Some(true)
    }
}

/// Whether a tensor is the output head.
pub(crate) fn is_head(name: &str) -> bool {
    name.split('.').any(|part| HEADS.contains(&part))
}

/// Whether a tensor of that name and shape is recomputed on loading, so that it may
/// be left out.
pub(crate) fn is_recomputed(name: &str, shape: &[usize]) -> bool {
    let matches = |(ending, rank): &(&str, Option<usize>)| {
        name.ends_with(ending) && rank.is_none_or(|rank| rank == shape.len())
    };
    RECOMPUTED.iter().any(matches)
}

fn is_embedding(name: &str) -> bool {
    let marks =
        |part: &str| part.to_ascii_lowercase().contains("embed") || EMBEDDINGS.contains(&part);
    !is_head(name) && name.split('.').any(marks)
}

/// The name of a layer's tensor, from its stack's prefix and the path after the number.
pub(crate) fn layer_name(prefix: &str, layer: usize, rest: &str) -> String {
    if rest.is_empty() { format!("{prefix}.{layer}") } else { format!("{prefix}.{layer}.{rest}") }
}

/// Splits `model.layers.3.mlp.weight` into `model.layers`, 3 and `mlp.weight`, so that
/// [`layer_name`] gives the name back: `00` is no number, and one with nothing after its dot
/// is none.
fn split_at_number(name: &str) -> Option<(&str, usize, &str)> {
    let bytes = name.as_bytes();
    let mut from = 0;
    let begins = |pair: &[u8]| pair[0] == b'.' && pair[1].is_ascii_digit();
    while let Some(dot) = bytes[from..].windows(2).position(begins) {
        let (prefix, number) = (&name[..from + dot], &name[from + dot + 1..]);
        let (digits, rest) = number.split_once('.').unwrap_or((number, ""));
        let is_written_so = digits == "0" || !digits.starts_with('0');
        // Where the first is a digit, only digits make a number.
        if is_written_so
            && (digits.len() == number.len() || !rest.is_empty())
            && let Ok(number) = digits.parse()
        {
            return Some((prefix, number, rest));
        }
        from += dot + 1;
    }
    None
}

struct LayerCount<'a> {
    layers: usize,
    path: Vec<&'a str>,
    keys: Vec<&'a str>,
}

/// Bytes of a key whose object is looked into. Without a limit, a file with one long key and
/// many objects under it would be stored many times over.
const MAX_KEY: usize = 256;

/// config.json and every object in it, four levels down, with the keys that lead there.
pub(crate) fn objects(config: &Map<String, Value>) -> Vec<(Vec<&str>, &Map<String, Value>)> {
    let mut found = vec![(Vec::new(), config)];
    let mut next = 0;
    while let Some((path, object)) = found.get(next).cloned() {
        next += 1;
        for (key, value) in object.iter().filter(|(key, _)| path.len() < 4 && key.len() <= MAX_KEY)
        {
            if let Value::Object(inner) = value {
                found.push(([&path[..], &[key.as_str()]].concat(), inner));
            }
        }
    }
    found
}

pub(crate) fn as_usize(value: &Value) -> Option<usize> {
    value.as_u64()?.try_into().ok()
}

/// The layer counts of config.json and of the objects in it.
fn layer_counts(config: &Map<String, Value>) -> Vec<LayerCount<'_>> {
    let mut found: Vec<LayerCount<'_>> = Vec::new();
    for (path, object) in objects(config) {
        let own = found.len();
        for (key, value) in object.iter().filter(|(key, _)| LAYER_COUNTS.contains(&key.as_str())) {
            let Some(layers) = as_usize(value) else { continue };
            match found[own..].iter_mut().find(|count| count.layers == layers) {
                Some(count) => count.keys.push(key),
                None => found.push(LayerCount { layers, path: path.clone(), keys: vec![key] }),
            }
        }
    }
    found
}

fn tied(config: &Map<String, Value>) -> Option<bool> {
    const KEY: &str = "tie_word_embeddings";
    let nested = |config: &Map<String, Value>| config.get("text_config")?.get(KEY)?.as_bool();
    config.get(KEY).and_then(Value::as_bool).or_else(|| nested(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn infer(names: &[&str], config: &str) -> Architecture {
        let config: Map<String, Value> = serde_json::from_str(config).unwrap();
        Architecture::of(names.iter().map(|name| (*name, &[][..])), &config)
    }

    #[test]
    fn a_head_is_tied_to_the_only_embedding_that_fits() {
        let config: Map<String, Value> = serde_json::from_str(r#"{"vocab_size": 4}"#).unwrap();
        let embeddings: [(&str, &[usize]); 5] = [
            ("embed.one", &[4, 2]),
            ("embed.two", &[4, 3]),
            ("embed.two_again", &[4, 3]),
            ("embed.other_rows", &[5, 7]),
            ("norm", &[4, 9]),
        ];
        let found = Architecture::of(embeddings.into_iter(), &config);
        for (shape, tied) in [
            (&[4, 2][..], Some("embed.one")),
            (&[6, 2], Some("embed.one")), // another number of tokens
            (&[4, 3], None),              // two fit
            (&[5, 7], Some("embed.other_rows")),
            (&[6, 7], None), // its rows are no tokens
            (&[4, 9], None), // no embedding
            (&[2], None),
            (&[], None),
        ] {
            assert_eq!(found.tied_to("lm_head.weight", shape), tied, "{shape:?}");
            assert_eq!(found.tied_to("norm.weight", shape), None, "{shape:?}");
        }
        let both: [(&str, &[usize]); 2] = [("embed.a", &[4, 2]), ("embed.b", &[9, 2])];
        let found = Architecture::of(both.into_iter(), &config);
        assert_eq!(found.tied_to("lm_head", &[9, 2]), None, "one has the shape and one the rows");
    }

    /// A hostile model: every head was compared with every tensor.
    #[test]
    fn as_many_heads_as_embeddings_are_looked_up_in_time() {
        let names: Vec<String> = (0..100_000).map(|i| format!("embed.{i}")).collect();
        let tensors = names.iter().map(|name| (name.as_str(), &[3, 2][..]));
        let found = Architecture::of(tensors, &Map::new());
        let started = std::time::Instant::now();
        for i in 0..100_000 {
            assert_eq!(found.tied_to(&format!("lm_head.{i}"), &[3, i]), None);
        }
        // Milliseconds, where every pair compared would be minutes.
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn experts_are_not_layers() {
        let names = ["m.layers.0.experts.0.w", "m.layers.0.experts.1.w", "m.layers.1.experts.0.w"];
        let found = infer(&names, r#"{"num_hidden_layers": 2}"#);
        let prefixes: Vec<_> = found.stacks().iter().map(|stack| stack.prefix.as_str()).collect();
        assert_eq!(prefixes, ["m.layers"]);
        let role = found.role("m.layers.1.experts.0.w");
        assert_eq!(role, Role::Layer { stack: 0, layer: 1, rest: "experts.0.w" });
    }

    #[test]
    fn a_gap_or_another_count_is_no_stack() {
        assert!(infer(&["h.0.w", "h.2.w"], r#"{"n_layer": 2}"#).stacks().is_empty());
        assert!(infer(&["h.0.w", "h.1.w"], r#"{"n_layer": 3}"#).stacks().is_empty());
        assert!(infer(&["h.0.w", "h.1.w"], r#"{"max_window_layers": 2}"#).stacks().is_empty());
    }

    /// Found by fuzzing: the largest number, plus one, overflowed.
    #[test]
    fn the_largest_number_is_no_layer() {
        let largest = format!("big.{}.w", usize::MAX);
        assert!(infer(&[&largest, "big.0.w"], r#"{"n_layer": 1}"#).stacks().is_empty());
    }

    /// Found with the fuzz target: `k.00.w` and `k.0.w` were one tensor of one layer, so were `h.0` and
    /// `h.0.`; a tensor was then merged under another's name.
    #[test]
    fn every_layer_tensor_gets_its_own_name_back() {
        let names = ["k.0.w", "k.00.w", "k.01.w", "k.1.w", "h.0", "h.0.", "h.1", "h.1..w"];
        let found = infer(&names, r#"{"n_layer": 2}"#);
        assert_eq!(found.stacks().len(), 2);
        for name in names {
            if let Role::Layer { stack, layer, rest } = found.role(name) {
                assert_eq!(layer_name(&found.stacks()[stack].prefix, layer, rest), name);
            }
        }
        for name in ["k.00.w", "k.01.w", "h.0."] {
            assert_eq!(found.role(name), Role::After, "{name}");
        }
    }

    /// A hostile config.json: each object's path was copied for every object under it, each
    /// count compared with every other, and so was each stack with every count.
    #[test]
    fn a_config_of_many_objects_is_read_in_time() {
        let many: Vec<String> =
            (0..40_000).map(|i| format!(r#""{i}":{{"n_layer":{i},"vocab_size":{i}}}"#)).collect();
        let config = format!(r#"{{"{}":{{{}}}}}"#, "k".repeat(1 << 20), many.join(","));
        assert!(infer(&["h.0.w"], &config).stacks().is_empty(), "under a key of a megabyte");
        let config = format!(r#"{{"text_config":{{{}}}}}"#, many.join(","));
        let names: Vec<String> = (0..40_000).map(|i| format!("p{i}.0.w")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let started = std::time::Instant::now();
        let found = infer(&names, &config);
        assert_eq!(found.stacks().len(), names.len());
        assert!(names.iter().all(|name| matches!(found.role(name), Role::Layer { .. })));
        assert!((1..40_000).all(|rows| found.is_by_token("embed", &[rows])));
        // Milliseconds, where every pair compared would be minutes.
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn a_nested_count_is_found_with_its_place() {
        let config = r#"{"text_config": {"num_hidden_layers": 1, "n_layers": 1}}"#;
        let found = infer(&["lm.layers.0.w"], config);
        let stack = &found.stacks()[0];
        assert_eq!(stack.config_path, ["text_config"]);
        assert_eq!(stack.count_keys, ["num_hidden_layers", "n_layers"]);
    }

    #[test]
    fn masks_are_recomputed_and_biases_are_not() {
        assert!(is_recomputed("transformer.h.0.attn.bias", &[1, 1, 64, 64]));
        assert!(!is_recomputed("blocks.0.attn.bias", &[64]));
        assert!(is_recomputed("model.layers.0.self_attn.rotary_emb.inv_freq", &[64]));
    }

    #[test]
    fn embeddings_come_before_and_heads_after() {
        let found = infer(&[], "{}");
        for name in [
            "model.embed_tokens.weight",
            "transformer.wte.weight",
            "bert.embeddings.LayerNorm.bias",
        ] {
            assert_eq!(found.role(name), Role::Before, "{name}");
        }
        for name in ["lm_head.weight", "embed_out.weight", "model.norm.weight"] {
            assert_eq!(found.role(name), Role::After, "{name}");
        }
    }
}
