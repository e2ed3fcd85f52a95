//! What a recipe says about the tokenizer.

use crate::model_ref::ModelRef;

/// Where the output's tokenizer comes from.
///
/// ```
/// use mergecore_config::{MergeConfig, TokenizerSource};
///
/// let text = "merge_method: linear\nmodels: [{model: org/a}]\ntokenizer_source: org/a\n";
/// let config = MergeConfig::from_yaml_str(text)?;
/// match config.tokenizer_source {
///     Some(TokenizerSource::Model(model)) => assert_eq!(model.to_string(), "org/a"),
///     other => panic!("{other:?}"),
/// }
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
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
///
/// ```
/// use mergecore_config::{MergeConfig, TokenizerSource};
///
/// let text = "
/// merge_method: linear
/// models: [{model: org/a}]
/// tokenizer: {source: union, pad_to_multiple_of: 64}
/// ";
/// let tokenizer = MergeConfig::from_yaml_str(text)?.tokenizer.unwrap();
/// assert_eq!(tokenizer.source, TokenizerSource::Union);
/// assert_eq!(tokenizer.pad_to_multiple_of, Some(64));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
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
///
/// ```
/// use mergecore_config::{MergeConfig, TokenConfig, TokenSource};
///
/// let text = "
/// merge_method: linear
/// models: [{model: org/a}]
/// tokenizer: {tokens: {<pad>: {source: {kind: zero}, force: true}}}
/// ";
/// let tokens = MergeConfig::from_yaml_str(text)?.tokenizer.unwrap().tokens;
/// let pad = TokenConfig { source: Some(TokenSource::Zero), force: true };
/// assert_eq!(tokens, [("<pad>".to_owned(), pad)]);
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenConfig {
    /// Where inputs that lack the token take its embedding from; by default the merge
    /// decides.
    pub source: Option<TokenSource>,
    /// Take it from there for inputs that have the token, too.
    pub force: bool,
}

/// Where a token's embedding is taken from.
///
/// ```
/// use mergecore_config::{MergeConfig, TokenSelector, TokenSource};
///
/// let text = "
/// merge_method: linear
/// models: [{model: org/a}]
/// tokenizer:
///   tokens:
///     <end>: {source: {kind: model_token, model: org/a, token_id: 2}}
/// ";
/// let tokenizer = MergeConfig::from_yaml_str(text)?.tokenizer.unwrap();
/// let (token, config) = &tokenizer.tokens[0];
/// assert_eq!(token, "<end>");
/// assert!(matches!(
///     config.source,
///     Some(TokenSource::ModelToken { token: TokenSelector::Id(2), .. })
/// ));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
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
///
/// ```
/// use mergecore_config::{MergeConfig, TokenSelector, TokenSource};
///
/// let text = "
/// merge_method: linear
/// models: [{model: org/a}]
/// tokenizer:
///   tokens:
///     <end>: {source: {kind: model_token, model: org/a, token: </s>}}
/// ";
/// let tokenizer = MergeConfig::from_yaml_str(text)?.tokenizer.unwrap();
/// let Some(TokenSource::ModelToken { token, .. }) = &tokenizer.tokens[0].1.source else {
///     panic!("another token of a model")
/// };
/// assert_eq!(*token, TokenSelector::Text("</s>".to_owned()));
/// # Ok::<(), mergecore_config::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSelector {
    /// `token`: by its text.
    Text(String),
    /// `token_id`: by its number.
    Id(usize),
}
