//! What a scenario's plan should be, computed the plain way.

use mergecore_tensor::DType;

use crate::method::{GAIN, WEIGHT};
use crate::scenario::{Part, Scenario, Setting, Settings, Slice, directory};

/// An output tensor.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) name: String,
    pub(crate) dtype: DType,
    pub(crate) shape: Vec<usize>,
    /// Directory and tensor.
    pub(crate) inputs: Vec<(String, String)>,
    pub(crate) gain: f64,
    /// Those of the models that have one.
    pub(crate) weights: Vec<f64>,
}

impl Scenario {
    /// Every output tensor.
    pub(crate) fn expected(&self) -> Vec<Expected> {
        let whole = [Slice {
            first: vec![0; self.models],
            layers: self.layers,
            settings: Settings::default(),
        }];
        let slices = self.slices.as_deref().unwrap_or(&whole);
        let mut tensors = Vec::new();
        for part in &self.outside {
            // Embeddings come from the first slice, everything else from the last.
            let before = part.name.contains("embed") || part.name.contains("wpe");
            let slice = if before { &slices[0] } else { &slices[slices.len() - 1] };
            let name = |_| part.name.to_owned();
            tensors.push(self.tensor(slice, part, part.name.to_owned(), 0.0, name));
        }
        let mut next = 0;
        for slice in slices {
            for layer in 0..slice.layers {
                let position = match slice.layers {
                    1 => 1.0,
                    layers => layer as f64 / (layers - 1) as f64,
                };
                for part in &self.parts {
                    let name = |layer: usize| format!("model.layers.{layer}.{}", part.name);
                    let input = |model: usize| name(slice.first[model] + layer);
                    tensors.push(self.tensor(slice, part, name(next), position, input));
                }
                next += 1;
            }
        }
        tensors
    }

    /// The models in the order in which the method gets them.
    fn order(&self) -> Vec<usize> {
        let mut order = self.listed();
        if let Some(base) = self.base
            && !order.contains(&base)
        {
            order.push(base);
        }
        if self.takes_base {
            order.sort_by_key(|model| self.base != Some(*model));
        }
        order
    }

    fn tensor(
        &self,
        slice: &Slice,
        part: &Part,
        name: String,
        position: f64,
        input: impl Fn(usize) -> String,
    ) -> Expected {
        let order = self.order();
        let reference = self.base.unwrap_or(order[0]);
        let stored = self.stored_dtype(reference, &input(reference), part);
        let weight = |model: &usize| {
            let own = self.listed().contains(model).then(|| &self.own_settings[*model]);
            let levels = [own, Some(&slice.settings), Some(&self.settings)];
            let levels = levels.into_iter().flatten().map(|settings| &settings.weight);
            look_up(levels, &input(*model), position).unwrap_or(WEIGHT)
        };
        let weighted = order.iter().skip(usize::from(self.takes_base));
        let shared = [&slice.settings.gain, &self.settings.gain];
        Expected {
            dtype: self.dtype.filter(|_| part.integer.is_none()).unwrap_or(stored),
            shape: part.shape.clone(),
            inputs: order.iter().map(|model| (directory(*model), input(*model))).collect(),
            gain: look_up(shared.into_iter(), &name, position).unwrap_or(GAIN),
            weights: weighted.map(weight).collect(),
            name,
        }
    }
}

/// The value at the first level that has one for the tensor.
fn look_up<'a>(
    levels: impl Iterator<Item = &'a Option<Setting>>,
    tensor: &str,
    position: f64,
) -> Option<f64> {
    for setting in levels.flatten() {
        match setting {
            Setting::Points(points) => return Some(interpolate(points, position)),
            Setting::Conditions(conditions) => {
                for (filter, points) in conditions {
                    if filter.is_none_or(|filter| filter == "*" || tensor.contains(filter)) {
                        return Some(interpolate(points, position));
                    }
                }
            }
        }
    }
    None
}

/// The points are the corners of a polygon over 0 to 1.
fn interpolate(points: &[f64], position: f64) -> f64 {
    let spans = points.len() - 1;
    for span in 0..spans {
        let (from, to) = (span as f64 / spans as f64, (span + 1) as f64 / spans as f64);
        if position <= to {
            let share = (position - from) / (to - from);
            return points[span] + share * (points[span + 1] - points[span]);
        }
    }
    points[spans]
}
