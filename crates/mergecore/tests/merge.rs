//! Whole merges of random checkpoints: the numbers, what must never change them,
//! and what the output is made of.

#[path = "merge/architectures.rs"]
mod architectures;
#[path = "merge/cancel.rs"]
mod cancel;
#[path = "merge/cancel_work.rs"]
mod cancel_work;
#[path = "merge/card.rs"]
mod card;
#[path = "merge/check.rs"]
mod check;
#[path = "merge/disk.rs"]
mod disk;
#[path = "merge/errors/mod.rs"]
mod errors;
#[path = "merge/fault_case.rs"]
mod fault_case;
#[path = "merge/faults.rs"]
mod faults;
#[path = "merge/hostile.rs"]
mod hostile;
#[path = "merge/hub.rs"]
mod hub;
#[path = "merge/invariants.rs"]
mod invariants;
#[path = "merge/library.rs"]
mod library;
#[path = "merge/many_tensors.rs"]
mod many_tensors;
#[path = "merge/masks.rs"]
mod masks;
#[path = "merge/numbers.rs"]
mod numbers;
#[path = "merge/parameters.rs"]
mod parameters;
#[path = "merge/problems.rs"]
mod problems;
#[path = "merge/rounding.rs"]
mod rounding;
#[path = "merge/same_bytes.rs"]
mod same_bytes;
#[path = "merge/stacking.rs"]
mod stacking;
#[path = "merge/support.rs"]
mod support;
#[path = "merge/vocabularies.rs"]
mod vocabularies;
