//! Builds a merge in code instead of reading a recipe:
//!
//!     cargo run --release -p mergecore --example merge_in_code -- BASE A B OUT

use mergecore::{
    FloatType, InputModel, MergeConfig, MergeInput, MergeOptions, ModelRef, Parameters, merge,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [base, a, b, output] = &args[..] else {
        return Err("usage: merge_in_code BASE A B OUT".into());
    };

    // The second model counts for less in the lower layers: a gradient over the layers.
    let weights = [vec![0.5], vec![0.1, 0.5]];
    let inputs = [a, b].into_iter().zip(weights).map(|(model, weight)| InputModel {
        model: ModelRef::new(model),
        parameters: Parameters::new().with("weight", weight).with("density", 0.6),
    });
    let mut config = MergeConfig::new("ties", MergeInput::Models(inputs.collect()));
    config.base_model = Some(ModelRef::new(base));
    config.parameters = Parameters::new().with("normalize", false);
    config.dtype = Some(FloatType::Bf16);
    println!("{}", config.to_yaml_string());

    let report = merge(&config, output, &MergeOptions::default())?;
    println!("{} tensors in {}", report.tensors, report.output.display());
    Ok(())
}
