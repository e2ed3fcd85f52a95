//! One model's tensors, unchanged or scaled.

use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Extent, Inputs, Kernel, KernelError, Method,
    Parameter, ParameterKind, Scope, Step,
};

/// The only input times `scale`, or unchanged without one: what layer stacking
/// is made of. The output has the input's shape.
///
/// ```
/// use mergecore_kernel::merge_slices;
/// use mergecore_linear::Passthrough;
///
/// let mut half = [0.0f32; 2];
/// merge_slices(&Passthrough { scale: Some(0.5) }, &[&[1.0f32, -4.0]], &[2], &mut half)?;
/// assert_eq!(half, [0.5, -2.0]);
/// # Ok::<(), mergecore_linear::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Passthrough {
    /// Factor on every element, any finite number; `None`, the default, is 1.
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
///
/// ```
/// use mergecore_kernel::{Argument, Arguments, Binding, Method, StreamKey, merge_slices};
/// use mergecore_linear::PassthroughMethod;
///
/// let mut model = Arguments::default();
/// model.insert("scale", Argument::Number(2.0));
/// let stream = StreamKey::from_seed(0);
/// let binding =
///     Binding { base: false, shared: Arguments::default(), models: vec![model], stream };
/// let mut out = [0.0f32];
/// merge_slices(&*PassthroughMethod.bind(&binding)?, &[&[1.5f32]], &[1], &mut out)?;
/// assert_eq!(out, [3.0]);
/// # Ok::<(), mergecore_linear::KernelError>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct PassthroughMethod;

impl Method for PassthroughMethod {
    fn name(&self) -> &str {
        "passthrough"
    }

    fn title(&self) -> &str {
        "Passthrough"
    }

    fn summary(&self) -> &str {
        "Copies layers as they are, to stack or cut models"
    }

    fn inputs(&self) -> Inputs {
        Inputs { base: Base::None, models: 1..=1 }
    }

    fn parameters(&self) -> &[Parameter] {
        &[Parameter {
            name: "scale",
            scope: Scope::PerModel,
            kind: ParameterKind::ANY_NUMBER,
            default: DefaultValue::Unset,
            help: "factor on every element of the tensor",
        }]
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let scale = binding.models.first().and_then(|model| model.number("scale"));
        Ok(Box::new(Passthrough { scale }))
    }
}
