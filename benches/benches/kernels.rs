//! Every method over arrays in memory, one thread, bf16 in and out, on an input that stays
//! in the caches and on one that does not; throughput in bytes of all inputs and the output,
//! beside a plain copy. Then some of the parts that they are made of, with every instruction set.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mergecore::kernel::{
    Combination, Elements, Extent, Gram, GramScan, Prune, RandomMask, Step, Worker, blocks,
};
use mergecore::{
    Dare, Linear, Simd, Slerp, StreamKey, TaskArithmetic, Ties, bf16, dare_linear_slices,
    dare_ties_slices, f16, linear_slices, slerp_slices, task_arithmetic_slices, ties_slices,
};
use mergecore_benches::{finetuned, weights};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Elements of a tensor: of three inputs and an output, the first fits a second-level
/// cache, the second no cache.
const SIZES: [(&str, usize); 2] = [("cached", 1 << 16), ("memory", 1 << 24)];

/// A group of each size.
fn of_sizes(criterion: &mut Criterion, name: &str, each: fn(&mut Group<'_>, usize)) {
    for (size, len) in SIZES {
        let mut group = criterion.benchmark_group(format!("{name}_{size}"));
        group.sample_size(10);
        each(&mut group, len);
        group.finish();
    }
}

fn methods(criterion: &mut Criterion) {
    of_sizes(criterion, "bf16", methods_of_size);
}

fn methods_of_size(group: &mut Group<'_>, len: usize) {
    let base = weights(len, 1);
    let (a, b) = (finetuned(&base, 2), finetuned(&base, 3));
    let models: [&[bf16]; 2] = [&a, &b];
    let mut out = vec![bf16::default(); len];
    let bytes = |slices: usize| Throughput::Bytes((slices * len * size_of::<bf16>()) as u64);

    group.throughput(bytes(2));
    group.bench_function("memcpy", |bench| bench.iter(|| out.copy_from_slice(black_box(&base))));

    group.throughput(bytes(3));
    let linear = Linear::new([0.4, 0.6]);
    group.bench_function("linear", |bench| {
        bench.iter(|| linear_slices(black_box(&models), &linear, &mut out))
    });
    let slerp = Slerp { t: 0.3 };
    group.bench_function("slerp", |bench| {
        bench.iter(|| slerp_slices(black_box(&a), &b, &slerp, &mut out))
    });

    group.throughput(bytes(4));
    let arithmetic = TaskArithmetic::new([0.4, 0.6]);
    group.bench_function("task_arithmetic", |bench| {
        bench.iter(|| task_arithmetic_slices(black_box(&base), &models, &arithmetic, &mut out));
    });
    let ties = Ties::new([0.4, 0.6], [0.5, 0.5]);
    group.bench_function("ties", |bench| {
        bench.iter(|| ties_slices(black_box(&base), &models, &ties, &mut out));
    });
    let dare = Dare::new([0.4, 0.6], [0.53, 0.53], 0);
    group.bench_function("dare_linear", |bench| {
        bench.iter(|| dare_linear_slices(black_box(&base), &models, &dare, &mut out));
    });
    group.bench_function("dare_ties", |bench| {
        bench.iter(|| dare_ties_slices(black_box(&base), &models, &dare, &mut out));
    });
}

/// Conversions, DARE's masks and dot products with every instruction set, on as many elements;
/// throughput in bytes of what is read and written, beside a plain copy.
fn parts(criterion: &mut Criterion) {
    of_sizes(criterion, "parts", parts_of_size);
}

fn parts_of_size(group: &mut Group<'_>, len: usize) {
    let base = weights(len, 1);
    let model = finetuned(&base, 2);
    let mut narrow = base.clone();
    let mut half = vec![f16::default(); len];
    let mut wide = vec![0.0; len];
    Simd::detect().widen(&base, &mut wide);
    let mask = RandomMask::new(StreamKey::from_seed(7), &[0.53]).expect("a density");
    let bytes = |an_element: usize| Throughput::Bytes((an_element * len) as u64);

    group.throughput(bytes(2 + 2));
    group.bench_function("memcpy", |bench| bench.iter(|| narrow.copy_from_slice(black_box(&base))));
    for simd in Simd::available() {
        group.throughput(bytes(2 + 8));
        group.bench_function(format!("bf16 to f64, {simd}"), |bench| {
            bench.iter(|| simd.widen(black_box(&base), &mut wide));
        });
        group.bench_function(format!("f64 to bf16, {simd}"), |bench| {
            bench.iter(|| simd.narrow(black_box(&wide), &mut narrow));
        });
        group.bench_function(format!("f64 to f16, {simd}"), |bench| {
            bench.iter(|| simd.narrow(black_box(&wide), &mut half));
        });
        group.throughput(bytes(2 + 2 + 2));
        group.bench_function(format!("random mask, {simd}"), |bench| {
            bench.iter(|| mask.prune(simd, 0, 0, black_box(&base), &model, &mut narrow));
        });
        group.throughput(bytes(2 + 2));
        group.bench_function(format!("dot products, {simd}"), |bench| {
            bench.iter(|| dot_products(simd, black_box(&base), &model));
        });
    }
}

/// The Gram matrix of two inputs, by blocks, as slerp has it.
fn dot_products(simd: Simd, a: &[bf16], b: &[bf16]) {
    let extent = Extent::of(&[a.len()]);
    let Step::Scan(scan) = Step::scan(GramScan::new(2, |gram: &Gram| {
        black_box(gram.dot(0, 1));
        Ok(Step::apply(Combination::select(0, 2)))
    })) else {
        unreachable!("made as a scan");
    };
    let mut worker = Worker::with_simd(simd);
    let mut total = scan.empty();
    for block in blocks(0..extent.len()) {
        let part = block.start as usize..block.end as usize;
        let inputs = [Elements::from(&a[part.clone()]), Elements::from(&b[part])];
        let mut partial = scan.empty();
        worker.fold(&*scan, &mut partial, block.start, extent, &inputs);
        scan.combine(&mut total, partial);
    }
    let _ = black_box(scan.finish(total));
}

criterion_group!(benches, methods, parts);
criterion_main!(benches);
