//! Rows of stored tensors: every range of elements, dtypes that differ, and errors.

mod support;

use mergecore_io::{Checkpoint, IoError, Rows, StoredTensor, TensorSource};
use mergecore_tensor::{DType, widen_bytes};
use safetensors::Dtype;
use safetensors::tensor::{TensorView, serialize};
use support::{dir, put};

/// Tensors `bf16` [3, 2], `f32` [4, 2], `wide` [2, 3] and `u8` [2, 2], whose float
/// elements count up from 0, 100 and 200.
fn checkpoint() -> Checkpoint {
    let floats = |start: u8, n: u8| (start..start + n).map(f32::from);
    let bf16: Vec<u8> = floats(0, 6).flat_map(|v| v.to_le_bytes()[2..].to_vec()).collect();
    let f32: Vec<u8> = floats(100, 8).flat_map(f32::to_le_bytes).collect();
    let wide: Vec<u8> = floats(200, 6).flat_map(f32::to_le_bytes).collect();
    let views = [
        ("bf16", TensorView::new(Dtype::BF16, vec![3, 2], &bf16).unwrap()),
        ("f32", TensorView::new(Dtype::F32, vec![4, 2], &f32).unwrap()),
        ("wide", TensorView::new(Dtype::F32, vec![2, 3], &wide).unwrap()),
        ("u8", TensorView::new(Dtype::U8, vec![2, 2], &[1, 2, 3, 4]).unwrap()),
        ("one", TensorView::new(Dtype::U8, vec![], &[1]).unwrap()),
    ];
    let dir = dir();
    put(&dir, "config.json", "{}");
    put(&dir, "model.safetensors", serialize(views, None).unwrap());
    Checkpoint::open(dir.path()).unwrap()
}

fn tensor(checkpoint: &Checkpoint, name: &str) -> StoredTensor {
    checkpoint.tensor(name).unwrap().clone()
}

/// Every range of elements must be what it is in the whole.
#[track_caller]
fn check(rows: &Rows, dtype: DType, shape: &[usize], expected: &[f64]) {
    assert_eq!((rows.dtype(), rows.shape()), (dtype, shape));
    assert_eq!(rows.len(), expected.len() as u64);
    for start in 0..=expected.len() {
        for end in start..=expected.len() {
            let mut bytes = vec![0; (end - start) * dtype.size()];
            rows.read(start as u64..end as u64, &mut bytes).unwrap();
            let mut values = vec![0.0; end - start];
            widen_bytes(dtype, &bytes, &mut values);
            assert_eq!(values, expected[start..end], "{start}..{end}");
        }
    }
}

#[test]
fn the_first_rows() {
    let checkpoint = checkpoint();
    let rows = Rows::new([(tensor(&checkpoint, "bf16"), 0..2)]).unwrap();
    check(&rows, DType::Bf16, &[2, 2], &[0.0, 1.0, 2.0, 3.0]);
}

#[test]
fn rows_of_two_dtypes() {
    let checkpoint = checkpoint();
    let (bf16, f32) = (tensor(&checkpoint, "bf16"), tensor(&checkpoint, "f32"));
    let rows = Rows::new([(bf16.clone(), 1..3), (f32, 3..4), (bf16, 0..1)]).unwrap();
    let expected = [2.0, 3.0, 4.0, 5.0, 106.0, 107.0, 0.0, 1.0];
    check(&rows, DType::F32, &[4, 2], &expected);
}

#[test]
fn no_rows() {
    let checkpoint = checkpoint();
    let rows = Rows::new([(tensor(&checkpoint, "bf16"), 1..1)]).unwrap();
    check(&rows, DType::Bf16, &[0, 2], &[]);
    assert_eq!(Rows::new([]).unwrap().shape(), [0]);
}

#[test]
fn rows_that_do_not_fit_are_errors() {
    let checkpoint = checkpoint();
    let get = |name| tensor(&checkpoint, name);
    for (name, range) in [("bf16", 2..4), ("one", 0..1)] {
        let error = Rows::new([(get(name), range)]).unwrap_err();
        assert!(matches!(error, IoError::RowRange { .. }), "{error}");
    }
    for name in ["wide", "u8"] {
        let error = Rows::new([(get("f32"), 0..1), (get(name), 0..1)]).unwrap_err();
        assert!(matches!(error, IoError::RowsDiffer { .. }), "{error}");
        assert!(error.to_string().contains(name), "{error}");
    }
    let rows = Rows::new([(get("f32"), 0..2)]).unwrap();
    let error = rows.read(3..5, &mut [0; 8]).unwrap_err();
    assert!(matches!(error, IoError::ElementRange { len: 4, .. }), "{error}");
    let error = rows.read(0..1, &mut [0; 8]).unwrap_err();
    assert!(matches!(error, IoError::BufferSize { expected: 4, found: 8, .. }), "{error}");
}
