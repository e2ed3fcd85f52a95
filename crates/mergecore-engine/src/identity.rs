//! What makes two merges the same one.

use std::fmt;

use mergecore_io::Stamp;
use serde::{Deserialize, Serialize};

use crate::MergeOptions;
use crate::plan::{MergePlan, Model, Operation, PlannedTensor};

/// What the bytes of an output's files follow from, as far as it is known before tensors are
/// read: for a merge that goes on with the work of another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    mergecore_version: String,
    plan_blake3: String,
    recipe: String,
    seed: u64,
    hashed: bool,
    /// The output's weights files, with their lengths.
    outputs: Vec<(String, u64)>,
    inputs: Vec<Input>,
}

/// A weights file that is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    model: String,
    file: String,
    stamp: Stamp,
}

impl Identity {
    pub(crate) fn of(plan: &MergePlan, options: &MergeOptions) -> Self {
        let shards = plan.layout.shards().iter();
        let inputs = plan.models.iter().flat_map(|model| {
            model.checkpoint.files().iter().map(|file| Input {
                model: model.name(),
                file: file.name.clone(),
                stamp: file.stamp.clone(),
            })
        });
        Identity {
            mergecore_version: env!("CARGO_PKG_VERSION").to_owned(),
            plan_blake3: plan.plan_hash.clone(),
            recipe: plan.recipe.clone(),
            seed: plan.seed,
            hashed: options.hash,
            outputs: shards.map(|file| (file.file_name().to_owned(), file.file_len())).collect(),
            inputs: inputs.collect(),
        }
    }

    /// How this merge differs from an earlier one, a clause each.
    pub(crate) fn differences(&self, earlier: &Identity) -> Vec<String> {
        let mut found = Vec::new();
        let mut differ = |is: bool, text: &dyn Fn() -> String| {
            if is {
                found.push(text());
            }
        };
        let (old, new) = (&earlier.mergecore_version, &self.mergecore_version);
        differ(old != new, &|| format!("mergecore was {old} and is {new}"));
        differ(earlier.recipe != self.recipe, &|| {
            format!("the recipe differs{}", first_difference(&earlier.recipe, &self.recipe))
        });
        let (old, new) = (earlier.seed, self.seed);
        differ(old != new, &|| format!("the seed was {old} and is {new}"));
        differ(earlier.hashed != self.hashed, &|| {
            let verb = if earlier.hashed { "was not given and is" } else { "was given and is not" };
            format!("--no-hash {verb}")
        });
        for input in &self.inputs {
            found.extend(match earlier.inputs.iter().find(|old| old.is_at(input)) {
                Some(old) => {
                    old.stamp.change_to(&input.stamp).map(|change| format!("{input} {change}"))
                }
                None => Some(format!("{input} was not there or not read")),
            });
        }
        let gone = |old: &&Input| !self.inputs.iter().any(|input| input.is_at(old));
        let gone = earlier.inputs.iter().filter(gone);
        found.extend(gone.map(|old| format!("{old} was read and is not any more")));
        // What has just been told explains these.
        if found.is_empty() && earlier.outputs != self.outputs {
            found.push("the output's files are to be others (--out-shard-size)".to_owned());
        }
        if found.is_empty() && earlier.plan_blake3 != self.plan_blake3 {
            found.push("what follows from the models' files is another".to_owned());
        }
        found
    }
}

impl Input {
    /// Whether both are the same file by name.
    fn is_at(&self, other: &Input) -> bool {
        (&self.model, &self.file) == (&other.model, &other.file)
    }
}

/// As messages name it.
impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`", self.file, self.model)
    }
}

/// Where two texts differ, as something to put in a sentence.
fn first_difference(old: &str, new: &str) -> String {
    let (mut old, mut new) = (old.lines(), new.lines());
    for number in 1.. {
        match (old.next(), new.next()) {
            (None, None) => break,
            (a, b) if a == b => {}
            (Some(a), Some(b)) => {
                return format!(" (line {number} was `{}` and is `{}`)", a.trim(), b.trim());
            }
            (Some(a), None) => return format!(" (line {number}, `{}`, is gone)", a.trim()),
            (None, Some(b)) => return format!(" (line {number}, `{}`, is new)", b.trim()),
        }
    }
    String::new()
}

/// BLAKE3 of recipe, seed and what the plan makes of them: every output tensor with its inputs,
/// dtype and shape. No path and no time is in it, except those that the recipe names.
pub(crate) fn plan_hash(
    recipe: &str,
    method: &str,
    seed: u64,
    models: &[Model],
    tensors: &[PlannedTensor],
) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("mergecore 2026-11-25 recipe and plan");
    let mut buffer = Vec::new();
    {
        let mut text = |text: &str| {
            buffer.extend((text.len() as u64).to_le_bytes());
            buffer.extend(text.as_bytes());
        };
        text(recipe);
        text(method);
        text(&seed.to_string());
        for model in models {
            for stack in model.architecture.stacks() {
                text(&stack.prefix);
                text(&stack.layers.to_string());
            }
            text("");
        }
        for tensor in tensors {
            text(&tensor.name);
            text(tensor.dtype.name());
            text(&format!("{:?}", tensor.shape));
            text(match tensor.operation {
                Operation::Copy => "copy",
                Operation::Merge(_) => "merge",
            });
            for input in &tensor.inputs {
                text(&input.model.to_string());
                text(&input.name);
                text(input.source.dtype().name());
                text(&format!("{:?}", input.source.shape()));
            }
            text("");
        }
    }
    hasher.update(&buffer).finalize().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(bytes: u64) -> Stamp {
        let times = r#""modified_unix_nanoseconds": 1, "changed_unix_nanoseconds": 1"#;
        let text = format!(r#"{{"bytes": {bytes}, {times}, "inode": 1}}"#);
        serde_json::from_str(&text).unwrap()
    }

    fn identity() -> Identity {
        let input = |file: &str| Input {
            model: "org/a".to_owned(),
            file: file.to_owned(),
            stamp: stamp(9),
        };
        Identity {
            mergecore_version: "1".to_owned(),
            plan_blake3: "0".to_owned(),
            recipe: "merge_method: ties\nmodels: []\n".to_owned(),
            seed: 1,
            hashed: true,
            outputs: vec![("model.safetensors".to_owned(), 9)],
            inputs: vec![input("1.safetensors"), input("2.safetensors")],
        }
    }

    #[test]
    fn each_difference_is_told() {
        type Change = fn(&mut Identity);
        let changes: [(Change, &str); 10] = [
            (|_| {}, ""),
            (|new| new.mergecore_version = "2".to_owned(), "mergecore was 1 and is 2"),
            (|new| new.seed = 2, "the seed was 1 and is 2"),
            (|new| new.hashed = false, "--no-hash was not given and is"),
            (
                |new| new.recipe = new.recipe.replace("ties", "sce"),
                "the recipe differs (line 1 was `merge_method: ties` and is `merge_method: sce`)",
            ),
            (
                |new| new.inputs[1].stamp = stamp(8),
                "2.safetensors of `org/a` had 9 bytes and has 8",
            ),
            (
                |new| new.inputs[0].file = "3.safetensors".to_owned(),
                "3.safetensors of `org/a` was not there or not read; 1.safetensors of `org/a` was read and is not any more",
            ),
            (|new| drop(new.inputs.pop()), "2.safetensors of `org/a` was read and is not any more"),
            (|new| new.outputs[0].1 = 8, "the output's files are to be others (--out-shard-size)"),
            (
                |new| new.plan_blake3 = "1".to_owned(),
                "what follows from the models' files is another",
            ),
        ];
        for (change, text) in changes {
            let mut new = identity();
            change(&mut new);
            assert_eq!(new.differences(&identity()).join("; "), text);
            let record = rmp_serde::to_vec_named(&new).unwrap();
            assert_eq!(rmp_serde::from_slice::<Identity>(&record).unwrap(), new);
        }
        let mut new = identity();
        (new.seed, new.inputs[0].stamp) = (5, stamp(5));
        assert_eq!(new.differences(&identity()).len(), 2);
    }

    #[test]
    fn recipes_of_different_length() {
        assert_eq!(first_difference("a\nb", "a"), " (line 2, `b`, is gone)");
        assert_eq!(first_difference("a", "a\nb"), " (line 2, `b`, is new)");
    }
}
