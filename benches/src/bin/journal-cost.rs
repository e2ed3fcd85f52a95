//! What the journal of a merge costs, as a share of the merge's time.
//!
//! ```sh
//! cargo run --release -p mergecore-benches --bin journal-cost -- RECIPE OUTPUT [THREADS [RUNS]]
//! ```
//!
//! Merges RUNS times (5) and keeps a copy of the journal as it is just before the output appears.
//! Then does the journal's work alone: makes the same records of numbers again and adds them to a
//! file beside the output, one by one. Prints the medians of both and their ratio. OUTPUT must not
//! exist and is removed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mergecore::{MergeOptions, Storage, StorageCall, StorageHook, load_recipe, merge};
use mergecore_io::Journal;
use serde::{Deserialize, Serialize};
use serde_json::Value;

const USAGE: &str = "usage: journal-cost RECIPE OUTPUT [THREADS [RUNS]]";

/// What is in a journal last.
#[derive(Default)]
struct Watch(Mutex<Vec<u8>>);

impl StorageHook for Watch {
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
        if let StorageCall::Sync { .. } = call {
            let mut dirs = call.path().ancestors().map(|dir| dir.join("journal"));
            if let Some(journal) = dirs.find(|journal| journal.is_file()) {
                let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *seen = std::fs::read(journal)?;
            }
        }
        Ok(())
    }
}

/// A tensor that is done, as a journal has it: its number, and what is known of it.
#[derive(Serialize, Deserialize)]
struct Done(usize, Outcome);

#[derive(Serialize, Deserialize)]
struct Outcome {
    hashes: Hashes,
    #[serde(skip_serializing_if = "Option::is_none")]
    findings: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notes: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize)]
struct Hashes {
    inputs: Option<Vec<u128>>,
    output: Option<u128>,
}

/// Writes a journal again, and says how long that took, with the number of records.
fn replay(path: &Path, content: &[u8]) -> Result<(Duration, usize), Box<dyn Error>> {
    std::fs::write(path, content)?;
    let (_, records) = Journal::open(path, &Storage::new())?;
    std::fs::remove_file(path)?;
    let (first, rest) = records.split_first().ok_or("no journal was seen")?;
    let rest: Result<Vec<Vec<Done>>, _> =
        rest.iter().map(|record| rmp_serde::from_slice(record)).collect();
    let rest = rest?;
    let started = Instant::now();
    let (mut journal, _) = Journal::open(path, &Storage::new())?;
    journal.append(first)?;
    for done in &rest {
        journal.append(&rmp_serde::to_vec_named(done)?)?;
    }
    let elapsed = started.elapsed();
    let again = std::fs::read(path)?;
    std::fs::remove_file(path)?;
    if again != content {
        return Err("the journal written again is another".into());
    }
    Ok((elapsed, records.len()))
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (recipe, output) = (args.first().ok_or(USAGE)?, args.get(1).ok_or(USAGE)?);
    let threads = args.get(2).map(|text| text.parse()).transpose()?;
    let runs: usize = args.get(3).map_or(Ok(5), |text| text.parse())?;
    let (config, output) = (load_recipe(recipe)?, PathBuf::from(output));
    let (mut merges, mut journals, mut last) = (Vec::new(), Vec::new(), (0, 0));
    for _ in 0..runs.max(1) {
        let watch = Arc::new(Watch::default());
        let storage = Storage::with_hook(Arc::clone(&watch) as Arc<dyn StorageHook>);
        let options = MergeOptions { threads, storage, ..MergeOptions::default() };
        let started = Instant::now();
        merge(&config, &output, &options)?;
        merges.push(started.elapsed());
        std::fs::remove_dir_all(&output)?;
        let content = watch.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (elapsed, records) = replay(&output.with_extension("journal"), &content)?;
        journals.push(elapsed);
        last = (records, content.len());
    }
    let (merge, journal, (records, bytes)) = (median(merges), median(journals), last);
    println!("merge {merge:.3} s; journal: {records} records, {bytes} bytes, {journal:.6} s");
    println!("share of the journal: {:.4} %", 100.0 * journal / merge);
    Ok(())
}
