//! Every method over arrays in memory, one thread, bf16 in and out; throughput in
//! bytes of all inputs and the output.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mergecore::{
    Dare, Linear, Slerp, TaskArithmetic, Ties, bf16, dare_linear_slices, dare_ties_slices,
    linear_slices, slerp_slices, task_arithmetic_slices, ties_slices,
};
use mergecore_benches::{finetuned, weights};

const LEN: usize = 1 << 20;

fn kernels(criterion: &mut Criterion) {
    let base = weights(LEN, 1);
    let (a, b) = (finetuned(&base, 2), finetuned(&base, 3));
    let models: [&[bf16]; 2] = [&a, &b];
    let mut out = vec![bf16::default(); LEN];
    let pair = (3 * LEN * size_of::<bf16>()) as u64;
    let triple = (4 * LEN * size_of::<bf16>()) as u64;

    let mut group = criterion.benchmark_group("bf16_1M");
    group.sample_size(20);
    group.throughput(Throughput::Bytes(2 * (LEN * size_of::<bf16>()) as u64));
    group.bench_function("memcpy", |bench| bench.iter(|| out.copy_from_slice(black_box(&base))));

    group.throughput(Throughput::Bytes(pair));
    let linear = Linear::new([0.4, 0.6]);
    group.bench_function("linear", |bench| {
        bench.iter(|| linear_slices(black_box(&models), &linear, &mut out))
    });
    let slerp = Slerp { t: 0.3 };
    group.bench_function("slerp", |bench| {
        bench.iter(|| slerp_slices(black_box(&a), &b, &slerp, &mut out))
    });

    group.throughput(Throughput::Bytes(triple));
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
    group.finish();
}

criterion_group!(benches, kernels);
criterion_main!(benches);
