//! Recipes and model cards, without a merge.

use std::path::{Path, PathBuf};

use mergecore_config::MergeConfig;
use mergecore_engine::{ModelCardOptions, check_recipe};

use crate::{EngineError, Result, builtin_methods};

/// Reads a recipe from a file and checks what can be known without its models: the
/// schema, the method, the parameters' names. [`MergeConfig::models`] lists the models.
///
/// # Errors
/// The first mistake, with its line and column.
///
/// ```
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// let config = mergecore::load_recipe("models/recipes/tiny_ties.yml")?;
/// let models: Vec<String> = config.models().iter().map(ToString::to_string).collect();
/// assert_eq!(models, ["models/tiny-llama-code", "models/tiny-llama-kjv"]);
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn load_recipe(path: impl AsRef<Path>) -> Result<MergeConfig> {
    let config = MergeConfig::from_path(path)?;
    check_recipe(&config, &builtin_methods())?;
    Ok(config)
}

/// Renders the model card of a merge: Markdown with the hub's metadata on top, the
/// method with a link to its paper, the models, and the recipe; or a template of one's
/// own. No model is opened, so licence and pipeline are what the options say.
///
/// # Errors
/// If the template is not valid.
///
/// ```
/// use mergecore::{MergeConfig, ModelCardOptions, ModelCardTemplate, render_model_card};
///
/// let config = MergeConfig::from_yaml_str(
///     "merge_method: slerp
/// base_model: org/a
/// models: [{model: org/a}, {model: org/b}]
/// parameters: {t: 0.5}",
/// )?;
/// let mut options = ModelCardOptions { model_name: "ab".into(), ..Default::default() };
/// let card = render_model_card(&config, &options)?;
/// assert!(card.starts_with("---\nbase_model:\n- org/a\n- org/b\n"));
///
/// let template = ModelCardTemplate::new("mine", "# {{ username }}/{{ model_name }}");
/// options.template = Some(template);
/// options.username = Some("me".into());
/// assert_eq!(render_model_card(&config, &options)?, "# me/ab");
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn render_model_card(config: &MergeConfig, options: &ModelCardOptions) -> Result<String> {
    let card = mergecore_engine::render_model_card(config, &builtin_methods(), options);
    Ok(card.map_err(EngineError::from)?)
}

/// Saves a model card as README.md in a directory that exists, in place of one that is
/// there; yields its path.
///
/// # Errors
/// If it cannot be written.
///
/// ```
/// let dir = tempfile::tempdir().unwrap();
/// let path = mergecore::save_model_card("# my-merge\n", dir.path())?;
/// assert_eq!(std::fs::read_to_string(path).unwrap(), "# my-merge\n");
/// # Ok::<(), mergecore::Error>(())
/// ```
pub fn save_model_card(card: &str, dir: impl AsRef<Path>) -> Result<PathBuf> {
    Ok(mergecore_engine::save_model_card(card, dir).map_err(EngineError::from)?)
}
