//! `tokenizer_source` and `tokenizer`.

use crate::error::ConfigError;
use crate::node::Node;
use crate::read::model_ref;
use crate::reader::{Cursor, Result};
use crate::tokenizer::{TokenConfig, TokenSelector, TokenSource, TokenizerConfig, TokenizerSource};

pub(crate) fn tokenizer_source(value: &Cursor<'_>) -> Result<TokenizerSource> {
    match value.node {
        Node::Text(text) if text == "union" => Ok(TokenizerSource::Union),
        Node::Text(text) if text == "base" => Ok(TokenizerSource::Base),
        Node::Text(_) | Node::Map(_) => model_ref(value).map(TokenizerSource::Model),
        _ => Err(value.wrong("`union`, `base` or a model")),
    }
}

pub(crate) fn tokenizer(map: &Cursor<'_>) -> Result<TokenizerConfig> {
    let fields = map.fields(
        "a mapping such as `{source: union}` (a name alone goes into `tokenizer_source`)",
        &["source", "tokens", "pad_to_multiple_of"],
    )?;
    let mut config = TokenizerConfig::default();
    if let Some(source) = fields.get("source") {
        config.source = tokenizer_source(&source)?;
    }
    if let Some(tokens) = fields.get("tokens") {
        config.tokens = tokens
            .entries("a mapping from tokens to `{source: ...}`")?
            .map(|(token, value)| Ok((token.to_owned(), token_config(&value)?)))
            .collect::<Result<_>>()?;
    }
    if let Some(multiple) = fields.get("pad_to_multiple_of") {
        const EXPECTED: &str = "a whole number of at least 1";
        config.pad_to_multiple_of = match multiple.whole(EXPECTED)? {
            0 => return Err(multiple.out_of_range(EXPECTED)),
            n => Some(n),
        };
    }
    Ok(config)
}

fn token_config(value: &Cursor<'_>) -> Result<TokenConfig> {
    let fields = value.fields("a mapping such as `{source: org/name}`", &["source", "force"])?;
    let force = fields.get("force");
    Ok(TokenConfig {
        source: fields.get("source").as_ref().map(token_source).transpose()?,
        force: force.map_or(Ok(false), |force| force.boolean())?,
    })
}

fn token_source(value: &Cursor<'_>) -> Result<TokenSource> {
    let is_kind = match value.node {
        Node::Map(entries) => entries.iter().any(|(key, _)| key == "kind"),
        _ => false,
    };
    if !is_kind {
        return model_ref(value).map(TokenSource::Model);
    }
    const EXPECTED: &str = "a model, or a mapping with a `kind`";
    let fields = value.fields(EXPECTED, &["kind", "model", "token", "token_id"])?;
    let kind = fields.need("kind", "kind: zero")?;
    match kind.node {
        Node::Text(text) if text == "zero" => {
            value.fields(EXPECTED, &["kind"])?;
            Ok(TokenSource::Zero)
        }
        Node::Text(text) if text == "model_token" => {
            let model = model_ref(&fields.need("model", "model: org/name")?)?;
            let token = match fields.one_of(&["token", "token_id"])? {
                ("token", token) => {
                    TokenSelector::Text(token.text("the text of a token")?.to_owned())
                }
                (_, id) => TokenSelector::Id(id.whole("the number of a token, from 0")?),
            };
            Ok(TokenSource::ModelToken { model, token })
        }
        _ => Err(ConfigError::WrongType {
            place: kind.place(),
            expected: "`zero` or `model_token`",
            found: kind.node.describe(),
        }),
    }
}
