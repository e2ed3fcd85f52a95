//! Recognising quantised checkpoints, whose tensors must not be merged as numbers.

use std::cell::LazyCell;
use std::collections::HashMap;

use mergecore_tensor::DType;
use serde_json::{Map, Value};

/// How a checkpoint is quantised.
///
/// ```
/// use mergecore_tensor::DType;
///
/// let tensors = [("w", DType::F8E4M3), ("w_scale", DType::F32)];
/// let found = mergecore_io::detect_quantisation(&Default::default(), tensors).unwrap();
/// assert_eq!(found.scheme, "FP8 with scales");
/// assert_eq!(found.evidence, "tensor `w` beside `w_scale`");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Quantisation {
    /// The scheme's name: config.json's own where it has one.
    pub scheme: String,
    /// What it was recognised by.
    pub evidence: String,
}

/// Recognises a quantised checkpoint by its config.json, else by the names and
/// dtypes of its tensors; `None` where neither speaks of quantisation.
///
/// config.json may say so at its top or one level down (`text_config`). Tensors
/// give themselves away by the scales, zero points or block constants stored
/// beside their codes.
///
/// ```
/// use mergecore_io::detect_quantisation;
/// use mergecore_tensor::DType;
///
/// let config = serde_json::json!({"quantization_config": {"quant_method": "awq"}});
/// let found = detect_quantisation(config.as_object().unwrap(), []).unwrap();
/// assert_eq!(found.scheme, "awq");
///
/// let tensors = [("w.qweight", DType::I32), ("w.scales", DType::F16)];
/// assert!(detect_quantisation(&Default::default(), tensors).is_some());
/// ```
pub fn detect_quantisation<'a>(
    config: &Map<String, Value>,
    tensors: impl IntoIterator<Item = (&'a str, DType)>,
) -> Option<Quantisation> {
    if let Some(found) = in_config(config, "") {
        return Some(found);
    }
    let nested = config.iter().filter_map(|(key, value)| Some((key, value.as_object()?)));
    for (key, map) in nested.filter(|(key, _)| !SECTIONS.contains(&key.as_str())) {
        if let Some(found) = in_config(map, &format!("{key}.")) {
            return Some(found);
        }
    }
    in_tensors(tensors)
}

const SECTIONS: [&str; 2] = ["quantization_config", "compression_config"];

fn in_config(config: &Map<String, Value>, prefix: &str) -> Option<Quantisation> {
    SECTIONS.iter().find_map(|section| {
        let settings = config.get(*section)?.as_object()?;
        in_section(settings, &format!("{prefix}{section}"))
    })
}

fn in_section(settings: &Map<String, Value>, section: &str) -> Option<Quantisation> {
    let named = settings.get("quant_method").and_then(Value::as_str);
    let flag = |key: &str| settings.get(key).and_then(Value::as_bool);
    let flags = [("load_in_4bit", flag("load_in_4bit")), ("load_in_8bit", flag("load_in_8bit"))];
    let bits = flags.iter().find(|(_, on)| *on == Some(true)).map(|(key, _)| *key);

    let (scheme, evidence) = match (named, bits) {
        // Written for models that were only ever loaded in full precision.
        (Some("bitsandbytes") | None, None) if flags.iter().any(|(_, on)| *on == Some(false)) => {
            return None;
        }
        (Some(name), _) => (name, format!("config.json: {section}.quant_method is {name:?}")),
        (None, Some(key)) => ("bitsandbytes", format!("config.json: {section}.{key} is true")),
        (None, None) if settings.is_empty() => return None,
        (None, None) => {
            ("an unnamed scheme", format!("config.json has a {section} without quant_method"))
        }
    };
    Some(Quantisation { scheme: scheme.to_owned(), evidence })
}

fn in_tensors<'a>(tensors: impl IntoIterator<Item = (&'a str, DType)>) -> Option<Quantisation> {
    let tensors: Vec<(&str, DType)> = tensors.into_iter().collect();
    // Needed only where a name or dtype is suspicious.
    let dtypes = LazyCell::new(|| tensors.iter().copied().collect::<HashMap<&str, DType>>());
    let has = |name: String| dtypes.contains_key(name.as_str());

    tensors.iter().find_map(|&(name, dtype)| {
        let found = |scheme: &str, evidence: String| {
            Some(Quantisation { scheme: scheme.to_owned(), evidence })
        };
        let beside = |other: &str| format!("tensor `{name}` beside `{other}`");

        if let Some(stem) = name.strip_suffix("qweight") {
            let other = ["qzeros", "scales"]
                .map(|part| format!("{stem}{part}"))
                .into_iter()
                .find(|o| has(o.clone()));
            if let Some(other) = other {
                return found("GPTQ or AWQ", beside(&other));
            }
        }
        if name.contains(".quant_state.bitsandbytes__")
            || name.ends_with(".absmax")
            || name.ends_with(".SCB")
        {
            return found("bitsandbytes", format!("tensor `{name}`"));
        }
        if let Some(stem) = name.strip_suffix("_blocks") {
            let scales = format!("{stem}_scales");
            if dtype == DType::U8 && dtypes.get(scales.as_str()) == Some(&DType::U8) {
                return found("MXFP4", beside(&scales));
            }
        }
        if let Some(stem) = name.strip_suffix("_packed") {
            let scale = format!("{stem}_scale");
            if dtype.is_integer() && has(scale.clone()) {
                return found("compressed-tensors", beside(&scale));
            }
        }
        // Scales beside the codes that they belong to: `weight_scale_inv`,
        // `weight_scale`, or the same with another parameter's name.
        let scheme = match dtype {
            DType::F8E4M3 | DType::F8E5M2 => "FP8 with scales",
            DType::I8 | DType::U8 => "integer codes with scales",
            _ => return None,
        };
        let scale = ["_scale_inv", "_scale"]
            .map(|end| format!("{name}{end}"))
            .into_iter()
            .find(|s| has(s.clone()))?;
        found(scheme, beside(&scale))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn by_config(config: Value) -> Option<Quantisation> {
        detect_quantisation(config.as_object().unwrap(), [])
    }

    fn by_tensors(tensors: &[(&str, DType)]) -> Option<String> {
        detect_quantisation(&Map::new(), tensors.iter().copied()).map(|found| found.scheme)
    }

    #[test]
    fn config_names_the_scheme() {
        let methods = [
            "gptq",
            "awq",
            "bitsandbytes",
            "fp8",
            "fbgemm_fp8",
            "mxfp4",
            "compressed-tensors",
            "hqq",
            "aqlm",
            "eetq",
            "quanto",
            "torchao",
            "modelopt",
            "of-tomorrow",
        ];
        for method in methods {
            let found =
                by_config(json!({"quantization_config": {"quant_method": method, "bits": 4}}))
                    .unwrap();
            assert_eq!(found.scheme, method);
            assert!(found.evidence.contains("quantization_config.quant_method"));
        }
        let found = by_config(json!({"compression_config": {"quant_method": "sparseml"}})).unwrap();
        assert_eq!(found.scheme, "sparseml");
        let found =
            by_config(json!({"text_config": {"quantization_config": {"quant_method": "fp8"}}}))
                .unwrap();
        assert!(found.evidence.contains("text_config.quantization_config"));
    }

    #[test]
    fn bitsandbytes_is_recognised_without_its_name() {
        for flag in ["load_in_4bit", "load_in_8bit"] {
            assert_eq!(
                by_config(json!({"quantization_config": {flag: true}})).unwrap().scheme,
                "bitsandbytes"
            );
        }
        let off =
            json!({"load_in_4bit": false, "load_in_8bit": false, "quant_method": "bitsandbytes"});
        assert_eq!(by_config(json!({"quantization_config": off})), None);
    }

    #[test]
    fn settings_without_a_name_are_still_refused_and_empty_ones_are_not() {
        assert!(
            by_config(json!({"quantization_config": {"bits": 4}}))
                .unwrap()
                .scheme
                .contains("unnamed")
        );
        assert_eq!(by_config(json!({"quantization_config": {}})), None);
        assert_eq!(by_config(json!({"quantization_config": null, "hidden_size": 8})), None);
    }

    #[test]
    fn tensors_give_the_scheme_away() {
        use DType::{Bf16, F8E4M3, F16, F32, I8, I32, U8};
        let cases: [(&[(&str, DType)], &str); 9] = [
            (&[("a.qweight", I32), ("a.qzeros", I32)], "GPTQ or AWQ"),
            (&[("a.qweight", I32), ("a.scales", F16)], "GPTQ or AWQ"),
            (&[("a.weight", U8), ("a.weight.quant_state.bitsandbytes__nf4", U8)], "bitsandbytes"),
            (&[("a.weight", U8), ("a.weight.absmax", F32)], "bitsandbytes"),
            (&[("a.weight", I8), ("a.SCB", F32)], "bitsandbytes"),
            (&[("a.weight", F8E4M3), ("a.weight_scale_inv", F32)], "FP8 with scales"),
            (&[("a.weight", F8E4M3), ("a.weight_scale", Bf16)], "FP8 with scales"),
            (&[("experts.up_blocks", U8), ("experts.up_scales", U8)], "MXFP4"),
            (&[("a.weight_packed", I32), ("a.weight_scale", Bf16)], "compressed-tensors"),
        ];
        for (tensors, scheme) in cases {
            assert_eq!(by_tensors(tensors).as_deref(), Some(scheme), "{tensors:?}");
        }
        assert_eq!(
            by_tensors(&[("a.weight", I8), ("a.weight_scale", F32)]).unwrap(),
            "integer codes with scales"
        );
    }

    #[test]
    fn ordinary_names_are_left_alone() {
        use DType::{Bf16, F8E4M3, I64, U8};
        let plain = [
            ("a.weight", Bf16),
            ("a.weight_scale", Bf16),
            ("logit_scale", Bf16),
            ("res_blocks", U8),
            ("x.qweight", Bf16),
            ("position_ids", I64),
            ("b.weight", F8E4M3),
        ];
        assert_eq!(by_tensors(&plain), None);
    }
}
