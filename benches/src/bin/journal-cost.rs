//! What the journal of a merge costs, as a share of the merge's time.
//!
//! ```sh
//! cargo run --release -p mergecore-benches --bin journal-cost -- RECIPE OUTPUT [THREADS [RUNS]]
//! ```
//!
//! Merges RUNS times (5) and counts the writes to the journal; keeps a copy of it as it is just
//! before the output appears. Then does the journal's work alone as often: the same lines, made
//! of JSON again, in as many appends to a file beside the output. Prints the medians of both and
//! their ratio. OUTPUT must not exist and is removed.

use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mergecore::{MergeOptions, Storage, StorageCall, StorageHook, load_recipe, merge};
use mergecore_io::Journal;

const USAGE: &str = "usage: journal-cost RECIPE OUTPUT [THREADS [RUNS]]";

/// The number of writes to a journal, and what is in it last.
#[derive(Default)]
struct Watch(Mutex<(usize, Vec<u8>)>);

impl StorageHook for Watch {
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path = call.path();
        let is_journal = |path: &Path| path.file_name().is_some_and(|name| name == "journal");
        match call {
            StorageCall::Write { .. } if is_journal(path) => seen.0 += 1,
            StorageCall::Sync { .. } => {
                let mut dirs = path.ancestors().map(|dir| dir.join("journal"));
                if let Some(journal) = dirs.find(|journal| journal.is_file()) {
                    seen.1 = std::fs::read(journal)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// The same lines in as many appends, each from JSON to text as the merge makes them.
fn replay(
    path: &Path,
    appends: usize,
    lines: &[serde_json::Value],
) -> Result<Duration, Box<dyn Error>> {
    let started = Instant::now();
    let (mut journal, _) = Journal::open(path, &Storage::new())?;
    for part in lines.chunks(lines.len().div_ceil(appends.max(1)).max(1)) {
        let texts: Result<Vec<String>, _> = part.iter().map(serde_json::to_string).collect();
        journal.append(texts?.iter().map(String::as_str))?;
    }
    let elapsed = started.elapsed();
    std::fs::remove_file(path)?;
    Ok(elapsed)
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
    let (mut merges, mut journals, mut last) = (Vec::new(), Vec::new(), (0, 0, 0));
    for _ in 0..runs.max(1) {
        let watch = Arc::new(Watch::default());
        let storage = Storage::with_hook(Arc::clone(&watch) as Arc<dyn StorageHook>);
        let options = MergeOptions { threads, storage, ..MergeOptions::default() };
        let started = Instant::now();
        merge(&config, &output, &options)?;
        merges.push(started.elapsed());
        std::fs::remove_dir_all(&output)?;
        let (appends, content) = &*watch.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8(content.clone())?;
        let lines =
            text.lines().filter_map(|line| serde_json::from_str(line.split_once(' ')?.1).ok());
        let lines: Vec<serde_json::Value> = lines.collect();
        journals.push(replay(&output.with_extension("journal"), *appends, &lines)?);
        last = (*appends, lines.len(), content.len());
    }
    let (merge, journal, (appends, lines, bytes)) = (median(merges), median(journals), last);
    println!(
        "merge {merge:.3} s; journal: {appends} appends, {lines} lines, {bytes} bytes, {:.6} s",
        journal
    );
    println!("share of the journal: {:.4} %", 100.0 * journal / merge);
    Ok(())
}
