//! `breadcrumbs` and `breadcrumbs_ties` as recipes name them.

use mergecore_kernel::{
    Base, Binding, DefaultValue, Election, Inputs, Kernel, KernelError, Method, Parameter,
    ParameterKind, Rescale, Scope,
};

use crate::Breadcrumbs;
use crate::breadcrumbs::BreadcrumbsKernel;
use crate::ties::RESCALE;

const SOURCE: &str = "https://arxiv.org/abs/2312.06795";

/// Those of `breadcrumbs_ties`, of which the last two are about the election.
const PARAMETERS: [Parameter; 9] = [
    Parameter::WEIGHT,
    Parameter::DENSITY,
    Parameter {
        name: "gamma",
        scope: Scope::PerModel,
        kind: ParameterKind::FRACTION,
        default: DefaultValue::Number(0.01),
        help: "fraction of this model's largest changes that is dropped",
    },
    Parameter { default: DefaultValue::Flag(false), ..Parameter::NORMALIZE },
    Parameter::LAMBDA,
    RESCALE,
    Parameter::RESCALE_NORM,
    Parameter::CONSENSUS,
    Parameter::ELECT,
];

fn bind(elects: bool, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
    let shared = &binding.shared;
    let params = Breadcrumbs {
        weights: binding.numbers("weight"),
        densities: binding.numbers("density"),
        gammas: binding.numbers("gamma"),
        normalize: shared.flag("normalize").unwrap_or(false),
        lambda: shared.number("lambda").unwrap_or(1.0),
        rescale: Rescale::from_arguments(shared, false, Rescale::L1),
        election: Election::from_arguments(shared),
    };
    let kernel = BreadcrumbsKernel { params, elects };
    kernel.check()?;
    Ok(Box::new(kernel))
}

/// `breadcrumbs`: drop outliers and small changes, then add.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::BreadcrumbsMethod;
///
/// assert_eq!(BreadcrumbsMethod.name(), "breadcrumbs");
/// let names: Vec<&str> = BreadcrumbsMethod.parameters().iter().map(|p| p.name).collect();
/// assert_eq!(names[..5], ["weight", "density", "gamma", "normalize", "lambda"]);
/// assert_eq!(names[5..], ["rescale", "rescale_norm"]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BreadcrumbsMethod;

impl Method for BreadcrumbsMethod {
    fn name(&self) -> &str {
        "breadcrumbs"
    }

    fn title(&self) -> &str {
        "Model Breadcrumbs"
    }

    fn summary(&self) -> &str {
        "Drops each model's largest and its small changes, adds the rest"
    }

    fn source(&self) -> Option<&str> {
        Some(SOURCE)
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::Required, models: 0..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &PARAMETERS[..7]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        bind(false, binding)
    }
}

/// `breadcrumbs_ties`: drop outliers and small changes, then elect signs and add what agrees.
///
/// ```
/// use mergecore_kernel::Method;
/// use mergecore_ties::BreadcrumbsTiesMethod;
///
/// assert_eq!(BreadcrumbsTiesMethod.name(), "breadcrumbs_ties");
/// assert_eq!(BreadcrumbsTiesMethod.parameters().last().unwrap().name, "elect");
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BreadcrumbsTiesMethod;

impl Method for BreadcrumbsTiesMethod {
    fn name(&self) -> &str {
        "breadcrumbs_ties"
    }

    fn title(&self) -> &str {
        "Model Breadcrumbs with TIES"
    }

    fn summary(&self) -> &str {
        "Drops each model's largest and its small changes, elects signs, adds what agrees"
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
