//! Every output tensor: its inputs, operation, dtype and shape.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::mem::{Discriminant, discriminant};
use std::sync::Arc;

use mergecore_config::{FloatType, Level, MergeConfig, RecipePath, Site};
use mergecore_io::{StoredTensor, TensorSource, natural_order};
use mergecore_kernel::{
    Arguments, Binding, Combination, Extent, Kernel, KernelError, Method, Scope, Step,
};
use mergecore_tensor::DType;

use super::arguments::{Lookup, Mistakes};
use super::recipe::Recipe;
use super::sections::{Section, Source};
use super::vocabulary::Vocabularies;
use super::{Model, SharedKernel, Tally, stream_key};
use crate::architecture::{Role, is_head, is_recomputed, layer_name};
use crate::{EngineError, MergeOptions, Problems};

/// A tensor of the output.
///
/// ```
/// use mergecore_tensor::DType;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
///
/// let tensor = &plan.tensors()[0];
/// assert_eq!(tensor.name, "model.embed_tokens.weight");
/// assert_eq!((tensor.dtype, tensor.shape.as_slice()), (DType::F32, &[4, 2][..]));
/// assert_eq!(tensor.inputs.len(), 2);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct PlannedTensor {
    /// Its name.
    pub name: String,
    /// The dtype it is written in.
    pub dtype: DType,
    /// Its shape, which all inputs share.
    pub shape: Vec<usize>,
    /// What is done.
    pub operation: Operation,
    /// The tensors that are read, in the method's order.
    pub inputs: Vec<TensorInput>,
}

/// What is done for an output tensor.
///
/// ```
/// use mergecore_engine::Operation;
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
///
/// let Operation::Merge(kernel) = &plan.tensors()[0].operation else { panic!("a copy") };
/// assert_eq!(format!("{kernel:?}"), "Mean"); // the method, bound to the tensor
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Operation {
    /// The first input's bytes are copied; the others, if there are any, must be
    /// equal to it.
    Copy,
    /// The inputs are widened, merged, and rounded once.
    Merge(SharedKernel),
}

/// An input of an output tensor.
///
/// ```
/// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
/// # let _folder = example::folder();
/// # let plan = example::plan();
/// let input = &plan.tensors()[0].inputs[1];
/// assert_eq!(plan.models()[input.model].name(), "b");
/// let mut element = [0; 4];
/// input.source.read(7..8, &mut element)?; // the last one
/// assert_eq!(f32::from_le_bytes(element), 3.0);
/// # Ok::<(), mergecore_io::IoError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TensorInput {
    /// Index of the model among the plan's.
    pub model: usize,
    /// The tensor's name there.
    pub name: String,
    /// Its elements.
    pub source: Arc<dyn TensorSource>,
}

pub(super) struct Planned {
    pub(super) tensors: Vec<PlannedTensor>,
    pub(super) tally: Tally,
}

/// What the tensors are planned from: recipe and models, which were found to fit
/// together.
pub(super) struct Grounds<'a> {
    pub(super) recipe: &'a Recipe<'a>,
    pub(super) models: &'a [Model],
    /// The model whose config.json the output gets.
    pub(super) donor: usize,
    pub(super) sections: &'a [Section],
    pub(super) method: &'a dyn Method,
    pub(super) options: &'a MergeOptions,
}

/// Plans every output tensor, in natural order of their names.
///
/// # Errors
/// If it is cancelled; all else is among the problems.
pub(super) fn plan<'a>(
    grounds: &Grounds<'a>,
    mistakes: Mistakes<'a>,
    problems: &mut Problems,
    notes: &mut Vec<String>,
) -> Result<Planned, EngineError> {
    let Grounds { recipe, models, donor, sections, method, options } = *grounds;
    let mut planner = Planner {
        recipe,
        models,
        donor,
        inventories: models.iter().map(Inventory::of).collect(),
        method,
        options,
        problems,
        reported: HashSet::new(),
        mistakes,
        notes,
        used: HashSet::new(),
        left_out: BTreeSet::new(),
        vocabularies: Vocabularies::new(recipe, models, donor, options),
        tensors: Vec::new(),
    };
    if let (Some(first), Some(last)) = (sections.first(), sections.last()) {
        if first.site.slice.is_none() {
            planner.refuse_dropping(first, Asked::All)?;
        } else {
            planner.refuse_dropping(first, Asked::Before)?;
            planner.refuse_dropping(last, Asked::After)?;
            for section in sections {
                planner.refuse_dropping(section, Asked::Layers)?;
            }
        }
        planner.outside(first, Role::Before)?;
        planner.outside(last, Role::After)?;
    }
    let mut next_layer: BTreeMap<usize, usize> = BTreeMap::new();
    for section in sections {
        if let Some(stack) = section.stack {
            let next = next_layer.entry(stack).or_default();
            planner.layers(section, stack, *next)?;
            *next += section.layers;
        }
    }
    planner.note_left_out();
    let Planner { mut tensors, used, vocabularies, .. } = planner;
    vocabularies.note(notes)?;
    tensors.sort_by(|a, b| natural_order(&a.name, &b.name));
    let inputs = models.iter().map(|model| model.checkpoint.len()).sum();
    let merged =
        tensors.iter().filter(|tensor| matches!(tensor.operation, Operation::Merge(_))).count();
    let copied = tensors.len() - merged;
    let tally = Tally { merged, copied, inputs, unused: inputs - used.len() };
    Ok(Planned { tensors, tally })
}

/// A model's tensors by their part in it.
struct Inventory<'a> {
    before: Vec<&'a StoredTensor>,
    after: Vec<&'a StoredTensor>,
    /// By stack and layer, with the name's rest.
    layers: BTreeMap<(usize, usize), Vec<(&'a str, &'a StoredTensor)>>,
}

impl<'a> Inventory<'a> {
    fn of(model: &'a Model) -> Self {
        let mut inventory =
            Inventory { before: Vec::new(), after: Vec::new(), layers: BTreeMap::new() };
        for tensor in model.checkpoint.tensors() {
            match model.architecture.role(tensor.name()) {
                Role::Before => inventory.before.push(tensor),
                Role::After => inventory.after.push(tensor),
                Role::Layer { stack, layer, rest } => {
                    inventory.layers.entry((stack, layer)).or_default().push((rest, tensor));
                }
            }
        }
        inventory
    }
}

struct Planner<'a, 'n> {
    recipe: &'a Recipe<'a>,
    models: &'a [Model],
    donor: usize,
    inventories: Vec<Inventory<'a>>,
    method: &'a dyn Method,
    options: &'a MergeOptions,
    problems: &'n mut Problems,
    /// What stands among the problems already.
    reported: HashSet<Cause>,
    mistakes: Mistakes<'a>,
    notes: &'n mut Vec<String>,
    /// Model and tensor.
    used: HashSet<(usize, &'a str)>,
    /// Model and tensor: what is neither read nor refused, because it can be done
    /// without.
    left_out: BTreeSet<(usize, String)>,
    vocabularies: Vocabularies<'a>,
    tensors: Vec<PlannedTensor>,
}

/// What is wrong, of which layer or slice it ever comes up.
#[derive(PartialEq, Eq, Hash)]
enum Cause {
    /// A model that lacks the tensor.
    Missing { tensor: String, model: usize },
    /// The tensor's shape.
    Shape { tensor: String, model: usize },
    /// The tensor's dtype.
    DType { tensor: String, model: usize },
    /// A model whose rows of vocabulary do not fit.
    Vocabulary { model: usize },
    /// Parameters, at this place, that do not fit together.
    Parameters { site: Site, mistake: Discriminant<KernelError> },
}

/// Which of a source's tensors are meant.
#[derive(Clone, Copy)]
enum Asked {
    All,
    Before,
    After,
    /// Those in the layers of the section.
    Layers,
}

/// An output tensor with its inputs found.
struct Found<'a> {
    name: String,
    /// One a source of the section, in its order; `None` where the model lacks it, which
    /// is among the problems.
    inputs: Vec<Option<&'a StoredTensor>>,
    position: f64,
}

impl<'a> Planner<'a, '_> {
    /// Adds a problem, if its cause is new.
    fn report(&mut self, cause: Cause, error: EngineError) {
        if self.reported.insert(cause) {
            self.problems.push(error);
        }
    }

    fn report_missing(&mut self, tensor: &str, model: usize, first: usize) {
        let cause = Cause::Missing { tensor: tensor.to_owned(), model };
        let name = |model: usize| self.models[model].name();
        let (tensor, model, first) = (tensor.to_owned(), name(model), name(first));
        self.report(cause, EngineError::MissingTensor { tensor, model, first });
    }

    /// Tensors outside the layers, before or after them.
    fn outside(&mut self, section: &Section, role: Role<'_>) -> Result<(), EngineError> {
        let levels = Levels::of(self.recipe.config, section);
        let reference = section.reference();
        let of_role = |inventory: &Inventory<'a>| match role {
            Role::Before => inventory.before.clone(),
            _ => inventory.after.clone(),
        };
        let mut expected = of_role(&self.inventories[reference.model]);
        if role == Role::After {
            self.agree_on_head(&mut expected, reference);
        }
        for tensor in expected {
            self.options.check_cancelled()?;
            let name = tensor.name();
            match self.find(section, name, tensor.shape(), |_| name.into()) {
                Some(inputs) => {
                    let found = Found { name: name.to_owned(), inputs, position: 0.0 };
                    self.add(section, &levels, found);
                }
                None => self.leave_out(reference, tensor),
            }
        }
        Ok(())
    }

    /// The output has a head of its own exactly where the donor's config.json
    /// says so: a head that is tied in the one and stored in the other is taken
    /// from the embedding, or left out as its copy.
    fn agree_on_head(&mut self, expected: &mut Vec<&'a StoredTensor>, reference: &Source) {
        let (donor, first) = (&self.models[self.donor], &self.models[reference.model]);
        let heads =
            |model: &'a Model| model.checkpoint.tensors().filter(|tensor| is_head(tensor.name()));
        for head in heads(donor) {
            if first.checkpoint.tensor(head.name()).is_none() {
                expected.push(head);
            }
        }
        let lacks = |head: &&StoredTensor| donor.checkpoint.tensor(head.name()).is_none();
        if !donor.architecture.is_tied() {
            return;
        }
        expected.retain(|tensor| !(is_head(tensor.name()) && lacks(tensor)));
        for head in heads(first).filter(lacks) {
            if first.architecture.is_tied() {
                self.leave_out(reference, head);
            } else {
                self.report_missing(head.name(), self.donor, reference.model);
            }
        }
    }

    /// The layers of a section, which become the output's layers from `next` on.
    fn layers(&mut self, section: &Section, stack: usize, next: usize) -> Result<(), EngineError> {
        let levels = Levels::of(self.recipe.config, section);
        let (reference, models) = (section.reference(), self.models);
        let prefix = &models[reference.model].architecture.stacks()[stack].prefix;
        for layer in 0..section.layers {
            let last = section.layers - 1;
            let position = if last == 0 { 1.0 } else { layer as f64 / last as f64 };
            for (rest, tensor) in self.layer(reference, stack, layer) {
                self.options.check_cancelled()?;
                let name = layer_name(prefix, next + layer, rest);
                let inputs = self.find(section, &name, tensor.shape(), |source| {
                    let stacks = models[source.model].architecture.stacks();
                    let own = stacks.get(stack).map_or(prefix, |stack| &stack.prefix);
                    match own == prefix && source.first_layer() == next {
                        true => Cow::Borrowed(name.as_str()),
                        false => Cow::Owned(layer_name(own, source.first_layer() + layer, rest)),
                    }
                });
                match inputs {
                    Some(inputs) => self.add(section, &levels, Found { name, inputs, position }),
                    None => self.leave_out(reference, tensor),
                }
            }
        }
        Ok(())
    }

    fn layer(
        &self,
        source: &Source,
        stack: usize,
        layer: usize,
    ) -> Vec<(&'a str, &'a StoredTensor)> {
        let key = (stack, source.first_layer() + layer);
        self.inventories[source.model].layers.get(&key).cloned().unwrap_or_default()
    }

    fn leave_out(&mut self, source: &Source, tensor: &StoredTensor) {
        self.left_out.insert((source.model, tensor.name().to_owned()));
    }

    /// Says once a model what was left out.
    fn note_left_out(&mut self) {
        for (index, model) in self.models.iter().enumerate() {
            let mut names = self.left_out.iter().filter(|(model, _)| *model == index);
            let Some((_, first)) = names.next() else { continue };
            let (more, model) = (names.count(), model.name());
            let others = if more == 0 { String::new() } else { format!(" and {more} more") };
            self.notes.push(format!(
                "`{first}`{others} of `{model}` are left out: not all models have them, and they are recomputed on loading or a copy of the embedding"
            ));
        }
    }

    /// A source's tensors of that kind, in natural order of their names.
    fn tensors(&self, asked: Asked, section: &Section, source: &Source) -> Vec<&'a StoredTensor> {
        let inventory = &self.inventories[source.model];
        match (asked, section.stack) {
            (Asked::All, _) => self.models[source.model].checkpoint.tensors().collect(),
            (Asked::Before, _) => inventory.before.clone(),
            (Asked::After, _) => inventory.after.clone(),
            (Asked::Layers, None) => Vec::new(),
            (Asked::Layers, Some(stack)) => {
                let first = source.first_layer();
                let layers =
                    inventory.layers.range((stack, first)..(stack, first + section.layers));
                layers.flat_map(|(_, tensors)| tensors).map(|(_, tensor)| *tensor).collect()
            }
        }
    }

    /// Refuses tensors of a section's sources that its reference does not have, so
    /// that nothing is dropped in silence.
    fn refuse_dropping(&mut self, section: &Section, asked: Asked) -> Result<(), EngineError> {
        let reference = section.reference();
        let (models, first) = (self.models, &self.models[reference.model]);
        for source in &section.sources {
            let model = &models[source.model];
            let (from, to) = (source.first_layer(), reference.first_layer());
            if (source.model, from) == (reference.model, to) {
                continue;
            }
            let layers = from..from + section.layers;
            for tensor in self.tensors(asked, section, source) {
                self.options.check_cancelled()?;
                let name = tensor.name();
                let counterpart = match model.architecture.role(name) {
                    Role::Layer { stack, layer, rest } if section.stack == Some(stack) => {
                        let stack = first.architecture.stacks().get(stack);
                        let Some(stack) = stack.filter(|_| layers.contains(&layer)) else {
                            continue;
                        };
                        Cow::Owned(layer_name(&stack.prefix, layer - from + to, rest))
                    }
                    _ => Cow::Borrowed(name),
                };
                if first.checkpoint.tensor(&counterpart).is_some() {
                    continue;
                }
                let redundant = is_head(name) && model.architecture.is_tied();
                if redundant || is_recomputed(name, tensor.shape()) {
                    self.leave_out(source, tensor);
                } else {
                    self.report_missing(name, reference.model, source.model);
                }
            }
        }
        Ok(())
    }

    /// The input of each source, or `None` for a tensor that is to be left out.
    fn find<'n>(
        &mut self,
        section: &Section,
        name: &str,
        shape: &[usize],
        name_in: impl Fn(&Source) -> Cow<'n, str>,
    ) -> Option<Vec<Option<&'a StoredTensor>>> {
        let (models, reference) = (self.models, section.reference().model);
        let mut inputs = Vec::with_capacity(section.sources.len());
        for source in &section.sources {
            let Model { checkpoint, architecture, .. } = &models[source.model];
            let wanted = name_in(source);
            let tied = || checkpoint.tensor(architecture.tied_to(&wanted, shape)?);
            let input = checkpoint.tensor(&wanted).or_else(tied);
            if input.is_none() {
                if is_recomputed(name, shape) {
                    return None;
                }
                self.report_missing(&wanted, source.model, reference);
            }
            inputs.push(input);
        }
        Some(inputs)
    }

    /// Adds an output tensor, or what stands against it to the problems.
    fn add(&mut self, section: &Section, levels: &Levels<'a>, found: Found<'a>) {
        let Found { name, inputs, position } = found;
        let Some(first) = inputs[section.reference] else { return };
        self.check_dtypes(&name, section, first, &inputs);
        let (says_so, shape) =
            self.vocabularies.output_shape(&name, section.reference().model, first);
        let mut all = Vec::with_capacity(inputs.len());
        for (source, tensor) in section.sources.iter().zip(&inputs) {
            let (model, Some(tensor)) = (source.model, *tensor) else { continue };
            self.used.insert((model, tensor.name()));
            match self.vocabularies.fit(&name, source, tensor, shape) {
                Ok(Some(source)) => {
                    all.push(TensorInput { model, name: tensor.name().to_owned(), source });
                }
                Ok(None) => self.report_shape(model, tensor, says_so, shape),
                Err(error) => self.report(Cause::Vocabulary { model }, error),
            }
        }
        let Some(inputs) = inputs.into_iter().collect::<Option<Vec<_>>>() else { return };
        let dtype = self.output_dtype(first);
        let kernel = if first.dtype().is_float() {
            let kernel = self.bind(section, levels, &name, &inputs, position);
            let Some(kernel) = kernel else { return };
            Some(kernel)
        } else {
            None
        };
        if all.len() < inputs.len() {
            return;
        }
        let operation = match kernel {
            None => Operation::Copy,
            Some(kernel) => match kernel.selects() {
                None => Operation::Merge(kernel),
                Some(index) => {
                    all = vec![all.swap_remove(index)];
                    if all[0].source.dtype() == dtype {
                        Operation::Copy
                    } else {
                        Operation::Merge(Arc::new(Convert))
                    }
                }
            },
        };
        let shape = shape.to_vec();
        self.tensors.push(PlannedTensor { name, dtype, shape, operation, inputs: all });
    }

    fn output_dtype(&self, reference: &StoredTensor) -> DType {
        let stored = reference.dtype();
        let config = self.recipe.config;
        match config.out_dtype.or(config.dtype).filter(|_| stored.is_float()) {
            None => stored,
            Some(FloatType::Bf16) => DType::Bf16,
            Some(FloatType::F16) => DType::F16,
            Some(FloatType::F32) => DType::F32,
            Some(FloatType::F64) => DType::F64,
        }
    }

    /// Floats may differ in dtype among themselves, everything else may not.
    fn check_dtypes(
        &mut self,
        name: &str,
        section: &Section,
        first: &StoredTensor,
        inputs: &[Option<&StoredTensor>],
    ) {
        let expected = first.dtype();
        for (source, tensor) in section.sources.iter().zip(inputs) {
            let found = tensor.map_or(expected, |tensor| tensor.dtype());
            if found == expected || (found.is_float() && expected.is_float()) {
                continue;
            }
            let error = EngineError::DTypesDiffer {
                tensor: name.to_owned(),
                model: self.models[source.model].name(),
                found,
                first: self.models[section.reference().model].name(),
                expected,
            };
            self.report(Cause::DType { tensor: name.to_owned(), model: source.model }, error);
        }
    }

    fn bind(
        &mut self,
        section: &Section,
        levels: &Levels<'a>,
        name: &str,
        inputs: &[&StoredTensor],
        position: f64,
    ) -> Option<SharedKernel> {
        let (mistakes, problems) = (&mut self.mistakes, &mut *self.problems);
        let (site, levels_of) = (section.site, &levels.shared);
        let lookup = Lookup { site, levels: levels_of, scope: Scope::Shared, model: None };
        let shared = mistakes.arguments(&lookup, name, position, problems);
        let skip = usize::from(section.has_base);
        let sources = section.sources.iter().zip(&levels.sources).zip(inputs).skip(skip);
        let models: Vec<_> = sources
            .map(|((source, levels), tensor)| {
                let model = Some(&self.models[source.model].reference);
                let (site, scope) = (source.site, Scope::PerModel);
                let lookup = Lookup { site, levels, scope, model };
                mistakes.arguments(&lookup, tensor.name(), position, problems)
            })
            .collect(); // all of them, before the first that is wrong ends it
        let (shared, models) = (shared?, models.into_iter().collect::<Option<_>>()?);
        let stream = stream_key(self.options.seed, name);
        let binding = Binding { base: section.has_base, shared, models, stream };
        match self.method.bind(&binding) {
            Ok(kernel) => Some(kernel.into()),
            Err(source) => {
                let cause = Cause::Parameters { site, mistake: discriminant(&source) };
                if !self.reported.contains(&cause) {
                    let model = model_of(&source, &binding.models).map(|model| model + skip);
                    let path = match model.and_then(|model| section.sources.get(model)) {
                        Some(source) => self.recipe.config.site_path(source.site),
                        None => RecipePath::root().key("merge_method"),
                    };
                    let (place, tensor) = (self.recipe.place(&path), name.to_owned());
                    self.report(cause, EngineError::Parameters { place, tensor, source });
                }
                None
            }
        }
    }

    fn report_shape(
        &mut self,
        model: usize,
        tensor: &StoredTensor,
        says_so: usize,
        expected: &[usize],
    ) {
        let cause = Cause::Shape { tensor: tensor.name().to_owned(), model };
        let (model, found) = (&self.models[model], tensor.shape());
        let outside = !matches!(model.architecture.role(tensor.name()), Role::Layer { .. });
        let rows_alone =
            outside && found.len() == expected.len() && found.get(1..) == expected.get(1..);
        let error = EngineError::Shapes {
            hint: if rows_alone {
                " (and, if these are rows of vocabulary, that `vocab_size` in each config.json is their number)"
            } else {
                ""
            },
            tensor: tensor.name().to_owned(),
            model: model.name(),
            found: found.into(),
            first: self.models[says_so].name(),
            expected: expected.into(),
        };
        self.report(cause, error);
    }
}

/// The levels at which a section's parameters are looked up.
struct Levels<'a> {
    shared: Vec<Level<'a>>,
    /// One a source.
    sources: Vec<Vec<Level<'a>>>,
}

impl<'a> Levels<'a> {
    fn of(config: &'a MergeConfig, section: &Section) -> Self {
        Levels {
            shared: config.levels(section.site),
            sources: section.sources.iter().map(|source| config.levels(source.site)).collect(),
        }
    }
}

/// The only input in another dtype.
#[derive(Debug)]
struct Convert;

impl Kernel for Convert {
    fn first(&self, _: Extent) -> Result<Step, KernelError> {
        Ok(Step::apply(Combination::select(0, 1)))
    }
}

/// The first model whose parameters do not fit together.
fn model_of(error: &KernelError, models: &[Arguments]) -> Option<usize> {
    let KernelError::ParameterPair { parameters, values, .. } = error else { return None };
    models.iter().position(|arguments| {
        (arguments.number(parameters.0), arguments.number(parameters.1))
            == (Some(values.0), Some(values.1))
    })
}
