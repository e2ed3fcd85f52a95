//! Whether all tensors agree on what has to be known of all of them together.

use mergecore_config::RecipePath;
use mergecore_kernel::Survey;

use super::recipe::Recipe;
use super::{Operation, PlannedTensor};
use crate::{EngineError, Problems};

/// The survey of the tensors' kernels, if they have one.
pub(super) fn survey(
    recipe: &Recipe<'_>,
    tensors: &[PlannedTensor],
    problems: &mut Problems,
) -> Option<Survey> {
    let surveyed = tensors.iter().filter_map(|tensor| match &tensor.operation {
        Operation::Merge(kernel) => Some((tensor, kernel.survey()?)),
        Operation::Copy => None,
    });
    let mut first: Option<(&PlannedTensor, Survey)> = None;
    for (tensor, survey) in surveyed {
        let Some((known, wanted)) = &first else {
            first = Some((tensor, survey));
            continue;
        };
        let models = |tensor: &PlannedTensor| -> Vec<usize> {
            tensor.inputs.iter().map(|input| input.model).collect()
        };
        if survey.densities() == wanted.densities() && models(tensor) == models(known) {
            continue;
        }
        problems.push(EngineError::SurveyDiffers {
            place: recipe.place(&RecipePath::root().key("merge_method")),
            method: recipe.config.merge_method.clone(),
            tensor: tensor.name.clone(),
            densities: survey.densities().into(),
            first: known.name.clone(),
            expected: wanted.densities().into(),
        });
        break;
    }
    first.map(|(_, survey)| survey)
}
