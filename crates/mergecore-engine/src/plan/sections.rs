//! Which layers of which models meet: slices, base and order of inputs.

use std::collections::HashSet;
use std::ops::Range;

use mergecore_config::{InputModel, ModelRef, OutputSlice, RecipePath, Site};
use mergecore_kernel::Method;

use super::Model;
use super::inputs::{Entry, Part, PartInput, parts};
use super::recipe::Recipe;
use crate::{EngineError, Problems};

/// What is merged layer by layer, as the recipe alone shows it: a slice, or whole models.
#[derive(Debug)]
pub(super) struct Group {
    /// Where the shared parameters are looked up.
    pub(super) site: Site,
    /// The inputs in the order that the method takes them. Never empty.
    pub(super) sources: Vec<Source>,
    /// The source that names, shapes and dtypes follow: the base, else the first.
    pub(super) reference: usize,
    /// Whether the first source is the method's base.
    pub(super) has_base: bool,
    /// Whether the method takes these inputs, so that they are in its order.
    pub(super) accepted: bool,
}

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
    /// Whether the first source is the method's base.
    pub(super) has_base: bool,
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
    /// Its layers; `None` for all.
    pub(super) range: Option<Range<usize>>,
}

impl Source {
    /// First of its layers.
    pub(super) fn first_layer(&self) -> usize {
        self.range.as_ref().map_or(0, |range| range.start)
    }
}

impl Group {
    fn reference(&self) -> &Source {
        &self.sources[self.reference]
    }
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

/// What is merged with what, and whether the recipe alone shows mistakes in it. A model
/// is known by its index in `named`.
pub(super) fn arrange(
    recipe: &Recipe<'_>,
    named: &[Entry<'_>],
    method: Option<&dyn Method>,
    problems: &mut Problems,
) -> Vec<Group> {
    let config = recipe.config;
    let groups = Vec::new();
    let mut arranger = Arranger { recipe, named, method, problems, groups, lacks_base: false };
    let parts = parts(config);
    if let [_, second, ..] = &parts[..] {
        let place = recipe.place(&config.site_path(second.site));
        arranger.problems.push(EngineError::NotSupported {
            place,
            what: "recipes with several `modules` are".to_owned(),
            instead: "merge whole models (`models`), which merges all modules alike",
        });
    }
    if parts.is_empty() {
        arranger.lists_nothing(&RecipePath::root().key("modules"));
    }
    for Part { site, input } in parts {
        match input {
            PartInput::Models(inputs) => arranger.whole_models(site, inputs),
            PartInput::Slices([]) => arranger.lists_nothing(&config.site_path(site).key("slices")),
            PartInput::Slices(slices) => {
                for (index, slice) in slices.iter().enumerate() {
                    arranger.slice(Site { slice: Some(index), ..site }, slice);
                }
            }
        }
    }
    arranger.groups
}

struct Arranger<'a> {
    recipe: &'a Recipe<'a>,
    named: &'a [Entry<'a>],
    /// `None` where the recipe names one that is not there.
    method: Option<&'a dyn Method>,
    problems: &'a mut Problems,
    groups: Vec<Group>,
    /// Whether it was said that the recipe names no base.
    lacks_base: bool,
}

impl Arranger<'_> {
    fn model(&self, reference: &ModelRef) -> usize {
        // Every model that the recipe mentions is named.
        self.named.iter().position(|entry| entry.model == reference).unwrap_or(0)
    }

    fn lists_nothing(&mut self, list: &RecipePath) {
        if let Some(method) = self.method {
            let error = self.model_count(method, list, 0);
            self.problems.push(error);
        }
    }

    fn model_count(&self, method: &dyn Method, list: &RecipePath, found: usize) -> EngineError {
        let (method, expected) = (method.name().to_owned(), method.inputs().to_string());
        EngineError::ModelCount { place: self.recipe.place(list), method, expected, found }
    }

    fn whole_models(&mut self, site: Site, inputs: &[InputModel]) {
        let source = |(index, input): (usize, &InputModel)| {
            let site = Site { input: Some(index), ..site };
            let path = self.recipe.config.site_path(site).key("model");
            Source { model: self.model(&input.model), site, path, range: None }
        };
        let mut sources: Vec<Source> = inputs.iter().enumerate().map(source).collect();
        let base = self.recipe.config.base_model.as_ref();
        if let Some(base) = base.map(|base| self.model(base))
            && sources.iter().all(|source| source.model != base)
        {
            let path = RecipePath::root().key("base_model");
            sources.push(Source { model: base, site, path, range: None });
        }
        let list = self.recipe.config.site_path(site).key("models");
        self.group(site, sources, base, &list);
    }

    fn slice(&mut self, site: Site, slice: &OutputSlice) {
        let mut sources = Vec::new();
        let expected = slice.sources.first().map_or(0, |source| source.layer_range.len());
        for (index, input) in slice.sources.iter().enumerate() {
            let site = Site { input: Some(index), ..site };
            let path = self.recipe.config.site_path(site);
            let found = input.layer_range.len();
            if found != expected {
                let place = self.recipe.place(&path.key("layer_range"));
                self.problems.push(EngineError::SliceLengths {
                    place,
                    model: input.model.to_string(),
                    found,
                    first: slice.sources[0].model.to_string(),
                    expected,
                });
            }
            let (model, range) = (self.model(&input.model), Some(input.layer_range.clone()));
            sources.push(Source { model, site, path: path.key("model"), range });
        }
        let base = slice.base_model.as_ref().or(self.recipe.config.base_model.as_ref());
        let list = self.recipe.config.site_path(site).key("sources");
        self.group(site, sources, base, &list);
    }

    /// Puts the sources in the method's order and finds the reference.
    fn group(
        &mut self,
        site: Site,
        mut sources: Vec<Source>,
        base: Option<&ModelRef>,
        list: &RecipePath,
    ) {
        let position = base.and_then(|base| {
            let base = self.model(base);
            sources.iter().position(|source| source.model == base)
        });
        let mut reference = position.unwrap_or(0);
        let checked = match self.method {
            Some(method) => self.check_inputs(method, sources.len(), base, position, list),
            None => Ok(()),
        };
        let accepted = checked.is_ok();
        let lacks_base = matches!(checked, Err(EngineError::NoBase { .. }));
        if !(lacks_base && self.lacks_base) {
            self.problems.add(checked);
        }
        self.lacks_base |= lacks_base;
        let has_base = self.method.is_some_and(|method| method.inputs().base.takes(base.is_some()));
        if let Some(position) = position
            && has_base
        {
            let base = sources.remove(position);
            sources.insert(0, base);
            reference = 0;
        }
        if !sources.is_empty() {
            self.groups.push(Group { site, sources, reference, has_base, accepted });
        }
    }

    /// The method must take that many sources, and find its base among them.
    fn check_inputs(
        &self,
        method: &dyn Method,
        count: usize,
        base: Option<&ModelRef>,
        position: Option<usize>,
        list: &RecipePath,
    ) -> Result<(), EngineError> {
        let inputs = method.inputs();
        let name = || method.name().to_owned();
        let has_base = inputs.base.takes(base.is_some());
        if has_base {
            let Some(base) = base else {
                let place = self.recipe.place(&RecipePath::root().key("merge_method"));
                return Err(EngineError::NoBase { place, method: name() });
            };
            if position.is_none() {
                let (place, base) = (self.recipe.place(list), base.to_string());
                return Err(EngineError::BaseNotInSlice { place, method: name(), base });
            }
        }
        let models = count - usize::from(has_base);
        if count == 0 || !inputs.models.contains(&models) {
            return Err(self.model_count(method, list, count));
        }
        Ok(())
    }
}

/// Checks that the models have the layers that they are to give. Those that could not be
/// opened are passed over.
pub(super) fn check_layers(
    recipe: &Recipe<'_>,
    models: &[Option<Model>],
    groups: &[Group],
    problems: &mut Problems,
) {
    // What is wrong with a model as a whole is said once.
    let mut refused = HashSet::new();
    for group in groups {
        for source in &group.sources {
            let Some(model) = &models[source.model] else { continue };
            let Some(range) = &source.range else {
                let Some(first) = &models[group.reference().model] else { continue };
                check_whole_stacks(source, model, first, recipe, &mut refused, problems);
                continue;
            };
            let range_path = recipe.config.site_path(source.site).key("layer_range");
            let error = match model.architecture.stacks() {
                [stack] if range.end <= stack.layers => continue,
                [stack] => EngineError::LayerRange {
                    place: recipe.place(&range_path),
                    model: model.name(),
                    range: range.clone(),
                    layers: stack.layers,
                },
                _ if !refused.insert((source.model, None)) => continue,
                [] => {
                    EngineError::NoLayers { place: recipe.place(&source.path), model: model.name() }
                }
                stacks => {
                    let prefixes: Vec<&str> =
                        stacks.iter().map(|stack| stack.prefix.as_str()).collect();
                    let stacks = prefixes.join(", ");
                    EngineError::NotSupported {
                        place: recipe.place(&range_path),
                        what: format!(
                            "layers of a model with several stacks of them ({stacks}) are"
                        ),
                        instead: "merge whole models (`models`), which merges all stacks alike",
                    }
                }
            };
            problems.push(error);
        }
    }
}

/// The source must have each of the reference's stacks with as many layers.
fn check_whole_stacks(
    source: &Source,
    model: &Model,
    first: &Model,
    recipe: &Recipe<'_>,
    refused: &mut HashSet<(usize, Option<usize>)>,
    problems: &mut Problems,
) {
    for (index, expected) in first.architecture.stacks().iter().enumerate() {
        let mut stacks = model.architecture.stacks().iter();
        let found = stacks.find(|stack| stack.prefix == expected.prefix);
        let found = found.map_or(0, |stack| stack.layers);
        if found == expected.layers || !refused.insert((source.model, Some(index))) {
            continue;
        }
        problems.push(EngineError::LayerCounts {
            place: recipe.place(&source.path),
            model: model.name(),
            stack: expected.prefix.clone(),
            found,
            first: first.name(),
            expected: expected.layers,
        });
    }
}

/// Lays out the output's layers: a section for each slice, or for each stack of whole
/// models. The groups must have been checked.
pub(super) fn lay_out(models: &[Model], groups: Vec<Group>) -> Vec<Section> {
    let mut sections = Vec::new();
    for group in groups {
        let stacks = models[group.reference().model].architecture.stacks();
        let Group { site, sources, reference, has_base, .. } = group;
        let range = sources[reference].range.clone();
        let section = |stack, layers| {
            let sources = sources.clone();
            Section { stack, site, sources, reference, has_base, layers }
        };
        match range {
            Some(range) => sections.push(section(Some(0), range.len())),
            None if stacks.is_empty() => sections.push(section(None, 0)),
            None => {
                let stacks = stacks.iter().enumerate();
                sections.extend(stacks.map(|(index, stack)| section(Some(index), stack.layers)));
            }
        }
    }
    sections
}
