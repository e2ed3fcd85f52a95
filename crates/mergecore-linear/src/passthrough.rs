//! One model's tensors, unchanged or scaled.

use mergecore_kernel::{
    Binding, Combination, Default as Unless, Extent, Inputs, Kernel, KernelError, Method,
    Parameter, ParameterKind, Scope, Step,
};

/// The only input times `scale`, or unchanged without one: what layer stacking
/// is made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Passthrough {
    /// Factor on every element.
    pub scale: Option<f64>,
}

impl Passthrough {
    fn combination(&self) -> Combination {
        Combination::new(vec![self.scale.unwrap_or(1.0)])
    }
}

impl Kernel for Passthrough {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(self.combination()))
    }

    fn selects(&self) -> Option<usize> {
        self.combination().selects()
    }
}

/// `passthrough` as recipes name it.
#[derive(Debug, Clone, Copy, Default)]
pub struct PassthroughMethod;

impl Method for PassthroughMethod {
    fn name(&self) -> &str {
        "passthrough"
    }

    fn title(&self) -> &str {
        "Passthrough"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: false, models: 1..=1 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[Parameter {
            name: "scale",
            scope: Scope::PerModel,
            kind: ParameterKind::ANY_NUMBER,
            default: Unless::Unset,
            help: "factor on every element of the tensor",
        }]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let scale = binding.models.first().and_then(|model| model.number("scale"));
        Ok(Box::new(Passthrough { scale }))
    }
}
