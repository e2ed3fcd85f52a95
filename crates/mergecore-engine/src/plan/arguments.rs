//! A method's arguments for one tensor, from the recipe's parameters.

use std::sync::Arc;

use mergecore_config::{
    Level, MergeConfig, RecipePath, Scalar, Site, nearest, resolve, resolve_value,
};
use mergecore_kernel::{
    Argument, Arguments, DefaultValue, Method, Parameter, ParameterKind, Scope,
};

use super::Model;
use super::inputs::sites;
use super::sections::Section;
use crate::{EngineError, Registry};

/// Parameters that recipes contain and that have no effect here whatever the
/// method, with the reason.
const WITHOUT_EFFECT: [(&str, &str); 1] =
    [("int8_mask", "it saves memory in other programs; here masks are not stored at all")];

/// Parameters of methods that recipes are written for, whether or not they are
/// registered: known names, which have no effect under another method.
const KNOWN_ELSEWHERE: [&str; 22] = [
    "alpha",
    "density",
    "epsilon",
    "eps",
    "filter_wise",
    "gamma",
    "lambda",
    "max_iter",
    "normalize",
    "normalize_weights",
    "nuslerp_flatten",
    "nuslerp_row_wise",
    "r",
    "rescale",
    "rescale_norm",
    "scale",
    "select_topk",
    "t",
    "tol",
    "tau",
    "use_fft",
    "weight",
];

/// Method names that recipes contain and that are not there yet.
const PLANNED_METHODS: [&str; 13] = [
    "arcee_fusion",
    "breadcrumbs",
    "breadcrumbs_ties",
    "della",
    "della_linear",
    "karcher",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "ram",
    "ramplus_tl",
    "sce",
];

/// Notes on parameters that name their place. Each is a parse of the recipe, so that a long
/// recipe of nothing but such parameters would take minutes.
const MAX_NOTES: usize = 50;

/// Notes on parameters without effect: the first ones in full, the others counted.
struct WithoutEffect<'a> {
    config: &'a MergeConfig,
    notes: &'a mut Vec<String>,
    count: usize,
}

impl<'a> WithoutEffect<'a> {
    fn new(config: &'a MergeConfig, notes: &'a mut Vec<String>) -> Self {
        WithoutEffect { config, notes, count: 0 }
    }

    /// That the parameter at `path` has no effect, and why.
    fn note(&mut self, path: &RecipePath, name: &str, why: std::fmt::Arguments<'_>) {
        self.count += 1;
        if self.count <= MAX_NOTES {
            let place = self.config.place_of_key(path);
            self.notes.push(format!("{place}: `{name}` has no effect: {why}"));
        }
    }

    fn finish(self) {
        if let more @ 1.. = self.count.saturating_sub(MAX_NOTES) {
            let have = if more == 1 { "parameter has" } else { "parameters have" };
            self.notes.push(format!("{more} more {have} no effect for such reasons"));
        }
    }
}

/// The recipe's method.
pub(super) fn method(
    config: &MergeConfig,
    registry: &Registry,
) -> Result<Arc<dyn Method>, EngineError> {
    let name = &config.merge_method;
    if let Some(method) = registry.get(name) {
        return Ok(Arc::clone(method));
    }
    let place = Box::new(config.place(&RecipePath::root().key("merge_method")));
    if PLANNED_METHODS.contains(&name.as_str()) {
        let what = format!("the method `{name}` is");
        return Err(EngineError::NotSupported {
            place,
            what,
            instead: "`mergecore --help` lists those that are",
        });
    }
    Err(EngineError::UnknownMethod {
        place,
        name: name.clone(),
        suggestion: nearest(name, registry.names()).map(str::to_owned),
        available: registry.names().map(str::to_owned).collect(),
    })
}

/// Refuses parameters that nothing knows, and notes those without effect.
pub(super) fn check_names(
    config: &MergeConfig,
    registry: &Registry,
    method: &dyn Method,
    notes: &mut Vec<String>,
) -> Result<(), EngineError> {
    let mut without_effect = WithoutEffect::new(config, notes);
    for site in sites(config) {
        let levels = config.levels(site);
        // The first level is the site's own.
        let Some(Level { parameters, path }) = levels.first() else { continue };
        for (name, _) in parameters.iter() {
            let path = path.key(name);
            let taken = method.parameters().iter().find(|parameter| parameter.name == name);
            if let Some(parameter) = taken {
                if parameter.scope == Scope::Shared && site.input.is_some() {
                    without_effect.note(
                        &path,
                        name,
                        format_args!("{} has one value for all models, which belongs in `parameters` beside or above the list of models", method.name()),
                    );
                }
                continue;
            }
            if let Some((_, reason)) = WITHOUT_EFFECT.iter().find(|(known, _)| *known == name) {
                without_effect.note(&path, name, format_args!("{reason}"));
                continue;
            }
            let others = || registry.methods().flat_map(|other| other.parameters()).map(|p| p.name);
            if others().chain(KNOWN_ELSEWHERE).any(|known| known == name) {
                without_effect.note(
                    &path,
                    name,
                    format_args!("{} does not take it", method.name()),
                );
                continue;
            }
            let own = method.parameters().iter().map(|parameter| parameter.name);
            let suggestion = nearest(name, own.clone())
                .or_else(|| nearest(name, others().chain(KNOWN_ELSEWHERE)));
            return Err(EngineError::UnknownParameter {
                place: Box::new(config.place_of_key(&path)),
                name: name.to_owned(),
                suggestion: suggestion.map(str::to_owned),
                method: method.name().to_owned(),
                takes: own.map(str::to_owned).collect(),
            });
        }
    }
    without_effect.finish();
    Ok(())
}

/// Notes the parameters that the base's own entry gives: they are for the models
/// that are compared with it.
pub(super) fn note_base_parameters(
    config: &MergeConfig,
    method: &dyn Method,
    sections: &[Section],
    notes: &mut Vec<String>,
) {
    if !method.inputs().base {
        return;
    }
    let sites = sections.iter().map(|section| section.reference().site);
    let mut sites: Vec<Site> = sites.filter(|site| site.input.is_some()).collect();
    sites.dedup();
    let mut without_effect = WithoutEffect::new(config, notes);
    for site in sites {
        // The first level is the site's own.
        let levels = config.levels(site);
        let Some(Level { parameters, path }) = levels.first() else { continue };
        for parameter in method.parameters().iter().filter(|p| p.scope == Scope::PerModel) {
            if parameters.iter().any(|(name, _)| name == parameter.name) {
                let (path, name) = (path.key(parameter.name), parameter.name);
                without_effect.note(&path, name, format_args!("this is the base model"));
            }
        }
    }
    without_effect.finish();
}

/// Where a tensor's arguments are looked up.
pub(super) struct Lookup<'a> {
    pub(super) config: &'a MergeConfig,
    pub(super) method: &'a dyn Method,
    /// The site whose levels apply.
    pub(super) levels: &'a [Level<'a>],
    pub(super) site: Site,
    pub(super) scope: Scope,
    /// The model, for per-model parameters.
    pub(super) model: Option<&'a Model>,
    /// The name that filters are matched with.
    pub(super) tensor: &'a str,
    /// Position along the slice's layers, 0 to 1.
    pub(super) position: f64,
}

impl Lookup<'_> {
    /// All parameters of the scope, validated, defaults filled in.
    pub(super) fn arguments(&self) -> Result<Arguments, EngineError> {
        let mut arguments = Arguments::default();
        for parameter in self.method.parameters().iter().filter(|p| p.scope == self.scope) {
            if let Some(argument) = self.argument(parameter)? {
                arguments.insert(parameter.name, argument);
            }
        }
        Ok(arguments)
    }

    fn argument(&self, parameter: &Parameter) -> Result<Option<Argument>, EngineError> {
        match resolve_value(self.levels, parameter.name, self.tensor, self.position) {
            Some(value) => self.validate(parameter, &value).map(Some),
            None => match parameter.default {
                DefaultValue::Number(value) => Ok(Some(Argument::Number(value))),
                DefaultValue::Flag(value) => Ok(Some(Argument::Flag(value))),
                DefaultValue::Unset => Ok(None),
                DefaultValue::Required => Err(EngineError::MissingParameter {
                    place: Box::new(self.config.place(&self.config.site_path(self.site))),
                    method: self.method.name().to_owned(),
                    parameter: parameter.name,
                    model: self.model.map(Model::name),
                    tensor: self.tensor.to_owned(),
                }),
            },
        }
    }

    fn validate(&self, parameter: &Parameter, value: &Scalar) -> Result<Argument, EngineError> {
        let argument = match parameter.kind {
            ParameterKind::Number { min, max } => {
                value.as_f64().filter(|number| (min..=max).contains(number)).map(Argument::Number)
            }
            ParameterKind::Flag => value.as_bool().map(Argument::Flag),
            ParameterKind::Choice(names) => value
                .as_str()
                .filter(|text| names.contains(text))
                .map(|text| Argument::Text(text.to_owned())),
        };
        argument.ok_or_else(|| {
            let resolved = resolve(self.levels, parameter.name, self.tensor, self.position);
            let path = resolved.map_or_else(RecipePath::root, |resolved| resolved.path);
            EngineError::ParameterValue {
                place: Box::new(self.config.place(&path)),
                parameter: parameter.name,
                found: describe(value),
                tensor: self.tensor.to_owned(),
                expected: parameter.kind.to_string(),
            }
        })
    }
}

fn describe(value: &Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => format!("the text `{value}`"),
    }
}
