//! Every method over arrays in memory, one thread, bf16 in and out, on an input that stays
//! in the caches and on one that does not; throughput in bytes of all inputs and the output,
//! beside a plain copy. Then the conversions that they are made of.

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use mergecore::{
    Dare, Linear, Simd, Slerp, TaskArithmetic, Ties, bf16, dare_linear_slices, dare_ties_slices,
    f16, linear_slices, slerp_slices, task_arithmetic_slices, ties_slices,
};
use mergecore_benches::{finetuned, weights};

type Group<'a> = BenchmarkGroup<'a, WallTime>;

/// Elements of a tensor: of three inputs and an output, the first fits a second-level
/// cache, the second no cache.
const SIZES: [(&str, usize); 2] = [("cached", 1 << 16), ("memory", 1 << 24)];

fn methods(criterion: &mut Criterion) {
    for (size, len) in SIZES {
        let mut group = criterion.benchmark_group(format!("bf16_{size}"));
        group.sample_size(10);
        of_size(&mut group, len);
        group.finish();
    }
}

fn of_size(group: &mut Group<'_>, len: usize) {
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

/// Conversions with every instruction set; throughput in bytes of the 16-bit side.
fn conversions(criterion: &mut Criterion) {
    const LEN: usize = 4096;
    let stored = weights(LEN, 1);
    let mut wide = vec![0.0; LEN];
    Simd::detect().widen(&stored, &mut wide);
    let mut half = vec![f16::default(); LEN];
    Simd::detect().narrow(&wide, &mut half);
    let mut narrow = stored.clone();

    let mut group = criterion.benchmark_group("conversions");
    group.throughput(Throughput::Bytes((LEN * size_of::<bf16>()) as u64));
    for simd in Simd::available() {
        group.bench_function(format!("bf16 to f64, {simd}"), |bench| {
            bench.iter(|| simd.widen(black_box(&stored), &mut wide))
        });
        group.bench_function(format!("f64 to bf16, {simd}"), |bench| {
            bench.iter(|| simd.narrow(black_box(&wide), &mut narrow))
        });
        group.bench_function(format!("f64 to f16, {simd}"), |bench| {
            bench.iter(|| simd.narrow(black_box(&wide), &mut half))
        });
    }
    group.finish();
}

criterion_group!(benches, methods, conversions);
criterion_main!(benches);
