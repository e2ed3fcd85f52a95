//! The JSON files of tokenizers, as far as they say which token an id is.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use serde::de::{DeserializeOwned, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::TokenizerError;

/// Several times the largest tokenizer.json seen.
const MAX_BYTES: u64 = 200_000_000;

/// Tokens by id.
pub(crate) type Tokens = HashMap<u32, String>;

#[derive(Deserialize)]
pub(crate) struct TokenizerJson {
    #[serde(default)]
    pub(crate) model: Model,
    #[serde(default)]
    pub(crate) added_tokens: Option<Vec<AddedToken>>,
}

#[derive(Deserialize, Default)]
pub(crate) struct Model {
    #[serde(default)]
    pub(crate) vocab: ById,
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

/// `{token: id}`, or `[[token, score]]` in the order of the ids.
#[derive(Default)]
pub(crate) struct ById(pub(crate) Tokens);

impl<'de> Deserialize<'de> for ById {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByIdVisitor;

        impl<'de> Visitor<'de> for ByIdVisitor {
            type Value = ById;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mapping from tokens to ids or a list of tokens with scores")
            }

            /// As `null`.
            fn visit_unit<E>(self) -> Result<ById, E> {
                Ok(ById::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ById, A::Error> {
                let mut tokens = Tokens::new();
                while let Some((token, id)) = map.next_entry::<String, u32>()? {
                    tokens.insert(id, token);
                }
                Ok(ById(tokens))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ById, A::Error> {
                let mut tokens = Tokens::new();
                while let Some((token, _)) = list.next_element::<(String, f64)>()? {
                    tokens.insert(tokens.len() as u32, token);
                }
                Ok(ById(tokens))
            }
        }

        deserializer.deserialize_any(ByIdVisitor)
    }
}

/// The content of a file; `None` if there is no such file.
pub(crate) fn read(path: &Path) -> Result<Option<Vec<u8>>, TokenizerError> {
    let failed = |source| TokenizerError::Read { path: path.to_owned(), source };
    match fs::metadata(path) {
        // A link that leads nowhere is there.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(path).is_err() =>
        {
            return Ok(None);
        }
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.is_file() => {
            return Err(TokenizerError::NotAFile { path: path.to_owned() });
        }
        Ok(_) => {}
    }
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(TokenizerError::TooLarge { path: path.to_owned(), limit: MAX_BYTES });
    }
    Ok(Some(bytes))
}

/// The content of a JSON file; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, TokenizerError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).map_err(|source| TokenizerError::Json { path: path.to_owned(), source })
}
