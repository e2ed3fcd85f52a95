//! From what a recipe says to the value for one tensor.

use crate::parameters::Parameters;
use crate::path::RecipePath;
use crate::value::{Scalar, Setting, Value};

/// One `parameters` mapping on the way from an input up to the top of the recipe.
///
/// ```
/// use mergecore_config::{Level, Parameters, RecipePath, resolve};
///
/// let own = Parameters::new().with("weight", 0.9);
/// let shared = Parameters::new().with("weight", 0.5);
/// let root = RecipePath::root();
/// let own_path = root.key("models").index(0).key("parameters");
/// let levels = [
///     Level { parameters: &own, path: own_path },
///     Level { parameters: &shared, path: root.key("parameters") },
/// ];
/// let weight = resolve(&levels, "weight", "lm_head.weight", 0.0).unwrap();
/// assert_eq!(weight.value.as_f64(), Some(0.9));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Level<'a> {
    /// The mapping.
    pub parameters: &'a Parameters,
    /// Where it stands.
    pub path: RecipePath,
}

/// The value of a parameter for one tensor.
///
/// ```
/// use mergecore_config::{Level, Parameters, RecipePath, resolve};
///
/// let parameters = Parameters::new().with("lambda", 0.5);
/// let levels = [Level { parameters: &parameters, path: RecipePath::root().key("parameters") }];
/// let found = resolve(&levels, "lambda", "lm_head.weight", 0.0).unwrap();
/// assert_eq!(found.value, 0.5.into());
/// assert_eq!(found.path.to_string(), "parameters.lambda");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The value.
    pub value: Scalar,
    /// The setting that gave it, such as `parameters.t[1].value`.
    pub path: RecipePath,
}

/// The value of the parameter `key` for one tensor, or `None` where no level has one.
///
/// * The first of `levels` wins that has a value for this tensor: a level where no
///   filter matches `tensor_name` is passed over. Within a level the first condition
///   that matches wins.
/// * A gradient of numbers (or of text that reads as numbers) is interpolated linearly
///   at `position` in \[0, 1\] between equally spaced points and exact at the points. Of
///   any other list the point at floor(position * (length - 1)) is taken. Positions
///   outside count as 0 or 1, a NaN as 0.
///
/// ```
/// use mergecore_config::{Conditional, Level, Parameters, RecipePath, resolve};
///
/// let parameters = Parameters::new().with(
///     "t",
///     vec![
///         Conditional::new("mlp", vec![1.0, 0.0]),
///         Conditional::otherwise(0.5),
///     ],
/// );
/// let path = RecipePath::root().key("parameters");
/// let levels = [Level { parameters: &parameters, path }];
///
/// let found = resolve(&levels, "t", "layers.2.mlp.up_proj.weight", 0.25).unwrap();
/// assert_eq!(found.value.as_f64(), Some(0.75));
/// assert_eq!(found.path.to_string(), "parameters.t[0].value");
/// ```
pub fn resolve(
    levels: &[Level<'_>],
    key: &str,
    tensor_name: &str,
    position: f64,
) -> Option<Resolved> {
    let found = find(levels, key, tensor_name, position)?;
    let mut path = found.level.path.key(key);
    if let Some(index) = found.condition {
        path = path.index(index).key("value");
    }
    if let Some(index) = found.point {
        path = path.index(index);
    }
    Some(Resolved { value: found.value, path })
}

/// The value that [`resolve`] finds, for who has no use for its place: that takes
/// several times as long to say.
///
/// ```
/// use mergecore_config::{Level, Parameters, RecipePath, resolve_value};
///
/// let parameters = Parameters::new().with("lambda", vec![0.0, 1.0]);
/// let levels = [Level { parameters: &parameters, path: RecipePath::root().key("parameters") }];
/// assert_eq!(resolve_value(&levels, "lambda", "lm_head.weight", 0.5), Some(0.5.into()));
/// assert_eq!(resolve_value(&levels, "weight", "lm_head.weight", 0.5), None);
/// ```
pub fn resolve_value(
    levels: &[Level<'_>],
    key: &str,
    tensor_name: &str,
    position: f64,
) -> Option<Scalar> {
    find(levels, key, tensor_name, position).map(|found| found.value)
}

/// A value and where it is from.
struct Found<'a> {
    value: Scalar,
    level: &'a Level<'a>,
    /// Which condition, where there are some.
    condition: Option<usize>,
    /// Which point of a gradient that is not interpolated.
    point: Option<usize>,
}

fn find<'a>(
    levels: &'a [Level<'a>],
    key: &str,
    tensor_name: &str,
    position: f64,
) -> Option<Found<'a>> {
    levels.iter().find_map(|level| {
        let (value, condition) = match level.parameters.get(key)? {
            Setting::Value(value) => (value, None),
            Setting::Conditional(conditions) => {
                let index = conditions.iter().position(|c| c.matches(tensor_name))?;
                (&conditions[index].value, Some(index))
            }
        };
        let (value, point) = match value {
            Value::Scalar(scalar) => (scalar.clone(), None),
            Value::Gradient(points) => at(points, position)?,
        };
        Some(Found { value, level, condition, point })
    })
}

/// A gradient's value at `position`, and which of its points that is where they are no
/// numbers; `None` only if it has no points.
fn at(points: &[Scalar], position: f64) -> Option<(Scalar, Option<usize>)> {
    let last = points.len().checked_sub(1)?;
    let position = if position.is_nan() { 0.0 } else { position };
    let scaled = position.clamp(0.0, 1.0) * last as f64;
    // i/n * n need not be i in floating point, but a point's value is meant exactly.
    let nearest = scaled.round();
    let scaled =
        if (scaled - nearest).abs() <= 4.0 * f64::EPSILON * nearest { nearest } else { scaled };
    let index = scaled.floor();
    let fraction = scaled - index;
    let index = (index as usize).min(last);

    let numbers: Option<Vec<f64>> = points.iter().map(Scalar::as_f64).collect();
    let Some(numbers) = numbers else {
        return Some((points[index].clone(), Some(index)));
    };
    let value = if fraction == 0.0 {
        numbers[index]
    } else {
        (1.0 - fraction) * numbers[index] + fraction * numbers[(index + 1).min(last)]
    };
    Some((Scalar::Number(value), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Conditional;

    fn gradient(setting: impl Into<Setting>, position: f64) -> Scalar {
        let parameters = Parameters::new().with("t", setting);
        let levels = [Level { parameters: &parameters, path: RecipePath::root() }];
        resolve(&levels, "t", "x", position).unwrap().value
    }

    #[test]
    fn numbers_interpolate() {
        let points = vec![0.0, 0.5, 0.3];
        for (position, value) in [
            (0.0, 0.0),
            (0.25, 0.25),
            (0.5, 0.5),
            (0.75, 0.4),
            (1.0, 0.3),
            (-1.0, 0.0),
            (2.0, 0.3),
            (f64::NAN, 0.0),
        ] {
            assert_eq!(gradient(points.clone(), position), value.into());
        }
        assert_eq!(gradient(vec!["1e-1", ".3"], 0.5), 0.2.into());
        assert_eq!(gradient(vec![0.7], 0.5), 0.7.into());
    }

    #[test]
    fn exact_at_every_point() {
        for n in 2..300_usize {
            let points: Vec<f64> = (0..n).map(|i| 1.0 / (i as f64 + 3.0)).collect();
            let labels: Vec<String> = (0..n).map(|i| format!("x{i}")).collect();
            for i in 0..n {
                let position = i as f64 / (n - 1) as f64;
                assert_eq!(gradient(points.clone(), position), points[i].into());
                let label = labels[i].as_str();
                assert_eq!(gradient(labels.clone(), position), label.into());
            }
        }
    }

    #[test]
    fn booleans_and_text_take_the_point_at_floor() {
        for (position, value) in [(0.0, true), (0.49, true), (0.5, false), (0.99, false)] {
            assert_eq!(gradient(vec![true, false, true], position), value.into());
        }
        assert_eq!(gradient(vec![true, false, true], 1.0), true.into());
        assert_eq!(gradient(vec!["a", "1"], 0.9), "a".into());
    }

    #[test]
    fn levels_whose_filters_miss_are_passed_over() {
        let near = Parameters::new().with("t", Conditional::new("mlp", 1.0));
        let far = Parameters::new()
            .with("t", vec![Conditional::new("norm", 2.0), Conditional::new("*", 3.0)])
            .with("u", true);
        let root = RecipePath::root();
        let levels = [
            Level { parameters: &near, path: root.key("models").index(0).key("parameters") },
            Level { parameters: &far, path: root.key("parameters") },
        ];
        let found =
            |key, name| resolve(&levels, key, name, 0.0).map(|r| (r.value, r.path.to_string()));
        assert_eq!(
            found("t", "a.mlp.b"),
            Some((1.0.into(), "models[0].parameters.t[0].value".into()))
        );
        assert_eq!(found("t", "a.norm"), Some((2.0.into(), "parameters.t[0].value".into())));
        assert_eq!(found("t", "lm_head"), Some((3.0.into(), "parameters.t[1].value".into())));
        assert_eq!(found("u", "x"), Some((true.into(), "parameters.u".into())));
        assert_eq!(found("v", "x"), None);
    }

    #[test]
    fn an_empty_gradient_has_no_value() {
        let parameters = Parameters::new().with("t", Vec::<f64>::new());
        let levels = [Level { parameters: &parameters, path: RecipePath::root() }];
        assert_eq!(resolve(&levels, "t", "x", 0.5), None);
    }
}
