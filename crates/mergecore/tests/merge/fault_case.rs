//! A merge to which faults are done, and what must have become of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs::{self, Permissions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use mergecore::{Error, MergeOptions, MergeReport, Storage, StorageCall, StorageHook};

use crate::disk::Disk;
use crate::support::{Folder, shapes};

/// Methods that compute, select, draw masks, and copy; that read all tensors before the first is
/// merged, that take rows, and that read a tensor at once.
pub(crate) const RECIPES: [(&str, &str); 7] = [
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
    (
        "ties, scope: model",
        "merge_method: ties\nbase_model: DIR/base\ndtype: bfloat16\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1, density: 0.5, scope: model}",
    ),
    (
        "della",
        "merge_method: della\nbase_model: DIR/base\ndtype: bfloat16\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1, density: 0.5, epsilon: 0.2}",
    ),
    (
        "tsv",
        "merge_method: tsv\nbase_model: DIR/base\ndtype: float32\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {decompose: [{filter: mlp, value: false}, {value: true}]}",
    ),
];

/// What the system says when it refuses.
pub(crate) const REFUSALS: [i32; 5] = [
    5,   // EIO
    28,  // ENOSPC
    122, // EDQUOT
    13,  // EACCES
    30,  // EROFS
];

/// What happens at a call.
#[derive(Clone, Copy)]
pub(crate) enum Fault {
    /// It is refused, once.
    Refused(i32),
    /// The process stops: nothing that it does from then on has an effect.
    Stopped,
}

/// Counts calls, lets one fail, and tells a disk of the others.
pub(crate) struct Faulty {
    pub(crate) at: usize,
    pub(crate) fault: Option<Fault>,
    pub(crate) calls: AtomicUsize,
    /// The first call that is counted.
    pub(crate) first: fn(&StorageCall<'_>) -> bool,
    pub(crate) counts: AtomicBool,
    pub(crate) exchanges: bool,
    pub(crate) disk: Option<Arc<Mutex<Disk>>>,
}

impl Faulty {
    pub(crate) fn from(self, first: fn(&StorageCall<'_>) -> bool) -> Self {
        Faulty { first, ..self }
    }

    pub(crate) fn on(self, disk: &Arc<Mutex<Disk>>) -> Self {
        Faulty { disk: Some(Arc::clone(disk)), ..self }
    }

    /// What becomes of the next call.
    pub(crate) fn fate(&self, call: &StorageCall<'_>) -> io::Result<()> {
        let counts = self.counts.fetch_or((self.first)(call), Ordering::Relaxed);
        if !counts && !(self.first)(call) {
            return Ok(());
        }
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match self.fault {
            Some(Fault::Refused(code)) if number == self.at => {
                Err(io::Error::from_raw_os_error(code))
            }
            Some(Fault::Stopped) if number >= self.at => {
                if let (true, StorageCall::RemoveAll { path }) = (number == self.at, call) {
                    self.remove_half(path);
                }
                Err(io::Error::other("the process was stopped"))
            }
            _ if !self.exchanges && matches!(call, StorageCall::Exchange { .. }) => {
                Err(io::ErrorKind::Unsupported.into())
            }
            _ => Ok(()),
        }
    }

    /// As a process does that is stopped meanwhile.
    pub(crate) fn remove_half(&self, dir: &Path) {
        let files: Vec<PathBuf> = tree(dir).into_keys().collect();
        for file in &files[..files.len() / 2] {
            let path = &dir.join(file);
            self.tell(&StorageCall::Remove { path });
            fs::remove_file(path).unwrap();
        }
    }

    pub(crate) fn tell(&self, call: &StorageCall<'_>) {
        if let Some(disk) = &self.disk {
            disk.lock().unwrap().before(call);
        }
    }
}

impl StorageHook for Faulty {
    fn before(&self, call: &StorageCall<'_>) -> io::Result<()> {
        self.fate(call)?;
        self.tell(call);
        Ok(())
    }
}

pub(crate) type Tree = BTreeMap<PathBuf, Vec<u8>>;

/// Every file below a directory with its content; nothing where there is none.
pub(crate) fn tree(dir: &Path) -> Tree {
    let mut tree = Tree::new();
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

pub(crate) fn super_tree(path: &Path, dir: &Path) -> Tree {
    let name = path.strip_prefix(dir).unwrap();
    tree(path).into_iter().map(|(file, content)| (name.join(file), content)).collect()
}

/// What lies where the output is to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Before {
    Nothing,
    /// Nor are there the directories above it.
    NoDirectory,
    Empty,
    /// What another merge has made.
    Old,
    /// The same, where two names cannot be exchanged.
    OldToMove,
}

impl Before {
    pub(crate) fn is_there(self) -> bool {
        !matches!(self, Before::Nothing | Before::NoDirectory)
    }
}

/// A merge, what it gives, and what lies at its output before.
pub(crate) struct Case {
    pub(crate) folder: Folder,
    pub(crate) recipe: &'static str,
    pub(crate) options: MergeOptions,
    pub(crate) before: Before,
    /// The output where nothing goes wrong.
    pub(crate) right: Tree,
    /// What is at the output's place before.
    pub(crate) old: Tree,
    pub(crate) calls: usize,
    /// Of every input's file its bytes, time of writing and permissions.
    pub(crate) inputs: BTreeMap<PathBuf, (Vec<u8>, SystemTime, Permissions)>,
}

pub(crate) const OLD: &str =
    "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 0.5}";

impl Case {
    pub(crate) fn new(recipe: &'static str, options: MergeOptions, before: Before) -> Self {
        let folder = Folder::in_memory();
        // Small: it is merged tens of thousands of times. One tensor takes two blocks.
        let mut shapes = shapes();
        shapes.retain(|(name, _)| name != "model.block");
        let large = shapes.iter_mut().filter(|(_, shape)| shape[..] == [331, 461]);
        large.for_each(|(_, shape)| *shape = vec![331, 60]);
        folder.write_random_of(41, &shapes);
        fs::write(folder.path("base/tokenizer.json"), "{}").unwrap();
        fs::write(folder.path("a/generation_config.json"), "{}").unwrap();
        fs::create_dir(folder.path("disk")).unwrap();
        let replaces = matches!(before, Before::Old | Before::OldToMove);
        let mut old = Tree::new();
        if replaces {
            let options = MergeOptions { max_shard_bytes: 120_000, ..options.clone() };
            folder.merge_with(OLD, "disk/out", &options).unwrap();
            old = tree(&folder.path("disk/out"));
        }
        let options = MergeOptions { max_shard_bytes: 80_000, overwrite: replaces, ..options };
        let (right, calls, inputs) = (Tree::new(), 0, inputs(&folder));
        let mut case = Case { folder, recipe, options, before, right, old, calls, inputs };
        case.clean();
        let counter = Arc::new(case.faulty(0, None));
        case.merge(counter.clone()).unwrap();
        case.calls = counter.calls.load(Ordering::Relaxed);
        case.right = tree(&case.out());
        case.clean();
        case
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path(match self.before {
            Before::NoDirectory => "disk/a/b/out",
            _ => "disk/out",
        })
    }

    pub(crate) fn partial(&self) -> PathBuf {
        self.out().with_file_name(".out.mergecore-partial")
    }

    pub(crate) fn disk(&self) -> Arc<Mutex<Disk>> {
        Arc::new(Mutex::new(Disk::new(&self.folder.path("disk"))))
    }

    pub(crate) fn faulty(&self, at: usize, fault: impl Into<Option<Fault>>) -> Faulty {
        Faulty {
            at,
            fault: fault.into(),
            calls: AtomicUsize::new(0),
            first: |_| true,
            counts: AtomicBool::new(false),
            exchanges: self.before != Before::OldToMove,
            disk: None,
        }
    }

    /// Stops the process after so many calls that change something.
    pub(crate) fn stopped(&self, at: usize) -> Faulty {
        self.faulty(at, Fault::Stopped).from(|call| call.changes_something())
    }

    /// Merges with a fault.
    pub(crate) fn merge(&self, faulty: impl Into<Arc<Faulty>>) -> Result<MergeReport, Error> {
        self.merge_with(faulty, &self.options)
    }

    /// Merges with a fault, over whatever an earlier one has made.
    pub(crate) fn merge_again(&self, faulty: impl Into<Arc<Faulty>>) -> Result<MergeReport, Error> {
        self.merge_with(faulty, &MergeOptions { overwrite: true, ..self.options.clone() })
    }

    pub(crate) fn merge_with(
        &self,
        faulty: impl Into<Arc<Faulty>>,
        options: &MergeOptions,
    ) -> Result<MergeReport, Error> {
        let storage = Storage::with_hook(faulty.into());
        self.run(&MergeOptions { storage, ..options.clone() })
    }

    pub(crate) fn run(&self, options: &MergeOptions) -> Result<MergeReport, Error> {
        mergecore::merge(&self.folder.recipe(self.recipe)?, self.out(), options)
    }

    /// The output must be what it was before or what it should be; yields whether it is the
    /// latter.
    pub(crate) fn check_output(&self, at: impl Debug) -> bool {
        let out = tree(&self.out());
        if out == self.right {
            return true;
        }
        if self.before == Before::OldToMove && !self.out().exists() {
            assert!(tree(&self.partial().join("old")) == self.old, "{at:?}");
            return false;
        }
        assert!(out == self.old, "{at:?}: {:?}", out.keys());
        assert_eq!(self.out().exists(), self.before.is_there(), "{at:?}");
        false
    }

    /// The same merge again must give what it should; yields how many tensors it took over.
    pub(crate) fn go_on(&self, at: impl Debug) -> usize {
        let report = self.merge_again(self.faulty(0, None));
        let report = report.unwrap_or_else(|error| panic!("{at:?}: {error}"));
        let out = tree(&self.out());
        let names = |tree: &Tree| tree.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&out), names(&self.right), "{at:?}");
        for (name, content) in &self.right {
            assert!(out[name] == *content, "{at:?}: {} differs", name.display());
        }
        self.clean();
        report.resumed
    }

    /// Whatever was merged, and however it ended.
    pub(crate) fn check_inputs(&self) {
        assert!(inputs(&self.folder) == self.inputs, "an input was written to");
    }

    /// As before the merge. Beside the output there is nothing to clean away.
    pub(crate) fn clean(&self) {
        let _ = fs::remove_dir_all(self.out());
        let _ = fs::remove_dir_all(self.partial());
        assert_eq!(self.folder.names(), ["a", "b", "base", "disk"]);
        assert_eq!(tree(&self.folder.path("disk")), Tree::new());
        fs::remove_dir_all(self.folder.path("disk")).unwrap();
        fs::create_dir(self.folder.path("disk")).unwrap();
        if self.before.is_there() {
            fs::create_dir(self.out()).unwrap();
        }
        for (name, content) in &self.old {
            fs::write(self.out().join(name), content).unwrap();
        }
    }
}

pub(crate) fn inputs(folder: &Folder) -> BTreeMap<PathBuf, (Vec<u8>, SystemTime, Permissions)> {
    let dirs = ["a", "b", "base"].map(|name| folder.path(name));
    let paths = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap());
    let input = |path: PathBuf| {
        let metadata = fs::metadata(&path).unwrap();
        let about =
            (fs::read(&path).unwrap(), metadata.modified().unwrap(), metadata.permissions());
        (path, about)
    };
    paths.map(|entry| input(entry.unwrap().path())).collect()
}

pub(crate) fn options(threads: usize, hash: bool) -> MergeOptions {
    MergeOptions { threads: Some(threads), hash, ..MergeOptions::default() }
}

/// Merges with and without hashes, to a new output and over an old one.
pub(crate) fn cases() -> impl Iterator<Item = (String, Case)> {
    let ways: [&[_]; 7] = [
        &[(true, Before::Nothing), (false, Before::Old)],
        &[(true, Before::Old), (false, Before::Nothing)],
        &[(true, Before::OldToMove), (false, Before::NoDirectory)],
        &[(true, Before::Empty), (false, Before::OldToMove)],
        &[(true, Before::Nothing)],
        &[(false, Before::Nothing)],
        &[(true, Before::Old)],
    ];
    RECIPES.into_iter().zip(ways).flat_map(move |((name, recipe), ways)| {
        ways.iter().map(move |&(hash, before)| {
            let case = Case::new(recipe, options(1, hash), before);
            (format!("{name}, {hash}, {before:?}"), case)
        })
    })
}
