//! How long a merge takes to end after a program has cancelled it.
//!
//! ```sh
//! cargo run --release -p mergecore-benches --bin cancel-latency -- \
//!     RECIPE OUTPUT SECONDS [TIMES [THREADS]]
//! ```
//!
//! Begins the merge TIMES (20) times and cancels it, at moments evenly spread over SECONDS from
//! its beginning. Prints when each was cancelled and how long it then took, and the median and the
//! largest of that. OUTPUT must not exist and is removed.
//!
//! A method that leaves threads behind which end later (`iso_c`, `tsv`) is cancelled once a run
//! (TIMES 1, at SECONDS): those threads would hold up the merges that follow.

use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mergecore::{CancelFlag, EngineError, MergeOptions, load_recipe, merge};

const USAGE: &str = "usage: cancel-latency RECIPE OUTPUT SECONDS [TIMES [THREADS]]";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, output, seconds, rest @ ..] = &args[..] else { return Err(USAGE.into()) };
    let (config, output) = (load_recipe(recipe)?, PathBuf::from(output));
    let seconds: f64 = seconds.parse()?;
    let times: u32 = rest.first().map_or(Ok(20), |text| text.parse())?;
    let threads = rest.get(1).map(|text| text.parse()).transpose()?;
    let mut latencies = Vec::new();
    for number in 0..times {
        let cancel = CancelFlag::new();
        let options = MergeOptions {
            cancel: Some(cancel.clone()),
            threads,
            restart: true,
            ..MergeOptions::default()
        };
        let after = Duration::from_secs_f64(seconds * f64::from(number + 1) / f64::from(times));
        let (asked, told) = mpsc::channel();
        std::thread::spawn(move || {
            std::thread::sleep(after);
            let _ = asked.send(Instant::now());
            cancel.cancel();
        });
        match merge(&config, &output, &options) {
            Err(mergecore::Error::Merge(EngineError::Cancelled)) => {
                let latency = told.recv()?.elapsed();
                println!("cancelled after {after:.3?}: {latency:.1?}");
                latencies.push(latency);
            }
            Err(error) => return Err(error.into()),
            Ok(report) => {
                println!("was done before {after:.3?}: in {:.3?}", report.elapsed);
                std::fs::remove_dir_all(&output)?;
            }
        }
    }
    if let Some(work) = mergecore_io::StagedDir::left(&output) {
        std::fs::remove_dir_all(work)?;
    }
    latencies.sort_unstable();
    let largest = latencies.last().ok_or("all merges were done before they were cancelled")?;
    println!("median {:.1?}, largest {largest:.1?}", latencies[latencies.len() / 2]);
    Ok(())
}
