//! What a program that merges meets: progress, manifest, methods and threads of its own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use mergecore::{KernelError, MergeOptions, ProgressCallback};
use mergecore_kernel::{
    Apply, Base, Binding, DefaultValue, Extent, Inputs, Kernel, Method, Order, Parameter,
    ParameterKind, Scan, Scope, Step, Tile,
};
use serde_json::Value;
use twox_hash::XxHash3_128;

use crate::support::{Folder, Model, Tensor, is_rounded, llama, llama_config, shapes};

pub(crate) const TIES: &str = "merge_method: ties\nbase_model: DIR/base\ndtype: bfloat16\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1, density: 0.5}";

pub(crate) fn threads(threads: usize) -> MergeOptions {
    MergeOptions { threads: Some(threads), overwrite: true, ..MergeOptions::default() }
}

#[test]
fn progress_never_goes_back_and_ends_at_the_total() {
    let folder = Folder::new();
    folder.write_random(31);
    for count in [1, 7] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let progress = ProgressCallback::new(move |progress| {
            // Callers that overlapped would come past each other here.
            std::thread::sleep(Duration::from_micros(progress.bytes_done % 1000));
            log.lock().unwrap().push(progress);
        });
        let options =
            MergeOptions { progress: Some(progress), max_memory: Some(1 << 22), ..threads(count) };
        let report = folder.merge_with(TIES, "out", &options).unwrap();
        let seen = seen.lock().unwrap();
        for pair in seen.windows(2) {
            assert!(pair[0].bytes_done <= pair[1].bytes_done, "{pair:?}");
            assert!(pair[0].tensors_done <= pair[1].tensors_done, "{pair:?}");
        }
        assert!(seen.iter().all(|p| p.bytes_total == report.bytes));
        assert!(seen.iter().all(|p| p.tensors_total == report.tensors));
        let last = seen.last().unwrap();
        assert_eq!((last.bytes_done, last.tensors_done), (report.bytes, report.tensors));
        assert_eq!(report.tensors, shapes().len());
        assert_eq!(last.bytes_surveyed, 0);
    }
}

#[test]
fn progress_tells_what_is_read_before_anything_is_merged() {
    let folder = Folder::new();
    let models = folder.write_random(31);
    let inputs: usize =
        models.iter().flat_map(Model::values).map(|tensor| tensor.bytes.len()).sum();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let progress = ProgressCallback::new(move |progress| log.lock().unwrap().push(progress));
    let options = MergeOptions { progress: Some(progress), ..threads(2) };
    folder.merge_with(&TIES.replace("{weight", "{scope: model, weight"), "out", &options).unwrap();
    let seen = seen.lock().unwrap();
    let (survey, merge) = seen.split_at(seen.partition_point(|progress| progress.bytes_done == 0));
    assert!(survey.windows(2).all(|pair| pair[0].bytes_surveyed <= pair[1].bytes_surveyed));
    // At least one scan reads everything.
    let last = survey.last().unwrap().bytes_surveyed;
    assert!(last >= inputs as u64, "{last} of {inputs} bytes");
    assert!(!merge.is_empty() && merge.iter().all(|progress| progress.bytes_surveyed == last));
}

#[test]
fn the_manifest_tells_what_was_read_and_written() {
    let folder = Folder::new();
    let [base, a, b] = folder.write_random(33);
    folder.write_sharded("b", &llama_config(2), &b, 3);
    std::fs::remove_file(folder.path("b/model.safetensors")).unwrap();
    let options = MergeOptions { seed: 77, max_shard_bytes: 200_000, ..threads(3) };
    let report = folder.merge_with(TIES, "out", &options).unwrap();
    let manifest = folder.json("out/merge_manifest.json");
    let merged = folder.read("out");
    assert_eq!((&manifest["seed"], &manifest["merge_method"]), (&77.into(), &"ties".into()));
    let recipe = std::fs::read(folder.path("out/mergecore_config.yml")).unwrap();
    assert_eq!(manifest["recipe_blake3"], blake3::hash(&recipe).to_string());

    let models = manifest["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|m| m["model"].as_str().unwrap()).collect();
    let index = |name: &str| names.iter().position(|n| n.ends_with(&format!("/{name}"))).unwrap();
    let inputs = [(index("base"), "base", &base), (index("a"), "a", &a), (index("b"), "b", &b)];
    assert_eq!(manifest["base_model"], inputs[0].0);
    let mut weight_files = 0;
    for (index, dir, _) in inputs {
        for file in models[index]["files"].as_array().unwrap() {
            let path = folder.path(dir).join(file["name"].as_str().unwrap());
            assert_eq!(file["bytes"], std::fs::metadata(&path).unwrap().len(), "{path:?}");
            weight_files += usize::from(path.extension().is_some_and(|e| e == "safetensors"));
        }
    }
    assert_eq!(weight_files, 5);

    let hash = |tensor: &Tensor| {
        let mut pieces: Vec<_> = tensor.bytes.chunks(1 << 16).map(|piece| piece.to_vec()).collect();
        if pieces.len() > 1 {
            let digest = |piece: &Vec<u8>| XxHash3_128::oneshot(piece).to_be_bytes();
            pieces = vec![pieces.iter().flat_map(digest).collect()];
        }
        Value::from(format!("{:032x}", XxHash3_128::oneshot(&pieces.concat())))
    };
    let tensors = manifest["tensors"].as_array().unwrap();
    assert_eq!(tensors.len(), merged.len());
    for tensor in tensors {
        let name = tensor["name"].as_str().unwrap();
        assert_eq!(tensor["xxh3_128"], hash(&merged[name]), "{name}");
        assert_eq!(tensor["dtype"], "BF16");
        assert_eq!(tensor["shape"], Value::from(merged[name].shape.clone()));
        assert!(folder.path("out").join(tensor["file"].as_str().unwrap()).exists());
        let read = tensor["inputs"].as_array().unwrap();
        assert_eq!(read.len(), inputs.len());
        for (input, (index, _, model)) in read.iter().zip(inputs) {
            assert_eq!(input["model"], index);
            assert_eq!(input["tensor"], name);
            assert_eq!(input["dtype"], model[name].dtype.name());
            assert_eq!(input["xxh3_128"], hash(&model[name]), "{name}");
        }
    }

    let tally = report.tally;
    assert_eq!(manifest["tally"], serde_json::to_value(tally).unwrap());
    assert_eq!((tally.merged, tally.copied), (merged.len(), 0));
    assert_eq!((tally.inputs, tally.unused), (3 * merged.len(), 0));
    assert!(report.files > 1);
    let hashless = MergeOptions { hash: false, ..threads(1) };
    folder.merge_with(TIES, "out", &hashless).unwrap();
    let manifest = folder.json("out/merge_manifest.json");
    assert_eq!(manifest["tensors"][0]["xxh3_128"], Value::Null);
    assert_eq!(manifest["tensors"][0]["inputs"][0]["xxh3_128"], Value::Null);
}

#[test]
fn the_tally_counts_what_a_slice_leaves_out() {
    let folder = Folder::new();
    folder.write_llama("a", 4, 1.0);
    folder.write_llama("b", 3, 2.0);
    let recipe = "merge_method: passthrough\nslices: [{sources: [{model: DIR/a, layer_range: [0, 2]}]}, {sources: [{model: DIR/b, layer_range: [1, 3], parameters: {scale: [{filter: mlp, value: 2}, {value: 1}]}}]}]";
    let tally = folder.merge_with(recipe, "out", &MergeOptions::default()).unwrap().tally;
    // Of a layers 2 and 3, norm and head; of b layer 0 and the embedding.
    assert_eq!((tally.merged, tally.copied), (2, 9));
    assert_eq!((tally.inputs, tally.unused), (11 + 9, 6 + 3));
}

/// `loudest`: every model is scaled to the largest magnitude of all, then they are
/// added. Two kinds of scans and a parameter, for which nothing is built in.
#[derive(Debug)]
struct Loudest;

const GAIN: Parameter = Parameter {
    name: "gain",
    scope: Scope::PerModel,
    kind: ParameterKind::Number { min: 0.0, max: 10.0 },
    default: DefaultValue::Required,
    help: "factor on the model",
};

impl Method for Loudest {
    fn name(&self) -> &str {
        "loudest"
    }

    fn title(&self) -> &str {
        "Loudest"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::None, models: 2..=3 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[GAIN]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        Ok(Box::new(Gains(binding.numbers("gain"))))
    }
}

#[derive(Debug)]
struct Gains(Vec<f64>);

impl Kernel for Gains {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::scan(Peaks(self.0.clone())))
    }
}

struct Peaks(Vec<f64>);

impl Scan for Peaks {
    type Partial = Vec<f64>;

    fn order(&self) -> Order {
        Order::Any
    }

    fn empty(&self) -> Vec<f64> {
        vec![0.0; self.0.len()]
    }

    fn fold(&self, peaks: &mut Vec<f64>, tile: &mut Tile<'_>) {
        for (input, peak) in peaks.iter_mut().enumerate() {
            *peak = tile.input(input).iter().fold(*peak, |peak, value| peak.max(value.abs()));
        }
    }

    fn combine(&self, peaks: &mut Vec<f64>, next: Vec<f64>) {
        peaks.iter_mut().zip(next).for_each(|(peak, next)| *peak = peak.max(next));
    }

    fn finish(self: Box<Self>, peaks: Vec<f64>) -> Result<Step, KernelError> {
        Ok(Step::scan(Mean { gains: self.0, peaks }))
    }
}

/// The mean of the first model, which is taken from the output.
struct Mean {
    gains: Vec<f64>,
    peaks: Vec<f64>,
}

impl Scan for Mean {
    type Partial = (f64, f64);

    fn empty(&self) -> (f64, f64) {
        (0.0, 0.0)
    }

    fn fold(&self, (sum, count): &mut (f64, f64), tile: &mut Tile<'_>) {
        tile.input(0).iter().for_each(|value| *sum += value);
        *count += tile.len() as f64;
    }

    fn combine(&self, total: &mut (f64, f64), next: (f64, f64)) {
        *total = (total.0 + next.0, total.1 + next.1);
    }

    fn finish(self: Box<Self>, (sum, count): (f64, f64)) -> Result<Step, KernelError> {
        let loudest = self.peaks.iter().fold(0.0, |a: f64, b| a.max(*b));
        let factor =
            |(gain, peak): (&f64, &f64)| if *peak > 0.0 { gain * loudest / peak } else { 0.0 };
        let factors = self.gains.iter().zip(&self.peaks).map(factor).collect();
        Ok(Step::apply(Scaled { factors, mean: sum / count }))
    }
}

struct Scaled {
    factors: Vec<f64>,
    mean: f64,
}

impl Apply for Scaled {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        out.fill(-self.mean);
        for (input, factor) in self.factors.iter().enumerate() {
            out.iter_mut().zip(tile.input(input)).for_each(|(out, value)| *out += factor * value);
        }
    }
}

const LOUDEST: &str = "merge_method: loudest\ndtype: float32\nmodels: [{model: DIR/a, parameters: {gain: 2}}, {model: DIR/b}]\nparameters: {gain: 0.5}";

#[test]
fn a_method_of_ones_own_is_a_method() {
    let folder = Folder::new();
    let [_, a, b] = folder.write_random(34);
    let error = folder.refuse(LOUDEST);
    assert!(error.contains("unknown merge method `loudest`"), "{error}");
    let mut registry = mergecore::builtin_methods();
    registry.register(Loudest);
    let merge = |recipe: &str, options: &MergeOptions| {
        mergecore::merge_with(&folder.recipe(recipe)?, &registry, folder.path("out"), options)
            .map(|_| folder.read("out"))
    };
    let merged = merge(LOUDEST, &threads(1)).unwrap();
    for options in [threads(2), MergeOptions { max_memory: Some(1), ..threads(7) }] {
        assert!(merge(LOUDEST, &options).unwrap() == merged);
    }
    for (name, merged) in &merged {
        let (a, b) = (a[name].values(), b[name].values());
        let peak = |x: &[f64]| x.iter().fold(0.0, |peak: f64, value| peak.max(value.abs()));
        let peaks = [peak(&a), peak(&b)];
        let [quiet, loud] = peaks.map(|peak| peaks[0].max(peaks[1]) / peak);
        let mean = a.iter().sum::<f64>() / a.len() as f64;
        for (i, got) in merged.values().into_iter().enumerate() {
            let exact = 2.0 * quiet * a[i] + 0.5 * loud * b[i] - mean;
            assert!(is_rounded(merged.dtype, got, exact, a[i].abs() + b[i].abs()), "{name}, {i}");
        }
    }
    let error = merge(&LOUDEST.replace("gain: 2", "gain: 11"), &threads(1)).unwrap_err();
    assert!(error.to_string().contains("`gain` is 11"), "{error}");
    let error = merge(&LOUDEST.replace("gain: 2", "gian: 2"), &threads(1)).unwrap_err();
    assert!(error.to_string().contains("did you mean `gain`"), "{error}");
}

/// Runs something that must not hang.
fn within_a_minute<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(run()));
    receive.recv_timeout(Duration::from_secs(60)).expect("ended")
}

#[test]
fn a_panic_of_a_callback_is_the_callers() {
    let folder = Folder::new();
    folder.write_random(35);
    let folder = within_a_minute(move || {
        let progress = ProgressCallback::new(|progress| assert!(progress.bytes_done < 100_000));
        let options = MergeOptions { progress: Some(progress), ..threads(3) };
        let merge = || folder.merge_with(TIES, "panics", &options);
        assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(merge)).is_err());
        folder
    });
    assert_eq!(folder.names(), [".panics.mergecore-partial", "a", "b", "base"]);
    assert!(folder.merge_with(TIES, "panics", &threads(3)).unwrap().resumed > 0);
    folder.merge_with(TIES, "expected", &threads(3)).unwrap();
    assert!(folder.read("panics") == folder.read("expected"));
}

/// `sum`, whose kernel panics when a counter of its scan's or its apply's tiles comes to an end.
#[derive(Debug, Clone, Default)]
struct Panicking {
    scanned: Arc<Countdown>,
    applied: Arc<Countdown>,
}

/// How many tiles are left; none counts for no end.
#[derive(Debug, Default)]
struct Countdown(AtomicUsize);

impl Countdown {
    fn set(&self, tiles: usize) {
        self.0.store(tiles, Ordering::Relaxed);
    }

    fn count(&self, what: &str) {
        let left =
            self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        assert!(left != Ok(1), "the {what} panics");
    }
}

impl Method for Panicking {
    fn name(&self) -> &str {
        "panicking"
    }

    fn title(&self) -> &str {
        "Panicking"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: mergecore::kernel::Base::None, models: 2..=2 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[]
    }

    fn bind(&self, _: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        Ok(Box::new(self.clone()))
    }
}

impl Kernel for Panicking {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::scan(self.clone()))
    }
}

impl Scan for Panicking {
    type Partial = ();

    fn empty(&self) {}

    fn fold(&self, (): &mut (), _: &mut Tile<'_>) {
        self.scanned.count("scan");
    }

    fn combine(&self, (): &mut (), (): ()) {}

    fn finish(self: Box<Self>, (): ()) -> Result<Step, KernelError> {
        Ok(Step::apply(*self))
    }
}

impl Apply for Panicking {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        self.applied.count("apply");
        let sums = tile.input(0).iter().zip(tile.input(1)).map(|(a, b)| a + b);
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = sum);
    }
}

/// A method of one's own, in the middle of its work: over an old output, which stays.
#[test]
fn a_panic_of_a_kernel_is_the_callers() {
    const RECIPE: &str =
        "merge_method: panicking\ndtype: float32\nmodels: [{model: DIR/a}, {model: DIR/b}]";
    let folder = Folder::new();
    folder.write_random(40);
    let (method, mut registry) = (Panicking::default(), mergecore::builtin_methods());
    registry.register(method.clone());
    within_a_minute(move || {
        let merge = |out: &str, count: usize| {
            let options = MergeOptions { max_memory: Some(1), ..threads(count) };
            mergecore::merge_with(&folder.recipe(RECIPE)?, &registry, folder.path(out), &options)
        };
        merge("expected", 2).unwrap();
        folder.merge_with(TIES, "out", &threads(2)).unwrap();
        let old = folder.read("out");
        for (count, part) in [(1, "scan"), (1, "apply"), (3, "scan"), (3, "apply")] {
            let tiles = if part == "scan" { &method.scanned } else { &method.applied };
            tiles.set(9);
            let panicked = std::panic::AssertUnwindSafe(|| merge("out", count));
            let panic = std::panic::catch_unwind(panicked).unwrap_err();
            let text = panic.downcast_ref::<String>().unwrap();
            assert_eq!(*text, format!("the {part} panics"));
            assert!(folder.read("out") == old);
            assert_eq!(
                folder.names(),
                [".out.mergecore-partial", "a", "b", "base", "expected", "out"]
            );
            // With its panic gone, the merge goes on.
            let report = merge("out", count).unwrap();
            assert!(report.resumed > 0 && report.resumed < report.tensors, "{}", report.resumed);
            assert!(folder.read("out") == folder.read("expected"));
            folder.merge_with(TIES, "out", &threads(2)).unwrap();
        }
    });
}

#[test]
fn merges_share_the_callers_pool() {
    let folder = Folder::new();
    folder.write_random(36);
    folder.merge_with(TIES, "alone", &threads(1)).unwrap();
    for count in [1, 3] {
        let expected = folder.read("alone");
        let folder = &folder;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build().unwrap();
        let on_other_threads = Arc::new(AtomicBool::new(false));
        let strayed = Arc::clone(&on_other_threads);
        let progress = ProgressCallback::new(move |_| {
            strayed.fetch_or(rayon::current_num_threads() != count, Ordering::Relaxed);
        });
        let options =
            MergeOptions { progress: Some(progress), overwrite: true, ..MergeOptions::default() };
        let merge = |out| folder.merge_with(TIES, out, &options).map(|_| ()).unwrap();
        pool.scope(|scope| {
            for out in ["first", "second", "third"] {
                scope.spawn(move |_| merge(out));
            }
        });
        for out in ["first", "second", "third"] {
            assert!(folder.read(out) == expected);
        }
        assert!(!on_other_threads.load(Ordering::Relaxed));
    }
}

#[test]
fn merges_of_one_plan_are_alike() {
    let folder = Folder::new();
    folder.write_random(37);
    let plan = mergecore::plan(&folder.recipe(TIES).unwrap(), &MergeOptions::default()).unwrap();
    let outputs: Vec<Model> = std::thread::scope(|scope| {
        let execute = |out: &'static str| {
            let (plan, folder) = (&plan, &folder);
            scope.spawn(move || {
                plan.execute(folder.path(out), &threads(2)).unwrap();
                folder.read(out)
            })
        };
        ["x", "y"].map(execute).map(|thread| thread.join().unwrap()).into()
    });
    assert!(outputs[0] == outputs[1]);
}

/// What is in the way is found before anything is written.
#[test]
fn a_refused_merge_leaves_nothing() {
    let folder = Folder::new();
    folder.write_llama("a", 2, 1.0);
    let mut broken = llama(2, 1.0);
    broken.insert("model.norm.weight".to_owned(), Tensor::constant(f64::NAN));
    folder.write("nan", &llama_config(2), &broken);
    let before = folder.names();
    for recipe in [
        "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/missing}]\nparameters: {weight: 1}",
        "merge_method: linear\nmodels: [{model: DIR/a, parameters: {weight: 1}}, {model: DIR/a, parameters: {weight: -1}}]",
    ] {
        folder.refuse(recipe);
        assert_eq!(folder.names(), before);
    }
    // What only the data show is found later, and what was done until then is kept.
    let recipe =
        "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/nan}]\nparameters: {weight: 1}";
    let error = folder.merge_with(recipe, "out", &MergeOptions::default()).unwrap_err();
    assert!(error.to_string().contains("`model.norm.weight`"), "{error}");
    assert_eq!(folder.names(), [".out.mergecore-partial", "a", "nan"]);
    let tolerant = MergeOptions { allow_nonfinite: true, ..MergeOptions::default() };
    let report = folder.merge_with(recipe, "out", &tolerant).unwrap();
    assert!(report.notes.iter().any(|note| note.contains("`model.norm.weight`")));
    assert_eq!((report.resumed, folder.names()), (6, vec!["a".into(), "nan".into(), "out".into()]));
}
