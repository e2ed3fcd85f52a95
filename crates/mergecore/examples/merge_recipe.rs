//! Merges by a recipe:
//!
//!     cargo run --release -p mergecore --example merge_recipe -- RECIPE OUT

use mergecore::{MergeConfig, MergeOptions, plan};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(recipe), Some(output)) = (args.next(), args.next()) else {
        return Err("usage: merge_recipe RECIPE OUT".into());
    };
    let config = MergeConfig::from_path(recipe)?;
    let options = MergeOptions::default();

    // Two steps, to look at the plan in between; `mergecore::merge` is both.
    let plan = plan(&config, &options)?;
    for model in plan.models() {
        println!("reading {} from {}", model.name(), model.checkpoint.dir().display());
    }
    for note in plan.notes() {
        println!("note: {note}");
    }
    let report = plan.execute(output, &options)?;
    println!("{} tensors in {}", report.tensors, report.output.display());
    Ok(())
}
