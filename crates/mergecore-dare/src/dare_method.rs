//! `dare_linear` and `dare_ties` as recipes name them.

use mergecore_kernel::{
    Base, Binding, DefaultValue, Election, Inputs, Kernel, KernelError, Method, Parameter,
    ParameterKind, Rescale, Scope,
};

use crate::Dare;
use crate::dare::DareKernel;

const SOURCE: &str = "https://arxiv.org/abs/2311.03099";

/// Those of `dare_ties`, of which the last two are about the election.
const PARAMETERS: [Parameter; 8] = [
    Parameter::WEIGHT,
    Parameter::DENSITY,
    Parameter { default: DefaultValue::Flag(false), ..Parameter::NORMALIZE },
    Parameter::LAMBDA,
    Parameter {
        name: "rescale",
        scope: Scope::Shared,
        kind: ParameterKind::Flag,
        default: DefaultValue::Flag(true),
        help: "scale up what is kept (by the density unless rescale_norm says otherwise)",
    },
    Parameter::RESCALE_NORM,
    Parameter::CONSENSUS,
    Parameter::ELECT,
];

fn bind(elects: bool, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
    let shared = &binding.shared;
    let params = Dare {
        weights: binding.numbers("weight"),
        densities: binding.numbers("density"),
        normalize: shared.flag("normalize").unwrap_or(false),
        lambda: shared.number("lambda").unwrap_or(1.0),
        rescale: Rescale::from_arguments(shared, true, Rescale::Density),
        election: Election::from_arguments(shared),
        stream: binding.stream,
    };
    let kernel = DareKernel { params, elects };
    kernel.check()?;
    Ok(Box::new(kernel))
}

/// `dare_linear`: drop and rescale, then add.
///
/// ```
/// use mergecore_dare::DareLinearMethod;
/// use mergecore_kernel::Method;
///
/// assert_eq!(DareLinearMethod.name(), "dare_linear");
/// let names: Vec<&str> = DareLinearMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names, ["weight", "density", "normalize", "lambda", "rescale", "rescale_norm"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DareLinearMethod;

impl Method for DareLinearMethod {
    fn name(&self) -> &str {
        "dare_linear"
    }

    fn title(&self) -> &str {
        "Linear DARE"
    }

    fn summary(&self) -> &str {
        "Drops changes at random, scales up the rest, adds them"
    }

    fn source(&self) -> Option<&str> {
        Some(SOURCE)
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &PARAMETERS[..6]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        bind(false, binding)
    }
}

/// `dare_ties`: drop and rescale, then elect signs and add what agrees.
///
/// ```
/// use mergecore_dare::DareTiesMethod;
/// use mergecore_kernel::Method;
///
/// assert_eq!(DareTiesMethod.name(), "dare_ties");
/// assert_eq!(DareTiesMethod.parameters().last().unwrap().name, "elect");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct DareTiesMethod;

impl Method for DareTiesMethod {
    fn name(&self) -> &str {
        "dare_ties"
    }

    fn title(&self) -> &str {
        "DARE TIES"
    }

    fn summary(&self) -> &str {
        "Drops changes at random, scales up the rest, elects signs, adds what agrees"
    }

    fn source(&self) -> Option<&str> {
        Some(SOURCE)
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        bind(true, binding)
    }
}
