//! What the methods refuse, and how they say so.

use mergecore_slerp::{
    Karcher, KernelError, MultiSlerp, NuSlerp, Slerp, karcher_slices, multislerp_slices,
    nuslerp_slices, slerp_slices,
};

const A: [f32; 3] = [1.0, 0.0, 0.0];
const B: [f32; 3] = [0.0, 1.0, 0.0];

fn text(result: Result<(), KernelError>) -> String {
    result.unwrap_err().to_string()
}

fn multislerp(models: &[&[f32]], params: &MultiSlerp) -> Result<(), KernelError> {
    multislerp_slices(None, models, params, &mut [0.0; 3])
}

fn karcher(params: Karcher) -> String {
    text(karcher_slices(&[&A, &B], &params, &mut [0.0; 3]))
}

mod kernel_error {
    use super::*;

    #[test]
    fn undefined_where_weights_sum_to_zero() {
        let ab: [&[f32]; 2] = [&A, &B];
        assert_eq!(
            text(multislerp(&ab, &MultiSlerp::new([0.5, -0.5]))),
            "the weights, which were to be divided by their sum, sum to zero but for rounding errors; choose other weights, or set `normalize_weights: false`"
        );
        // Of these all that remains is a rounding error.
        let error = multislerp(&[&A, &B, &A], &MultiSlerp::new([0.1, 0.2, -0.3])).unwrap_err();
        assert!(matches!(error, KernelError::Undefined { .. }));
        let given = MultiSlerp { normalize_weights: false, ..MultiSlerp::new([0.5, -0.5]) };
        assert_eq!(multislerp(&ab, &given), Ok(()));
        // However small they are, they have a ratio.
        assert_eq!(multislerp(&ab, &MultiSlerp::new([1e-30, 3e-30])), Ok(()));
    }

    #[test]
    fn undefined_where_directions_cancel() {
        let expected = "the weighted directions of the models cancel; choose other weights, or leave out a model";
        let back: [f32; 3] = [-3.0, 0.0, 0.0];
        let params = MultiSlerp::new([1.0, 1.0, 0.0]);
        assert_eq!(text(multislerp(&[&A, &back, &B], &params)), expected);
        // A third of a turn apart: the dot products say so but for rounding.
        let third = |k: i32| {
            let angle = f64::from(k) * std::f64::consts::TAU / 3.0;
            [angle.cos(), angle.sin()]
        };
        let models = [third(0), third(1), third(2)];
        let slices: Vec<&[f64]> = models.iter().map(|model| &model[..]).collect();
        let params = MultiSlerp::new([1.0, 1.0, 1.0]);
        let result = multislerp_slices(None, &slices, &params, &mut [0.0; 2]);
        assert_eq!(text(result), expected);
    }

    #[test]
    fn parameter_count() {
        let expected = "1 values of `weight` for 2 models; give one for each";
        assert_eq!(text(multislerp(&[&A, &B], &MultiSlerp::new([1.0]))), expected);
    }

    #[test]
    fn input_count() {
        let expected = "takes at least one model, not 0";
        let none = MultiSlerp::default();
        assert_eq!(text(multislerp(&[], &none)), format!("multislerp {expected}"));
        let result = karcher_slices::<f32>(&[], &Karcher::default(), &mut [0.0; 3]);
        assert_eq!(text(result), format!("karcher {expected}"));
    }

    #[test]
    fn length() {
        let params = NuSlerp::new([0.5, 0.5]);
        let result = nuslerp_slices(None, &[&A, &B], &[2, 2], &params, &mut [0.0; 4]);
        assert_eq!(text(result), "input 0 has 3 elements where the shape [2, 2] has 4");
        let base = [0.0f32; 2];
        let result = nuslerp_slices(Some(&base), &[&A, &B], &[3], &params, &mut [0.0; 3]);
        assert_eq!(text(result), "input 0 has 2 elements where the shape [3] has 3");
    }

    #[test]
    fn parameter_range() {
        let t = Slerp { t: f64::NAN };
        let result = slerp_slices(&[1.0f32], &[1.0], &t, &mut [0.0]);
        assert_eq!(text(result), "`t` is NaN, but must be a finite number");

        let nuslerp =
            |weights| nuslerp_slices(None, &[&A, &B], &[3], &NuSlerp::new(weights), &mut [0.0; 3]);
        let infinite = "`weight` is inf, but must be a finite number";
        let overflows = "`sum of weights` is inf, but must be a finite number";
        assert_eq!(text(nuslerp([f64::INFINITY, 1.0])), infinite);
        assert_eq!(text(nuslerp([1e308, 1e308])), overflows);

        let ab: [&[f32]; 2] = [&A, &B];
        let weighted = |weights: [f64; 2]| text(multislerp(&ab, &MultiSlerp::new(weights)));
        assert_eq!(weighted([f64::INFINITY, 1.0]), infinite);
        assert_eq!(weighted([1e308, 1e308]), overflows);
        let eps = |eps| text(multislerp(&ab, &MultiSlerp { eps, ..MultiSlerp::new([1.0, 1.0]) }));
        assert_eq!(eps(-1e-8), "`eps` is -0.00000001, but must be at least 0");
        assert_eq!(eps(f64::NAN), "`eps` is NaN, but must be a finite number");

        let usual = Karcher::default();
        let tol = |tol| karcher(Karcher { tol, ..usual });
        assert_eq!(tol(-1.0), "`tol` is -1, but must be at least 0");
        assert_eq!(tol(f64::NAN), "`tol` is NaN, but must be a finite number");
        let steps = karcher(Karcher { max_iter: 10_001, ..usual });
        assert_eq!(steps, "`max_iter` is 10001, but must be at most 10000");
    }

    #[cfg(feature = "ndarray")]
    #[test]
    fn shape() {
        use mergecore_slerp::{ndarray::ArrayD, nuslerp};
        let (a, b) = (ArrayD::<f32>::zeros(vec![2, 3]), ArrayD::<f32>::zeros(vec![3, 2]));
        let params = NuSlerp::new([0.5, 0.5]);
        let error = nuslerp(Some(a.view()), &[a.view(), b.view()], &params).unwrap_err();
        assert!(matches!(error, KernelError::Shape { input: 2, .. }));
    }
}
