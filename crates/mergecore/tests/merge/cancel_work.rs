//! What is cancelled while it merges, or waits for the disk: it ends soon, and leaves nothing that
//! is believed and should not be.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use mergecore::{
    CancelFlag, EngineError, Error, MergeOptions, ProgressCallback, Storage, StorageCall,
    StorageHook,
};

use crate::library::{TIES, threads};
use crate::support::{Folder, shapes};

#[test]
fn cancelling_leaves_work_to_go_on_with_and_no_output() {
    let folder = Folder::new();
    folder.write_random(32);
    folder.merge_with(TIES, "expected", &threads(2)).unwrap();
    for count in [1, 2, 7] {
        let cancel = CancelFlag::new();
        let pull = cancel.clone();
        let progress = ProgressCallback::new(move |progress| {
            if progress.bytes_done > 100_000 {
                pull.cancel();
            }
        });
        let options =
            MergeOptions { progress: Some(progress), cancel: Some(cancel), ..threads(count) };
        let error = folder.merge_with(TIES, "cancelled", &options).unwrap_err();
        assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
        assert!(!error.is_recipe());
        assert_eq!(folder.names(), [".cancelled.mergecore-partial", "a", "b", "base", "expected"]);
        let report = folder.merge_with(TIES, "cancelled", &threads(count)).unwrap();
        assert!(report.resumed > 0, "{} threads", count);
        // Many threads may all be done before one of them tells of it.
        assert!(report.resumed < report.tensors || count > 1, "{}", report.resumed);
        assert!(folder.read("cancelled") == folder.read("expected"));
        std::fs::remove_dir_all(folder.path("cancelled")).unwrap();
        assert_eq!(folder.names(), ["a", "b", "base", "expected"]);
    }
    // Cancelled before it began, over an output that must stay.
    folder.merge_with(TIES, "out", &threads(2)).unwrap();
    let kept = folder.read("out");
    let cancel = CancelFlag::new();
    cancel.cancel();
    let options = MergeOptions { cancel: Some(cancel), seed: 9, ..threads(2) };
    folder.merge_with(TIES, "out", &options).unwrap_err();
    assert!(folder.read("out") == kept);
}

fn is_weights(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "safetensors")
}

/// A disk that takes its time to say that weights are on it, or cannot be put there.
struct SlowSync {
    fails: bool,
}

impl StorageHook for SlowSync {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        if matches!(call, StorageCall::Sync { path } if is_weights(path)) {
            std::thread::sleep(Duration::from_secs(3));
            if self.fails {
                return Err(std::io::Error::other("the disk is broken"));
            }
        }
        Ok(())
    }
}

/// Wherever it is: while it merges, or waits for the disk. The median of several, for other
/// programs may be busy.
#[test]
fn cancelling_takes_less_than_a_tenth_of_a_second() {
    let folder = Folder::in_memory();
    folder.write_random(39);
    let slow = Storage::with_hook(Arc::new(SlowSync { fails: false }));
    // How far it is to have come, and how long it is given to come to the sync.
    for (storage, part, wait) in [(Storage::default(), 0.3, 0), (slow, 1.0, 300)] {
        let mut times = Vec::new();
        for _ in 0..7 {
            let cancel = CancelFlag::new();
            let (asked, told) = mpsc::channel();
            let (pull, once) = (cancel.clone(), Mutex::new(Some(asked)));
            let progress = ProgressCallback::new(move |progress| {
                let far = progress.bytes_done as f64 >= part * progress.bytes_total as f64;
                if far && let Some(asked) = once.lock().unwrap().take() {
                    let pull = pull.clone();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(wait));
                        asked.send(Instant::now()).unwrap();
                        pull.cancel();
                    });
                }
            });
            let options = MergeOptions {
                progress: Some(progress),
                cancel: Some(cancel),
                restart: true,
                storage: storage.clone(),
                ..threads(2)
            };
            let error = folder.merge_with(TIES, "cancelled", &options).unwrap_err();
            assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
            times.push(told.recv().unwrap().elapsed());
        }
        times.sort();
        assert!(times[3] < Duration::from_millis(100), "{times:?}");
    }
}

/// Cancels a while after the last byte of a file was asked for a second time.
struct CancelAfterReading {
    file: PathBuf,
    cancel: CancelFlag,
    reads: AtomicUsize,
    asked: mpsc::Sender<Instant>,
}

impl StorageHook for CancelAfterReading {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        let StorageCall::Read { path, bytes } = call else { return Ok(()) };
        if *path == self.file
            && bytes.end == path.metadata()?.len()
            && self.reads.fetch_add(1, Ordering::Relaxed) == 1
        {
            let (cancel, asked) = (self.cancel.clone(), self.asked.clone());
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(100));
                asked.send(Instant::now()).unwrap();
                cancel.cancel();
            });
        }
        Ok(())
    }
}

/// Of a matrix for which that takes half a second or more: it is read a first time to see whether
/// anything is changed, a second time to be decomposed. The median of several, for other programs
/// may be busy.
#[test]
fn cancelling_does_not_wait_for_a_decomposition() {
    let folder = Folder::in_memory();
    let shapes = [("model.layers.0.mlp.up_proj.weight".to_owned(), vec![1000, 1000])];
    folder.write_random_of(41, &shapes);
    for method in ["iso_c", "tsv"] {
        let recipe = format!(
            "{{merge_method: {method}, base_model: DIR/base, models: [{{model: DIR/a}}, {{model: DIR/b}}]}}"
        );
        let mut times = Vec::new();
        for _ in 0..5 {
            let cancel = CancelFlag::new();
            let (asked, told) = mpsc::channel();
            let hook = CancelAfterReading {
                file: folder.path("b").join("model.safetensors"),
                cancel: cancel.clone(),
                reads: AtomicUsize::new(0),
                asked,
            };
            let storage = Storage::with_hook(Arc::new(hook));
            let options = MergeOptions { cancel: Some(cancel), storage, ..threads(2) };
            let error = folder.merge_with(&recipe, "cancelled", &options).unwrap_err();
            times.push(told.recv().unwrap().elapsed());
            assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
        }
        times.sort();
        assert!(times[2] < Duration::from_millis(100), "{method}: {times:?}");
    }
}

/// Refuses to write weights, after so many times.
struct FullAfter(AtomicUsize);

impl StorageHook for FullAfter {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        let left = |left: usize| left.checked_sub(1);
        match call {
            StorageCall::Write { path, .. }
                if is_weights(path)
                    && self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, left).is_err() =>
            {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }
}

fn wait_until_nothing_is_noted(folder: &Folder, name: &str) {
    let journal = folder.path(&format!(".{name}.mergecore-partial/journal"));
    let patience = Instant::now() + Duration::from_secs(60);
    while journal.metadata().unwrap().len() > 0 {
        assert!(Instant::now() < patience, "the work is still believed");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Work without hashes is synced between tensors, every ten seconds. A sync that fails after
/// that has the work not gone on with.
#[test]
fn cancelling_does_not_wait_for_a_sync_between_tensors() {
    let folder = Folder::in_memory();
    folder.write_random(39);
    let full = MergeOptions {
        hash: false,
        storage: Storage::with_hook(Arc::new(FullAfter(AtomicUsize::new(8)))),
        ..threads(1)
    };
    folder.merge_with(TIES, "cancelled", &full).unwrap_err();
    let cancel = CancelFlag::new();
    let (pull, asked, once) = (cancel.clone(), Arc::new(Mutex::new(None)), AtomicBool::new(true));
    let (told, seen) = (Arc::clone(&asked), Arc::new(AtomicUsize::new(0)));
    let last = Arc::clone(&seen);
    let progress = ProgressCallback::new(move |progress| {
        last.store(progress.tensors_done, Ordering::Relaxed);
        if progress.tensors_done < shapes().len() - 2 && once.swap(false, Ordering::Relaxed) {
            let (pull, told) = (pull.clone(), Arc::clone(&told));
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(10_800));
                *told.lock().unwrap() = Some(Instant::now());
                pull.cancel();
            });
            std::thread::sleep(Duration::from_millis(10_300));
        }
    });
    let options = MergeOptions {
        progress: Some(progress),
        cancel: Some(cancel),
        hash: false,
        storage: Storage::with_hook(Arc::new(SlowSync { fails: true })),
        ..threads(1)
    };
    let error = folder.merge_with(TIES, "cancelled", &options).unwrap_err();
    assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
    // Not in the last sync.
    assert!(seen.load(Ordering::Relaxed) < shapes().len());
    // Had it waited for a disk that takes three seconds, it would be later than this.
    let asked = asked.lock().unwrap().expect("it was told to stop");
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    wait_until_nothing_is_noted(&folder, "cancelled");
    let options = MergeOptions { hash: false, ..threads(1) };
    assert_eq!(folder.merge_with(TIES, "cancelled", &options).unwrap().resumed, 0);
}

/// A disk that takes its time to say that a file could not be put on it, once.
struct FailingSync {
    asked: mpsc::Sender<()>,
    told: Mutex<mpsc::Receiver<()>>,
    failed: AtomicBool,
}

impl StorageHook for FailingSync {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        let is_sync = matches!(call, StorageCall::Sync { path } if is_weights(path));
        if !is_sync || self.failed.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        self.asked.send(()).unwrap();
        self.told.lock().unwrap().recv().unwrap();
        Err(std::io::Error::other("the disk is broken"))
    }
}

/// Of a sync that has failed the next one says nothing.
#[test]
fn work_whose_sync_fails_when_it_was_cancelled_is_not_gone_on_with() {
    for hash in [true, false] {
        let folder = Folder::new();
        folder.write_random(40);
        folder.merge_with(TIES, "expected", &MergeOptions { hash, ..threads(2) }).unwrap();
        // Without hashes, what is cancelled notes nothing.
        let storage = Storage::with_hook(Arc::new(FullAfter(AtomicUsize::new(8))));
        let full = MergeOptions { hash, storage, ..threads(1) };
        folder.merge_with(TIES, "out", &full).unwrap_err();
        let cancel = CancelFlag::new();
        let (asked, syncs) = mpsc::channel();
        let (fail, told) = mpsc::channel();
        let hook = FailingSync { asked, told: Mutex::new(told), failed: AtomicBool::new(false) };
        let options = MergeOptions {
            cancel: Some(cancel.clone()),
            hash,
            storage: Storage::with_hook(Arc::new(hook)),
            ..threads(2)
        };
        let canceller = std::thread::spawn(move || {
            syncs.recv().unwrap();
            cancel.cancel();
        });
        let error = folder.merge_with(TIES, "out", &options).unwrap_err();
        assert!(matches!(error, Error::Merge(EngineError::Cancelled)), "{error}");
        canceller.join().unwrap();
        let journal = folder.path(".out.mergecore-partial/journal");
        assert!(journal.metadata().unwrap().len() > 0);
        fail.send(()).unwrap();
        wait_until_nothing_is_noted(&folder, "out");
        let options = MergeOptions { hash, ..threads(2) };
        assert_eq!(folder.merge_with(TIES, "out", &options).unwrap().resumed, 0);
        assert!(folder.read("out") == folder.read("expected"));
    }
}
