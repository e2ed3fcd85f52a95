//! Trim, elect sign, disjoint merge.

use mergecore_kernel::{
    Base, Binding, Cutoff, DefaultValue, Election, Element, Extent, Inputs, Kernel, KernelError,
    Method, Parameter, ParameterKind, Rescale, Scope, Step, Survey, TaskVectors,
    merge_slices_onto_base,
};

use crate::magnitudes::DeltaMagnitudes;
use crate::trim::{trimmed, trimmed_at};

/// TIES ([arXiv:2306.01708]), tensor by tensor: trim, elect sign, merge.
///
/// Each task vector (model minus base) keeps its largest magnitudes; each element
/// elects a sign by the sum of the weighted deltas; only deltas of that sign are
/// combined. Base and models have one shape, which is the output's.
///
/// [arXiv:2306.01708]: https://arxiv.org/abs/2306.01708
///
/// ```
/// use mergecore_ties::{Rescale, Ties, ties_slices};
///
/// let params = Ties { rescale: Some(Rescale::L1), ..Ties::new([1.0], [0.5]) };
/// let (base, model) = ([0.0f32; 4], [4.0f32, -1.0, 3.0, 6.0]);
/// let mut out = [0.0; 4];
/// ties_slices(&base, &[&model], &params, &mut out)?;
/// // Of magnitudes that sum to 14, those kept sum to 10.
/// assert_eq!(out, [5.6, 0.0, 0.0, 8.4]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Ties {
    /// One weight a model, any finite number.
    pub weights: Vec<f64>,
    /// The fraction of elements to keep, one a model, from 0 to 1; see
    /// [`keep_count`](crate::keep_count).
    pub densities: Vec<f64>,
    /// Divide each element by the sum of the weights of the models used. On by
    /// default.
    pub normalize: bool,
    /// Factor on the combined delta, any finite number. 1 by default.
    pub lambda: f64,
    /// Whether and how to scale up what is kept. Off by default.
    pub rescale: Option<Rescale>,
    /// How signs are elected: by default, by the sum of the weighted deltas.
    pub election: Election,
    /// Among what the largest magnitudes are kept: by default, tensor by tensor.
    pub scope: TrimScope,
}

/// Among what TIES keeps the largest magnitudes of a task vector.
///
/// ```
/// use mergecore_ties::{KernelError, TensorSlices, Ties, TrimScope, merge_tensors};
///
/// // Two tensors of one model: the larger half of both together is all in the second.
/// let params = Ties { scope: TrimScope::Model, ..Ties::new([1.0], [0.5]) };
/// let (base, mut a, mut b) = ([0f32; 2], [0f32; 2], [0f32; 2]);
/// let mut tensors = [
///     TensorSlices { inputs: vec![&base, &[1.0, 2.0]], shape: &[2], out: &mut a },
///     TensorSlices { inputs: vec![&base, &[-3.0, 4.0]], shape: &[2], out: &mut b },
/// ];
/// merge_tensors(&params, &mut tensors)?;
/// assert_eq!((a, b), ([0.0, 0.0], [-3.0, 4.0]));
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum TrimScope {
    /// Each tensor keeps its density of elements.
    #[default]
    Tensor,
    /// The model does, as in the paper's own code: tensors that were trained more keep more. All
    /// tensors must have the same densities. Equal magnitudes are kept in the order of the tensors.
    /// A tensor merged alone is all there is.
    Model,
}

impl Default for Ties {
    fn default() -> Self {
        Ties {
            weights: Vec::new(),
            densities: Vec::new(),
            normalize: true,
            lambda: 1.0,
            rescale: None,
            election: Election::default(),
            scope: TrimScope::default(),
        }
    }
}

impl Ties {
    /// TIES with these weights and densities, normalised, lambda 1, not rescaled.
    ///
    /// ```
    /// let params = mergecore_ties::Ties::new([1.0, 0.5], [0.2, 0.2]);
    /// assert!(params.normalize && params.lambda == 1.0 && params.rescale.is_none());
    /// ```
    pub fn new(weights: impl Into<Vec<f64>>, densities: impl Into<Vec<f64>>) -> Self {
        Ties { weights: weights.into(), densities: densities.into(), ..Ties::default() }
    }

    fn vectors(&self) -> TaskVectors {
        TaskVectors {
            weights: self.weights.clone(),
            densities: self.densities.clone(),
            election: Some(self.election),
            normalize: self.normalize,
            lambda: self.lambda,
            rescale: self.rescale,
        }
    }
}

impl Kernel for Ties {
    fn first(&self, extent: Extent) -> Result<Step, KernelError> {
        let vectors = self.vectors();
        vectors.check()?;
        trimmed(vectors, extent)
    }

    fn selects(&self) -> Option<usize> {
        // A tensor that keeps the base's values has a share in the model's threshold all the same.
        self.vectors().selects().filter(|_| self.survey().is_none())
    }

    fn survey(&self) -> Option<Survey> {
        let trims = self.densities.iter().any(|density| *density < 1.0);
        let magnitudes = DeltaMagnitudes { lanes_a_model: 1 };
        (trims && self.scope == TrimScope::Model)
            .then(|| Survey::new(magnitudes, self.densities.clone()))
    }

    fn first_surveyed(&self, _: Extent, kept: &[Cutoff]) -> Result<Step, KernelError> {
        let vectors = self.vectors();
        vectors.check()?;
        Ok(trimmed_at(vectors, kept.to_vec()))
    }
}

/// Merges slices into `out`, one rounding to its type. Each slice is one tensor in
/// row-major order; all are as long as `out`.
///
/// # Errors
/// Slices of different length, numbers of weights or densities that are not the
/// number of models, densities outside 0 to 1, values that are not finite.
///
/// ```
/// use mergecore_ties::{Ties, ties_slices};
///
/// let base = [0.0f32; 4];
/// let models: [&[f32]; 2] = [&[4.0, -1.0, 3.0, 0.5], &[2.0, 3.0, -5.0, 0.1]];
/// let mut out = [0.0; 4];
/// ties_slices(&base, &models, &Ties::new([1.0, 1.0], [0.75, 0.75]), &mut out)?;
/// // Kept: 4, -1, 3 and 2, 3, -5; the elected signs are +, +, -.
/// assert_eq!(out, [3.0, 3.0, -5.0, 0.0]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
pub fn ties_slices<T: Element>(
    base: &[T],
    models: &[&[T]],
    params: &Ties,
    out: &mut [T],
) -> Result<(), KernelError> {
    merge_slices_onto_base(params, &params.weights, base, models, out)
}

/// Merges arrays of one shape, which is also the result's; one rounding to their
/// type.
///
/// # Errors
/// Shapes that differ, and as [`ties_slices`].
///
/// ```
/// use mergecore_kernel::ndarray::{Array2, array};
/// use mergecore_ties::{Ties, ties};
///
/// let base = Array2::<f32>::zeros((1, 2));
/// let (a, b) = (array![[1.0f32, 2.0]], array![[3.0f32, -6.0]]);
/// let merged = ties(base.view(), &[a.view(), b.view()], &Ties::new([1.0, 1.0], [1.0, 1.0]))?;
/// assert_eq!(merged, array![[2.0, -6.0]]);
/// # Ok::<(), mergecore_ties::KernelError>(())
/// ```
#[cfg(feature = "ndarray")]
pub fn ties<T: Element, D: mergecore_kernel::ndarray::Dimension>(
    base: mergecore_kernel::ndarray::ArrayView<'_, T, D>,
    models: &[mergecore_kernel::ndarray::ArrayView<'_, T, D>],
    params: &Ties,
) -> Result<mergecore_kernel::ndarray::Array<T, D>, KernelError> {
    mergecore_kernel::merge_arrays_onto_base(params, &params.weights, base, models)
}

/// `rescale` in recipes, where it is off by default.
pub(crate) const RESCALE: Parameter = Parameter {
    name: "rescale",
    scope: Scope::Shared,
    kind: ParameterKind::Flag,
    default: DefaultValue::Unset,
    help: "scale up what is kept (off unless rescale_norm is given; l1)",
};

/// `ties` as recipes name it.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::TiesMethod;
///
/// assert_eq!(TiesMethod.name(), "ties");
/// let names: Vec<&str> = TiesMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names[..4], ["weight", "density", "normalize", "lambda"]);
/// assert_eq!(names[4..], ["rescale", "rescale_norm", "consensus", "elect", "scope"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct TiesMethod;

impl Method for TiesMethod {
    fn name(&self) -> &str {
        "ties"
    }

    fn title(&self) -> &str {
        "TIES"
    }

    fn summary(&self) -> &str {
        "Keeps each model's largest changes, elects a sign for each element, adds what agrees"
    }

    fn source(&self) -> Option<&str> {
        Some("https://arxiv.org/abs/2306.01708")
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 9] = [
            Parameter::WEIGHT,
            Parameter::DENSITY,
            Parameter { default: DefaultValue::Flag(true), ..Parameter::NORMALIZE },
            Parameter::LAMBDA,
            RESCALE,
            Parameter::RESCALE_NORM,
            Parameter::CONSENSUS,
            Parameter::ELECT,
            Parameter {
                name: "scope",
                scope: Scope::Shared,
                kind: ParameterKind::Choice(&["tensor", "model"]),
                default: DefaultValue::Text("tensor"),
                help: "keep the largest changes of each tensor, or of the whole model",
            },
        ];
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let shared = &binding.shared;
        let ties = Ties {
            weights: binding.numbers("weight"),
            densities: binding.numbers("density"),
            normalize: shared.flag("normalize").unwrap_or(true),
            lambda: shared.number("lambda").unwrap_or(1.0),
            rescale: Rescale::from_arguments(shared, false, Rescale::L1),
            election: Election::from_arguments(shared),
            scope: match shared.text("scope") {
                Some("model") => TrimScope::Model,
                _ => TrimScope::Tensor,
            },
        };
        ties.vectors().check()?;
        Ok(Box::new(ties))
    }
}
