//! One test for each error, and its text.

use mergecore_kernel::{Elements, Kernel, Worker};
use mergecore_kernel::{Extent, KernelError, ReadInputs, Step, Whole};
use mergecore_spectral::{IsoC, Tsv, iso_c_slices, tsv_slices};

/// What both methods say.
fn both(base: &[f64], model: &[f64], shape: &[usize], params: &Tsv) -> String {
    let iso = IsoC { weights: params.weights.clone(), lambda: params.lambda, ..IsoC::default() };
    let mut out = vec![0.0; base.len()];
    let of_iso = iso_c_slices(base, &[model], shape, &iso, &mut out).unwrap_err().to_string();
    let of_tsv = tsv_slices(base, &[model], shape, params, &mut out).unwrap_err().to_string();
    assert_eq!(of_iso, of_tsv);
    of_iso
}

fn half(weights: impl Into<Vec<f64>>) -> Tsv {
    Tsv { rank_fraction: Some(0.5), ..Tsv::new(weights) }
}

#[test]
fn weights_for_other_than_the_models() {
    let text = both(&[0.0; 4], &[1.0; 4], &[2, 2], &half([1.0, 2.0]));
    assert_eq!(text, "2 values of `weight` for 1 models; give one for each");
}

#[test]
fn lengths_other_than_the_shape() {
    let text = both(&[0.0; 4], &[1.0; 4], &[2, 3], &half([1.0]));
    assert_eq!(text, "input 0 has 4 elements where the shape [2, 3] has 6");
}

#[test]
fn weight_that_is_not_finite() {
    let text = both(&[0.0; 4], &[1.0; 4], &[2, 2], &half([f64::NAN]));
    assert_eq!(text, "`weight` is NaN, but must be a finite number");
}

#[test]
fn lambda_that_is_not_finite() {
    let params = Tsv { lambda: f64::INFINITY, ..half([1.0]) };
    let text = both(&[0.0; 4], &[1.0; 4], &[2, 2], &params);
    assert_eq!(text, "`lambda` is inf, but must be a finite number");
}

#[test]
fn rank_fraction_out_of_range() {
    let params = Tsv { rank_fraction: Some(1.5), ..Tsv::new([1.0]) };
    let error = tsv_slices(&[0.0], &[&[1.0]], &[1, 1], &params, &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "`rank_fraction` is 1.5, but must be between 0 and 1");
}

#[test]
fn matrix_with_nan_or_infinity() {
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for at in [0, 3, 5] {
            let mut model = [1.0, 2.0, 3.0, 4.0, 5.0, 6.5];
            model[at] = bad;
            let text = both(&[0.0; 6], &model, &[2, 3], &half([1.0]));
            assert!(
                text.starts_with("the change of a matrix has an element that is NaN or infinite")
            );
            assert!(text.contains("set `decompose: false`"), "{text}");
        }
    }
    // Finite inputs whose difference is not.
    let text = both(&[-1e308; 4], &[1e308; 4], &[2, 2], &half([1.0]));
    assert!(text.contains("NaN or infinite"), "{text}");
    // Equal to the base, so that there is nothing to decompose.
    let (inputs, mut out) = ([f64::INFINITY, 1.0, 2.0, 3.0], [0.0; 4]);
    iso_c_slices(&inputs, &[&inputs], &[2, 2], &IsoC::new([1.0]), &mut out).expect("the base");
    assert_eq!(out, inputs);
}

/// A matrix that is read, and then wanted no longer after so many looks.
struct Cancelled {
    values: [Vec<f64>; 2],
    looks: std::cell::Cell<usize>,
}

impl ReadInputs for Cancelled {
    fn read(&self, input: usize, start: u64, out: &mut [f64]) -> Result<(), KernelError> {
        out.copy_from_slice(&self.values[input][start as usize..][..out.len()]);
        Ok(())
    }

    fn is_cancelled(&self) -> bool {
        let left = self.looks.get();
        self.looks.set(left.saturating_sub(1));
        left == 0
    }
}

/// The step that decomposes.
fn whole(kernel: &dyn Kernel, extent: Extent) -> Box<dyn Whole> {
    let Ok(Step::Scan(scan)) = kernel.first(extent) else { panic!("begins with a scan") };
    let mut partial = scan.empty();
    let inputs = [Elements::from(&[0.0, 0.0][..]), Elements::from(&[0.0, 1.0][..])];
    Worker::new().fold(&*scan, &mut partial, 0, extent, &inputs);
    match scan.finish(partial) {
        Ok(Step::Whole(whole)) => whole,
        other => panic!("{other:?}"),
    }
}

#[test]
fn cancelled_between_decompositions() {
    let extent = Extent::of(&[30, 20]);
    let model = (0..600).map(|i| ((i * i) % 101) as f64).collect();
    let mut inputs = Cancelled { values: [vec![0.0; 600], model], looks: 0.into() };
    for kernel in [&IsoC::new([1.0]) as &dyn Kernel, &half([1.0])] {
        let whole = whole(kernel, extent);
        let mut looks = 0;
        loop {
            inputs.looks = looks.into();
            match whole.run(extent, &inputs) {
                Err(KernelError::Interrupted) => looks += 1,
                Ok(Step::Apply(_)) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(looks >= 4, "looked only {looks} times");
    }
}

#[test]
fn failure_to_read_is_passed_on() {
    struct Broken;
    impl ReadInputs for Broken {
        fn read(&self, _: usize, _: u64, _: &mut [f64]) -> Result<(), KernelError> {
            Err(KernelError::Interrupted)
        }
    }
    let extent = Extent::of(&[30, 20]);
    for kernel in [&IsoC::new([1.0]) as &dyn Kernel, &half([1.0])] {
        let error = whole(kernel, extent).run(extent, &Broken).err();
        assert_eq!(error, Some(KernelError::Interrupted));
    }
}
