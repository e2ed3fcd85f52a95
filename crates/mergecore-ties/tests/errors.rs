//! What the methods refuse, and how they say so.

use mergecore_ties::{
    Breadcrumbs, ConsensusTa, KernelError, MagMax, Ram, RamPlus, Sce, Ties, breadcrumbs_slices,
    consensus_ta_slices, magmax_slices, ram_slices, ramplus_tl_slices, sce_slices, ties_slices,
};

#[test]
fn ties_out_of_range() {
    let run =
        |ties: &Ties| ties_slices(&[0.0f32], &[&[1.0]], ties, &mut [0.0]).unwrap_err().to_string();
    assert_eq!(run(&Ties::new([1.0], [1.5])), "`density` is 1.5, but must be between 0 and 1");
    assert_eq!(run(&Ties::new([1.0], [])), "0 values of `density` for 1 models; give one for each");
    assert_eq!(run(&Ties::new([], [])), "0 values of `weight` for 1 models; give one for each");
    assert_eq!(
        run(&Ties { lambda: f64::INFINITY, ..Ties::new([1.0], [1.0]) }),
        "`lambda` is inf, but must be a finite number"
    );
}

/// The error of merging one model of one element.
fn text(merge: impl FnOnce(&[f32], &[&[f32]], &mut [f32]) -> Result<(), KernelError>) -> String {
    merge(&[0.0], &[&[1.0]], &mut [0.0]).unwrap_err().to_string()
}

#[test]
fn breadcrumbs_out_of_range() {
    let run = |params: Breadcrumbs| {
        text(|base, models, out| breadcrumbs_slices(base, models, &params, out))
    };
    assert_eq!(
        run(Breadcrumbs::new([1.0], [0.5], [1.5])),
        "`gamma` is 1.5, but must be between 0 and 1"
    );
    assert_eq!(
        run(Breadcrumbs::new([1.0], [-0.5], [0.0])),
        "`density` is -0.5, but must be between 0 and 1"
    );
}

#[test]
fn breadcrumbs_of_other_numbers_than_models() {
    let run = |params: Breadcrumbs| {
        text(|base, models, out| breadcrumbs_slices(base, models, &params, out))
    };
    for (params, name) in [
        (Breadcrumbs::new([1.0], [0.5], []), "gamma"),
        (Breadcrumbs::new([1.0], [], [0.5]), "density"),
        (Breadcrumbs::new([], [], []), "weight"),
    ] {
        assert_eq!(run(params), format!("0 values of `{name}` for 1 models; give one for each"));
    }
}

#[test]
fn select_topk_out_of_range() {
    assert_eq!(
        text(|base, models, out| sce_slices(base, models, &Sce::new(1.25), out)),
        "`select_topk` is 1.25, but must be between 0 and 1"
    );
}

#[test]
fn epsilon_out_of_range() {
    let epsilon = -1.0;
    assert_eq!(
        text(|base, models, out| ram_slices(base, models, &Ram { epsilon }, out)),
        "`epsilon` is -1, but must be at least 0"
    );
    let params = RamPlus { epsilon, ..RamPlus::default() };
    assert_eq!(
        text(|base, models, out| ramplus_tl_slices(base, models, &params, out)),
        "`epsilon` is -1, but must be at least 0"
    );
}

#[test]
fn r_and_alpha_out_of_range() {
    let run =
        |params: RamPlus| text(|base, models, out| ramplus_tl_slices(base, models, &params, out));
    assert_eq!(run(RamPlus::new(f64::NAN, 0.2)), "`r` is NaN, but must be a finite number");
    assert_eq!(run(RamPlus::new(0.1, -0.5)), "`alpha` is -0.5, but must be at least 0");
}

#[test]
fn magmax_out_of_range() {
    let params = MagMax { lambda: f64::INFINITY };
    assert_eq!(
        text(|base, models, out| magmax_slices(base, models, &params, out)),
        "`lambda` is inf, but must be a finite number"
    );
}

#[test]
fn consensus_ta_out_of_range() {
    let run = |params: ConsensusTa| {
        text(|base, models, out| consensus_ta_slices(base, models, &params, out))
    };
    let usual = ConsensusTa::new([1.0]);
    let lambda = f64::INFINITY;
    assert_eq!(
        run(ConsensusTa { tall_lambda: -0.1, ..usual.clone() }),
        "`tall_lambda` is -0.1, but must be at least 0"
    );
    assert_eq!(
        run(ConsensusTa { lambda, ..usual }),
        "`lambda` is inf, but must be a finite number"
    );
    let weight = run(ConsensusTa::new([f64::NAN]));
    assert_eq!(weight, "`weight` is NaN, but must be a finite number");
    let count = run(ConsensusTa::new([]));
    assert_eq!(count, "0 values of `weight` for 1 models; give one for each");
}

/// Dividing by a sum that is no number would drop the models in silence.
#[test]
fn weights_whose_sum_overflows() {
    let params = ConsensusTa { normalize: true, ..ConsensusTa::new([f64::MAX, f64::MAX]) };
    let models: [&[f32]; 2] = [&[1.0], &[1.0]];
    let error = consensus_ta_slices(&[0.0], &models, &params, &mut [0.0]).unwrap_err();
    assert_eq!(error.to_string(), "`sum of weights` is inf, but must be a finite number");
}

#[test]
fn slices_of_other_lengths() {
    let (base, model) = ([0.0f32; 3], [1.0f32; 2]);
    let mut out = [0.0; 3];
    for error in [
        sce_slices(&base, &[&model], &Sce::default(), &mut out),
        ram_slices(&base, &[&model], &Ram::default(), &mut out),
        magmax_slices(&base, &[&model], &MagMax::default(), &mut out),
        consensus_ta_slices(&base, &[&model], &ConsensusTa::new([1.0]), &mut out),
    ] {
        assert!(matches!(error, Err(KernelError::Length { expected: 3, found: 2, .. })));
    }
}
