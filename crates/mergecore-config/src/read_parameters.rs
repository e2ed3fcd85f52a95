//! `parameters` mappings.

use crate::error::ConfigError;
use crate::node::Node;
use crate::parameters::Parameters;
use crate::reader::{Cursor, Result};
use crate::value::{Conditional, Scalar, Setting, Value};

const SETTING: &str = "a value, a list of values, or conditions ({filter, value})";

/// A `parameters` mapping. Parameters that are `null` are not there.
pub(crate) fn parameters(map: Option<Cursor<'_>>) -> Result<Parameters> {
    let mut parameters = Parameters::new();
    let Some(map) = map else {
        return Ok(parameters);
    };
    for (name, value) in map.entries("a mapping from parameter names to values")? {
        if !value.is_null()
            && let Some(setting) = value.keep(setting(&value))
        {
            parameters.push(name.to_owned(), setting);
        }
    }
    Ok(parameters)
}

fn setting(value: &Cursor<'_>) -> Result<Setting> {
    match value.node {
        Node::Map(_) => Ok(Setting::Conditional(vec![conditional(value)?])),
        Node::List(_) => {
            let items = elements(value)?;
            let is_condition = |item: &Cursor<'_>| matches!(item.node, Node::Map(_));
            let conditions = is_condition(&items[0]);
            if let Some(other) = items.iter().find(|item| is_condition(item) != conditions) {
                // Of a list, a `null` or another list in it, say that it is neither.
                return match other.node {
                    Node::Null | Node::List(_) => Err(other.wrong(SETTING)),
                    _ => Err(ConfigError::MixedList { place: other.place() }),
                };
            }
            if conditions {
                let conditions = items.iter().map(conditional).collect::<Result<_>>()?;
                Ok(Setting::Conditional(conditions))
            } else {
                Ok(Setting::Value(gradient(&items)?))
            }
        }
        _ => Ok(Setting::Value(Value::Scalar(scalar(value)?))),
    }
}

fn conditional(value: &Cursor<'_>) -> Result<Conditional> {
    let fields = value.fields(SETTING, &["filter", "value"])?;
    let filter = fields.get("filter");
    let inner = fields.need("value", "value: 0.5")?;
    Ok(Conditional {
        filter: filter
            .map(|filter| filter.text("a part of a tensor's name, or \"*\""))
            .transpose()?
            .map(str::to_owned),
        value: match inner.node {
            Node::List(_) => gradient(&elements(&inner)?)?,
            _ => Value::Scalar(scalar(&inner)?),
        },
    })
}

fn elements<'r>(list: &Cursor<'r>) -> Result<Vec<Cursor<'r>>> {
    list.some_items(SETTING, "give a value for at least one layer, or remove the parameter")
}

fn gradient(items: &[Cursor<'_>]) -> Result<Value> {
    let points = items.iter().map(scalar).collect::<Result<_>>()?;
    Ok(Value::Gradient(points))
}

fn scalar(value: &Cursor<'_>) -> Result<Scalar> {
    match value.node {
        Node::Bool(value) => Ok(Scalar::Bool(*value)),
        Node::Text(text) => Ok(Scalar::Text(text.clone())),
        Node::Float(number) if number.is_finite() => Ok(Scalar::Number(*number)),
        Node::Float(_) => Err(value.out_of_range("a finite number")),
        Node::Int(number) => {
            let float = *number as f64;
            // i128::MAX as f64 as i128 saturates to i128::MAX, so bound it first.
            if number.unsigned_abs() < 1 << 100 && float as i128 == *number {
                Ok(Scalar::Number(float))
            } else {
                Err(value.out_of_range("a number that 64-bit floating point can hold exactly"))
            }
        }
        Node::Null | Node::List(_) | Node::Map(_) => {
            Err(value.wrong("a number, true, false, or text"))
        }
    }
}
