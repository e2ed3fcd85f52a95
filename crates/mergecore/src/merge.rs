//! The way from recipe to checkpoint, with the built-in methods.

use std::path::{Path, PathBuf};

use mergecore_config::{MergeConfig, ModelRef};
use mergecore_engine::{MergeOptions, MergePlan, MergeReport, Model, ModelLocator, Registry};
use mergecore_io::StagedDir;

use crate::Result;

/// A registry of all methods of this crate, to which a program may add its own.
///
/// ```
/// let names: Vec<String> = mergecore::builtin_methods().names().map(str::to_owned).collect();
/// assert!(names.contains(&"dare_ties".to_owned()));
/// ```
pub fn builtin_methods() -> Registry {
    let mut registry = Registry::new();
    registry
        .register(mergecore_linear::LinearMethod)
        .register(mergecore_linear::PassthroughMethod)
        .register(mergecore_slerp::SlerpMethod)
        .register(mergecore_slerp::NuSlerpMethod)
        .register(mergecore_slerp::MultiSlerpMethod)
        .register(mergecore_slerp::KarcherMethod)
        .register(mergecore_ties::TaskArithmeticMethod)
        .register(mergecore_ties::TiesMethod)
        .register(mergecore_ties::BreadcrumbsMethod)
        .register(mergecore_ties::BreadcrumbsTiesMethod)
        .register(mergecore_ties::SceMethod)
        .register(mergecore_ties::RamMethod)
        .register(mergecore_ties::RamPlusMethod)
        .register(mergecore_ties::MagMaxMethod)
        .register(mergecore_ties::ConsensusTaMethod)
        .register(mergecore_dare::DareLinearMethod)
        .register(mergecore_dare::DareTiesMethod)
        .register(mergecore_dare::DellaMethod)
        .register(mergecore_dare::DellaLinearMethod)
        .register(mergecore_adaptive::ModelStockMethod)
        .register(mergecore_adaptive::NearSwapMethod)
        .register(mergecore_adaptive::ArceeFusionMethod);
    #[cfg(feature = "spectral")]
    registry.register(mergecore_spectral::IsoCMethod).register(mergecore_spectral::TsvMethod);
    registry
}

/// Merges models by a recipe into the new checkpoint directory `output`.
///
/// Model paths in the recipe are relative to the current directory. What is no
/// directory is looked for by name: by [`MergeOptions::locator`] or, without one and
/// with the feature `hub`, in the local Hugging Face cache. The output
/// appears only when it is complete; until then the work is in a directory beside
/// it, which is removed if the merge fails.
///
/// # Errors
/// What is wrong with recipe, models or output; see [`Error`](crate::Error).
///
/// ```
/// use mergecore::{MergeConfig, MergeOptions, merge};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// # let dir = tempfile::tempdir().unwrap();
/// # let out = dir.path().join("merged");
///
/// let config = MergeConfig::from_yaml_str(
///     "merge_method: slerp
/// base_model: models/tiny-llama-code
/// models:
///   - model: models/tiny-llama-code
///   - model: models/tiny-llama-kjv
/// parameters: {t: 0.5}
/// dtype: bfloat16",
/// )?;
/// let report = merge(&config, &out, &MergeOptions::default())?;
/// assert_eq!(report.tally.merged, report.tensors);
/// assert!(out.join("model.safetensors").exists());
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn merge(
    config: &MergeConfig,
    output: impl AsRef<Path>,
    options: &MergeOptions,
) -> Result<MergeReport> {
    merge_with(config, &builtin_methods(), output, options)
}

/// Like [`merge`], with the methods of a registry of one's own.
///
/// # Errors
/// As [`merge`].
///
/// ```
/// use mergecore::kernel::{Base, Binding, Combination, Extent, Inputs, Kernel, Parameter, Step};
/// use mergecore::{KernelError, MergeConfig, MergeOptions, Method, builtin_methods, merge_with};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// # let dir = tempfile::tempdir().unwrap();
/// # let out = dir.path().join("merged");
///
/// #[derive(Debug)]
/// struct Mean;
///
/// impl Kernel for Mean {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(Combination::new(vec![0.5, 0.5])))
///     }
/// }
///
/// impl Method for Mean {
///     fn name(&self) -> &str { "mean" }
///     fn title(&self) -> &str { "Mean of two" }
///     fn inputs(&self) -> Inputs { Inputs { base: Base::None, models: 2..=2 } }
///     fn parameters(&self) -> &[Parameter] { &[] }
///     fn bind(&self, _: &Binding) -> Result<Box<dyn Kernel>, KernelError> { Ok(Box::new(Mean)) }
/// }
///
/// let mut registry = builtin_methods();
/// registry.register(Mean);
/// let config = MergeConfig::from_yaml_str(
///     "merge_method: mean
/// models: [{model: models/tiny-llama-code}, {model: models/tiny-llama-kjv}]",
/// )?;
/// let report = merge_with(&config, &registry, &out, &MergeOptions::default())?;
/// assert_eq!(report.tally.merged, report.tensors);
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn merge_with(
    config: &MergeConfig,
    registry: &Registry,
    output: impl AsRef<Path>,
    options: &MergeOptions,
) -> Result<MergeReport> {
    let (output, options) = (output.as_ref(), with_locator(options));
    let plan = MergePlan::for_output(config, registry, output, &options)?;
    Ok(plan.execute(output, &options)?)
}

/// Where a merge to `output` that was stopped has left what it had done, if one has. The same
/// merge goes on with it; deleted, it is given up.
///
/// ```
/// use mergecore::partial_work;
///
/// let folder = tempfile::tempdir().unwrap();
/// assert_eq!(partial_work(folder.path().join("merged")), None);
/// ```
pub fn partial_work(output: impl AsRef<Path>) -> Option<PathBuf> {
    StagedDir::left(output.as_ref())
}

/// What [`merge`] would do: every output tensor, known from headers alone. No
/// tensor byte is read and nothing is written.
///
/// # Errors
/// What is wrong with recipe or models, as far as headers show it.
///
/// ```
/// use mergecore::{MergeOptions, load_recipe, plan};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
///
/// // Layers 0 to 3 of the one model, then 2 to 5 of the other.
/// let config = load_recipe("models/recipes/tiny_stack.yml")?;
/// let plan = plan(&config, &MergeOptions::default())?;
/// assert_eq!(plan.config()["num_hidden_layers"], 8);
/// let name = "model.layers.4.mlp.up_proj.weight";
/// let tensor = plan.tensors().iter().find(|tensor| tensor.name == name).unwrap();
/// assert_eq!(tensor.inputs[0].name, "model.layers.2.mlp.up_proj.weight");
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn plan(config: &MergeConfig, options: &MergeOptions) -> Result<MergePlan> {
    plan_with(config, &builtin_methods(), options)
}

/// Like [`plan`], for a merge to `output`: what is wrong with that one is reported together
/// with everything else. Still nothing is written.
///
/// # Errors
/// As [`plan`], and if the output exists, overlaps an input, cannot be written, does not fit on
/// the disk, or its model card cannot be made.
///
/// ```
/// use mergecore::{MergeOptions, load_recipe, plan_for_output};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
///
/// let config = load_recipe("models/recipes/tiny_ties.yml")?;
/// let error = plan_for_output(&config, "models/tiny-llama-base/merged", &MergeOptions::default());
/// assert!(error.unwrap_err().to_string().contains("inputs are never written"));
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn plan_for_output(
    config: &MergeConfig,
    output: impl AsRef<Path>,
    options: &MergeOptions,
) -> Result<MergePlan> {
    let options = with_locator(options);
    Ok(MergePlan::for_output(config, &builtin_methods(), output.as_ref(), &options)?)
}

/// Like [`plan`], with the methods of a registry of one's own: see [`merge_with`].
///
/// # Errors
/// As [`plan`].
///
/// ```
/// use mergecore::{MergeOptions, builtin_methods, load_recipe, plan_with};
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
///
/// let registry = builtin_methods(); // and methods of one's own
/// let config = load_recipe("models/recipes/tiny_ties.yml")?;
/// let plan = plan_with(&config, &registry, &MergeOptions::default())?;
/// assert_eq!((plan.method(), plan.tally().merged), ("ties", plan.tensors().len()));
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn plan_with(
    config: &MergeConfig,
    registry: &Registry,
    options: &MergeOptions,
) -> Result<MergePlan> {
    Ok(MergePlan::new(config, registry, &with_locator(options))?)
}

/// With the local cache, where no other way is given to find models by name.
pub(crate) fn with_locator(options: &MergeOptions) -> MergeOptions {
    let locator = options.locator.clone().or_else(default_locator);
    MergeOptions { locator, ..options.clone() }
}

/// Opens a model by its directory or, with the feature `hub`, by its name in the local
/// Hugging Face cache. Its headers are read, and no tensor.
///
/// # Errors
/// If it is not found, is no checkpoint that can be read, or has an adapter.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// use mergecore::{ModelRef, open_model};
///
/// let model = open_model(&ModelRef::new("models/tiny-llama-base"))?;
/// assert_eq!(model.architecture.stacks()[0].layers, 6);
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn open_model(reference: &ModelRef) -> Result<Model> {
    Ok(Model::open(reference, default_locator().as_ref())?)
}

/// The local Hugging Face cache that the environment names.
fn default_locator() -> Option<ModelLocator> {
    #[cfg(feature = "hub")]
    return mergecore_hub::HubCache::from_env().map(crate::hub_locator);
    #[cfg(not(feature = "hub"))]
    None
}
