//! The places of a recipe that name models.

use mergecore_config::{
    InputModel, MergeConfig, MergeInput, ModelRef, ModuleInput, OutputSlice, RecipePath, Site,
};

/// A place that names a model.
pub(super) struct Entry<'a> {
    pub(super) model: &'a ModelRef,
    pub(super) path: RecipePath,
}

/// A part of a recipe that is merged on its own: the whole of it, or a module.
pub(super) struct Part<'a> {
    /// Where it stands.
    pub(super) site: Site,
    pub(super) input: PartInput<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum PartInput<'a> {
    Models(&'a [InputModel]),
    Slices(&'a [OutputSlice]),
}

pub(super) fn parts(config: &MergeConfig) -> Vec<Part<'_>> {
    let top = Site::default();
    match &config.input {
        MergeInput::Models(models) => vec![Part { site: top, input: PartInput::Models(models) }],
        MergeInput::Slices(slices) => vec![Part { site: top, input: PartInput::Slices(slices) }],
        MergeInput::Modules(modules) => {
            let inputs = modules.iter().map(|(_, module)| match &module.input {
                ModuleInput::Models(models) => PartInput::Models(models),
                ModuleInput::Slices(slices) => PartInput::Slices(slices),
            });
            let part = |(index, input)| Part { site: Site { module: Some(index), ..top }, input };
            inputs.enumerate().map(part).collect()
        }
    }
}

/// Every place among a recipe's inputs that names a model, in order.
pub(super) fn entries(config: &MergeConfig) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut add = |model, site: Site, key: &str| {
        entries.push(Entry { model, path: config.site_path(site).key(key) });
    };
    for Part { site, input } in parts(config) {
        match input {
            PartInput::Models(models) => {
                for (index, input) in models.iter().enumerate() {
                    add(&input.model, Site { input: Some(index), ..site }, "model");
                }
            }
            PartInput::Slices(slices) => {
                for (index, slice) in slices.iter().enumerate() {
                    let site = Site { slice: Some(index), ..site };
                    for (index, source) in slice.sources.iter().enumerate() {
                        add(&source.model, Site { input: Some(index), ..site }, "model");
                    }
                    if let Some(base) = &slice.base_model {
                        add(base, site, "base_model");
                    }
                }
            }
        }
    }
    entries
}

/// Every place that can hold `parameters`: the top, modules, slices and inputs.
pub(super) fn sites(config: &MergeConfig) -> Vec<Site> {
    let mut sites = vec![Site::default()];
    for Part { site, input } in parts(config) {
        if site.module.is_some() {
            sites.push(site);
        }
        match input {
            PartInput::Models(models) => {
                sites.extend((0..models.len()).map(|index| Site { input: Some(index), ..site }));
            }
            PartInput::Slices(slices) => {
                for (index, slice) in slices.iter().enumerate() {
                    let site = Site { slice: Some(index), ..site };
                    sites.push(site);
                    let inputs = 0..slice.sources.len();
                    sites.extend(inputs.map(|index| Site { input: Some(index), ..site }));
                }
            }
        }
    }
    sites
}
