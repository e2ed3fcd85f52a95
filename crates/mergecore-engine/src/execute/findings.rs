//! Numbers of a tensor that are wrong: in its inputs, and in what they became.

use mergecore_kernel::{Found, Losses};
use serde::{Deserialize, Serialize};

use super::{Job, Outcome};
use crate::EngineError;
use crate::plan::{MergePlan, PlannedTensor};

/// What was found in a tensor's data.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Findings {
    /// NaN and infinity in inputs, in the order of the inputs; looked for where they are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) nonfinite_inputs: Vec<InputFinding>,
    /// NaN and infinity in the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nonfinite: Option<Counted>,
    /// Results that are not zero, but zero in the output's dtype.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) flushed: Option<Counted>,
}

/// NaN and infinity in the input of this index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct InputFinding {
    pub(crate) input: usize,
    #[serde(flatten)]
    pub(crate) found: Counted,
}

/// So many elements, the first at this flat index.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct Counted {
    pub(crate) count: u64,
    pub(crate) first: u64,
}

impl From<Found> for Counted {
    fn from(Found { count, first }: Found) -> Self {
        Counted { count, first }
    }
}

impl Findings {
    /// From what was found in each input and lost in the output.
    pub(super) fn new(inputs: &[Option<Found>], losses: Losses) -> Self {
        let found = |(input, found): (usize, &Option<Found>)| {
            Some(InputFinding { input, found: (*found)?.into() })
        };
        Findings {
            nonfinite_inputs: inputs.iter().enumerate().filter_map(found).collect(),
            nonfinite: losses.nonfinite.map(Counted::from),
            flushed: losses.flushed.map(Counted::from),
        }
    }

    /// Whether nothing was.
    pub(crate) fn is_none(&self) -> bool {
        *self == Findings::default()
    }

    /// NaN or infinity, first of an input and then of the output, unless they are allowed.
    pub(super) fn check(&self, job: &Job<'_>, tensor: &PlannedTensor) -> Result<(), EngineError> {
        if job.options.allow_nonfinite {
            return Ok(());
        }
        let len = len(tensor);
        if let Some(InputFinding { input, found }) = self.nonfinite_inputs.first() {
            let (input, Counted { count, first }) = (&tensor.inputs[*input], *found);
            let (tensor, model) = (input.name.clone(), job.plan.models[input.model].name());
            return Err(EngineError::NonFinite { tensor, model, count, len, first });
        }
        if let Some(Counted { count, first }) = self.nonfinite {
            let (tensor, dtype) = (tensor.name.clone(), tensor.dtype);
            return Err(EngineError::NonFiniteOutput { tensor, dtype, count, len, first });
        }
        Ok(())
    }

    /// What the user should know of this tensor: NaN and infinity that were allowed.
    pub(super) fn notes(&self, plan: &MergePlan, tensor: &PlannedTensor) -> Vec<String> {
        let held = |of: String, Counted { count, first }| {
            let len = len(tensor);
            format!(
                "{of} holds NaN or infinity in {count} of its {len} elements, the first at index {first}"
            )
        };
        let inputs = self.nonfinite_inputs.iter().map(|InputFinding { input, found }| {
            let input = &tensor.inputs[*input];
            held(
                format!("tensor `{}` of `{}`", input.name, plan.models[input.model].name()),
                *found,
            )
        });
        let output = self.nonfinite.map(|found| {
            held(format!("the merged tensor `{}` ({})", tensor.name, tensor.dtype), found)
        });
        inputs.chain(output).collect()
    }
}

fn len(tensor: &PlannedTensor) -> u64 {
    tensor.shape.iter().product::<usize>() as u64
}

/// One note on all results that became zero, if any did.
pub(super) fn flushed_note(plan: &MergePlan, outcomes: &[Outcome]) -> Option<String> {
    let tensors = plan.tensors.iter().zip(outcomes);
    let flushed = tensors.filter_map(|(tensor, outcome)| Some((tensor, outcome.findings.flushed?)));
    let mut flushed = flushed.peekable();
    let (first, Counted { first: index, .. }) = *flushed.peek()?;
    let mut dtypes = Vec::new();
    let (mut elements, mut tensors) = (0, 0);
    for (tensor, found) in flushed {
        elements += found.count;
        tensors += 1;
        if !dtypes.contains(&tensor.dtype.name()) {
            dtypes.push(tensor.dtype.name());
        }
    }
    let some = |n: u64, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
    Some(format!(
        "{} of {} became zero, being too small for {}; the first is of `{}`, at index {index}",
        some(elements, "element"),
        some(tensors, "tensor"),
        dtypes.join(" and "),
        first.name,
    ))
}
