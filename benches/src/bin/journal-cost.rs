//! What the journal of a merge costs, as a share of the merge's time.
//!
//! ```sh
//! cargo run --release -p mergecore-benches --bin journal-cost -- RECIPE OUTPUT [THREADS [RUNS]]
//! ```
//!
//! Merges RUNS times (5) and keeps a copy of the journal as it is just before the output appears.
//! Then does the journal's work alone: makes the same lines of numbers again and adds them to a
//! file beside the output, one by one. Prints the medians of both and their ratio. OUTPUT must not
//! exist and is removed.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mergecore::{MergeOptions, Storage, StorageCall, StorageHook, load_recipe, merge};
use mergecore_io::Journal;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value};

const USAGE: &str = "usage: journal-cost RECIPE OUTPUT [THREADS [RUNS]]";

/// What is in a journal last.
#[derive(Default)]
struct Watch(Mutex<String>);

impl StorageHook for Watch {
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
        if let StorageCall::Sync { .. } = call {
            let mut dirs = call.path().ancestors().map(|dir| dir.join("journal"));
            if let Some(journal) = dirs.find(|journal| journal.is_file()) {
                let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                *seen = std::fs::read_to_string(journal)?;
            }
        }
        Ok(())
    }
}

/// A tensor that is done, as a journal has it.
#[derive(Serialize, Deserialize)]
struct Done {
    tensor: usize,
    hashes: Hashes,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Hashes of 32 hexadecimal digits each.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Hashes(Vec<(u64, u64)>);

impl TryFrom<String> for Hashes {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let half = |at: usize| u64::from_str_radix(text.get(at..at + 16).unwrap_or(""), 16);
        let hash = |at| Ok((half(at)?, half(at + 16)?));
        (0..text.len()).step_by(32).map(hash).collect::<Result<_, _>>().map(Hashes)
    }
}

impl fmt::Display for Hashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(high, low)| write!(f, "{high:016x}{low:016x}"))
    }
}

impl Serialize for Hashes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Writes a journal again, and says how long that took.
fn replay(path: &Path, lines: &[&str]) -> Result<Duration, Box<dyn Error>> {
    let (first, rest) = lines.split_first().ok_or("no journal was seen")?;
    let rest: Result<Vec<Vec<Done>>, _> =
        rest.iter().map(|line| serde_json::from_str(line)).collect();
    let rest = rest?;
    let started = Instant::now();
    let (mut journal, _) = Journal::open(path, &Storage::new())?;
    journal.append(first)?;
    for done in &rest {
        journal.append(&serde_json::to_string(done)?)?;
    }
    let elapsed = started.elapsed();
    let again = std::fs::read_to_string(path)?;
    std::fs::remove_file(path)?;
    let texts = again.lines().filter_map(|line| Some(line.split_once(' ')?.1));
    if !texts.eq(lines.iter().copied()) {
        return Err("the journal written again is another".into());
    }
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
        let lines: Vec<&str> =
            content.lines().filter_map(|line| Some(line.split_once(' ')?.1)).collect();
        journals.push(replay(&output.with_extension("journal"), &lines)?);
        last = (lines.len(), content.len());
    }
    let (merge, journal, (lines, bytes)) = (median(merges), median(journals), last);
    println!("merge {merge:.3} s; journal: {lines} lines, {bytes} bytes, {journal:.6} s");
    println!("share of the journal: {:.4} %", 100.0 * journal / merge);
    Ok(())
}
