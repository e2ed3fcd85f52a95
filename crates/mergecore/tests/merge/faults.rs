//! Every call on a file refused, and every moment at which the process or the machine can stop:
//! the output is as it was before, or whole; and the same merge goes on to the same bytes.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mergecore::{
    EngineError, Error, IoError, MergeOptions, MergeReport, ProgressCallback, Storage, StorageCall,
    StorageHook, verify,
};
use mergecore_io::Journal;

use crate::disk::{Disk, Survive};
use crate::fault_case::{Before, Case, Fault, RECIPES, REFUSALS, cases, options, tree};
use crate::support::Random;

#[test]
fn every_call_refused() {
    let (mut faults, mut refused, mut resumed, mut unhashed) = (0, 0, 0, 0);
    for (name, case) in cases() {
        for at in 0..case.calls {
            let code = REFUSALS[at % REFUSALS.len()];
            let result = case.merge(case.faulty(at, Fault::Refused(code)));
            faults += 1;
            let complete = case.check_output((&name, at));
            match result {
                Ok(_) => assert!(complete, "{name}, call {at}"),
                Err(error) => {
                    refused += 1;
                    let text = error.to_string();
                    let reason = io::Error::from_raw_os_error(code).to_string();
                    assert!(text.contains(&reason), "{name}, call {at}: {text}");
                    let dir = case.folder.path("a").parent().unwrap().to_owned();
                    assert!(text.contains(dir.to_str().unwrap()), "{name}, call {at}: {text}");
                }
            }
            let kept = case.go_on((&name, at));
            resumed += kept;
            unhashed += if case.options.hash { 0 } else { kept };
        }
        case.check_inputs();
    }
    println!(
        "{faults} calls refused: {refused} merges failed, 0 outputs wrong, {resumed} tensors taken over"
    );
    // Some do no harm: to take away what is not needed any more, say.
    assert!(refused * 10 > faults * 9, "{refused} of {faults}");
    assert!(resumed > faults && unhashed > 0, "{resumed}, {unhashed} in {faults}");
}

/// Those that people meet, in the middle of the work, with what is said of them.
#[cfg(target_os = "linux")] // where the codes mean that
#[test]
fn refusals_name_the_file_and_what_to_do() {
    type Call = fn(&StorageCall<'_>) -> bool;
    let read: Call = |call| matches!(call, StorageCall::Read { path, bytes } if path.ends_with("a/model.safetensors") && bytes.start > 50_000);
    let write: Call = |call| matches!(call, StorageCall::Write { path, bytes } if path.ends_with("model-00003-of-00004.safetensors") && bytes.start > 8_000);
    let sync: Call = |call| matches!(call, StorageCall::Sync { path } if path.ends_with("model-00003-of-00004.safetensors"));
    let make: Call = |call| matches!(call, StorageCall::CreateDirectory { path } if path.ends_with(".out.mergecore-partial"));
    let refusals = [
        (read, 5, "a/model.safetensors: Input/output error", true),
        (write, 5, "cannot write ", true),
        (write, 28, "No space left on device (os error 28); free some space", true),
        (write, 122, "Disk quota exceeded (os error 122); free some space", true),
        // What the system could not write then, it may take for written afterwards.
        (sync, 5, "cannot sync ", false),
        (make, 30, "Read-only file system (os error 30); choose a place that can be", false),
        (make, 13, "Permission denied (os error 13); check who may", false),
    ];
    for hash in [true, false] {
        let case = Case::new(RECIPES[0].1, options(1, hash), Before::Old);
        for (call, code, said, kept) in refusals {
            let refused = case.merge(case.faulty(0, Fault::Refused(code)).from(call));
            let error = refused.unwrap_err().to_string();
            assert!(error.contains(said), "{code}: {error}");
            assert!(error.contains("safetensors") || error.contains("partial"), "{code}: {error}");
            assert!(!case.check_output(code));
            assert_eq!(case.go_on(code) > 0, kept, "{code}: {error}");
        }
    }
}

#[test]
fn the_process_stopped_at_every_call() {
    let (mut faults, mut resumed) = (0, 0);
    for (name, case) in cases() {
        for at in 0..case.calls {
            let stopped = case.merge(case.faulty(at, Fault::Stopped));
            faults += 1;
            assert!(case.check_output((&name, at)) || stopped.is_err(), "{name}, call {at}");
            resumed += case.go_on((&name, at));
        }
        case.check_inputs();
    }
    println!("stopped at {faults} calls: 0 outputs wrong, {resumed} tensors taken over");
    assert!(resumed > 0);
}

/// How often the power failed, what was found, and how many tensors were taken over.
#[derive(Default)]
struct Failures {
    count: usize,
    old: usize,
    new: usize,
    resumed: usize,
}

impl Failures {
    /// The power fails after a merge, each time with another part of what was not synced lost.
    /// If the merge has ended well, the new output must be found. What goes on with the rest is
    /// stopped now and then.
    fn after(
        &mut self,
        case: &Case,
        merged: Result<MergeReport, Error>,
        disk: &Mutex<Disk>,
        at: impl Debug,
        random: &mut Random,
    ) {
        let mut disk = disk.lock().unwrap();
        disk.power_off();
        for survive in [Survive::Nothing, Survive::Everything, Survive::Some] {
            disk.power_on(survive, random);
            let is_new = case.check_output((&at, survive));
            assert!(is_new || merged.is_err(), "{at:?}, {survive:?}");
            *(if is_new { &mut self.new } else { &mut self.old }) += 1;
            if random.below(3) == 0 {
                let _ = case.merge_again(case.stopped(random.below(40)));
                case.check_output((&at, survive));
            }
            self.resumed += case.go_on((&at, survive));
            self.count += 1;
            if disk.is_synced() {
                break;
            }
        }
    }

    fn print(&self, when: &str) {
        let Failures { count, old, new, resumed } = self;
        println!("power lost {count} times {when}: 0 outputs wrong, {resumed} tensors taken over");
        assert!(*old > 0 && *new > 0 && *resumed > 0, "{old}, {new}, {resumed}");
    }
}

#[test]
fn power_lost_at_every_call() {
    let mut random = Random::new(43);
    let mut failures = Failures::default();
    for (name, case) in cases() {
        for at in (0..case.calls).chain([usize::MAX]) {
            let disk = case.disk();
            let merged = case.merge(case.faulty(at, Fault::Stopped).on(&disk));
            failures.after(&case, merged, &disk, (&name, at), &mut random);
        }
    }
    failures.print("at a call");
}

/// After an error there is work to go on with, or none; or only something small is missing.
#[test]
fn power_lost_after_every_refused_call() {
    let mut random = Random::new(45);
    let mut failures = Failures::default();
    for (name, case) in cases() {
        for at in 0..case.calls {
            let disk = case.disk();
            let faulty = case.faulty(at, Fault::Refused(5)).from(|call| call.changes_something());
            let merged = case.merge(faulty.on(&disk));
            failures.after(&case, merged, &disk, (&name, at), &mut random);
        }
    }
    failures.print("after an error");
}

/// A merge goes on with what an error has left and is stopped while it gives the output its name;
/// the next one clears up after it and begins its own work, until the power fails.
#[test]
fn power_lost_after_a_stop_in_the_commit() {
    let mut random = Random::new(46);
    let mut failures = Failures::default();
    let is_commit = |call: &StorageCall<'_>| matches!(call, StorageCall::Rename { path, .. } if path.ends_with("output"));
    for (name, case) in cases() {
        for first in 0.. {
            let mut ended = false;
            for second in [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 14, 17, 20, 30] {
                let at = (&name, first, second);
                let disk = case.disk();
                let refused = case.faulty(case.calls / 2, Fault::Refused(5));
                case.merge(refused.on(&disk)).unwrap_err();
                let stopped = case.faulty(first, Fault::Stopped).from(is_commit);
                ended = case.merge(stopped.on(&disk)).is_ok();
                case.check_output(at);
                let merged = case.merge_again(case.stopped(second).on(&disk));
                failures.after(&case, merged, &disk, at, &mut random);
            }
            if ended {
                break;
            }
        }
    }
    failures.print("after a stop in the commit");
}

/// Without hashes, discarded work would be believed if its journal came back without it.
#[test]
fn power_lost_after_a_restart() {
    let case = Case::new(RECIPES[0].1, options(1, false), Before::Nothing);
    let mut random = Random::new(47);
    for at in 0..24 {
        let disk = case.disk();
        let refused = case.faulty(case.calls * 6 / 10, Fault::Refused(5));
        case.merge(refused.on(&disk)).unwrap_err();
        let restart = MergeOptions { restart: true, ..case.options.clone() };
        case.merge_with(case.stopped(at).on(&disk), &restart).unwrap_err();
        let mut disk = disk.lock().unwrap();
        disk.power_off();
        for round in 0..6 {
            disk.power_on(Survive::Some, &mut random);
            case.merge(case.stopped(20)).unwrap_err();
            case.go_on((at, round));
        }
    }
}

#[test]
fn stopped_again_and_again_with_many_threads() {
    let mut random = Random::new(44);
    for (name, recipe) in RECIPES {
        let case = Case::new(recipe, options(4, true), Before::Nothing);
        for round in 0..10 {
            for _ in 0..6 {
                let disk = case.disk();
                let faulty = case.faulty(random.below(case.calls), Fault::Stopped).on(&disk);
                let stopped = case.merge(faulty);
                let mut disk = disk.lock().unwrap();
                disk.power_off();
                disk.power_on(Survive::Some, &mut random);
                if case.check_output((name, round)) || stopped.is_ok() {
                    break;
                }
            }
            assert!(case.out().exists() || case.go_on((name, round)) < usize::MAX, "{name}");
            if case.out().exists() {
                case.clean();
            }
        }
    }
}

/// What another merge has left is not touched, unless it is to be.
#[test]
fn another_merge_says_what_has_changed() {
    let case = Case::new(RECIPES[0].1, options(1, true), Before::Nothing);
    let Case { folder, recipe, options, .. } = &case;
    case.merge(case.faulty(case.calls * 9 / 10, Fault::Refused(5))).unwrap_err();
    let left = tree(&case.partial());
    assert!(left.contains_key(Path::new("journal")));
    let refused = |recipe: &str, options: &MergeOptions| {
        let error = folder.merge_with(recipe, "disk/out", options).unwrap_err();
        assert!(matches!(error, Error::Merge(EngineError::PartialDiffers { .. })), "{error}");
        let now = tree(&case.partial());
        let without_lock = |mut tree: BTreeMap<_, _>| {
            tree.remove(Path::new("lock"));
            tree
        };
        assert!(without_lock(now) == without_lock(left.clone()));
        error.to_string()
    };
    let text = refused(recipe, &MergeOptions { seed: 5, ..options.clone() });
    assert!(text.contains("the seed was 0 and is 5") && text.contains("--restart"), "{text}");
    let text = refused(&recipe.replace("density: 0.5", "density: 0.4"), options);
    assert!(
        text.contains("density: 0.5}` and is `parameters: {weight: 1, density: 0.4}`"),
        "{text}"
    );
    let text = refused(recipe, &MergeOptions { hash: false, ..options.clone() });
    assert!(text.contains("--no-hash was not given and is"), "{text}");
    let text = refused(recipe, &MergeOptions { max_shard_bytes: 30_000, ..options.clone() });
    assert!(text.contains("--out-shard-size"), "{text}");
    let weights = folder.path("b/model.safetensors");
    let modified = fs::metadata(&weights).unwrap().modified().unwrap();
    let touch = |time| fs::File::open(&weights).unwrap().set_modified(time).unwrap();
    touch(modified + std::time::Duration::from_secs(1));
    let text = refused(recipe, options);
    assert!(text.contains("model.safetensors of `") && text.contains("was written to"), "{text}");
    touch(modified);

    let restart = MergeOptions { seed: 5, restart: true, ..options.clone() };
    let report = folder.merge_with(recipe, "disk/out", &restart).unwrap();
    assert_eq!(report.resumed, 0);
    assert!(verify(case.out(), options).unwrap().is_right());
}

/// Partial work that somebody has tampered with is done again.
#[test]
fn partial_work_is_looked_through() {
    let case = Case::new(RECIPES[0].1, options(1, true), Before::Nothing);
    let stop = || case.merge(case.faulty(case.calls * 9 / 10, Fault::Refused(5))).unwrap_err();
    stop();
    let all = case.go_on(0);
    stop();
    let partial = case.partial().join("output");
    for entry in fs::read_dir(partial).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            let mut content = fs::read(&path).unwrap();
            let half = content.len() / 2;
            content[half] ^= 1;
            fs::write(path, content).unwrap();
        }
    }
    let some = case.go_on(0);
    assert!(some < all && some > 0, "{some} of {all}");
}

/// Nor discarded: it may be somebody's.
#[test]
fn a_journal_that_cannot_be_read_is_not_gone_on_with() {
    let case = Case::new(RECIPES[0].1, options(1, true), Before::Nothing);
    let journal = case.partial().join("journal");
    let damaged = |path: &Path| {
        let mut content = fs::read(path).unwrap();
        content[100] ^= 1;
        fs::write(path, content).unwrap();
    };
    let notes = |path: &Path| fs::write(path, "Dear diary").unwrap();
    let of_another_version = |path: &Path| {
        fs::remove_file(path).unwrap();
        let (mut journal, _) = Journal::open(path, &Storage::new()).unwrap();
        journal.append(b"\x81\xa7version\x02").unwrap();
        journal.append(b"one done").unwrap();
    };
    type Meddling = fn(&Path);
    let changes: [(Meddling, &str); 3] = [
        (damaged, "journal is a damaged journal"),
        (notes, "journal is a file that is no journal"),
        (of_another_version, "it was begun by another version of mergecore"),
    ];
    for (change, text) in changes {
        case.merge(case.faulty(case.calls * 9 / 10, Fault::Refused(5))).unwrap_err();
        change(&journal);
        let left = tree(&case.partial());
        // Another merge, were it to know.
        for seed in [0, 1] {
            let options = MergeOptions { seed, ..case.options.clone() };
            let error = case.run(&options).unwrap_err().to_string();
            assert!(error.contains(text) && error.contains("--restart"), "{error}");
            assert!(tree(&case.partial()) == left, "{error}");
        }
        let restart = MergeOptions { restart: true, ..case.options.clone() };
        assert_eq!(case.run(&restart).unwrap().resumed, 0);
        case.clean();
    }
}

/// Writes other bytes to the same file, of one length and with the old time of writing.
#[cfg(unix)]
fn overwrite_unseen(path: &Path) {
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    let mut content = fs::read(path).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(path, content).unwrap();
    fs::File::open(path).unwrap().set_modified(modified).unwrap();
}

/// Puts another such file in its place.
#[cfg(unix)]
fn replace_unseen(path: &Path) {
    let other = path.with_extension("other");
    fs::copy(path, &other).unwrap();
    let modified = fs::metadata(path).unwrap().modified().unwrap();
    fs::File::open(&other).unwrap().set_modified(modified).unwrap();
    overwrite_unseen(&other);
    fs::rename(other, path).unwrap();
}

/// Between a merge and the one that goes on with it, whatever the file's times say.
#[cfg(unix)]
#[test]
fn an_input_that_was_changed_unseen_is_not_gone_on_with() {
    let case = Case::new(RECIPES[0].1, options(1, true), Before::Nothing);
    let path = case.folder.path("b/model.safetensors");
    let content = fs::read(&path).unwrap();
    type Meddling = fn(&Path);
    let changes: [(Meddling, &str); 2] = [
        (overwrite_unseen, "was written to and given its old time of writing, or has another mode"),
        (replace_unseen, "was replaced: another file has taken its name"),
    ];
    for (meddle, how) in changes {
        case.merge(case.faulty(case.calls * 9 / 10, Fault::Refused(5))).unwrap_err();
        let seen = |path| fs::metadata(path).map(|it| (it.len(), it.modified().unwrap())).unwrap();
        let before = seen(&path);
        meddle(&path);
        assert_eq!(seen(&path), before);
        let error = case.run(&case.options).unwrap_err();
        assert!(matches!(error, Error::Merge(EngineError::PartialDiffers { .. })), "{error}");
        let told = format!("model.safetensors of `{}` {how}", case.folder.path("b").display());
        assert!(error.to_string().contains(&told), "{error}");
        assert!(!case.out().exists());

        fs::write(&path, &content).unwrap();
        let restart = MergeOptions { restart: true, ..case.options.clone() };
        assert_eq!(case.run(&restart).unwrap().resumed, 0);
        case.clean();
    }
}

/// Changes an input at a call.
struct Meddler {
    at: usize,
    calls: AtomicUsize,
    meddle: Box<dyn Fn() + Send + Sync>,
}

impl StorageHook for Meddler {
    fn before(&self, _: &StorageCall<'_>) -> io::Result<()> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.at {
            (self.meddle)();
        }
        Ok(())
    }
}

#[test]
fn an_input_that_changes_meanwhile() {
    let case = Case::new(RECIPES[0].1, options(1, true), Before::Nothing);
    let path = case.folder.path("a/model.safetensors");
    let content = fs::read(&path).unwrap();
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    type Meddling = fn(&Path);
    let changes: &[(Meddling, &str)] = &[
        (
            |path| fs::OpenOptions::new().write(true).open(path).unwrap().set_len(99).unwrap(),
            "short",
        ),
        (|path| fs::remove_file(path).unwrap(), "it is not there any more"),
        (
            |path| {
                fs::copy(path, path.with_extension("copy")).unwrap();
                fs::rename(path.with_extension("copy"), path).unwrap();
            },
            "it was replaced: another file has taken its name",
        ),
        (
            |path| {
                let mut content = fs::read(path).unwrap();
                *content.last_mut().unwrap() ^= 1;
                fs::write(path, content).unwrap();
            },
            "it was written to",
        ),
        #[cfg(unix)]
        (overwrite_unseen, "it was written to and given its old time of writing"),
    ];
    for &(meddle, text) in changes {
        for part in [3, 5, 8] {
            let meddled = path.clone();
            let meddler = Meddler {
                at: case.calls * part / 10,
                calls: AtomicUsize::new(0),
                meddle: Box::new(move || meddle(&meddled)),
            };
            let storage = Storage::with_hook(Arc::new(meddler));
            let options = MergeOptions { storage, ..case.options.clone() };
            let error = case.run(&options).unwrap_err();
            let kind = matches!(
                &error,
                Error::Merge(EngineError::Io(IoError::Changed { .. } | IoError::Shrunk { .. }))
            );
            assert!(kind, "{error}");
            // What is cut off is missed where it is read, or at the end.
            let texts =
                if text == "short" { ["became shorter", "bytes and has 99"] } else { [text; 2] };
            assert!(texts.iter().any(|text| error.to_string().contains(text)), "{error}");
            assert!(error.to_string().contains("a/model.safetensors"), "{error}");
            assert!(!case.out().exists());
            fs::write(&path, &content).unwrap();
            fs::File::open(&path).unwrap().set_modified(modified).unwrap();
            let _ = fs::remove_dir_all(case.partial());
        }
    }
}

#[test]
fn a_second_merge_to_one_output_fails_at_once_and_names_the_first() {
    let case = Case::new(RECIPES[0].1, options(2, true), Before::Nothing);
    let error = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&error);
    let (config, out) = (case.folder.recipe(case.recipe).unwrap(), case.out());
    let progress = ProgressCallback::new(move |_| {
        let mut seen = seen.lock().unwrap();
        if seen.is_none() {
            *seen = mergecore::merge(&config, &out, &MergeOptions::default()).err();
        }
    });
    let first = MergeOptions { progress: Some(progress), ..case.options.clone() };
    case.run(&first).unwrap();
    assert!(case.check_output(0));
    let error = error.lock().unwrap().take().unwrap().to_string();
    let holder = format!("process {} on ", std::process::id());
    assert!(error.contains("another merge is writing to") && error.contains(&holder), "{error}");
}

#[test]
fn a_disk_that_is_too_small_is_seen_before_anything_is_written() {
    let case = Case::new(RECIPES[0].1, options(1, true), Before::Nothing);
    let exact: usize = case.right.values().map(Vec::len).sum();
    let plan = mergecore::plan(&case.folder.recipe(case.recipe).unwrap(), &case.options).unwrap();
    assert_eq!(plan.output_bytes(case.out(), &case.options).unwrap(), exact as u64);
}

/// Without hashes, what the journal says holds for the files that it was said of: not for those
/// that a merge, stopped itself, has made in their place.
#[test]
fn unhashed_work_whose_files_are_gone_is_done_again() {
    let case = Case::new(RECIPES[0].1, options(1, false), Before::Nothing);
    // While it writes: a sync that failed would leave nothing.
    let stop = || case.merge(case.faulty(case.calls * 6 / 10, Fault::Refused(5))).unwrap_err();
    stop();
    assert!(case.go_on(0) > 0);
    for stopped in [false, true] {
        stop();
        let partial = case.partial().join("output");
        fs::remove_file(partial.join("model-00001-of-00004.safetensors")).unwrap();
        if stopped {
            case.merge(case.stopped(40)).unwrap_err();
            assert_eq!(fs::read_dir(&partial).unwrap().count(), 5, "all files, and the index");
        }
        assert_eq!(case.go_on(stopped), 0);
    }
}
