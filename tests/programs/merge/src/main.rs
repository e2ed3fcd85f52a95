use mergecore::{MergeConfig, MergeOptions, merge};

fn main() -> mergecore::Result<()> {
    let recipe = "
merge_method: slerp
base_model: models/tiny-llama-code
models: [{model: models/tiny-llama-code}, {model: models/tiny-llama-kjv}]
parameters: {t: 0.5}
dtype: bfloat16";
    let output = std::env::args().nth(1).unwrap_or("merged".into());
    let report = merge(&MergeConfig::from_yaml_str(recipe)?, output, &MergeOptions::default())?;
    println!("{} tensors in {}", report.tensors, report.output.display());
    Ok(())
}
