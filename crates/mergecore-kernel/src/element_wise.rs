//! Methods from a closure.

use std::fmt;
use std::sync::Arc;

use crate::{Apply, Binding, Extent, Inputs, Kernel, KernelError, Method, Parameter, Step, Tile};

/// A merge method that a closure computes element by element: from the elements at one place of
/// all inputs, the base first where there is one, the element of the output.
///
/// `bind` is called once for each output tensor, with the method's arguments for it, and yields
/// the closure; what it finds wrong with the arguments is an error of planning. The elements are
/// `f64` and the result is rounded once, to the output's dtype.
///
/// ```
/// use mergecore_kernel::{
///     Base, Binding, ElementWise, Inputs, KernelError, Method, Parameter, StreamKey, merge_slices,
/// };
///
/// /// The median of the models' elements.
/// fn median(values: &[f64]) -> f64 {
///     let mut values = values.to_vec();
///     values.sort_unstable_by(f64::total_cmp);
///     (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
/// }
///
/// let inputs = Inputs { base: Base::None, models: 1..=usize::MAX };
/// let method = ElementWise::new("median", inputs, [], |_: &Binding| Ok(median))
///     .with_title("Median")
///     .with_summary("Takes the median of the models, element by element");
///
/// // As the engine does it, for one tensor:
/// let stream = StreamKey::from_seed(0);
/// let binding =
///     Binding { base: false, shared: Default::default(), models: vec![Default::default(); 3], stream };
/// let mut out = [0.0f32; 2];
/// merge_slices(&*method.bind(&binding)?, &[&[1.0f32, 5.0], &[2.0, 0.0], &[9.0, 3.0]], &[2], &mut out)?;
/// assert_eq!(out, [2.0, 3.0]);
/// # Ok::<(), KernelError>(())
/// ```
#[derive(Clone)]
pub struct ElementWise<F> {
    name: String,
    title: Option<String>,
    summary: String,
    source: Option<String>,
    inputs: Inputs,
    parameters: Vec<Parameter>,
    bind: F,
}

impl<F> ElementWise<F> {
    /// A method of this name in recipes, with the inputs and parameters that it takes.
    pub fn new<G>(
        name: impl Into<String>,
        inputs: Inputs,
        parameters: impl Into<Vec<Parameter>>,
        bind: F,
    ) -> Self
    where
        F: Fn(&Binding) -> Result<G, KernelError>,
        G: Fn(&[f64]) -> f64,
    {
        ElementWise {
            name: name.into(),
            title: None,
            summary: String::new(),
            source: None,
            inputs,
            parameters: parameters.into(),
            bind,
        }
    }

    /// The name for people, by default that in recipes.
    pub fn with_title(self, title: impl Into<String>) -> Self {
        ElementWise { title: Some(title.into()), ..self }
    }

    /// What it does, in one line that begins with a verb.
    pub fn with_summary(self, summary: impl Into<String>) -> Self {
        ElementWise { summary: summary.into(), ..self }
    }

    /// Where it comes from: its paper's address.
    pub fn with_source(self, source: impl Into<String>) -> Self {
        ElementWise { source: Some(source.into()), ..self }
    }
}

impl<F> fmt::Debug for ElementWise<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElementWise").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<F, G> Method for ElementWise<F>
where
    F: Fn(&Binding) -> Result<G, KernelError> + Send + Sync,
    G: Fn(&[f64]) -> f64 + Send + Sync + 'static,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn title(&self) -> &str {
        self.title.as_deref().unwrap_or(&self.name)
    }

    fn summary(&self) -> &str {
        &self.summary
    }

    fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    fn inputs(&self) -> Inputs {
        self.inputs.clone()
    }

    fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let element = Arc::new((self.bind)(binding)?);
        let inputs = usize::from(binding.base) + binding.models.len();
        Ok(Box::new(ElementKernel { name: self.name.clone(), inputs, element }))
    }
}

struct ElementKernel<G> {
    name: String,
    inputs: usize,
    element: Arc<G>,
}

impl<G> fmt::Debug for ElementKernel<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} inputs", self.name, self.inputs)
    }
}

impl<G: Fn(&[f64]) -> f64 + Send + Sync + 'static> Kernel for ElementKernel<G> {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(ElementApply(Arc::clone(&self.element))))
    }
}

struct ElementApply<G>(Arc<G>);

impl<G: Fn(&[f64]) -> f64 + Send + Sync> Apply for ElementApply<G> {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|input| tile.input(input)).collect();
        let mut values = vec![0.0; inputs.len()];
        for (at, out) in out.iter_mut().enumerate() {
            for (value, input) in values.iter_mut().zip(&inputs) {
                *value = input[at];
            }
            *out = (self.0)(&values);
        }
    }
}
