//! What is cancelled before a byte is merged: nothing more is opened, nothing more planned.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use mergecore::kernel::{Binding, Combination, Extent, Inputs, Kernel, Parameter, Step};
use mergecore::{
    CancelFlag, EngineError, Error, KernelError, MergeOptions, Method, Storage, StorageCall,
    StorageHook,
};

use crate::support::{Folder, llama, llama_config};

const LINEAR: &str =
    "{merge_method: linear, parameters: {weight: 1}, models: [{model: DIR/a}, {model: DIR/b}]}";

/// Two models of four files each, whose tokenizers have to be compared, and an output of theirs.
fn folder() -> Folder {
    let folder = Folder::new();
    let mut config = llama_config(2);
    config["vocab_size"] = 2.into();
    for name in ["a", "b"] {
        folder.write_sharded(name, &config, &llama(2, 1.0), 4);
        let tokenizer = format!(r#"{{"model": {{"vocab": {{"{name}": 0}}}}}}"#);
        std::fs::write(folder.path(name).join("tokenizer.json"), tokenizer).unwrap();
    }
    let options = MergeOptions { max_shard_bytes: 40, ..MergeOptions::default() };
    folder.merge_with(LINEAR, "merged", &options).unwrap();
    folder
}

fn cancelled<T>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Merge(EngineError::Cancelled)))
}

/// Sees which files are opened, takes its time, and cancels at one of them.
struct Opened {
    at: usize,
    takes: Duration,
    cancel: CancelFlag,
    paths: Mutex<Vec<PathBuf>>,
}

impl Opened {
    fn new(at: usize, takes: Duration) -> Arc<Self> {
        Arc::new(Opened { at, takes, cancel: CancelFlag::new(), paths: Mutex::default() })
    }

    fn options(self: &Arc<Self>) -> MergeOptions {
        let cancel = Some(self.cancel.clone());
        let storage = Storage::with_hook(self.clone());
        MergeOptions { cancel, storage, threads: Some(2), ..MergeOptions::default() }
    }
}

impl StorageHook for Opened {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        if let StorageCall::Open { path } = call {
            std::thread::sleep(self.takes);
            let mut paths = self.paths.lock().unwrap();
            paths.push(path.to_path_buf());
            if paths.len() == self.at {
                self.cancel.cancel();
            }
        }
        Ok(())
    }
}

/// Everything that plans or looks through, by its name.
type Act = fn(&Folder, &MergeOptions) -> bool;
const ACTS: [(&str, Act); 6] = [
    ("plan", |folder, options| {
        cancelled(mergecore::plan(&folder.recipe(LINEAR).unwrap(), options))
    }),
    ("plan_with", |folder, options| {
        let methods = mergecore::builtin_methods();
        cancelled(mergecore::plan_with(&folder.recipe(LINEAR).unwrap(), &methods, options))
    }),
    ("plan_for_output", |folder, options| {
        let out = folder.path("a/out"); // refused, were it not cancelled
        cancelled(mergecore::plan_for_output(&folder.recipe(LINEAR).unwrap(), out, options))
    }),
    ("merge", |folder, options| cancelled(folder.merge_with(LINEAR, "out", options))),
    ("verify", |folder, options| cancelled(mergecore::verify(folder.path("merged"), options))),
    ("reproduce", |folder, options| {
        cancelled(mergecore::reproduce(folder.path("merged"), options))
    }),
];

#[test]
fn no_file_is_opened_once_it_is_cancelled() {
    let folder = folder();
    let before = folder.names();
    for (name, act) in ACTS {
        let counter = Opened::new(usize::MAX, Duration::ZERO);
        assert!(!act(&folder, &counter.options()), "{name}");
        let opened = counter.paths.lock().unwrap().len();
        if name == "merge" {
            std::fs::remove_dir_all(folder.path("out")).unwrap();
        }
        // Planning opens of two models config.json, index and four shards, then the tokenizers to
        // be compared, read and copied.
        for at in 1..=opened.min(if name == "verify" { usize::MAX } else { 17 }) {
            let opened = Opened::new(at, Duration::ZERO);
            assert!(act(&folder, &opened.options()), "{name}, {at}");
            let paths = opened.paths.lock().unwrap();
            // What is small, and is read together with a file that was opened, may still be.
            let small = |path: &&PathBuf| path.extension().is_none_or(|end| end != "safetensors");
            let beyond = paths[at..].iter();
            assert!(beyond.clone().all(|path| small(&path)), "{name}, {at}: {paths:?}");
            assert!(beyond.count() <= 2, "{name}, {at}: {paths:?}");
        }
        assert_eq!(folder.names(), before, "{name}");
    }
}

/// On a disk where opening a file takes 30 ms. The median of several, for other programs may be
/// busy.
#[test]
fn opening_models_is_cancelled_in_a_tenth_of_a_second() {
    let folder = Arc::new(folder());
    for (name, act) in ACTS {
        let mut times = Vec::new();
        for after in [20, 70, 100, 130, 160] {
            let slow = Opened::new(usize::MAX, Duration::from_millis(30));
            let (options, folder) = (slow.options(), Arc::clone(&folder));
            let (ended, end) = mpsc::channel();
            let thread = std::thread::spawn(move || {
                let was_cancelled = act(&folder, &options);
                ended.send(Instant::now()).unwrap();
                was_cancelled
            });
            std::thread::sleep(Duration::from_millis(after));
            let asked = Instant::now();
            slow.cancel.cancel();
            times.push(end.recv().unwrap().saturating_duration_since(asked));
            assert!(thread.join().unwrap(), "{name}, after {after} ms");
        }
        times.sort();
        assert!(times[2] < Duration::from_millis(100), "{name}: {times:?}");
    }
}

/// The mean of two models, which counts the tensors it is bound to and cancels at the third.
#[derive(Debug)]
struct Cancelling {
    cancel: CancelFlag,
    bound: Arc<AtomicUsize>,
}

impl Kernel for Cancelling {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(Combination::new(vec![0.5, 0.5])))
    }
}

impl Method for Cancelling {
    fn name(&self) -> &str {
        "cancelling"
    }

    fn title(&self) -> &str {
        "Cancelling"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: mergecore::kernel::Base::None, models: 2..=2 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[]
    }

    fn bind(&self, _: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        if self.bound.fetch_add(1, Ordering::Relaxed) == 2 {
            self.cancel.cancel();
        }
        let (cancel, bound) = (self.cancel.clone(), Arc::clone(&self.bound));
        Ok(Box::new(Cancelling { cancel, bound }))
    }
}

#[test]
fn no_tensor_is_planned_once_it_is_cancelled() {
    let folder = folder();
    let slice = |from: usize| {
        let source = |name| format!("{{model: DIR/{name}, layer_range: [{from}, {}]}}", from + 1);
        format!("{{sources: [{}, {}]}}", source("a"), source("b"))
    };
    for recipe in [
        "{merge_method: cancelling, models: [{model: DIR/a}, {model: DIR/b}]}",
        &format!("{{merge_method: cancelling, slices: [{}, {}]}}", slice(0), slice(1)),
    ] {
        let (cancel, bound) = (CancelFlag::new(), Arc::new(AtomicUsize::new(0)));
        let mut methods = mergecore::builtin_methods();
        methods.register(Cancelling { cancel: cancel.clone(), bound: Arc::clone(&bound) });
        let options = MergeOptions { cancel: Some(cancel), ..MergeOptions::default() };
        let planned = mergecore::plan_with(&folder.recipe(recipe).unwrap(), &methods, &options);
        assert!(cancelled(planned));
        assert_eq!(bound.load(Ordering::Relaxed), 3);
    }
}
