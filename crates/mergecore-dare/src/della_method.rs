//! `della` and `della_linear` as recipes name them.

use mergecore_kernel::{
    Base, Binding, DefaultValue, Election, Inputs, Kernel, KernelError, Method, Parameter,
    ParameterKind, Rescale, Scope,
};

use crate::Della;
use crate::della::DellaKernel;

const SOURCE: &str = "https://arxiv.org/abs/2406.11617";

const EPSILON: Parameter = Parameter {
    name: "epsilon",
    scope: Scope::PerModel,
    kind: ParameterKind::FRACTION,
    default: DefaultValue::Number(Della::EPSILON),
    help: "how far the largest and smallest changes' chances lie from the density",
};

/// Those of a method by its default of `normalize`; only `della` has the last two, which are
/// about the election.
const fn parameters(normalize: bool) -> [Parameter; 9] {
    [
        Parameter::WEIGHT,
        Parameter::DENSITY,
        EPSILON,
        Parameter { default: DefaultValue::Flag(normalize), ..Parameter::NORMALIZE },
        Parameter::LAMBDA,
        Parameter {
            name: "rescale",
            scope: Scope::Shared,
            kind: ParameterKind::Flag,
            default: DefaultValue::Flag(true),
            help: "scale up what is kept (to match l1 unless rescale_norm says otherwise)",
        },
        Parameter::RESCALE_NORM,
        Parameter::CONSENSUS,
        Parameter::ELECT,
    ]
}

fn bind(elects: bool, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
    let shared = &binding.shared;
    let params = Della {
        weights: binding.numbers("weight"),
        densities: binding.numbers("density"),
        epsilons: binding.numbers("epsilon"),
        normalize: shared.flag("normalize").unwrap_or(elects),
        lambda: shared.number("lambda").unwrap_or(1.0),
        rescale: Rescale::from_arguments(shared, true, Rescale::L1),
        election: Election::from_arguments(shared),
        stream: binding.stream,
    };
    let kernel = DellaKernel { params, elects };
    kernel.check()?;
    Ok(Box::new(kernel))
}

/// `della`: drop at random, the small more often than the large, rescale, elect signs and add
/// what agrees.
///
/// ```
/// use mergecore_dare::DellaMethod;
/// use mergecore_kernel::{DefaultValue, Method};
///
/// assert_eq!(DellaMethod.name(), "della");
/// assert_eq!(DellaMethod.parameters()[2].name, "epsilon");
/// assert_eq!(DellaMethod.parameters()[3].default, DefaultValue::Flag(true)); // normalize
/// assert_eq!(DellaMethod.parameters().last().unwrap().name, "elect");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DellaMethod;

impl Method for DellaMethod {
    fn name(&self) -> &str {
        "della"
    }

    fn title(&self) -> &str {
        "DELLA"
    }

    fn summary(&self) -> &str {
        "Drops changes at random, small ones more often, elects signs, adds what agrees"
    }

    fn source(&self) -> Option<&str> {
        Some(SOURCE)
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 9] = parameters(true);
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        bind(true, binding)
    }
}

/// `della_linear`: drop at random, the small more often than the large, rescale and add.
///
/// ```
/// use mergecore_dare::DellaLinearMethod;
/// use mergecore_kernel::Method;
///
/// assert_eq!(DellaLinearMethod.name(), "della_linear");
/// let names: Vec<&str> = DellaLinearMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names[..4], ["weight", "density", "epsilon", "normalize"]);
/// assert_eq!(names[4..], ["lambda", "rescale", "rescale_norm"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DellaLinearMethod;

impl Method for DellaLinearMethod {
    fn name(&self) -> &str {
        "della_linear"
    }

    fn title(&self) -> &str {
        "Linear DELLA"
    }

    fn summary(&self) -> &str {
        "Drops changes at random, small ones more often, adds the rest"
    }

    fn source(&self) -> Option<&str> {
        Some(SOURCE)
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        const PARAMETERS: [Parameter; 9] = parameters(false);
        &PARAMETERS[..7]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        bind(false, binding)
    }
}
