//! The methods a merge may use.

use std::collections::BTreeMap;
use std::sync::Arc;

use mergecore_kernel::Method;

/// Merge methods by name.
///
/// ```
/// use mergecore_engine::Registry;
///
/// assert!(Registry::new().get("ties").is_none());
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

    /// The method of that name.
    pub fn get(&self, name: &str) -> Option<&Arc<dyn Method>> {
        self.methods.get(name)
    }

    /// All methods, by name.
    pub fn methods(&self) -> impl Iterator<Item = &dyn Method> {
        self.methods.values().map(|method| &**method)
    }

    /// The methods' names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.methods.keys().map(String::as_str)
    }
}
