//! The JSON files of tokenizers, as far as they say which token an id is.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use mergecore_io::Storage;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::TokenizerError;

/// Tokens by id.
pub(crate) type Tokens = HashMap<u32, String>;

/// What counts of a tokenizer.json.
pub(crate) struct TokenizerJson {
    pub(crate) vocab: Tokens,
    pub(crate) added_tokens: Option<Vec<AddedToken>>,
}

#[derive(Deserialize)]
pub(crate) struct AddedToken {
    pub(crate) id: u32,
    pub(crate) content: String,
}

#[derive(Deserialize)]
pub(crate) struct TokenizerConfig {
    #[serde(default)]
    pub(crate) added_tokens_decoder: Option<HashMap<u32, AddedContent>>,
}

#[derive(Deserialize)]
pub(crate) struct AddedContent {
    pub(crate) content: String,
}

/// How many tokens are read between two looks at whether to stop.
const AT_ONCE: usize = 1000;

/// Reads `{token: id}`, or `[[token, score]]` in the order of the ids, unless it is told to stop
/// meanwhile: the largest vocabularies take a good tenth of a second.
#[derive(Clone, Copy)]
pub(crate) struct ById<'s>(pub(crate) &'s dyn Fn() -> bool);

impl ById<'_> {
    fn go_on<E: Error>(self, read: usize) -> Result<(), E> {
        match read.is_multiple_of(AT_ONCE) && (self.0)() {
            true => Err(E::custom("it was not read to its end")),
            false => Ok(()),
        }
    }
}

impl<'de> DeserializeSeed<'de> for ById<'_> {
    type Value = Tokens;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tokens, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ById<'_> {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping from tokens to ids or a list of tokens with scores")
    }

    /// As `null`.
    fn visit_unit<E>(self) -> Result<Tokens, E> {
        Ok(Tokens::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens::new();
        while let Some((token, id)) = map.next_entry::<String, u32>()? {
            self.go_on(tokens.len())?;
            tokens.insert(id, token);
        }
        Ok(tokens)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tokens, A::Error> {
        let mut tokens = Tokens::new();
        while let Some((token, _)) = list.next_element::<(String, f64)>()? {
            self.go_on(tokens.len())?;
            tokens.insert(tokens.len() as u32, token);
        }
        Ok(tokens)
    }
}

/// Reads a tokenizer.json.
#[derive(Clone, Copy)]
pub(crate) struct Whole<'s>(pub(crate) ById<'s>);

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = TokenizerJson;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TokenizerJson, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = TokenizerJson;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tokenizer")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TokenizerJson, A::Error> {
        let (mut vocab, mut added_tokens) = (None, None);
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "model" if vocab.is_some() => return Err(A::Error::duplicate_field("model")),
                "model" => vocab = Some(map.next_value_seed(Model(self.0))?),
                "added_tokens" if added_tokens.is_some() => {
                    return Err(A::Error::duplicate_field("added_tokens"));
                }
                "added_tokens" => added_tokens = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(TokenizerJson { vocab: vocab.unwrap_or_default(), added_tokens })
    }
}

/// Reads the vocabulary in the `model` of a tokenizer.json.
struct Model<'s>(ById<'s>);

impl<'de> DeserializeSeed<'de> for Model<'_> {
    type Value = Tokens;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Tokens, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Model<'_> {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a tokenizer's model")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tokens, A::Error> {
        let mut vocab = None;
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "vocab" if vocab.is_some() => return Err(A::Error::duplicate_field("vocab")),
                "vocab" => vocab = Some(map.next_value_seed(self.0)?),
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(vocab.unwrap_or_default())
    }
}

/// The content of a file; `None` if there is no such file.
pub(crate) fn read(path: &Path, storage: &Storage) -> Result<Option<Vec<u8>>, TokenizerError> {
    // A link that leads nowhere is there.
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        _ => Ok(Some(storage.read_file(path)?)),
    }
}

/// The content of a JSON file; `None` if there is no such file.
pub(crate) fn read_json<T>(
    path: &Path,
    storage: &Storage,
    seed: impl for<'de> DeserializeSeed<'de, Value = T>,
) -> Result<Option<T>, TokenizerError> {
    let Some(bytes) = read(path, storage)? else { return Ok(None) };
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    value.map(Some).map_err(|source| TokenizerError::Json { path: path.to_owned(), source })
}
