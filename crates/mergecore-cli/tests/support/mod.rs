//! A folder with tiny checkpoints, and the command run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::cargo::cargo_bin_cmd;
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::{Value, json};

pub(crate) const LAYERS: usize = 3;

/// A tensor to store: dtype, shape, little-endian bytes.
pub(crate) type Stored = (Dtype, Vec<usize>, Vec<u8>);

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    /// A folder with the models `base`, `a` and `b`.
    pub(crate) fn new() -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        for (index, name) in ["base", "a", "b"].into_iter().enumerate() {
            folder.write_model(name, &config(), &tensors(index as f32));
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write_model(
        &self,
        name: &str,
        config: &Value,
        tensors: &BTreeMap<String, Stored>,
    ) {
        let dir = self.path(name);
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        std::fs::write(dir.join("generation_config.json"), "{}").unwrap();
        std::fs::write(dir.join("tokenizer.json"), "{\"model\": {}}").unwrap();
        write_weights(&dir.join("model.safetensors"), tensors);
    }

    /// Gives a model a tokenizer.json with these tokens, in the order of their ids.
    pub(crate) fn write_tokens(&self, name: &str, tokens: &[&str]) {
        let ids = tokens.iter().enumerate().map(|(id, token)| ((*token).to_owned(), id.into()));
        let vocab: serde_json::Map<String, Value> = ids.collect();
        let tokenizer = json!({ "model": { "type": "BPE", "vocab": vocab, "merges": [] } });
        std::fs::write(self.path(name).join("tokenizer.json"), tokenizer.to_string()).unwrap();
    }

    /// Makes the model `name` one of the cache's, under that name and commit.
    pub(crate) fn move_to_hub(&self, name: &str, hub_name: &str, commit: &str) {
        let model = self.path("hub").join(format!("models--{}", hub_name.replace('/', "--")));
        std::fs::create_dir_all(model.join("snapshots")).unwrap();
        std::fs::create_dir_all(model.join("refs")).unwrap();
        std::fs::write(model.join("refs/main"), commit).unwrap();
        std::fs::rename(self.path(name), model.join("snapshots").join(commit)).unwrap();
    }

    /// Merges by a recipe into `out`; yields exit status, stdout and stderr.
    pub(crate) fn merge(&self, recipe: &str, args: &[&str]) -> (i32, String, String) {
        std::fs::write(self.path("recipe.yml"), recipe).unwrap();
        let mut all = vec!["merge", "recipe.yml", "out"];
        all.extend(args);
        self.run(&all)
    }

    /// Runs the command in the folder, whose `hub` is the Hugging Face cache; yields
    /// exit status, stdout and stderr.
    pub(crate) fn run(&self, args: &[&str]) -> (i32, String, String) {
        let mut command = cargo_bin_cmd!("mergecore");
        command.env("HF_HUB_CACHE", "hub").current_dir(self.0.path());
        let output = command.args(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }

    /// The merge must fail with this status and one paragraph that contains all
    /// of `parts`, and leave every file as it was and nothing besides.
    #[track_caller]
    pub(crate) fn refuses(&self, status: i32, recipe: &str, parts: &[&str]) {
        self.refuses_with(&[], status, recipe, parts);
    }

    /// As [`Folder::refuses`], with arguments besides recipe and output.
    #[track_caller]
    pub(crate) fn refuses_with(&self, args: &[&str], status: i32, recipe: &str, parts: &[&str]) {
        std::fs::write(self.path("recipe.yml"), recipe).unwrap();
        let mut all = vec!["merge", "recipe.yml", "out"];
        all.extend(args);
        self.fails(&all, status, parts);
    }

    /// The command must fail as [`Folder::refuses`] says.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str], status: i32, parts: &[&str]) {
        let (before, after) = self.fail(args, status, parts);
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before));
        assert!(after == before, "a file's content changed");
    }

    /// The merge must fail as [`Folder::refuses`] says, except that it has begun: what it has
    /// done is kept and named.
    #[track_caller]
    pub(crate) fn fails_halfway(&self, args: &[&str], recipe: &str, parts: &[&str]) {
        std::fs::write(self.path("recipe.yml"), recipe).unwrap();
        let mut all = vec!["merge", "recipe.yml", "out"];
        all.extend(args);
        let parts: Vec<&str> = parts
            .iter()
            .copied()
            .chain(["is kept in .out.mergecore-partial", "--restart"])
            .collect();
        let (before, mut after) = self.fail(&all, 1, &parts);
        let partial = self.path(".out.mergecore-partial");
        assert!(after.contains_key(&partial.join("journal")));
        after.retain(|path, _| !path.starts_with(&partial));
        assert!(after == before, "a file's content changed");
    }

    /// Yields what was there before and after.
    #[track_caller]
    fn fail(&self, args: &[&str], status: i32, parts: &[&str]) -> (Tree, Tree) {
        let before = self.snapshot();
        let (code, stdout, stderr) = self.run(args);
        println!("{stderr}"); // for a reader: cargo test -- --nocapture
        assert_eq!((code, stdout.as_str()), (status, ""), "{stderr}");
        assert!(stderr.starts_with("error: ") && !stderr.trim_end().contains("\n\n"), "{stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        for part in parts {
            assert!(stderr.contains(part), "no {part:?} in: {stderr}");
        }
        (before, self.snapshot())
    }

    /// Everything in the folder: `None` for a directory, else the content.
    fn snapshot(&self) -> Tree {
        let mut tree = Tree::new();
        let mut pending = vec![self.0.path().to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let content = path.is_file().then(|| std::fs::read(&path).unwrap());
                if path.is_dir() {
                    pending.push(path.clone());
                }
                tree.insert(path, content);
            }
        }
        tree
    }
}

type Tree = BTreeMap<PathBuf, Option<Vec<u8>>>;

pub(crate) fn write_weights(path: &Path, tensors: &BTreeMap<String, Stored>) {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (name.clone(), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    serialize_to_file(views, None, path).unwrap();
}

pub(crate) fn config() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4,
        "num_hidden_layers": LAYERS, "vocab_size": 8, "tie_word_embeddings": false,
        "torch_dtype": "float32"
    })
}

pub(crate) fn floats(shape: &[usize], offset: f32) -> Stored {
    let len: usize = shape.iter().product();
    let value =
        |i: usize| ((i * 37 % 101) as f32 / 50.0 - 1.0) + offset * ((i * 13 % 7) as f32 / 10.0);
    (Dtype::F32, shape.to_vec(), (0..len).flat_map(|i| value(i).to_le_bytes()).collect())
}

pub(crate) fn tensors(offset: f32) -> BTreeMap<String, Stored> {
    let mut shapes = vec![
        ("model.embed_tokens.weight".to_owned(), vec![8, 4]),
        ("model.norm.weight".to_owned(), vec![4]),
        ("lm_head.weight".to_owned(), vec![8, 4]),
    ];
    for layer in 0..LAYERS {
        shapes.push((format!("model.layers.{layer}.self_attn.q_proj.weight"), vec![4, 4]));
        shapes.push((format!("model.layers.{layer}.mlp.up_proj.weight"), vec![6, 4]));
    }
    shapes.into_iter().map(|(name, shape)| (name, floats(&shape, offset))).collect()
}
