//! Vocabularies of different size: which rows of whose embeddings the output has.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use mergecore_io::{Rows, StoredTensor, TensorSource};
use mergecore_tokenizer::{Disagreement, TokenizerError, Vocabulary};

use super::Model;
use super::recipe::Recipe;
use super::sections::Source;
use crate::architecture::Role;
use crate::{EngineError, MergeOptions, VocabularyMismatch};

/// How many tokens a note shows.
const SHOWN: usize = 4;

/// Fits the inputs' rows to the vocabulary of the output, which is the donor's.
pub(super) struct Vocabularies<'a> {
    recipe: &'a Recipe<'a>,
    models: &'a [Model],
    donor: usize,
    options: &'a MergeOptions,
    /// What the models' tokenizers say, read when asked.
    tokenizers: Vec<OnceCell<Result<Vocabulary, Arc<TokenizerError>>>>,
    /// The models whose rows take part, with the number of their rows and of the
    /// output's.
    taking_part: BTreeMap<usize, (usize, usize)>,
}

impl<'a> Vocabularies<'a> {
    pub(super) fn new(
        recipe: &'a Recipe<'a>,
        models: &'a [Model],
        donor: usize,
        options: &'a MergeOptions,
    ) -> Self {
        let tokenizers = models.iter().map(|_| OnceCell::new()).collect();
        Vocabularies { recipe, models, donor, options, tokenizers, taking_part: BTreeMap::new() }
    }

    /// The shape of the output tensor `name`, and the model that says so: the reference,
    /// which has `tensor`, or outside the layers the donor, whose config.json the output
    /// gets.
    pub(super) fn output_shape(
        &self,
        name: &str,
        reference: usize,
        tensor: &'a StoredTensor,
    ) -> (usize, &'a [usize]) {
        let architecture = &self.models[reference].architecture;
        match architecture.role(name) {
            Role::Layer { .. } => None,
            _ => self.donors(name, tensor.shape()),
        }
        .map_or((reference, tensor.shape()), |donors| (self.donor, donors.shape()))
    }

    /// The input of the output tensor `name`, with exactly its rows; `None` if its
    /// shape has nothing to do with the output's.
    pub(super) fn fit(
        &mut self,
        name: &str,
        source: &Source,
        tensor: &StoredTensor,
        shape: &[usize],
    ) -> Result<Option<Arc<dyn TensorSource>>, EngineError> {
        let by_token = self.is_by_token(source.model, tensor);
        if tensor.shape() == shape {
            if by_token {
                self.taking_part.entry(source.model).or_insert((shape[0], shape[0]));
            }
            return Ok(Some(Arc::new(tensor.clone())));
        }
        let (Some(found), Some(expected)) = (tensor.shape().first(), shape.first()) else {
            return Ok(None);
        };
        let (found, expected) = (*found, *expected);
        // Where the donor's config.json does not count the rows, it would not fit the output.
        let counted = self.models[self.donor].architecture.is_by_token(name, shape);
        if !(by_token && counted) || tensor.shape()[1..] != shape[1..] {
            return Ok(None);
        }
        self.prove(source, tensor, found, expected)?;
        let mut runs = vec![(tensor.clone(), 0..found.min(expected))];
        if found < expected {
            let Some(donor) = self.donors(name, shape) else { return Ok(None) };
            runs.push((donor.clone(), found..expected));
        }
        self.taking_part.insert(source.model, (found, expected));
        Ok(Some(Arc::new(Rows::new(runs)?)))
    }

    fn is_by_token(&self, model: usize, tensor: &StoredTensor) -> bool {
        self.models[model].architecture.is_by_token(tensor.name(), tensor.shape())
    }

    /// The donor's tensor of that name, or the embedding that stands in for it.
    fn donors(&self, name: &str, shape: &[usize]) -> Option<&'a StoredTensor> {
        let Model { checkpoint, architecture, .. } = &self.models[self.donor];
        let tied = || checkpoint.tensor(architecture.tied_to(name, shape)?);
        checkpoint.tensor(name).or_else(tied)
    }

    /// Whether the rows that model and donor share are the same tokens.
    fn prove(
        &self,
        source: &Source,
        tensor: &StoredTensor,
        found: usize,
        expected: usize,
    ) -> Result<(), EngineError> {
        let (model, donor) = (&self.models[source.model], &self.models[self.donor]);
        let place = || self.recipe.place(&source.path);
        let read = |index: usize| {
            self.tokenizer(index).map_err(|error| EngineError::Tokenizer {
                place: place(),
                model: model.name(),
                first: donor.name(),
                source: error.clone(),
            })
        };
        let (own, base) = (read(source.model)?, read(self.donor)?);
        base.compare(own, found.min(expected)).map_err(|disagreement| {
            let without = [(model, own), (donor, base)];
            let without = without.into_iter().filter(|(_, vocabulary)| !vocabulary.is_known());
            let mismatch = VocabularyMismatch {
                place: *self.recipe.place(&source.path),
                tensor: tensor.name().to_owned(),
                model: model.name(),
                found,
                first: donor.name(),
                expected,
                disagreement,
                without_tokenizer: without.map(|(model, _)| model.name()).collect(),
            };
            Box::new(mismatch).into()
        })
    }

    fn tokenizer(&self, model: usize) -> Result<&Vocabulary, &Arc<TokenizerError>> {
        let (dir, storage) = (self.models[model].checkpoint.dir(), &self.options.storage);
        let stop = || self.options.is_cancelled();
        let read = || Vocabulary::read_unless(dir, storage, &stop).map_err(Arc::new);
        self.tokenizers[model].get_or_init(read).as_ref()
    }

    /// Says which rows were left out or filled in, and where rows of one number are
    /// different tokens.
    ///
    /// # Errors
    /// If it is cancelled.
    pub(super) fn note(&self, notes: &mut Vec<String>) -> Result<(), EngineError> {
        let donor = self.models[self.donor].name();
        for (index, (found, expected)) in &self.taking_part {
            self.options.check_cancelled()?;
            let model = self.models[*index].name();
            if found > expected {
                let rows = self.rows(*index, *expected, *found);
                let verb = if found - expected == 1 { "is" } else { "are" };
                notes.push(format!(
                    "`{model}` has {found} rows of vocabulary and the output the {expected} of `{donor}`: {rows} {verb} left out"
                ));
            } else if found < expected {
                let rows = self.rows(self.donor, *found, *expected);
                notes.push(format!(
                    "`{model}` has {found} rows of vocabulary and the output the {expected} of `{donor}`: for {rows}, which it lacks, those of `{donor}` stand in"
                ));
            }
            let Some((own, donors)) = self.both(*index) else { continue };
            if found == expected
                && let Err(differs @ Disagreement::Differs { .. }) = donors.compare(own, *found)
            {
                notes.push(format!(
                    "the tokenizers of `{donor}` and `{model}` differ ({differs}): rows of one number are merged all the same, and the output has the tokenizer of `{donor}`"
                ));
            }
            let lost = own.beyond(donors, *found.min(expected));
            if !lost.is_empty() {
                let lost =
                    list(lost.iter().map(|(id, token)| format!("`{token}` ({id})")).collect());
                notes.push(format!(
                    "`{model}` has tokens that the tokenizer of `{donor}`, which the output gets, does not have: {lost}; their rows are merged, but nothing names them any more"
                ));
            }
        }
        Ok(())
    }

    /// The tokenizers of a model and of the donor, where they are two that can be read.
    fn both(&self, model: usize) -> Option<(&Vocabulary, &Vocabulary)> {
        let dir = |index: usize| self.models[index].checkpoint.dir();
        let is_same = |other| Vocabulary::is_same_file(dir(model), other, &self.options.storage);
        if model == self.donor || is_same(dir(self.donor)) {
            return None;
        }
        Some((self.tokenizer(model).ok()?, self.tokenizer(self.donor).ok()?))
    }

    /// A run of rows in words, with their tokens in a model.
    fn rows(&self, model: usize, start: usize, end: usize) -> String {
        let rows = match end - start {
            1 => format!("row {start}"),
            2 => format!("rows {start} and {}", end - 1),
            _ => format!("rows {start} to {}", end - 1),
        };
        let Ok(vocabulary) = self.tokenizer(model) else { return rows };
        let tokens = (start..end).filter_map(|id| vocabulary.token(u32::try_from(id).ok()?));
        let tokens: Vec<String> = tokens.map(|token| format!("`{token}`")).collect();
        if tokens.is_empty() { rows } else { format!("{rows} ({})", list(tokens)) }
    }
}

/// The first few of these, and how many there are besides.
fn list(mut tokens: Vec<String>) -> String {
    let more = tokens.len().saturating_sub(SHOWN);
    tokens.truncate(SHOWN);
    let shown = tokens.join(", ");
    if more == 0 { shown } else { format!("{shown} and {more} more") }
}
