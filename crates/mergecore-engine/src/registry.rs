//! The methods a merge may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use mergecore_kernel::Method;

/// Merge methods by name.
///
/// ```
/// use mergecore_engine::Registry;
/// use mergecore_kernel::{Base, Binding, Inputs, Kernel, KernelError, Method, Parameter};
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
///
/// #[derive(Debug)]
/// struct MeanMethod;
///
/// impl Method for MeanMethod {
///     fn name(&self) -> &str { "mean" }
///     fn title(&self) -> &str { "Mean" }
///     fn inputs(&self) -> Inputs { Inputs { base: Base::None, models: 2..=2 } }
///     fn parameters(&self) -> &[Parameter] { &[] }
///     fn bind(&self, _: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
///         Ok(Box::new(example::Mean)) // a kernel
///     }
/// }
///
/// let mut registry = Registry::new();
/// registry.register(MeanMethod);
/// assert!(registry.names().eq(["mean"]));
/// assert!(registry.get("mean").is_some_and(|method| method.title() == "Mean"));
/// assert!(registry.methods().all(|method| method.parameters().is_empty()));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Registry {
    methods: BTreeMap<String, Arc<dyn Method>>,
}

impl Registry {
    /// A registry without methods.
    pub fn new() -> Self {
        Registry::default()
    }

    /// Adds a method under its name, in place of one that had it.
    pub fn register(&mut self, method: impl Method + 'static) -> &mut Self {
        self.methods.insert(method.name().to_owned(), Arc::new(method));
        self
    }

    /// The method of that name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Method>> {
        self.methods.get(name)
    }

    /// All methods, in the order of their names.
    pub fn methods(&self) -> impl Iterator<Item = &dyn Method> {
        self.methods.values().map(|method| &**method)
    }

    /// The methods' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }
}
