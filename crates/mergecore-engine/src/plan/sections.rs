//! Which layers of which models meet: slices, base and order of inputs.

use std::ops::Range;

use mergecore_config::{InputModel, MergeConfig, ModelRef, OutputSlice, RecipePath, Site};
use mergecore_kernel::{Inputs, Method};

use super::Model;
use super::inputs::{Part, PartInput, parts};
use crate::EngineError;

/// A run of layers of the output and what it is merged from.
#[derive(Debug)]
pub(super) struct Section {
    /// Which stack of the reference model; `None` where it has none.
    pub(super) stack: Option<usize>,
    /// Where the shared parameters are looked up.
    pub(super) site: Site,
    /// The inputs in the order that the method takes them.
    pub(super) sources: Vec<Source>,
    /// The source that names, shapes and dtypes follow: the base, else the first.
    pub(super) reference: usize,
    /// Number of layers.
    pub(super) layers: usize,
}

/// One input of a section.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// Index of the model.
    pub(super) model: usize,
    /// Where its own parameters are looked up.
    pub(super) site: Site,
    /// Where the recipe names it, for messages.
    pub(super) path: RecipePath,
    /// First of its layers.
    pub(super) first_layer: usize,
}

impl Section {
    pub(super) fn reference(&self) -> &Source {
        &self.sources[self.reference]
    }
}

/// The model whose files the output's small files follow where there is no base.
pub(super) fn first_model(sections: &[Section]) -> usize {
    sections.first().map_or(0, |section| section.reference().model)
}

/// Lays out the output's layers, section by section.
pub(super) fn lay_out(
    config: &MergeConfig,
    models: &[Model],
    method: &dyn Method,
) -> Result<Vec<Section>, EngineError> {
    let context = Context { config, models, method };
    let parts = parts(config);
    if let [_, second, ..] = &parts[..] {
        return Err(EngineError::NotSupported {
            place: Box::new(config.place(&config.site_path(second.site))),
            what: "recipes with several `modules` are".to_owned(),
            instead: "merge whole models (`models`), which merges all modules alike",
        });
    }
    let mut sections = Vec::new();
    for Part { site, input } in parts {
        match input {
            PartInput::Models(inputs) => sections.extend(context.whole_models(site, inputs)?),
            PartInput::Slices(slices) => {
                for (index, slice) in slices.iter().enumerate() {
                    sections.push(context.slice(Site { slice: Some(index), ..site }, slice)?);
                }
            }
        }
    }
    Ok(sections)
}

struct Context<'a> {
    config: &'a MergeConfig,
    models: &'a [Model],
    method: &'a dyn Method,
}

impl Context<'_> {
    fn model(&self, reference: &ModelRef) -> usize {
        // Every model that the recipe names was opened.
        self.models.iter().position(|model| model.reference == *reference).unwrap_or(0)
    }

    fn place(&self, path: &RecipePath) -> Box<mergecore_config::Place> {
        Box::new(self.config.place(path))
    }

    /// One section a stack of layers, over all its layers.
    fn whole_models(&self, site: Site, inputs: &[InputModel]) -> Result<Vec<Section>, EngineError> {
        let source = |(index, input): (usize, &InputModel)| {
            let site = Site { input: Some(index), ..site };
            Source {
                model: self.model(&input.model),
                site,
                path: self.config.site_path(site).key("model"),
                first_layer: 0,
            }
        };
        let mut sources: Vec<Source> = inputs.iter().enumerate().map(source).collect();
        let base = self.config.base_model.as_ref();
        if let Some(base) = base.map(|base| self.model(base))
            && sources.iter().all(|source| source.model != base)
        {
            let path = RecipePath::root().key("base_model");
            sources.push(Source { model: base, site, path, first_layer: 0 });
        }
        let list = self.config.site_path(site).key("models");
        let (sources, reference) = self.order(sources, base, &list)?;
        let stacks = self.models[sources[reference].model].architecture.stacks();
        let mut sections = Vec::new();
        for (index, stack) in stacks.iter().enumerate() {
            for source in &sources {
                self.check_whole_stack(source, &sources[reference], index)?;
            }
            let (stack, layers, sources) = (Some(index), stack.layers, sources.clone());
            sections.push(Section { stack, site, sources, reference, layers });
        }
        if sections.is_empty() {
            sections.push(Section { stack: None, site, sources, reference, layers: 0 });
        }
        Ok(sections)
    }

    /// The source must have the reference's stack with as many layers.
    fn check_whole_stack(
        &self,
        source: &Source,
        reference: &Source,
        stack: usize,
    ) -> Result<(), EngineError> {
        let (model, first) = (&self.models[source.model], &self.models[reference.model]);
        let expected = &first.architecture.stacks()[stack];
        let found =
            model.architecture.stacks().iter().find(|stack| stack.prefix == expected.prefix);
        let found = found.map_or(0, |stack| stack.layers);
        if found == expected.layers {
            return Ok(());
        }
        Err(EngineError::LayerCounts {
            place: self.place(&source.path),
            model: model.name(),
            stack: expected.prefix.clone(),
            found,
            first: first.name(),
            expected: expected.layers,
        })
    }

    fn slice(&self, site: Site, slice: &OutputSlice) -> Result<Section, EngineError> {
        let mut sources = Vec::new();
        let mut layers = None;
        for (index, input) in slice.sources.iter().enumerate() {
            let site = Site { input: Some(index), ..site };
            let path = self.config.site_path(site);
            let model = self.model(&input.model);
            self.check_range(model, &input.layer_range, &path)?;
            let found = input.layer_range.len();
            let expected = *layers.get_or_insert(found);
            if found != expected {
                return Err(EngineError::SliceLengths {
                    place: self.place(&path.key("layer_range")),
                    model: self.models[model].name(),
                    found,
                    first: slice.sources[0].model.to_string(),
                    expected,
                });
            }
            let (path, first_layer) = (path.key("model"), input.layer_range.start);
            sources.push(Source { model, site, path, first_layer });
        }
        let base = slice.base_model.as_ref().or(self.config.base_model.as_ref());
        let list = self.config.site_path(site).key("sources");
        let (sources, reference) = self.order(sources, base, &list)?;
        Ok(Section { stack: Some(0), site, sources, reference, layers: layers.unwrap_or(0) })
    }

    fn check_range(
        &self,
        model: usize,
        range: &Range<usize>,
        path: &RecipePath,
    ) -> Result<(), EngineError> {
        let model = &self.models[model];
        match model.architecture.stacks() {
            [] => Err(EngineError::NoLayers {
                place: self.place(&path.key("model")),
                model: model.name(),
            }),
            [stack] if range.end <= stack.layers => Ok(()),
            [stack] => Err(EngineError::LayerRange {
                place: self.place(&path.key("layer_range")),
                model: model.name(),
                range: range.clone(),
                layers: stack.layers,
            }),
            stacks => {
                let prefixes: Vec<&str> =
                    stacks.iter().map(|stack| stack.prefix.as_str()).collect();
                let stacks = prefixes.join(", ");
                Err(EngineError::NotSupported {
                    place: self.place(&path.key("layer_range")),
                    what: format!("layers of a model with several stacks of them ({stacks}) are"),
                    instead: "merge whole models (`models`), which merges all stacks alike",
                })
            }
        }
    }

    /// Puts the sources in the method's order and finds the reference.
    fn order(
        &self,
        mut sources: Vec<Source>,
        base: Option<&ModelRef>,
        list: &RecipePath,
    ) -> Result<(Vec<Source>, usize), EngineError> {
        let inputs = self.method.inputs();
        let method = self.method.name().to_owned();
        let position = base.and_then(|base| {
            let base = self.model(base);
            sources.iter().position(|source| source.model == base)
        });
        let mut reference = position.unwrap_or(0);
        if inputs.base {
            let Some(base) = base else {
                let place = self.place(&RecipePath::root().key("merge_method"));
                return Err(EngineError::NoBase { place, method });
            };
            let Some(position) = position else {
                return Err(EngineError::BaseNotInSlice {
                    place: self.place(list),
                    method,
                    base: base.to_string(),
                });
            };
            let base = sources.remove(position);
            sources.insert(0, base);
            reference = 0;
        }
        let found = sources.len() - usize::from(inputs.base);
        if !inputs.models.contains(&found) {
            let (place, expected) = (self.place(list), expectation(&inputs));
            return Err(EngineError::ModelCount { place, method, expected, found: sources.len() });
        }
        Ok((sources, reference))
    }
}

/// How many models a method takes, in words.
fn expectation(inputs: &Inputs) -> String {
    let models = |n: usize| if n == 1 { "one model".to_owned() } else { format!("{n} models") };
    let (least, most) = (*inputs.models.start(), *inputs.models.end());
    let others = match (least, most) {
        (least, most) if least == most => format!("exactly {}", models(least)),
        (least, usize::MAX) => format!("at least {}", models(least)),
        (least, most) => format!("{least} to {}", models(most)),
    };
    if inputs.base { format!("the base model and {others} besides") } else { others }
}
