//! Every call on a file refused, and every moment at which the process or the machine can stop:
//! the output is as it was before, or whole; and the same merge goes on to the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use mergecore::{
    EngineError, Error, IoError, MergeOptions, ProgressCallback, Storage, StorageCall, StorageHook,
    verify,
};

use crate::support::{Folder, Random};

/// Methods that compute, select, draw masks, and copy.
const RECIPES: [(&str, &str); 4] = [
    (
        "ties",
        "merge_method: ties\nbase_model: DIR/base\ndtype: bfloat16\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1, density: 0.5}",
    ),
    (
        "dare_linear",
        "merge_method: dare_linear\nbase_model: DIR/base\ndtype: float32\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 0.4, density: 0.3}",
    ),
    (
        "slerp",
        "merge_method: slerp\nbase_model: DIR/a\nmodels: [{model: DIR/b}]\nparameters: {t: [0.2, 0.8]}",
    ),
    (
        "passthrough",
        "merge_method: passthrough\nslices: [{sources: [{model: DIR/a, layer_range: [0, 2]}]}, {sources: [{model: DIR/b, layer_range: [1, 2]}]}]",
    ),
];

/// What the system says when it refuses.
const REFUSALS: [i32; 5] = [
    5,   // EIO
    28,  // ENOSPC
    122, // EDQUOT
    13,  // EACCES
    30,  // EROFS
];

/// What happens at a call.
#[derive(Clone, Copy)]
enum Fault {
    /// It is refused, once.
    Refused(i32),
    /// The process stops: nothing that it does from then on has an effect.
    Stopped,
}

/// Counts calls, lets one fail, and remembers what a power failure could undo.
struct Faulty {
    at: usize,
    fault: Option<Fault>,
    calls: AtomicUsize,
    unsynced: Mutex<Unsynced>,
}

#[derive(Default)]
struct Unsynced {
    writes: BTreeMap<PathBuf, Vec<Range<u64>>>,
    renames: Vec<(PathBuf, PathBuf)>,
}

impl Faulty {
    fn new(at: usize, fault: Option<Fault>) -> Arc<Self> {
        let (calls, unsynced) = (AtomicUsize::new(0), Mutex::default());
        Arc::new(Faulty { at, fault, calls, unsynced })
    }

    fn options(self: &Arc<Self>, options: &MergeOptions) -> MergeOptions {
        MergeOptions { storage: Storage::with_hook(self.clone()), ..options.clone() }
    }
}

impl StorageHook for Faulty {
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some(Fault::Refused(code)) if number == self.at => {
                return Err(io::Error::from_raw_os_error(code));
            }
            Some(Fault::Stopped) if number >= self.at => {
                return Err(io::Error::other("the process was stopped"));
            }
            _ => {}
        }
        let mut unsynced = self.unsynced.lock().unwrap();
        let path = call.path().to_owned();
        match call {
            StorageCall::Write { bytes, .. } | StorageCall::Copy { bytes, .. } => {
                unsynced.writes.entry(path).or_default().push(bytes.clone());
            }
            StorageCall::Rename { to, .. } => unsynced.renames.push((path, (*to).to_owned())),
            StorageCall::Sync { .. } => {
                unsynced.writes.remove(&path);
                unsynced.renames.retain(|(_, to)| to.parent() != Some(&*path));
            }
            _ => {}
        }
        Ok(())
    }
}

impl Unsynced {
    /// Undoes some of it, as a machine may that loses power.
    fn lose(&self, random: &mut Random) {
        for (from, to) in self.renames.iter().rev() {
            if random.below(2) == 0 && !from.exists() && to.exists() {
                fs::rename(to, from).unwrap();
            }
        }
        for (path, ranges) in &self.writes {
            let Ok(mut content) = fs::read(path) else { continue };
            for range in ranges {
                let range = range.start as usize..(range.end as usize).min(content.len());
                match random.below(3) {
                    0 if range.start < range.end => content[range].fill(0),
                    1 if random.below(8) == 0 => content.truncate(range.start),
                    _ => {}
                }
            }
            match random.below(10) {
                0 => fs::remove_file(path).unwrap(),
                _ => fs::write(path, content).unwrap(),
            }
        }
    }
}

/// Every file below a directory with its content; nothing where there is none.
fn tree(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut tree = BTreeMap::new();
    for entry in fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => tree.extend(super_tree(&path, dir)),
            false => drop(
                tree.insert(path.strip_prefix(dir).unwrap().to_owned(), fs::read(&path).unwrap()),
            ),
        }
    }
    tree
}

fn super_tree(path: &Path, dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let name = path.strip_prefix(dir).unwrap();
    tree(path).into_iter().map(|(file, content)| (name.join(file), content)).collect()
}

/// A merge, what it gives, and what lies at its output before.
struct Case {
    folder: Folder,
    recipe: &'static str,
    options: MergeOptions,
    /// The output where nothing goes wrong.
    right: BTreeMap<PathBuf, Vec<u8>>,
    /// What is at the output's place before.
    old: BTreeMap<PathBuf, Vec<u8>>,
    calls: usize,
}

impl Case {
    fn new(recipe: &'static str, options: MergeOptions, replaces: bool) -> Self {
        let folder = Folder::in_memory();
        folder.write_random(41);
        fs::write(folder.path("base/tokenizer.json"), "{}").unwrap();
        fs::write(folder.path("a/generation_config.json"), "{}").unwrap();
        let options = MergeOptions { max_shard_bytes: 200_000, overwrite: replaces, ..options };
        let counter = Faulty::new(0, None);
        folder.merge_with(recipe, "out", &counter.options(&options)).unwrap();
        let right = tree(&folder.path("out"));
        fs::remove_dir_all(folder.path("out")).unwrap();
        let calls = counter.calls.load(Ordering::Relaxed);
        let case = Case { folder, recipe, options, right, old: BTreeMap::new(), calls };
        if replaces { Case { old: case.put_old(), ..case } } else { case }
    }

    fn put_old(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fs::create_dir(self.folder.path("out")).unwrap();
        fs::write(self.folder.path("out/config.json"), "{}").unwrap();
        fs::write(self.folder.path("out/model.safetensors"), "what was there before").unwrap();
        tree(&self.folder.path("out"))
    }

    /// Merges with a fault; yields its result and what a power failure could undo.
    fn merge(&self, faulty: &Arc<Faulty>) -> Result<(), Error> {
        let options = faulty.options(&self.options);
        self.folder.merge_with(self.recipe, "out", &options).map(|_| ())
    }

    /// The output must be what it was before or what it should be; yields whether it is the
    /// latter.
    fn check_output(&self, at: usize) -> bool {
        let out = tree(&self.folder.path("out"));
        if out == self.right {
            return true;
        }
        assert!(out == self.old, "call {at}: {:?}", out.keys());
        assert_eq!(self.folder.path("out").exists(), !self.old.is_empty(), "call {at}");
        false
    }

    /// The same merge again must give what it should; yields how many tensors it took over.
    fn go_on(&self, at: usize) -> usize {
        let options = MergeOptions { overwrite: true, ..self.options.clone() };
        let report = self.folder.merge_with(self.recipe, "out", &options);
        let report = report.unwrap_or_else(|error| panic!("call {at}: {error}"));
        let out = tree(&self.folder.path("out"));
        let names = |tree: &BTreeMap<PathBuf, Vec<u8>>| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&out), names(&self.right), "call {at}");
        for (name, content) in &self.right {
            assert!(out[name] == *content, "call {at}: {} differs", name.display());
        }
        self.clean();
        report.resumed
    }

    /// As before the merge.
    fn clean(&self) {
        fs::remove_dir_all(self.folder.path("out")).unwrap();
        let partial = self.folder.path(".out.mergecore-partial");
        if partial.exists() {
            fs::remove_dir_all(partial).unwrap();
        }
        let names = self.folder.names();
        assert_eq!(names, ["a", "b", "base"]);
        if !self.old.is_empty() {
            self.put_old();
        }
    }
}

fn options(threads: usize, hash: bool) -> MergeOptions {
    MergeOptions { threads: Some(threads), hash, ..MergeOptions::default() }
}

/// Merges with and without hashes, to a new output and over an old one.
fn cases() -> impl Iterator<Item = (String, Case)> {
    let ways = [(true, false), (false, true), (true, true), (false, false)];
    RECIPES.into_iter().enumerate().flat_map(move |(index, (name, recipe))| {
        ways.into_iter().skip(index % 2 * 2).take(2).map(move |(hash, replaces)| {
            (format!("{name}, {hash}, {replaces}"), Case::new(recipe, options(1, hash), replaces))
        })
    })
}

#[test]
fn every_call_refused() {
    let (mut faults, mut refused, mut resumed, mut unhashed) = (0, 0, 0, 0);
    for (name, case) in cases() {
        for at in 0..case.calls {
            let code = REFUSALS[at % REFUSALS.len()];
            let result = case.merge(&Faulty::new(at, Some(Fault::Refused(code))));
            faults += 1;
            let complete = case.check_output(at);
            match result {
                Ok(()) => assert!(complete, "{name}, call {at}"),
                Err(error) => {
                    refused += 1;
                    let text = error.to_string();
                    let reason = io::Error::from_raw_os_error(code).to_string();
                    assert!(text.contains(&reason), "{name}, call {at}: {text}");
                    let dir = case.folder.path("a").parent().unwrap().to_owned();
                    assert!(text.contains(dir.to_str().unwrap()), "{name}, call {at}: {text}");
                }
            }
            let kept = case.go_on(at);
            resumed += kept;
            unhashed += if case.options.hash { 0 } else { kept };
        }
    }
    println!(
        "{faults} calls refused: {refused} merges failed, 0 outputs wrong, {resumed} tensors taken over"
    );
    // Some do no harm: to take away what is not needed any more, say.
    assert!(refused * 10 > faults * 9, "{refused} of {faults}");
    assert!(resumed > faults && unhashed > 0, "{resumed}, {unhashed} in {faults}");
}

#[test]
fn the_process_stopped_at_every_call() {
    let (mut faults, mut resumed) = (0, 0);
    for (name, case) in cases() {
        for at in 0..case.calls {
            let stopped = case.merge(&Faulty::new(at, Some(Fault::Stopped)));
            faults += 1;
            assert!(case.check_output(at) || stopped.is_err(), "{name}, call {at}");
            resumed += case.go_on(at);
        }
    }
    println!("stopped at {faults} calls: 0 outputs wrong, {resumed} tensors taken over");
    assert!(resumed > 0);
}

#[test]
fn power_lost_at_every_call() {
    let mut random = Random::new(43);
    let (mut faults, mut resumed) = (0, 0);
    for (name, case) in cases() {
        for at in 0..case.calls {
            let faulty = Faulty::new(at, Some(Fault::Stopped));
            let stopped = case.merge(&faulty);
            faulty.unsynced.lock().unwrap().lose(&mut random);
            faults += 1;
            assert!(case.check_output(at) || stopped.is_err(), "{name}, call {at}");
            resumed += case.go_on(at);
        }
    }
    println!("power lost at {faults} calls: 0 outputs wrong, {resumed} tensors taken over");
}

#[test]
fn stopped_again_and_again_with_many_threads() {
    let mut random = Random::new(44);
    for (name, recipe) in RECIPES {
        let case = Case::new(recipe, options(4, true), false);
        for round in 0..10 {
            for _ in 0..6 {
                let faulty = Faulty::new(random.below(case.calls), Some(Fault::Stopped));
                let stopped = case.merge(&faulty);
                faulty.unsynced.lock().unwrap().lose(&mut random);
                if case.check_output(round) || stopped.is_ok() {
                    break;
                }
            }
            assert!(case.folder.path("out").exists() || case.go_on(round) < usize::MAX, "{name}");
            if case.folder.path("out").exists() {
                case.clean();
            }
        }
    }
}

/// What another merge has left is not touched, unless it is to be.
#[test]
fn another_merge_says_what_has_changed() {
    let case = Case::new(RECIPES[0].1, options(1, true), false);
    let Case { folder, recipe, options, .. } = &case;
    let stop = |at| case.merge(&Faulty::new(at, Some(Fault::Refused(5)))).unwrap_err();
    stop(case.calls * 9 / 10);
    let left = tree(&folder.path(".out.mergecore-partial"));
    assert!(left.contains_key(Path::new("journal")));
    let refused = |recipe: &str, options: &MergeOptions| {
        let error = folder.merge_with(recipe, "out", options).unwrap_err();
        assert!(matches!(error, Error::Merge(EngineError::PartialDiffers { .. })), "{error}");
        let now = tree(&folder.path(".out.mergecore-partial"));
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
    let text = refused(recipe, &MergeOptions { max_shard_bytes: 100_000, ..options.clone() });
    assert!(text.contains("--out-shard-size"), "{text}");
    let weights = folder.path("b/model.safetensors");
    let modified = fs::metadata(&weights).unwrap().modified().unwrap();
    let touch = |time| fs::File::open(&weights).unwrap().set_modified(time).unwrap();
    touch(modified + std::time::Duration::from_secs(1));
    let text = refused(recipe, options);
    assert!(text.contains("model.safetensors of `") && text.contains("was written to"), "{text}");
    touch(modified);

    let restart = MergeOptions { seed: 5, restart: true, ..options.clone() };
    let report = folder.merge_with(recipe, "out", &restart).unwrap();
    assert_eq!(report.resumed, 0);
    assert!(verify(folder.path("out"), options).unwrap().is_right());
}

/// Partial work that somebody has tampered with is done again.
#[test]
fn partial_work_is_looked_through() {
    let case = Case::new(RECIPES[0].1, options(1, true), false);
    let stop =
        || case.merge(&Faulty::new(case.calls * 9 / 10, Some(Fault::Refused(5)))).unwrap_err();
    stop();
    let all = case.go_on(0);
    stop();
    let partial = case.folder.path(".out.mergecore-partial/output");
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
    let case = Case::new(RECIPES[0].1, options(1, true), false);
    let path = case.folder.path("b/model.safetensors");
    let content = fs::read(&path).unwrap();
    type Meddling = fn(&Path);
    let changes: [(Meddling, &str); 2] = [
        (overwrite_unseen, "was written to and given its old time of writing, or has another mode"),
        (replace_unseen, "was replaced: another file has taken its name"),
    ];
    for (meddle, how) in changes {
        case.merge(&Faulty::new(case.calls * 9 / 10, Some(Fault::Refused(5)))).unwrap_err();
        let seen = |path| fs::metadata(path).map(|it| (it.len(), it.modified().unwrap())).unwrap();
        let before = seen(&path);
        meddle(&path);
        assert_eq!(seen(&path), before);
        let error = case.folder.merge_with(case.recipe, "out", &case.options).unwrap_err();
        assert!(matches!(error, Error::Merge(EngineError::PartialDiffers { .. })), "{error}");
        let told = format!("model.safetensors of `{}` {how}", case.folder.path("b").display());
        assert!(error.to_string().contains(&told), "{error}");
        assert!(!case.folder.path("out").exists());

        fs::write(&path, &content).unwrap();
        let restart = MergeOptions { restart: true, ..case.options.clone() };
        assert_eq!(case.folder.merge_with(case.recipe, "out", &restart).unwrap().resumed, 0);
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
    let case = Case::new(RECIPES[0].1, options(1, true), false);
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
            let error = case.folder.merge_with(case.recipe, "out", &options).unwrap_err();
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
            assert!(!case.folder.path("out").exists());
            fs::write(&path, &content).unwrap();
            fs::File::open(&path).unwrap().set_modified(modified).unwrap();
            let _ = fs::remove_dir_all(case.folder.path(".out.mergecore-partial"));
        }
    }
}

#[test]
fn a_second_merge_to_one_output_fails_at_once_and_names_the_first() {
    let case = Case::new(RECIPES[0].1, options(2, true), false);
    let error = Arc::new(Mutex::new(None));
    let seen = Arc::clone(&error);
    let (config, out) = (case.folder.recipe(case.recipe).unwrap(), case.folder.path("out"));
    let progress = ProgressCallback::new(move |_| {
        let mut seen = seen.lock().unwrap();
        if seen.is_none() {
            *seen = mergecore::merge(&config, &out, &MergeOptions::default()).err();
        }
    });
    let first = MergeOptions { progress: Some(progress), ..case.options.clone() };
    case.folder.merge_with(case.recipe, "out", &first).unwrap();
    assert!(case.check_output(0));
    let error = error.lock().unwrap().take().unwrap().to_string();
    let holder = format!("process {} on ", std::process::id());
    assert!(error.contains("another merge is writing to") && error.contains(&holder), "{error}");
}

#[test]
fn a_disk_that_is_too_small_is_seen_before_anything_is_written() {
    let case = Case::new(RECIPES[0].1, options(1, true), false);
    let exact: usize = case.right.values().map(Vec::len).sum();
    let plan = mergecore::plan(&case.folder.recipe(case.recipe).unwrap(), &case.options).unwrap();
    assert_eq!(plan.output_bytes(case.folder.path("out"), &case.options).unwrap(), exact as u64);
}

/// Without hashes, what the journal says holds for the files that it was said of.
#[test]
fn unhashed_work_whose_files_are_gone_is_done_again() {
    let case = Case::new(RECIPES[0].1, options(1, false), false);
    // While it writes: a sync that failed would leave nothing.
    let stop =
        || case.merge(&Faulty::new(case.calls * 6 / 10, Some(Fault::Refused(5)))).unwrap_err();
    stop();
    let all = case.go_on(0);
    stop();
    let partial = case.folder.path(".out.mergecore-partial/output");
    fs::remove_file(partial.join("model-00001-of-00003.safetensors")).unwrap();
    let some = case.go_on(0);
    assert!(some < all, "{some} of {all}");
}
