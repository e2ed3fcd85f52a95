//! What an interrupted merge leaves for the next one: which tensors are done.
//!
//! The journal's first record says what the merge is; each further one which tensors have come
//! to be in the output's files since the one before, with their hashes; all in MessagePack.
//! Records are added every few milliseconds and not synced: after a power failure, a tensor whose
//! bytes did not reach the disk is found by its hash. Where tensors are not hashed, the files are
//! synced before a record is written.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mergecore_io::{CheckpointWriter, Journal, StagedDir};
use serde::{Deserialize, Serialize};

use super::Outcome;
use crate::hash::TensorHash;
use crate::identity::Identity;
use crate::plan::MergePlan;
use crate::{EngineError, MergeOptions};

/// Between two writes to the journal.
const EVERY: Duration = Duration::from_millis(5);
/// The same, where the output's files must be synced before.
const EVERY_SYNCED: Duration = Duration::from_secs(10);

/// In a record of the journal: the number of a tensor that is done, and what is known of it.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Done(usize, Outcome);

/// The record of a merge under way.
pub(super) struct Record<'a> {
    staged: &'a StagedDir,
    options: &'a MergeOptions,
    /// Done, but not yet in the journal, and perhaps not yet in the files.
    pending: Mutex<Vec<Done>>,
    /// Held by who writes, which may take a sync.
    written: Mutex<Written>,
}

struct Written {
    journal: Journal,
    at: Instant,
}

impl<'a> Record<'a> {
    /// Begins a record, or goes on with one that the same merge has left; yields what that
    /// one says is done.
    ///
    /// # Errors
    /// If another merge has left its work, or the journal cannot be written.
    pub(super) fn open(
        plan: &MergePlan,
        staged: &'a StagedDir,
        options: &'a MergeOptions,
    ) -> Result<(Self, BTreeMap<usize, Outcome>), EngineError> {
        let identity = Identity::of(plan, options);
        let path = staged.journal_path();
        let (journal, records) = Journal::open(&path, &options.storage)?;
        let done = found(&identity, &records, staged, options)?
            .filter(|_| options.hash || files_are_whole(plan, staged));
        let record = |journal| {
            let written = Mutex::new(Written { journal, at: Instant::now() });
            Record { staged, options, pending: Mutex::default(), written }
        };
        if let Some(done) = done {
            return Ok((record(journal), done));
        }
        drop(journal);
        staged.clear()?;
        let (mut journal, _) = Journal::open(&path, &options.storage)?;
        journal.append(&encoded(&identity))?;
        Ok((record(journal), BTreeMap::new()))
    }

    /// Notes a tensor whose chunks are all computed.
    pub(super) fn complete(&self, tensor: usize, outcome: &Outcome) {
        self.pending().push(Done(tensor, outcome.clone()));
    }

    fn pending(&self) -> MutexGuard<'_, Vec<Done>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes down what is pending and in the files, if it is time.
    pub(super) fn write(&self, writer: &CheckpointWriter) -> Result<(), EngineError> {
        // Whoever has the lock is writing.
        let Ok(mut written) = self.written.try_lock() else { return Ok(()) };
        let every = if self.options.hash { EVERY } else { EVERY_SYNCED };
        match written.at.elapsed() < every {
            true => Ok(()),
            false => self.write_pending(&mut written, writer),
        }
    }

    /// The same now. Where that would take a sync, which takes its time, only if there is.
    pub(super) fn write_now(
        &self,
        writer: &CheckpointWriter,
        in_a_hurry: bool,
    ) -> Result<(), EngineError> {
        if in_a_hurry && !self.options.hash {
            return Ok(());
        }
        let written = &mut *self.written.lock().unwrap_or_else(PoisonError::into_inner);
        self.write_pending(written, writer)
    }

    /// What makes the work one that is not gone on with, whoever has begun to.
    pub(super) fn eraser(&self) -> impl FnOnce() + Send + use<> {
        self.written.lock().unwrap_or_else(PoisonError::into_inner).journal.eraser()
    }

    fn write_pending(
        &self,
        written: &mut Written,
        writer: &CheckpointWriter,
    ) -> Result<(), EngineError> {
        let in_files = |Done(tensor, _): &mut Done| writer.is_written(*tensor);
        let ready: Vec<Done> = self.pending().extract_if(.., in_files).collect();
        if ready.is_empty() {
            return Ok(());
        }
        let synced = match self.options {
            MergeOptions { hash: true, .. } => true,
            MergeOptions { cancel: None, .. } => writer.sync().map(|()| true)?,
            options => writer.sync_unless(|| options.is_cancelled(), written.journal.eraser())?,
        };
        if !synced {
            // Told to stop meanwhile: they will be computed again.
            return Ok(());
        }
        written.journal.append(&encoded(&ready))?;
        written.at = Instant::now();
        self.staged.keep();
        Ok(())
    }
}

/// The content of a record.
fn encoded(record: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(record).expect("names and numbers can be encoded")
}

/// What a journal says is done, where it is this merge's; `None` where there is nothing to go
/// on with.
fn found(
    identity: &Identity,
    records: &[Vec<u8>],
    staged: &StagedDir,
    options: &MergeOptions,
) -> Result<Option<BTreeMap<usize, Outcome>>, EngineError> {
    let Some((first, records)) = records.split_first().filter(|(_, rest)| !rest.is_empty()) else {
        return Ok(None);
    };
    let differences = match rmp_serde::from_slice(first) {
        Ok(known) => identity.differences(&known),
        // A version whose journals are others.
        Err(_) => vec!["it was begun by another version of mergecore".to_owned()],
    };
    if !differences.is_empty() {
        return Err(EngineError::PartialDiffers {
            output: staged.output().to_owned(),
            partial: staged.journal_path().parent().unwrap_or(staged.path()).to_owned(),
            differences,
        });
    }
    let records = records.iter().map_while(|done| rmp_serde::from_slice::<Vec<Done>>(done).ok());
    // What another option let pass then is looked at again.
    let done = records
        .flatten()
        .filter(|Done(_, outcome)| options.allow_nonfinite || outcome.notes.is_empty())
        // Of two for one tensor the later one counts.
        .map(|Done(tensor, outcome)| (tensor, outcome));
    Ok(Some(done.collect()))
}

/// Whether the output's files are as long as they will be, which they are before a tensor is
/// done. One that is gone would be made anew, and records without hashes be believed of it.
fn files_are_whole(plan: &MergePlan, staged: &StagedDir) -> bool {
    plan.layout.shards().iter().all(|shard| {
        let found = std::fs::symlink_metadata(staged.path().join(shard.file_name()));
        found.is_ok_and(|found| found.is_file() && found.len() == shard.file_len())
    })
}

impl Outcome {
    /// Whether the output is what it was, where that is known.
    pub(super) fn agrees_with(&self, output: TensorHash) -> bool {
        self.hashes.output.is_none_or(|known| known == output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execute::findings::{Counted, Findings, InputFinding};
    use crate::execute::tensor::TensorHashes;

    #[test]
    fn what_is_known_of_a_tensor_comes_back() {
        let hash = |digit: &str| digit.repeat(32).parse::<TensorHash>().unwrap();
        let hashes =
            TensorHashes { inputs: Some(vec![hash("0"), hash("a")]), output: Some(hash("f")) };
        let found = Counted { count: 3, first: u64::MAX };
        let findings = Findings {
            nonfinite_inputs: vec![InputFinding { input: 1, found }],
            nonfinite: None,
            flushed: Some(found),
        };
        let notes = vec!["a note".to_owned()];
        let blank = Outcome::default;
        let done = vec![
            Done(0, blank()),
            Done(70_000, Outcome { hashes: hashes.clone(), ..blank() }),
            Done(1, Outcome { findings: findings.clone(), ..blank() }),
            Done(2, Outcome { notes: notes.clone(), ..blank() }),
            Done(3, Outcome { hashes, findings, notes }),
        ];
        assert_eq!(rmp_serde::from_slice::<Vec<Done>>(&encoded(&done)).unwrap(), done);
    }
}
