//! The input models score what transformers says they score, so that `perplexity` can
//! be trusted with their merges.

use mergecore_tests::{eval_kjv, perplexity, project_root};

/// `expected` was measured with torch and transformers 5 in f32.
#[track_caller]
fn assert_scores(model: &str, expected: f64) {
    let found = perplexity(&project_root().join("models").join(model), &eval_kjv()).unwrap();
    let off = (found / expected - 1.0).abs();
    assert!(off < 0.005, "{model}: perplexity {found:.3}, expected {expected}");
}

#[test]
fn base() {
    assert_scores("tiny-llama-base", 42.88);
}

#[test]
fn code() {
    assert_scores("tiny-llama-code", 109.99);
}

#[test]
fn kjv() {
    assert_scores("tiny-llama-kjv", 26.08);
}
