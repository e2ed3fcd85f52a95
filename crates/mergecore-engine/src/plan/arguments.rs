//! A method's arguments for one tensor, from the recipe's parameters.

use std::collections::HashSet;
use std::sync::Arc;

use mergecore_config::{
    Level, ModelRef, RecipePath, Scalar, Setting, Site, Value, nearest, resolve, resolve_value,
};
use mergecore_kernel::{
    Argument, Arguments, DefaultValue, Method, Parameter, ParameterKind, Scope,
};

use super::inputs::{Entry, sites};
use super::recipe::Recipe;
use super::sections::{Group, Section};
use crate::{EngineError, Problems, Registry};

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

/// Every parameter's name that a recipe may contain, whatever its method.
pub(crate) fn known_parameters(registry: &Registry) -> impl Iterator<Item = &str> {
    let own = registry.methods().flat_map(|method| method.parameters());
    let without_effect = WITHOUT_EFFECT.iter().map(|(name, _)| *name);
    own.map(|parameter| parameter.name).chain(KNOWN_ELSEWHERE).chain(without_effect)
}

/// Notes on parameters that name their place. Each is a parse of the recipe, so that a long
/// recipe of nothing but such parameters would take minutes.
const MAX_NOTES: usize = 50;

/// Notes on parameters without effect: the first ones in full, the others counted.
struct WithoutEffect<'a> {
    recipe: &'a Recipe<'a>,
    notes: &'a mut Vec<String>,
    count: usize,
}

impl<'a> WithoutEffect<'a> {
    fn new(recipe: &'a Recipe<'a>, notes: &'a mut Vec<String>) -> Self {
        WithoutEffect { recipe, notes, count: 0 }
    }

    /// That the parameter at `path` has no effect, and why.
    fn note(&mut self, path: &RecipePath, name: &str, why: std::fmt::Arguments<'_>) {
        self.count += 1;
        if self.count <= MAX_NOTES {
            let place = self.recipe.place_of_key(path);
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
    recipe: &Recipe<'_>,
    registry: &Registry,
) -> Result<Arc<dyn Method>, EngineError> {
    let name = &recipe.config.merge_method;
    if let Some(method) = registry.get(name) {
        return Ok(Arc::clone(method));
    }
    let place = recipe.place(&RecipePath::root().key("merge_method"));
    Err(EngineError::UnknownMethod {
        place,
        name: name.clone(),
        suggestion: nearest(name, registry.names()).map(str::to_owned),
        available: registry.names().map(str::to_owned).collect(),
    })
}

/// Parameters of the method that are not where or what they are meant to be.
#[derive(Default)]
pub(super) struct Slips {
    misspelt: Vec<Misspelt>,
    /// Shared parameters that a single model has, and where.
    misplaced: Vec<(&'static str, RecipePath)>,
}

/// A parameter of the method under a name that is none.
struct Misspelt {
    /// The `parameters` that have it.
    level: RecipePath,
    /// The method's parameter that it resembles.
    meant: String,
}

/// Refuses parameters that nothing knows, and notes those without effect. Yields the
/// method's own that are misspelt or in the wrong place.
pub(super) fn check_names(
    recipe: &Recipe<'_>,
    registry: &Registry,
    method: &dyn Method,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Slips {
    let mut slips = Slips::default();
    let mut without_effect = WithoutEffect::new(recipe, notes);
    for site in sites(recipe.config) {
        let levels = recipe.config.levels(site);
        // The first level is the site's own.
        let Some(Level { parameters, path: level }) = levels.first() else { continue };
        for (name, _) in parameters.iter() {
            let path = level.key(name);
            // Only where there is something to say: each place is a parse of the recipe.
            let place = || recipe.place_of_key(&path);
            let taken = method.parameters().iter().find(|parameter| parameter.name == name);
            if let Some(parameter) = taken {
                if parameter.scope == Scope::Shared && site.input.is_some() {
                    slips.misplaced.push((parameter.name, path.clone()));
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
            let meant = nearest(name, own.clone());
            if let Some(meant) = meant {
                let (level, meant) = (level.clone(), meant.to_owned());
                slips.misspelt.push(Misspelt { level, meant });
            }
            let suggestion = meant.or_else(|| nearest(name, others().chain(KNOWN_ELSEWHERE)));
            problems.push(EngineError::UnknownParameter {
                place: place(),
                name: name.to_owned(),
                suggestion: suggestion.map(str::to_owned),
                method: method.name().to_owned(),
                takes: own.map(str::to_owned).collect(),
            });
        }
    }
    without_effect.finish();
    slips
}

/// Notes the parameters that the base's own entry gives: they are for the models
/// that are compared with it.
pub(super) fn note_base_parameters(
    recipe: &Recipe<'_>,
    method: &dyn Method,
    sections: &[Section],
    notes: &mut Vec<String>,
) {
    let with_base = sections.iter().filter(|section| section.has_base);
    let sites = with_base.map(|section| section.reference().site);
    let mut sites: Vec<Site> = sites.filter(|site| site.input.is_some()).collect();
    sites.dedup();
    let mut without_effect = WithoutEffect::new(recipe, notes);
    for site in sites {
        // The first level is the site's own.
        let levels = recipe.config.levels(site);
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

/// Where arguments are looked up.
#[derive(Clone, Copy)]
pub(super) struct Lookup<'a> {
    /// The site whose levels apply.
    pub(super) site: Site,
    pub(super) levels: &'a [Level<'a>],
    pub(super) scope: Scope,
    /// The model, for per-model parameters.
    pub(super) model: Option<&'a ModelRef>,
}

/// What is wrong with a parameter that the method takes.
enum Mistake {
    Missing,
    Value { path: RecipePath, found: String },
}

/// Mistakes in parameters, each reported once, of however many tensors.
pub(super) struct Mistakes<'a> {
    recipe: &'a Recipe<'a>,
    method: &'a dyn Method,
    slips: &'a Slips,
    /// By parameter and the setting at fault, or the place that lacks one.
    reported: HashSet<(&'static str, RecipePath)>,
}

impl<'a> Mistakes<'a> {
    pub(super) fn new(recipe: &'a Recipe<'a>, method: &'a dyn Method, slips: &'a Slips) -> Self {
        Mistakes { recipe, method, slips, reported: HashSet::new() }
    }

    /// All parameters of the scope for a tensor, validated, defaults filled in; `None`
    /// if any is wrong. Filters are matched with `tensor`; `position` is that along the
    /// slice's layers, 0 to 1.
    pub(super) fn arguments(
        &mut self,
        lookup: &Lookup<'_>,
        tensor: &str,
        position: f64,
        problems: &mut Problems,
    ) -> Option<Arguments> {
        let mut arguments = Arguments::default();
        let mut complete = true;
        for parameter in self.method.parameters().iter().filter(|p| p.scope == lookup.scope) {
            match argument(parameter, lookup.levels, tensor, position) {
                Ok(Some(argument)) => arguments.insert(parameter.name, argument),
                Ok(None) => {}
                Err(mistake) => {
                    complete = false;
                    self.report(lookup, parameter, Some(tensor), mistake, problems);
                }
            }
        }
        complete.then_some(arguments)
    }

    /// Reports what is wrong of whatever tensor: for recipes whose tensors cannot be
    /// looked at.
    pub(super) fn check_without_tensors(
        &mut self,
        named: &[Entry<'_>],
        groups: &[Group],
        problems: &mut Problems,
    ) {
        let config = self.recipe.config;
        for group in groups {
            let skip = usize::from(group.has_base);
            let (site, levels) = (group.site, &config.levels(group.site));
            let shared = Lookup { site, levels, scope: Scope::Shared, model: None };
            self.check(&shared, problems);
            // Of inputs that are not accepted, it is not known which is the base.
            for source in group.sources.iter().skip(skip).filter(|_| group.accepted) {
                let (site, levels) = (source.site, &config.levels(source.site));
                let model = Some(named[source.model].model);
                self.check(&Lookup { site, levels, scope: Scope::PerModel, model }, problems);
            }
        }
    }

    fn check<'l>(&mut self, lookup: &Lookup<'l>, problems: &mut Problems) {
        for parameter in self.method.parameters().iter().filter(|p| p.scope == lookup.scope) {
            let of = |level: &'l Level<'_>| Some((level, level.parameters.get(parameter.name)?));
            let found = lookup.levels.iter().find_map(of);
            let mistake = match found {
                None if parameter.default == DefaultValue::Required => Mistake::Missing,
                Some((level, Setting::Value(value))) => {
                    let points = match value {
                        Value::Scalar(scalar) => std::slice::from_ref(scalar),
                        Value::Gradient(points) => points,
                    };
                    let wrong = |point: &&Scalar| validated(parameter, point).is_none();
                    let Some(point) = points.iter().find(wrong) else { continue };
                    let path = level.path.key(parameter.name);
                    Mistake::Value { path, found: describe(point) }
                }
                // Which conditions hold, names of tensors decide.
                None | Some((_, Setting::Conditional(_))) => continue,
            };
            self.report(lookup, parameter, None, mistake, problems);
        }
    }

    fn report(
        &mut self,
        lookup: &Lookup<'_>,
        parameter: &Parameter,
        tensor: Option<&str>,
        mistake: Mistake,
        problems: &mut Problems,
    ) {
        let tensor = tensor.map(str::to_owned);
        match mistake {
            Mistake::Missing => {
                let misspelt = |slip: &Misspelt| {
                    slip.meant == parameter.name
                        && lookup.levels.iter().any(|level| level.path == slip.level)
                };
                if self.slips.misspelt.iter().any(misspelt) {
                    return; // said already
                }
                let mut misplaced = self.slips.misplaced.iter();
                if let Some((name, path)) = misplaced.find(|(name, _)| *name == parameter.name) {
                    if self.reported.insert((parameter.name, RecipePath::root())) {
                        problems.push(EngineError::MisplacedParameter {
                            place: self.recipe.place_of_key(path),
                            method: self.method.name().to_owned(),
                            parameter: name,
                        });
                    }
                    return;
                }
                let path = self.recipe.config.site_path(lookup.site);
                // What all models share is missing everywhere at once.
                let cause = if lookup.model.is_some() { path.clone() } else { RecipePath::root() };
                if self.reported.insert((parameter.name, cause)) {
                    problems.push(EngineError::MissingParameter {
                        place: self.recipe.place(&path),
                        method: self.method.name().to_owned(),
                        parameter: parameter.name,
                        model: lookup.model.map(ToString::to_string),
                        tensor,
                    });
                }
            }
            Mistake::Value { path, found } => {
                if self.reported.insert((parameter.name, path.clone())) {
                    problems.push(EngineError::ParameterValue {
                        place: self.recipe.place(&path),
                        parameter: parameter.name,
                        found,
                        tensor,
                        expected: parameter.kind.to_string(),
                    });
                }
            }
        }
    }
}

fn argument(
    parameter: &Parameter,
    levels: &[Level<'_>],
    tensor: &str,
    position: f64,
) -> Result<Option<Argument>, Mistake> {
    match resolve_value(levels, parameter.name, tensor, position) {
        Some(value) => validated(parameter, &value).map(Some).ok_or_else(|| {
            let resolved = resolve(levels, parameter.name, tensor, position);
            let path = resolved.map_or_else(RecipePath::root, |resolved| resolved.path);
            Mistake::Value { path, found: describe(&value) }
        }),
        None => match parameter.default {
            DefaultValue::Number(value) => Ok(Some(Argument::Number(value))),
            DefaultValue::Flag(value) => Ok(Some(Argument::Flag(value))),
            DefaultValue::Text(value) => Ok(Some(Argument::Text(value.to_owned()))),
            DefaultValue::Unset => Ok(None),
            DefaultValue::Required => Err(Mistake::Missing),
        },
    }
}

/// The value as the parameter declares it, if it is one of its values.
fn validated(parameter: &Parameter, value: &Scalar) -> Option<Argument> {
    match parameter.kind {
        ParameterKind::Number { min, max } => {
            value.as_f64().filter(|number| (min..=max).contains(number)).map(Argument::Number)
        }
        ParameterKind::Integer { min, max } => value
            .as_f64()
            .filter(|number| number.fract() == 0.0)
            .filter(|number| (f64::from(min)..=f64::from(max)).contains(number))
            .map(Argument::Number),
        ParameterKind::Flag => value.as_bool().map(Argument::Flag),
        ParameterKind::Choice(names) => value
            .as_str()
            .filter(|text| names.contains(text))
            .map(|text| Argument::Text(text.to_owned())),
    }
}

fn describe(value: &Scalar) -> String {
    match value {
        Scalar::Bool(value) => value.to_string(),
        Scalar::Number(value) => value.to_string(),
        Scalar::Text(value) => format!("the text `{value}`"),
    }
}
