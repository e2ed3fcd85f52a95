//! The real command and real faults: killed at any moment, interrupted, out of space, over a
//! file-size limit. The output is as it was or whole, and the same command goes on to the same
//! bytes.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize_to_file};
use serde_json::Value;

const LAYERS: usize = 10;

/// A small generator of numbers that look random, the same in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51afd7ed558ccd);
        mixed ^ (mixed >> 33)
    }

    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// A folder with three models of 20 MB, in memory where there is such a place.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder::within(tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()))
    }

    fn within(dir: std::io::Result<tempfile::TempDir>) -> Self {
        let folder = Folder(dir.unwrap());
        let mut random = Random(7);
        for name in ["base", "a", "b"] {
            folder.write_model(name, &mut random);
        }
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write_model(&self, name: &str, random: &mut Random) {
        let mut shapes = vec![("model.embed_tokens.weight".to_owned(), vec![512, 256])];
        for layer in 0..LAYERS {
            for part in ["self_attn.q_proj", "mlp.up_proj", "mlp.down_proj"] {
                shapes.push((format!("model.layers.{layer}.{part}.weight"), vec![1300, 256]));
            }
            shapes.push((format!("model.layers.{layer}.norm.weight"), vec![256]));
        }
        let data: BTreeMap<String, (Vec<usize>, Vec<u8>)> = shapes
            .into_iter()
            .map(|(name, shape)| {
                let len: usize = shape.iter().product();
                // bf16 numbers between 2^-8 and 2^-4, of either sign.
                let bits = |_| {
                    let random = random.next();
                    0x3b80 + (random % 0x200) as u16 + ((random >> 40 & 1) << 15) as u16
                };
                let bytes = (0..len).map(bits).flat_map(u16::to_le_bytes).collect();
                (name, (shape, bytes))
            })
            .collect();
        let dir = self.path(name);
        fs::create_dir(&dir).unwrap();
        let config = format!(r#"{{"model_type": "llama", "num_hidden_layers": {LAYERS}}}"#);
        fs::write(dir.join("config.json"), config).unwrap();
        let views = data.iter().map(|(name, (shape, bytes))| {
            (name, TensorView::new(Dtype::BF16, shape.clone(), bytes).unwrap())
        });
        serialize_to_file(views, None, &dir.join("model.safetensors")).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mergecore"));
        command.current_dir(self.0.path()).args(args);
        command
    }

    fn start(&self, args: &[&str]) -> Child {
        self.command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the command to its end.
    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Whatever must not change.
    fn inputs(&self) -> Inputs {
        let dirs = ["base", "a", "b"].map(|name| self.path(name));
        let entries = dirs.iter().flat_map(|dir| fs::read_dir(dir).unwrap().map(Result::unwrap));
        let input = |entry: fs::DirEntry| {
            let metadata = entry.metadata().unwrap();
            let content = fs::read(entry.path()).unwrap();
            (entry.path(), (content, metadata.modified().unwrap(), metadata.mode()))
        };
        entries.map(input).collect()
    }

    fn partial(&self, name: &str) -> PathBuf {
        self.path(".out.mergecore-partial").join(name)
    }

    /// How many tensors the journal says are done.
    fn noted(&self) -> usize {
        let journal = fs::read(self.partial("journal")).unwrap_or_default();
        journal.windows(6).filter(|name| name == b"hashes").count()
    }

    /// Waits until a merge has noted some tensors, or is done.
    fn wait_for_some(&self, out: &str) {
        let out = self.path(out);
        let journal = out.with_file_name(".out.mergecore-partial/journal");
        // Five tensors or so, and what the merge is.
        let noted = || fs::metadata(&journal).is_ok_and(|journal| journal.len() >= 1500);
        while !noted() && !out.exists() {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Makes the output of another merge, of other bytes and files, and takes it away.
    fn earlier(&self) -> Tree {
        let recipe = "merge_method: linear\nmodels: [{model: base}, {model: b}]\nparameters: {weight: 0.5}\n";
        fs::write(self.path("earlier.yml"), recipe).unwrap();
        let done = self.run(&["merge", "earlier.yml", "earlier", "--out-shard-size", "7MB"]);
        assert!(done.status.success(), "{}", stderr(&done));
        let earlier = tree(&self.path("earlier"));
        assert!(
            ["merge_manifest.json", "model-00003-of-00003.safetensors"]
                .iter()
                .all(|name| earlier.contains_key(*name)),
            "{:?}",
            earlier.keys()
        );
        fs::remove_dir_all(self.path("earlier")).unwrap();
        fs::remove_file(self.path("earlier.yml")).unwrap();
        earlier
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

type Tree = BTreeMap<String, Vec<u8>>;

/// Of every file its bytes, time of writing and mode.
type Inputs = BTreeMap<PathBuf, (Vec<u8>, SystemTime, u32)>;

/// The files in a directory; none where there is no such directory.
fn tree(dir: &Path) -> Tree {
    let entries = fs::read_dir(dir).into_iter().flatten().map(Result::unwrap);
    let file = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(file).collect()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const BASE: &str = "base_model: base\nmodels: [{model: a}, {model: b}]\n";

/// Recipes of every kind, with arguments that matter to what is on the disk.
fn cases() -> Vec<(String, Vec<&'static str>)> {
    let of = |method: &str, parameters: &str| {
        format!("merge_method: {method}\n{BASE}parameters: {{{parameters}}}\n")
    };
    let slices = "slices: [{sources: [{model: a, layer_range: [0, 8]}]}, {sources: [{model: b, layer_range: [2, 10]}]}]";
    vec![
        (
            "merge_method: linear\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.5}\n"
                .to_owned(),
            vec![],
        ),
        (of("ties", "weight: 1, density: 0.5"), vec!["--threads", "1", "--overwrite"]),
        (of("ties", "weight: 1, density: 0.5, scope: model"), vec![]),
        (of("iso_c", "decompose: [{filter: embed, value: true}, {value: false}]"), vec![]),
        (format!("merge_method: passthrough\n{slices}\n"), vec!["--no-hash"]),
        (
            of("dare_ties", "weight: 0.5, density: 0.3"),
            vec!["--out-shard-size", "5MB", "--overwrite"],
        ),
        (
            "merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: 0.4}\n"
                .to_owned(),
            vec!["--overwrite"],
        ),
        (of("task_arithmetic", "weight: 0.5"), vec!["--no-hash", "--overwrite"]),
        (of("della", "weight: 0.5, density: 0.3"), vec!["--random-seed", "9"]),
        (format!("merge_method: passthrough\n{slices}\n"), vec!["--out-shard-size", "3MB"]),
    ]
}

/// What a merge was about when it was killed, by what it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Planning,
    Writing,
    /// All tensors are written and noted, and the output is under its first name.
    Syncing,
    /// The output is on its way to its name, or has it and the old one is still there.
    Exchanging,
    Done,
}

impl Stage {
    fn of(folder: &Folder, tensors: usize, is_right: bool) -> Self {
        let partial = folder.partial("");
        match partial.exists() {
            true if is_right || partial.join("complete").exists() => Stage::Exchanging,
            true if folder.noted() >= tensors => Stage::Syncing,
            true => Stage::Writing,
            false if is_right => Stage::Done,
            false => Stage::Planning,
        }
    }
}

/// Waits for some part of the time that a merge takes, now and then a small one, or until all
/// tensors are noted, or until the output is on its way to its name.
fn wait(folder: &Folder, child: &mut Child, time: Duration, tensors: usize, random: &mut Random) {
    let part = match random.fraction() {
        0.0..0.15 => {
            while folder.noted() < tensors && child.try_wait().unwrap().is_none() {}
            return;
        }
        0.15..0.3 => {
            let complete = folder.partial("complete");
            while !complete.exists() && child.try_wait().unwrap().is_none() {}
            return;
        }
        0.3..0.4 => 0.1,
        _ => 1.05,
    };
    std::thread::sleep(time.mul_f64(random.fraction() * part));
}

#[test]
fn killed_at_two_hundred_moments() {
    let mut random = Random(11);
    let (mut kills, mut before_its_end, mut resumed) = (0, 0, 0);
    let mut stages: BTreeMap<Stage, u32> = BTreeMap::new();
    for (recipe, arguments) in cases() {
        // To sync takes its time on a real disk.
        let on_disk = arguments.contains(&"5MB");
        let folder = if on_disk { Folder::within(tempfile::tempdir()) } else { Folder::new() };
        let inputs = folder.inputs();
        fs::write(folder.path("recipe.yml"), recipe).unwrap();
        let args: Vec<&str> = ["merge", "recipe.yml", "out"].into_iter().chain(arguments).collect();
        let begun = Instant::now();
        let whole = folder.run(&args);
        let time = begun.elapsed();
        assert!(whole.status.success(), "{}", stderr(&whole));
        let right = tree(&folder.path("out"));
        let manifest: Value = serde_json::from_slice(&right["merge_manifest.json"]).unwrap();
        let tensors = manifest["tensors"].as_array().unwrap().len();
        let old = if args.contains(&"--overwrite") { folder.earlier() } else { Tree::new() };
        let put_old = || {
            fs::remove_dir_all(folder.path("out")).unwrap();
            if !old.is_empty() {
                fs::create_dir(folder.path("out")).unwrap();
                old.iter().for_each(|(name, content)| {
                    fs::write(folder.path("out").join(name), content).unwrap();
                });
            }
        };
        put_old();
        let names = folder.names();
        for _ in 0..20 {
            // Now and then what goes on is killed too.
            loop {
                let mut child = folder.start(&args);
                wait(&folder, &mut child, time, tensors, &mut random);
                child.kill().unwrap();
                let ended = child.wait().unwrap();
                kills += 1;
                before_its_end += u32::from(ended.code().is_none());
                let out = tree(&folder.path("out"));
                assert!(out == old || out == right, "{args:?}: {:?}", out.keys());
                assert_eq!(folder.path("out").exists(), !out.is_empty());
                *stages.entry(Stage::of(&folder, tensors, out == right)).or_default() += 1;
                if random.fraction() < 0.65 || out == right {
                    break;
                }
            }
            // Over what is right, it has the old output to clear away.
            let over = args.contains(&"--overwrite") && folder.partial("").exists();
            if over || tree(&folder.path("out")) != right {
                let done = folder.run(&args);
                let said = stderr(&done);
                assert!(done.status.success(), "{args:?}: {said}");
                resumed += u32::from(said.contains("by an interrupted merge"));
                assert!(!folder.partial("").exists());
            }
            let out = tree(&folder.path("out"));
            assert_eq!(out.keys().collect::<Vec<_>>(), right.keys().collect::<Vec<_>>());
            for (name, content) in &right {
                assert!(out[name] == *content, "{args:?}: {name} differs");
            }
            put_old();
            // Killed at the very end, it may have left its lock.
            let _ = fs::remove_dir_all(folder.partial(""));
            assert_eq!(folder.names(), names);
        }
        assert!(folder.inputs() == inputs, "{args:?}: an input was written to");
    }
    println!(
        "{kills} kills ({before_its_end} before the end): 0 outputs wrong, {resumed} merges went on with what was there, 0 differed"
    );
    let counts: Vec<String> =
        stages.iter().map(|(stage, count)| format!("{stage:?} {count}")).collect();
    println!("killed while: {}", counts.join(", "));
    assert!(kills >= 200 && before_its_end > 100, "{kills}, {before_its_end}");
    assert!(resumed > 30, "{resumed}");
    for stage in [Stage::Planning, Stage::Writing, Stage::Syncing, Stage::Exchanging] {
        assert!(stages.contains_key(&stage), "never {stage:?}: {stages:?}");
    }
}

fn recipe(folder: &Folder, index: usize) {
    fs::write(folder.path("recipe.yml"), &cases()[index].0).unwrap();
}

fn signal(child: &Child, signal: &str) {
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
}

/// A merge that is to go on when its terminal closes.
#[test]
fn what_it_was_started_to_ignore_it_ignores() {
    let folder = Folder::new();
    recipe(&folder, 1);
    let begun = Instant::now();
    folder.run(&["merge", "recipe.yml", "out", "--threads", "1"]);
    let time = begun.elapsed();
    for tenth in 1..10 {
        fs::remove_dir_all(folder.path("out")).unwrap();
        let mut shell = Command::new("sh");
        let script = "trap '' HUP; exec \"$0\" merge recipe.yml out --threads 1";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_mergecore")]).current_dir(folder.path(""));
        let child = shell.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(time * tenth / 10);
        signal(&child, "-HUP");
        let ended = child.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(0), "{}", stderr(&ended));
    }
}

/// Ctrl-C, and a system that shuts down.
#[test]
fn asked_to_end_it_ends_at_once_and_says_what_is_kept() {
    let folder = Folder::new();
    let inputs = folder.inputs();
    recipe(&folder, 1);
    let args = ["merge", "recipe.yml", "out", "--threads", "1"];
    let begun = Instant::now();
    folder.run(&args);
    let time = begun.elapsed();
    let right = tree(&folder.path("out"));
    fs::remove_dir_all(folder.path("out")).unwrap();
    for name in ["-INT", "-TERM", "-HUP"] {
        // Before it listens, a signal ends it as it ends any command.
        let asked = (1..10).any(|tenth| {
            let child = folder.start(&args);
            std::thread::sleep(time * tenth / 10);
            signal(&child, name);
            let asked = Instant::now();
            let ended = child.wait_with_output().unwrap();
            assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
            match ended.status.code() {
                Some(0) => {
                    fs::remove_dir_all(folder.path("out")).unwrap();
                    false
                }
                Some(1) => {
                    let said = stderr(&ended);
                    assert!(said.contains("error: the merge was cancelled"), "{said}");
                    let kept = said.contains("is kept in .out.mergecore-partial");
                    assert_eq!(kept, folder.path(".out.mergecore-partial").exists(), "{said}");
                    kept
                }
                code => {
                    assert_eq!(code, None);
                    false
                }
            }
        });
        assert!(asked, "{name}: it was never asked in time");
        assert!(!folder.path("out").exists());
        let done = folder.run(&args);
        assert!(stderr(&done).contains("by an interrupted merge"), "{}", stderr(&done));
        assert!(tree(&folder.path("out")) == right);
        fs::remove_dir_all(folder.path("out")).unwrap();
    }
    assert!(folder.inputs() == inputs);
}

/// A limit to the size of files: as an error, and as the signal that it is by default.
#[test]
fn a_limit_to_the_size_of_files() {
    let folder = Folder::new();
    let inputs = folder.inputs();
    recipe(&folder, 0);
    let whole = folder.run(&["merge", "recipe.yml", "right"]);
    assert!(whole.status.success());
    for (handling, code) in [("trap '' XFSZ", Some(1)), (":", None)] {
        let script = format!("{handling}; ulimit -f 2000; exec \"$0\" merge recipe.yml out");
        let mut shell = Command::new("sh");
        shell.current_dir(folder.0.path()).args(["-c", &script, env!("CARGO_BIN_EXE_mergecore")]);
        let limited = shell.output().unwrap();
        assert_eq!(limited.status.code(), code, "{}", stderr(&limited));
        if code.is_some() {
            let said = stderr(&limited);
            assert!(
                said.contains("out/model.safetensors: File too large")
                    || said.contains("output/model.safetensors: File too large"),
                "{said}"
            );
        }
        assert!(!folder.path("out").exists());
    }
    assert!(folder.run(&["merge", "recipe.yml", "out"]).status.success());
    let file = |out: &str| fs::read(folder.path(out).join("model.safetensors")).unwrap();
    assert!(file("out") == file("right"));
    assert!(folder.inputs() == inputs);
}

/// Somebody cuts an input off while it is read.
#[test]
fn an_input_that_is_cut_off_is_an_error_and_no_signal() {
    let folder = Folder::new();
    recipe(&folder, 1);
    let args = ["merge", "recipe.yml", "out", "--threads", "1"];
    let weights = folder.path("b/model.safetensors");
    let content = fs::read(&weights).unwrap();
    let came_in_time = (0..200).any(|_| {
        let child = folder.start(&args);
        folder.wait_for_some("out");
        signal(&child, "-STOP");
        let file = fs::OpenOptions::new().write(true).open(&weights).unwrap();
        file.set_len(content.len() as u64 / 20).unwrap();
        signal(&child, "-CONT");
        let ended = child.wait_with_output().unwrap();
        let said = stderr(&ended);
        fs::write(&weights, &content).unwrap();
        if ended.status.success() {
            fs::remove_dir_all(folder.path("out")).unwrap();
            return false;
        }
        assert_eq!(ended.status.code(), Some(1), "{said}");
        assert!(said.contains("b/model.safetensors became shorter while"), "{said}");
        assert!(!folder.path("out").exists());
        true
    });
    assert!(came_in_time, "the merge was always done before the input was cut off");
}

/// A file system of its own, unmounted at the end.
struct Mounted(PathBuf);

impl Mounted {
    /// `None` where this user may not mount.
    fn new(path: PathBuf, options: &str) -> Option<Self> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path).stderr(Stdio::null());
        let mounted = mount.status().is_ok_and(|status| status.success());
        mounted.then_some(Mounted(path))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full() {
    let folder = Folder::new();
    recipe(&folder, 1);
    let right = folder.run(&["merge", "recipe.yml", "right/out", "--threads", "1"]);
    assert!(right.status.success(), "{}", stderr(&right));
    let right = tree(&folder.path("right/out"));
    let bytes: usize = right.values().map(Vec::len).sum();

    let Some(small) = Mounted::new(folder.path("small"), "size=8m") else {
        println!("not tested: this user may not mount a file system");
        return;
    };
    let refused = folder.run(&["merge", "recipe.yml", "small/out", "--threads", "1"]);
    let said = stderr(&refused);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains(&format!("the output needs {bytes} bytes")), "{bytes}: {said}");
    assert!(tree(&small.0).is_empty());

    // There is room, until somebody else takes it.
    let disk = Mounted::new(folder.path("disk"), "size=30m").unwrap();
    let args = ["merge", "recipe.yml", "disk/out", "--threads", "1"];
    let began = (0..200).any(|_| {
        let child = folder.start(&args);
        folder.wait_for_some("disk/out");
        signal(&child, "-STOP");
        let filler = folder.path("disk/filler");
        let mut fill = Command::new("dd");
        fill.args(["if=/dev/zero", "bs=64k"]).arg(format!("of={}", filler.display()));
        assert!(!fill.stderr(Stdio::null()).status().unwrap().success(), "it is full");
        signal(&child, "-CONT");
        let ended = child.wait_with_output().unwrap();
        let said = stderr(&ended);
        fs::remove_file(filler).unwrap();
        if ended.status.success() {
            fs::remove_dir_all(folder.path("disk/out")).unwrap();
            return false;
        }
        assert!(said.contains("No space left on device"), "{said}");
        assert!(said.contains("free some space") && said.contains("is kept in"), "{said}");
        assert!(!folder.path("disk/out").exists());
        true
    });
    assert!(began, "the merge was always done before the disk was full");
    let done = folder.run(&args);
    assert!(stderr(&done).contains("by an interrupted merge"), "{}", stderr(&done));
    assert!(tree(&folder.path("disk/out")) == right);

    // And one that may only be read.
    let remount = ["-o", "remount,ro"];
    assert!(Command::new("mount").args(remount).arg(&disk.0).status().unwrap().success());
    let refused = folder.run(&["merge", "recipe.yml", "disk/other"]);
    let said = stderr(&refused);
    assert!(said.contains("cannot write to disk: Read-only file system"), "{said}");
}
