//! Shows progress, and cancels a merge after some seconds:
//!
//!     cargo run --release -p mergecore --example progress_and_cancel -- RECIPE OUT SECONDS

use std::time::Duration;

use mergecore::{
    CancelFlag, EngineError, Error, MergeConfig, MergeOptions, Progress, ProgressCallback, merge,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, output, seconds] = &args[..] else {
        return Err("usage: progress_and_cancel RECIPE OUT SECONDS".into());
    };
    let config = MergeConfig::from_path(recipe)?;

    let cancel = CancelFlag::new();
    let options = MergeOptions {
        // Called by one thread at a time; it should be quick.
        progress: Some(ProgressCallback::new(|progress: Progress| {
            let percent = progress.bytes_done * 100 / progress.bytes_total.max(1);
            print!(
                "\r{percent} %, {} of {} tensors",
                progress.tensors_done, progress.tensors_total
            );
        })),
        cancel: Some(cancel.clone()),
        ..MergeOptions::default()
    };
    let after = Duration::try_from_secs_f64(seconds.parse()?)?;
    std::thread::spawn(move || {
        std::thread::sleep(after);
        cancel.cancel();
    });
    match merge(&config, output, &options) {
        Ok(report) => println!("\n{}", report.output.display()),
        // Nothing is left behind.
        Err(Error::Merge(EngineError::Cancelled)) => println!("\ncancelled after {after:?}"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
