//! Which token an id is.

use std::marker::PhantomData;
use std::path::Path;

use mergecore_io::Storage;

use crate::TokenizerError;
use crate::files::{ById, TokenizerConfig, TokenizerJson, Tokens, Whole, read, read_json};

/// Files that hold a vocabulary in a form that is not parsed.
const OPAQUE: [&str; 4] =
    ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "tekken.json"];

/// The tokens of a tokenizer by id, as far as its files say.
///
/// ```
/// use mergecore_tokenizer::Vocabulary;
///
/// let dir = tempfile::tempdir().unwrap();
/// std::fs::write(dir.path().join("vocab.json"), r#"{"Hello": 0, " world": 1}"#).unwrap();
/// std::fs::write(dir.path().join("added_tokens.json"), r#"{"<pad>": 2}"#).unwrap();
///
/// let vocabulary = Vocabulary::read(dir.path())?;
/// assert_eq!(vocabulary.token(2), Some("<pad>"));
/// assert_eq!(vocabulary.len(), 3);
/// # Ok::<(), mergecore_tokenizer::TokenizerError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vocabulary {
    /// All tokens, or only those added to an opaque vocabulary.
    pub(crate) tokens: Tokens,
    /// Whether `tokens` are all there are.
    pub(crate) listed: bool,
    /// Where they are: the ids below this are the vocabulary's own, not added to it.
    pub(crate) own: u32,
    /// A vocabulary that was not parsed: the file's name and content.
    pub(crate) opaque: Option<(&'static str, Vec<u8>)>,
}

impl Vocabulary {
    /// Reads the vocabulary from the tokenizer's files in a model's directory. If
    /// there are none, it is empty.
    ///
    /// # Errors
    /// If a file is there and cannot be read or understood; see [`TokenizerError`].
    ///
    /// ```
    /// use mergecore_tokenizer::Vocabulary;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(Vocabulary::read(dir.path())?.is_empty());
    /// std::fs::write(dir.path().join("vocab.txt"), "[PAD]\n[UNK]\n").unwrap(); // ids 0 and 1
    /// assert_eq!(Vocabulary::read(dir.path())?.token(1), Some("[UNK]"));
    /// # Ok::<(), mergecore_tokenizer::TokenizerError>(())
    /// ```
    pub fn read(dir: &Path) -> Result<Self, TokenizerError> {
        Vocabulary::read_unless(dir, &Storage::default(), &|| false)
    }

    /// As [`read`](Vocabulary::read), through a [`Storage`] of one's own, and unless it is told
    /// to stop meanwhile, which it asks `stop` for every thousand tokens.
    ///
    /// # Errors
    /// As [`read`](Vocabulary::read), whatever a hook refuses, and
    /// [`TokenizerError::Stopped`].
    ///
    /// ```
    /// use mergecore_io::Storage;
    /// use mergecore_tokenizer::{TokenizerError, Vocabulary};
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// std::fs::write(dir.path().join("vocab.json"), r#"{"Hello": 0}"#).unwrap();
    /// let read = |stop| Vocabulary::read_unless(dir.path(), &Storage::new(), &|| stop);
    /// assert_eq!(read(false)?.token(0), Some("Hello"));
    /// assert!(matches!(read(true), Err(TokenizerError::Stopped { .. })));
    /// # Ok::<(), TokenizerError>(())
    /// ```
    pub fn read_unless(
        dir: &Path,
        storage: &Storage,
        stop: &dyn Fn() -> bool,
    ) -> Result<Self, TokenizerError> {
        if !stop() {
            let read = Vocabulary::read_files(dir, storage, ById(stop));
            if !stop() {
                return read;
            }
        }
        Err(TokenizerError::Stopped { dir: dir.to_owned() })
    }

    fn read_files(dir: &Path, storage: &Storage, by_id: ById<'_>) -> Result<Self, TokenizerError> {
        let read = |name: &str| read(&dir.join(name), storage);
        let mut vocabulary = Vocabulary::default();
        for name in OPAQUE {
            if let Some(content) = read(name)? {
                vocabulary.opaque = Some((name, content));
                break;
            }
        }
        let (path, whole) = (dir.join("tokenizer.json"), Whole(by_id));
        if let Some(TokenizerJson { vocab, added_tokens }) = read_json(&path, storage, whole)? {
            vocabulary.list(vocab);
            let added = added_tokens.into_iter().flatten();
            vocabulary.add(added.map(|added| (added.id, added.content)));
            return Ok(vocabulary);
        }
        if let Some(tokens) = read_json(&dir.join("vocab.json"), storage, by_id)? {
            vocabulary.list(tokens);
        } else if let Some(content) = read("vocab.txt")? {
            let text = String::from_utf8_lossy(&content);
            vocabulary.list((0..).zip(text.lines().map(str::to_owned)).collect());
        }
        if let Some(added) = read_json(&dir.join("added_tokens.json"), storage, by_id)? {
            vocabulary.add(added);
        }
        let (path, config) = (dir.join("tokenizer_config.json"), PhantomData::<TokenizerConfig>);
        if let Some(TokenizerConfig { added_tokens_decoder }) = read_json(&path, storage, config)? {
            let added = added_tokens_decoder.into_iter().flatten();
            vocabulary.add(added.map(|(id, added)| (id, added.content)));
        }
        Ok(vocabulary)
    }

    fn list(&mut self, tokens: Tokens) {
        self.listed = !tokens.is_empty();
        self.own = tokens.keys().max().map_or(0, |last| last.saturating_add(1));
        self.tokens = tokens;
    }

    fn add(&mut self, tokens: impl IntoIterator<Item = (u32, String)>) {
        self.tokens.extend(tokens);
    }

    /// Whether two directories have one and the same tokenizer.json, to the byte:
    /// quicker to find out than to read both. Not so where one of them has none, or
    /// one that cannot be read.
    ///
    /// ```
    /// use mergecore_io::Storage;
    /// use mergecore_tokenizer::Vocabulary;
    ///
    /// let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    /// let [first, second] = dirs.each_ref().map(|dir| dir.path());
    /// let storage = Storage::new();
    /// std::fs::write(first.join("tokenizer.json"), "{}").unwrap();
    /// assert!(!Vocabulary::is_same_file(first, second, &storage));
    /// std::fs::write(second.join("tokenizer.json"), "{}").unwrap();
    /// assert!(Vocabulary::is_same_file(first, second, &storage));
    /// ```
    pub fn is_same_file(first: &Path, second: &Path, storage: &Storage) -> bool {
        let content = |dir: &Path| read(&dir.join("tokenizer.json"), storage).ok().flatten();
        content(first).is_some_and(|first| content(second) == Some(first))
    }

    /// Whether the vocabulary as a whole is known, be it token by token or as a file
    /// that is not parsed.
    ///
    /// ```
    /// use mergecore_tokenizer::Vocabulary;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// assert!(!Vocabulary::read(dir.path())?.is_known());
    /// std::fs::write(dir.path().join("tokenizer.model"), "not parsed").unwrap();
    /// let vocabulary = Vocabulary::read(dir.path())?;
    /// assert!(vocabulary.is_known() && vocabulary.is_empty());
    /// # Ok::<(), mergecore_tokenizer::TokenizerError>(())
    /// ```
    pub fn is_known(&self) -> bool {
        self.listed || self.opaque.is_some()
    }

    /// The tokens of the ids below `ids` that are no token in another vocabulary, in
    /// order; none where not both are known token by token.
    ///
    /// ```
    /// use mergecore_tokenizer::Vocabulary;
    ///
    /// let dir = tempfile::tempdir().unwrap();
    /// let read = |json: &str| {
    ///     std::fs::write(dir.path().join("vocab.json"), json).unwrap();
    ///     Vocabulary::read(dir.path()).unwrap()
    /// };
    /// let (base, chat) = (read(r#"{"a": 0}"#), read(r#"{"a": 0, "<user>": 1}"#));
    /// assert_eq!(chat.beyond(&base, 2), [(1, "<user>")]);
    /// assert_eq!(base.beyond(&chat, 2), []);
    /// ```
    pub fn beyond(&self, other: &Vocabulary, ids: usize) -> Vec<(u32, &str)> {
        if !(self.listed && other.listed) {
            return Vec::new();
        }
        let beyond = self.tokens.iter().filter(|(id, _)| !other.tokens.contains_key(id));
        let below = beyond.filter(|(id, _)| (**id as usize) < ids);
        let mut tokens: Vec<(u32, &str)> = below.map(|(id, token)| (*id, token.as_str())).collect();
        tokens.sort_unstable();
        tokens
    }

    /// The token of an id, where it is known.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(&id).map(String::as_str)
    }

    /// The number of tokens that are known one by one.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether no token is known.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}
