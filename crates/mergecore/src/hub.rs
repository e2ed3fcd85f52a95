//! Models by name.

use mergecore_engine::ModelLocator;
use mergecore_hub::HubCache;

/// Finds models by name in a Hugging Face cache, for
/// [`MergeOptions::locator`](crate::MergeOptions::locator): in another one than the
/// environment's, which is used where no locator is given.
///
/// ```
/// use mergecore::{HubCache, MergeOptions, ModelLocation, hub_locator, locate_model};
///
/// let options = MergeOptions {
///     locator: Some(hub_locator(HubCache::new("/data/hub"))),
///     ..MergeOptions::default()
/// };
/// let model = ModelLocation::new("org/name");
/// let error = locate_model(&model, options.locator.as_ref()).unwrap_err();
/// assert!(error.to_string().contains("there is no Hugging Face cache at /data/hub"));
/// ```
pub fn hub_locator(cache: HubCache) -> ModelLocator {
    ModelLocator::new(move |model| {
        cache.find(&model.path, model.revision.as_deref()).map_err(|error| error.to_string())
    })
}
