//! Layouts and the files made from them.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use mergecore_io::{
    Checkpoint, CheckpointWriter, IoError, Layout, Storage, StorageCall, StorageHook, StoredTensor,
    TensorSource, TensorSpec, sync_dir,
};
use mergecore_tensor::DType;
use proptest::prelude::*;
use safetensors::SafeTensors;
use support::{dir, names, put};

fn spec(name: &str, dtype: DType, shape: &[usize]) -> TensorSpec {
    TensorSpec { name: name.to_owned(), dtype, shape: shape.to_vec() }
}

fn size(spec: &TensorSpec) -> usize {
    spec.shape.iter().product::<usize>() * spec.dtype.size()
}

/// Bytes that depend on the tensor's name alone.
fn content(spec: &TensorSpec) -> Vec<u8> {
    let seed = spec.name.bytes().fold(7u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    (0..size(spec)).map(|i| seed.wrapping_add(i as u8)).collect()
}

/// Writes every tensor in pieces of `piece` bytes, from the last to the first.
fn write_all(path: &Path, layout: Layout, piece: usize) {
    let layout = Arc::new(layout);
    let writer = CheckpointWriter::create(path, Arc::clone(&layout)).unwrap();
    std::thread::scope(|scope| {
        for (index, spec) in layout.tensors().iter().enumerate() {
            let writer = &writer;
            scope.spawn(move || {
                for (i, bytes) in content(spec).chunks(piece).enumerate().rev() {
                    writer.write(index, (i * piece) as u64, bytes).unwrap();
                }
            });
        }
    });
    writer.finish().unwrap();
}

#[test]
fn the_safetensors_crate_reads_what_was_written() {
    let specs = vec![
        spec("layers.10.w", DType::Bf16, &[2, 3]),
        spec("layers.2.w", DType::F32, &[5]),
        spec("scalar", DType::F64, &[]),
        spec("none", DType::I64, &[0, 7]),
        spec("näme \"quoted\"", DType::Bool, &[3]),
        spec("f8", DType::F8E4M3, &[1]),
    ];
    let dir = dir();
    let metadata = BTreeMap::from([("recipe".to_owned(), "abc".to_owned())]);
    let layout = Layout::new(specs.clone(), 1 << 20, metadata).unwrap();
    write_all(dir.path(), layout, 3);
    assert_eq!(names(dir.path()), ["model.safetensors"]);

    let bytes = fs::read(dir.path().join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), specs.len());
    for spec in &specs {
        let view = file.tensor(&spec.name).unwrap();
        assert_eq!(view.dtype().to_string(), spec.dtype.name());
        assert_eq!(view.shape(), spec.shape);
        assert_eq!(view.data(), content(spec));
        assert_eq!(
            (view.data().as_ptr() as usize - bytes.as_ptr() as usize) % spec.dtype.size(),
            0
        );
    }
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!((metadata["format"].as_str(), metadata["recipe"].as_str()), ("pt", "abc"));
}

#[test]
fn a_sharded_checkpoint_opens_again() {
    let specs: Vec<TensorSpec> =
        (0..12).map(|i| spec(&format!("layers.{i}.w"), DType::F16, &[4, 4])).collect();
    let dir = dir();
    put(&dir, "config.json", "{}");
    write_all(dir.path(), Layout::new(specs.clone(), 100, BTreeMap::new()).unwrap(), 7);
    let checkpoint = Checkpoint::open(dir.path()).unwrap();
    assert_eq!(checkpoint.files().len(), 4);
    let found: Vec<&str> = checkpoint.tensors().map(StoredTensor::name).collect();
    assert_eq!(found, specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>());
    for spec in &specs {
        let mut bytes = vec![0; size(spec)];
        checkpoint.tensor(&spec.name).unwrap().read(0..16, &mut bytes).unwrap();
        assert_eq!(bytes, content(spec));
    }
    let index = fs::read_to_string(dir.path().join("model.safetensors.index.json")).unwrap();
    let at = |name: &str| index.find(&format!("\"{name}\"")).unwrap();
    assert!(at("layers.2.w") < at("layers.10.w"));
}

fn writer(specs: Vec<TensorSpec>) -> (tempfile::TempDir, CheckpointWriter) {
    let dir = dir();
    let layout = Layout::new(specs, u64::MAX, BTreeMap::new()).unwrap();
    let writer = CheckpointWriter::create(dir.path(), layout.into()).unwrap();
    (dir, writer)
}

#[test]
fn writing_outside_a_tensor() {
    let (_dir, writer) = writer(vec![spec("a", DType::U8, &[4]), spec("b", DType::U8, &[4])]);
    for (offset, len) in [(0, 5), (4, 1), (5, 0), (u64::MAX, 1)] {
        let error = writer.write(0, offset, &vec![0; len]).unwrap_err();
        assert!(
            matches!(&error, IoError::WriteRange { tensor, size: 4, .. } if tensor == "a"),
            "{error}"
        );
    }
    writer.write(0, 4, &[]).unwrap();
}

#[test]
fn writing_a_tensor_that_is_not_there() {
    let (_dir, writer) = writer(vec![spec("a", DType::U8, &[4])]);
    assert!(matches!(writer.write(1, 0, &[]), Err(IoError::TensorIndex { index: 1, count: 1 })));
}

#[test]
fn finishing_with_a_tensor_unwritten() {
    let (_dir, writer) = writer(vec![spec("a", DType::U8, &[4]), spec("b", DType::U8, &[4])]);
    writer.write(0, 0, &[0; 4]).unwrap();
    writer.write(1, 0, &[0; 3]).unwrap();
    assert!(
        matches!(writer.finish(), Err(IoError::Unwritten { tensor, written: 3, expected: 4 }) if tensor == "b")
    );
}

#[test]
fn a_file_that_is_there_is_not_overwritten() {
    let dir = dir();
    put(&dir, "model.safetensors", "precious");
    let layout = Layout::new(vec![], 1, BTreeMap::new()).unwrap();
    let error = CheckpointWriter::create(dir.path(), layout.into()).unwrap_err();
    assert!(matches!(&error, IoError::System { action: "create", source, .. }
        if source.kind() == std::io::ErrorKind::AlreadyExists));
    assert_eq!(fs::read(dir.path().join("model.safetensors")).unwrap(), b"precious");
}

#[cfg(unix)]
#[test]
fn syncing_a_directory_that_is_not_there() {
    assert!(matches!(
        sync_dir(Path::new("/nonexistent")),
        Err(IoError::System { action: "sync", .. })
    ));
}

fn dtype() -> impl Strategy<Value = DType> {
    proptest::sample::select(vec![
        DType::U8,
        DType::Bool,
        DType::Bf16,
        DType::F16,
        DType::F32,
        DType::F64,
    ])
}

fn specs() -> impl Strategy<Value = Vec<TensorSpec>> {
    let shape = proptest::collection::vec(0usize..5, 0..4);
    proptest::collection::btree_map("[a-c.]{0,2}[0-9]{0,2}", (dtype(), shape), 0..12).prop_map(
        |map| {
            map.into_iter()
                .map(|(name, (dtype, shape))| TensorSpec { name, dtype, shape })
                .collect()
        },
    )
}

proptest! {
    #[test]
    fn tensors_tile_their_files(specs in specs(), max in 0u64..300) {
        let layout = Layout::new(specs.clone(), max, BTreeMap::new()).unwrap();
        let mut by_shard = vec![Vec::new(); layout.shards().len()];
        for (index, spec) in specs.iter().enumerate() {
            let place = layout.placement(index).unwrap();
            prop_assert_eq!(place.bytes.end - place.bytes.start, size(spec) as u64);
            prop_assert_eq!(place.bytes.start % spec.dtype.size() as u64, 0);
            prop_assert_eq!(layout.find(&spec.name), Some(index));
            by_shard[place.shard].push((place.bytes.start, place.bytes.end));
        }
        for (shard, mut ranges) in layout.shards().iter().zip(by_shard) {
            ranges.sort();
            let mut next = shard.header().len() as u64;
            for (start, end) in &ranges {
                prop_assert_eq!(*start, next);
                next = *end;
            }
            prop_assert_eq!(next, shard.file_len());
            let data = shard.file_len() - shard.header().len() as u64;
            let filled = ranges.iter().filter(|(start, end)| start < end).count();
            prop_assert!(data <= max || filled == 1, "a shard over the limit with {} tensors", filled);
        }
        let total: usize = specs.iter().map(size).sum();
        prop_assert_eq!(layout.total_bytes(), total as u64);
    }

    #[test]
    fn headers_are_the_ones_that_readers_accept(specs in specs(), max in 0u64..300) {
        let layout = Layout::new(specs.clone(), max, BTreeMap::new()).unwrap();
        for (index, shard) in layout.shards().iter().enumerate() {
            let header = mergecore_io::parse_header(shard.header(), shard.file_len()).unwrap();
            for entry in header.entries {
                let tensor = layout.find(&entry.name).unwrap();
                let place = layout.placement(tensor).unwrap();
                prop_assert_eq!(place.shard, index);
                prop_assert_eq!(&place.bytes, &entry.bytes);
                prop_assert_eq!(&entry.shape, &specs[tensor].shape);
            }
        }
    }
}

proptest! {
    // Each case writes and syncs files.
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn files_do_not_depend_on_the_order_given(
        (specs, shuffled) in specs().prop_flat_map(|specs| (Just(specs.clone()), Just(specs).prop_shuffle())),
        max in 0u64..300,
    ) {
        let (a, b) = (dir(), dir());
        write_all(a.path(), Layout::new(specs, max, BTreeMap::new()).unwrap(), 5);
        write_all(b.path(), Layout::new(shuffled, max, BTreeMap::new()).unwrap(), 64);
        prop_assert_eq!(names(a.path()), names(b.path()));
        for name in names(a.path()) {
            prop_assert_eq!(fs::read(a.path().join(&name)).unwrap(), fs::read(b.path().join(&name)).unwrap());
        }
    }
}

/// A disk that cannot put a file on it.
#[derive(Default)]
struct Broken(AtomicBool);

impl StorageHook for Broken {
    fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
        if let StorageCall::Sync { .. } = call {
            self.0.store(true, Ordering::SeqCst);
            return Err(std::io::Error::other("the disk is broken"));
        }
        Ok(())
    }
}

#[test]
fn a_sync_that_fails_is_told_to_whoever_is_there() {
    let dir = dir();
    let layout = Layout::new(vec![spec("w", DType::U8, &[2])], u64::MAX, BTreeMap::new()).unwrap();
    let broken = Arc::new(Broken::default());
    let hook = Arc::clone(&broken) as Arc<dyn StorageHook>;
    let storage = Storage::with_hook(hook);
    let writer = CheckpointWriter::resume(dir.path(), layout.into(), &storage).unwrap();
    let (late, told) = mpsc::channel();
    let tell = || {
        let late = late.clone();
        move || late.send(()).unwrap()
    };
    let error = writer.sync_unless(|| false, tell()).unwrap_err();
    assert!(error.to_string().contains("the disk is broken"), "{error}");
    assert!(told.try_recv().is_err());

    // It has failed before it is asked whether to stop, and before anybody was told.
    struct Held(Arc<Broken>);
    impl StorageHook for Held {
        fn before(&self, call: &StorageCall<'_>) -> std::io::Result<()> {
            if let StorageCall::Sync { .. } = call {
                // The first question comes after this.
                std::thread::sleep(Duration::from_millis(80));
            }
            self.0.before(call)
        }
    }
    let broken = Arc::new(Broken::default());
    let storage = Storage::with_hook(Arc::new(Held(Arc::clone(&broken))));
    let layout = Layout::new(vec![spec("w", DType::U8, &[2])], u64::MAX, BTreeMap::new()).unwrap();
    let writer = CheckpointWriter::resume(dir.path(), layout.into(), &storage).unwrap();
    let stop = || {
        while !broken.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_millis(100));
        true
    };
    assert!(!writer.sync_unless(stop, tell()).unwrap());
    told.recv_timeout(Duration::from_secs(60)).unwrap();
}
