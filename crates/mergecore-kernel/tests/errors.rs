//! One test for each [`KernelError`], named for it: when it is returned and what it says.
//! `WeightsCancel` is raised, and tested, in mergecore-linear, `ParameterPair` in mergecore-dare.

use mergecore_kernel::{
    Combination, Election, Extent, Kernel, KernelError, Step, TaskVectors, merge_slices,
};

#[derive(Debug)]
struct First;

impl Kernel for First {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(Combination::select(0, 2)))
    }
}

fn task_vectors(weights: &[f64], densities: &[f64], lambda: f64) -> Result<(), String> {
    let vectors = TaskVectors {
        weights: weights.to_vec(),
        densities: densities.to_vec(),
        election: Some(Election::default()),
        normalize: true,
        lambda,
        rescale: None,
    };
    vectors.check().map_err(|error| error.to_string())
}

mod kernel_error {
    use super::*;

    /// Looks at whole inputs, and finds no result.
    #[derive(Debug, Clone)]
    struct Fails(KernelError);

    impl Kernel for Fails {
        fn first(&self, _: Extent) -> Result<Step, KernelError> {
            Ok(Step::whole(self.clone()))
        }
    }

    impl mergecore_kernel::Whole for Fails {
        fn run(
            &self,
            _: Extent,
            _: &dyn mergecore_kernel::ReadInputs,
        ) -> Result<Step, KernelError> {
            Err(self.0.clone())
        }
    }

    fn says(error: KernelError) -> String {
        merge_slices(&Fails(error), &[&[0f32]], &[1], &mut [0f32]).unwrap_err().to_string()
    }

    #[test]
    fn parameter_pair() {
        let (parameters, values) = (("density", "epsilon"), (0.9, 0.2));
        let expected = "their sum must be below 1";
        let error = KernelError::ParameterPair { parameters, values, expected };
        let told = "`density` is 0.9 and `epsilon` is 0.2, but their sum must be below 1";
        assert_eq!(says(error), told);
    }

    #[test]
    fn interrupted() {
        assert_eq!(says(KernelError::Interrupted), "reading the inputs was broken off");
    }

    #[test]
    fn undefined() {
        let what = "the models' directions cancel".to_owned();
        let error = KernelError::Undefined { what, instead: "choose other weights" };
        assert_eq!(says(error), "the models' directions cancel; choose other weights");
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn shape() {
        use mergecore_kernel::ndarray::ArrayD;
        let (a, b) = (ArrayD::<f32>::zeros(vec![2, 3]), ArrayD::<f32>::zeros(vec![3, 2]));
        let error = mergecore_kernel::merge_arrays(&First, &[a.view(), b.view()]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "input 1 has shape [3, 2] but input 0 has [2, 3]; all inputs of a merge must have one shape"
        );
    }

    #[test]
    fn length() {
        let run = |a: &[f32], b: &[f32], out: &mut [f32]| {
            merge_slices(&First, &[a, b], &[2, 3], out).unwrap_err().to_string()
        };
        assert_eq!(
            run(&[0.0; 6], &[0.0; 5], &mut [0.0; 6]),
            "input 1 has 5 elements where the shape [2, 3] has 6"
        );
        assert_eq!(
            run(&[0.0; 6], &[0.0; 6], &mut [0.0; 7]),
            "the output has 7 elements where the shape [2, 3] has 6"
        );
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn input_count() {
        use mergecore_kernel::ndarray::{ArrayView, Ix1};
        let none: [ArrayView<'_, f32, Ix1>; 0] = [];
        let error = mergecore_kernel::merge_arrays(&First, &none).unwrap_err();
        assert_eq!(error.to_string(), "merge takes at least one input, not 0");
    }

    #[test]
    fn parameter_count() {
        let error = KernelError::check_count("weight", &[1.0, 2.0], 3).unwrap_err();
        assert_eq!(error.to_string(), "2 values of `weight` for 3 models; give one for each");
        assert_eq!(
            task_vectors(&[1.0, 2.0], &[0.5], 1.0),
            Err("1 values of `density` for 2 models; give one for each".into())
        );
    }

    #[test]
    fn parameter_range() {
        let errors = [
            (task_vectors(&[1.0], &[1.5], 1.0), "`density` is 1.5, but must be between 0 and 1"),
            (task_vectors(&[1.0], &[-0.1], 1.0), "`density` is -0.1, but must be between 0 and 1"),
            (
                task_vectors(&[1.0], &[f64::NAN], 1.0),
                "`density` is NaN, but must be between 0 and 1",
            ),
            (
                task_vectors(&[f64::INFINITY], &[1.0], 1.0),
                "`weight` is inf, but must be a finite number",
            ),
            (
                task_vectors(&[1.0], &[1.0], f64::NAN),
                "`lambda` is NaN, but must be a finite number",
            ),
        ];
        for (found, expected) in errors {
            assert_eq!(found, Err(expected.into()));
        }
        assert_eq!(task_vectors(&[-2.0, 0.0], &[0.0, 1.0], -1.0), Ok(()));
    }

    #[test]
    fn masks_refuse_densities_outside_their_range() {
        let key = mergecore_kernel::StreamKey::from_seed(0);
        let error = mergecore_kernel::RandomMask::new(key, &[0.5, 2.0]).unwrap_err();
        assert_eq!(error.to_string(), "`density` is 2, but must be between 0 and 1");
    }

    #[test]
    fn weights_that_overflow_together() {
        let error = task_vectors(&[1e308, -1e308], &[1.0, 1.0], 1.0).unwrap_err();
        assert_eq!(error, "`sum of weights` is inf, but must be a finite number");
    }
}
