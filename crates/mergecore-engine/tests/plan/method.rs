//! A method that writes down what it is bound with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use mergecore_engine::stream_key;
use mergecore_kernel::{
    Base, Binding, Combination, DefaultValue, Extent, Inputs, Kernel, KernelError, Method,
    Parameter, ParameterKind, Scope, Step,
};

pub(crate) const WEIGHT: f64 = 1.0;
pub(crate) const GAIN: f64 = 0.5;

const PARAMETERS: [Parameter; 2] = [
    Parameter { default: DefaultValue::Number(WEIGHT), ..Parameter::WEIGHT },
    Parameter {
        name: "gain",
        scope: Scope::Shared,
        kind: ParameterKind::ANY_NUMBER,
        default: DefaultValue::Number(GAIN),
        help: "a parameter that all models share",
    },
];

/// `gain` and the `weight`s, by the key of the tensor's stream.
type Bound = BTreeMap<[u8; 32], (f64, Vec<f64>)>;

#[derive(Debug, Clone)]
pub(crate) struct Recording {
    takes_base: bool,
    bound: Arc<Mutex<Bound>>,
}

/// What a [`Recording`] was bound with.
pub(crate) struct Recorded(Bound);

impl Recording {
    pub(crate) fn new(takes_base: bool) -> Self {
        Recording { takes_base, bound: Arc::default() }
    }

    pub(crate) fn recorded(&self) -> Recorded {
        Recorded(self.bound.lock().unwrap().clone())
    }
}

impl Recorded {
    /// `gain` and the `weight`s for an output tensor.
    pub(crate) fn of(&self, seed: u64, tensor: &str) -> Option<(f64, Vec<f64>)> {
        self.0.get(&stream_key(seed, tensor).0).cloned()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Method for Recording {
    fn name(&self) -> &str {
        "recording"
    }

    fn title(&self) -> &str {
        "Recording"
    }

    fn inputs(&self) -> Inputs {
        let base = if self.takes_base { Base::Required } else { Base::None };
        Inputs { base, models: 1..=usize::MAX }
    }

    fn parameters(&self) -> &[Parameter] {
        &PARAMETERS
    }

    fn bind(&self, binding: &Binding) -> Result<Box<dyn Kernel>, KernelError> {
        let gain = binding.shared.number("gain").expect("it has a default");
        let weights = binding.numbers("weight");
        let mut bound = self.bound.lock().unwrap();
        let before = bound.insert(binding.stream.0, (gain, weights.clone()));
        assert_eq!(before, None, "bound to one tensor twice");
        Ok(Box::new(Weighted(weights)))
    }
}

#[derive(Debug)]
struct Weighted(Vec<f64>);

impl Kernel for Weighted {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(Combination::new(self.0.clone())))
    }
}
