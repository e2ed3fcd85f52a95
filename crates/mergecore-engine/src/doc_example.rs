// What the examples in this crate's documentation share. No module of the crate: they
// `include!` it in lines that are not shown.

use mergecore_config::MergeConfig;
use mergecore_engine::{MergeOptions, MergePlan, Registry};
use mergecore_kernel::{
    Base, Binding, Combination, Extent, Inputs, Kernel, KernelError, Method, Parameter, Step,
};

/// The mean of two models.
#[derive(Debug)]
pub struct Mean;

impl Kernel for Mean {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(Combination::new(vec![0.5, 0.5])))
    }
}

impl Method for Mean {
    fn name(&self) -> &str {
        "mean"
    }
    fn title(&self) -> &str {
        "Mean"
    }
    fn inputs(&self) -> Inputs {
        Inputs { base: Base::None, models: 2..=2 }
    }
    fn parameters(&self) -> &[Parameter] {
        &[]
    }
    fn bind(&self, _: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        Ok(Box::new(Mean))
    }
}

/// A new current directory with two models of one layer: `a`, all of whose elements are
/// 1, and `b`, with 3.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::env::set_current_dir(folder.path()).unwrap();
    let config = r#"{"architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "num_hidden_layers": 1, "tie_word_embeddings": true, "vocab_size": 4}"#;
    let header = r#"{
        "model.embed_tokens.weight": {"dtype": "F32", "shape": [4, 2], "data_offsets": [0, 32]},
        "model.layers.0.mlp.weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [32, 48]},
        "model.norm.weight": {"dtype": "F32", "shape": [2], "data_offsets": [48, 56]}}"#;
    for (name, value) in [("a", 1.0f32), ("b", 3.0)] {
        std::fs::create_dir(name).unwrap();
        std::fs::write(format!("{name}/config.json"), config).unwrap();
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header.bytes());
        file.extend(value.to_le_bytes().repeat(14));
        std::fs::write(format!("{name}/model.safetensors"), file).unwrap();
    }
    folder
}

/// The plan of their mean.
pub fn plan() -> MergePlan {
    let recipe = "{merge_method: mean, models: [{model: a}, {model: b}]}";
    let config = MergeConfig::from_yaml_str(recipe).unwrap();
    let mut registry = Registry::new();
    registry.register(Mean);
    MergePlan::new(&config, &registry, &MergeOptions::default()).unwrap()
}
