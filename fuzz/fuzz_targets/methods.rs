//! Every built-in method over tensors of any shape, dtype and content, with any parameters.
//!
//! Oracle: bit for bit, the output from pieces of the stored tensors, done out of order by
//! several workers with every instruction set, is what comes from the whole tensors widened to
//! doubles, or both end with the same error; an input that the kernel says it selects comes out
//! as it is; finite inputs give finite outputs or an error.

#![no_main]

use std::sync::OnceLock;

use arbitrary::{Arbitrary, Unstructured};
use libfuzzer_sys::fuzz_target;
use mergecore::Registry;
use mergecore::kernel::{
    Argument, Arguments, BLOCK, Base, Binding, DefaultValue, Elements, Kernel, Method, Parameter,
    ParameterKind, Scope, Simd, StreamKey, conformance, merge_slices,
};
use mergecore_fuzz::{Float, Special, Stored, Values, stored};

/// What one input of the fuzzer says.
#[derive(Debug, Arbitrary)]
struct Case {
    method: u8,
    with_base: bool,
    models: u8,
    values: Values,
    seed: u64,
    dtypes: [Float; 5],
    axes: u8,
    shape: [u16; 4],
    specials: Vec<(u8, u16, Special)>,
    parameters: Vec<u8>,
}

fuzz_target!(|input: &[u8]| {
    if let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(input)) {
        case.check();
    }
});

impl Case {
    fn method(&self) -> &'static dyn Method {
        static METHODS: OnceLock<Registry> = OnceLock::new();
        let methods = METHODS.get_or_init(mergecore::builtin_methods);
        let number = usize::from(self.method) % methods.methods().count();
        methods.methods().nth(number).expect("one of them")
    }

    /// Up to four axes and a few thousand elements; now and then some more than a block, with
    /// methods that have no matrix to decompose.
    fn shape(&self) -> Vec<usize> {
        if self.axes >= 250 && !matches!(self.method().name(), "iso_c" | "tsv") {
            let columns = usize::from(self.shape[0]) % 3_000 + 1;
            return vec![BLOCK as usize / columns + 2, columns];
        }
        let axes = usize::from(self.axes) % 5;
        let most = [0, 2_500, 50, 13, 7][axes];
        self.shape[..axes].iter().map(|axis| usize::from(*axis) % (most + 1)).collect()
    }

    fn check(&self) {
        let (method, shape) = (self.method(), self.shape());
        let inputs = method.inputs();
        let base = inputs.base == Base::Required || inputs.base.takes(self.with_base);
        let most = (*inputs.models.end()).min(12);
        let models =
            inputs.models.start() + usize::from(self.models) % (most + 1 - inputs.models.start());
        let Some(kernel) = self.bind(method, base, models) else { return };

        let count = models + usize::from(base);
        let len = shape.iter().product();
        let stored = stored(self.values, self.seed, &self.dtypes, count, len, &self.specials);
        let wide: Vec<Vec<f64>> = stored.iter().map(Stored::widened).collect();
        let slices: Vec<&[f64]> = wide.iter().map(Vec::as_slice).collect();
        let label = format!("{kernel:?} of {count} inputs of shape {shape:?}");

        let mut whole = vec![0.0; len];
        let whole = merge_slices(&*kernel, &slices, &shape, &mut whole).map(|()| whole);
        let elements: Vec<Elements<'_>> = stored.iter().map(Stored::elements).collect();
        for simd in Simd::available() {
            let pieces = conformance::merge_in_pieces(&*kernel, &elements, &shape, simd);
            match (&whole, pieces) {
                (Ok(whole), Ok(pieces)) => {
                    assert_eq!(bits(whole), bits(&pieces), "{label}, {}", simd.name());
                }
                (Err(whole), Err(pieces)) => assert_eq!(whole.to_string(), pieces.to_string()),
                (whole, pieces) => panic!("{label}: {whole:?} as a whole, {pieces:?} in pieces"),
            }
        }
        let Ok(whole) = whole else { return };
        if let Some(selected) = kernel.selects() {
            let selected: Vec<u64> = wide[selected].iter().map(|value| canonical(*value)).collect();
            assert_eq!(bits(&whole), selected, "{label}: what is selected");
        }
        // Beyond that, products of three numbers overflow.
        if wide.iter().flatten().all(|value| value.abs() < 1e90) {
            let bad = whole.iter().position(|value| !value.is_finite());
            assert_eq!(bad, None, "{label}: an element that is not finite");
        }
    }

    /// The method's kernel with drawn parameters; `None` where they do not fit together.
    fn bind(&self, method: &dyn Method, base: bool, models: usize) -> Option<Box<dyn Kernel>> {
        let mut draws = self.parameters.iter().copied();
        let mut draw = || draws.next().unwrap_or(0);
        let (mut shared, mut of_models) =
            (Arguments::default(), vec![Arguments::default(); models]);
        for parameter in method.parameters() {
            let into = match parameter.scope {
                Scope::Shared => std::slice::from_mut(&mut shared),
                Scope::PerModel => &mut of_models,
            };
            for arguments in into {
                if let Some(argument) = argument(parameter, draw()) {
                    arguments.insert(parameter.name, argument);
                }
            }
        }
        let stream = StreamKey::from_seed(self.seed);
        method.bind(&Binding { base, shared, models: of_models, stream }).ok()
    }
}

/// A value of a parameter, its default in one case of four.
fn argument(parameter: &Parameter, by: u8) -> Option<Argument> {
    let default = match parameter.default {
        DefaultValue::Number(number) => Some(Argument::Number(number)),
        DefaultValue::Flag(flag) => Some(Argument::Flag(flag)),
        DefaultValue::Text(text) => Some(Argument::Text(text.to_owned())),
        DefaultValue::Unset => None,
        DefaultValue::Required => Some(Argument::Number(1.0)),
    };
    if by.is_multiple_of(4) {
        return default;
    }
    let by = usize::from(by / 4);
    Some(match parameter.kind {
        ParameterKind::Number { min, max } => {
            let numbers: [f64; 13] =
                [0.5, 1.0, 0.3, 0.0, -0.5, 0.9, 1e-6, 0.01, 1.5, 0.25, -1.0, 3.0, 0.75];
            Argument::Number(numbers[by % numbers.len()].clamp(min, max))
        }
        ParameterKind::Integer { min, max } => {
            Argument::Number(f64::from(min.saturating_add(by as u32 % 13).min(max)))
        }
        ParameterKind::Flag => Argument::Flag(!by.is_multiple_of(2)),
        ParameterKind::Choice(words) => Argument::Text(words[by % words.len()].to_owned()),
    })
}

fn canonical(value: f64) -> u64 {
    if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() }
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|value| value.to_bits()).collect()
}
