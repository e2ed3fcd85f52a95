//! What a recipe says about the tokenizer.

use crate::model_ref::ModelRef;

/// Where the output's tokenizer comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum TokenizerSource {
    /// All tokens of all inputs.
    #[default]
    Union,
    /// The base model's.
    Base,
    /// That model's.
    Model(ModelRef),
}

/// The `tokenizer` mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenizerConfig {
    /// Where the vocabulary comes from.
    pub source: TokenizerSource,
    /// Tokens whose embedding is chosen by hand, in the order they are written.
    pub tokens: Vec<(String, TokenConfig)>,
    /// Round the vocabulary up to a multiple of this; never 0 in a recipe that was read.
    pub pad_to_multiple_of: Option<usize>,
}

/// What is to become of one token's embedding.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenConfig {
    /// Where inputs that lack the token take its embedding from; by default the merge
    /// decides.
    pub source: Option<TokenSource>,
    /// Take it from there for inputs that have the token, too.
    pub force: bool,
}

/// Where a token's embedding is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// `{kind: zero}`: all zeros.
    Zero,
    /// The same token of that model.
    Model(ModelRef),
    /// `{kind: model_token, ...}`: another token of that model.
    ModelToken {
        /// The model.
        model: ModelRef,
        /// Which of its tokens.
        token: TokenSelector,
    },
}

/// How a token is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelector {
    /// `token`: by its text.
    Text(String),
    /// `token_id`: by its number.
    Id(usize),
}
