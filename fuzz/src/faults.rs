//! What can be wrong with a checkpoint directory.

use serde_json::{Value, json};

use crate::model::{File, INDEX, Model};
use crate::{Bytes, TensorFile};

/// What may come of opening and merging a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing is wrong: it must be merged.
    Good,
    /// An error, or a merge of what is there.
    Open,
    /// It cannot be merged.
    Bad,
}

const COMPANIONS: [&str; 6] = [
    "tokenizer.json",
    "generation_config.json",
    "tokenizer_config.json",
    "README.md",
    "special_tokens_map.json",
    "vocab.json",
];

/// Contents that programs trip over.
const CONTENTS: [&[u8]; 9] = [
    b"",
    b"{}",
    b"null",
    b"\xff\xfe{",
    br#"{"model":{"vocab":{"a":0,"b":1,"a":1}},"added_tokens":[{"id":4294967295,"content":"x"}]}"#,
    br#"{"eos_token_id":18446744073709551615,"bos_token_id":[-1,1e400]}"#,
    b"---\nlicense: [&a [*a]]\n---\n",
    b"---\na: &a [x,x]\nb: &b [*a,*a]\nlicense: *b\n---\n",
    b"{% for i in range(1000000000) %}{{ i }}{% endfor %}",
];

/// Puts so many faults into a model as the input says; `outside` is a directory beside its own,
/// with a weights file `secret.safetensors` in it.
pub fn add_faults(model: &mut Model, input: &mut Bytes<'_>, outside: &str) -> Outlook {
    let count = input.below(4);
    let found: Vec<Outlook> = (0..count).map(|_| add_fault(model, input, outside)).collect();
    match found[..] {
        [only] => only,
        // One fault may undo another.
        _ if found.iter().all(|outlook| *outlook == Outlook::Good) => Outlook::Good,
        _ => Outlook::Open,
    }
}

fn add_fault(model: &mut Model, input: &mut Bytes<'_>, outside: &str) -> Outlook {
    let (kind, shard, amount) = (input.byte(), input.below(model.shards.len()), input.byte());
    let name = model.shards[shard].0.clone();
    let entries = model.shards[shard].1.header.len();
    let entry = usize::from(amount) % entries.max(1);
    match kind % 24 {
        0 => cut(model, &name, i64::from(amount) + 1),
        1 => cut(model, &name, -i64::from(amount) - 1),
        2 => cut(model, "config.json", i64::from(amount) + 1),
        3 if model.index.is_some() => cut(model, INDEX, i64::from(amount) + 1),
        4 if entries > 1 => {
            let header = &mut model.shards[shard].1.header;
            let other = header[(entry + 1) % entries].1["data_offsets"].clone();
            header[entry].1["data_offsets"] = other;
            Outlook::Open
        }
        5 => change(model, shard, entry, "data_offsets", input.pick(&OFFSETS)),
        6 => redirect(model, entry, format!("../{}/secret.safetensors", last(outside))),
        7 => redirect(model, entry, format!("{outside}/secret.safetensors")),
        8 => redirect(model, entry, "model-99999-of-99999.safetensors".to_owned()),
        9 => redirect(model, entry, "..\\secret.safetensors".to_owned()),
        10 => {
            let header = &mut model.shards[shard].1.header;
            let Some(twice) = header.get(entry).cloned() else { return Outlook::Good };
            header.push(twice);
            Outlook::Bad
        }
        11 if model.shards.len() > 1 => {
            let Some((tensor, _)) = model.shards[shard].1.header.first().cloned() else {
                return Outlook::Good;
            };
            let other = (shard + 1) % model.shards.len();
            model.shards[other].1.add(&tensor, "F32", &[1], &[0; 4]);
            Outlook::Bad
        }
        12 => change(model, shard, entry, "dtype", input.pick(&DTYPES)),
        13 => change(model, shard, entry, "shape", input.pick(&SHAPES)),
        14 => replace(model, &name, File::Link(name.clone()), Outlook::Bad),
        15 => {
            // As in a hub cache: a link to the blob.
            let blob = format!("blob-{shard}");
            let bytes = model.shards[shard].1.bytes();
            model.files.insert(blob.clone(), File::Content(bytes));
            replace(model, &name, File::Link(blob), Outlook::Good)
        }
        16 => {
            let names = [&name, "config.json", INDEX];
            let name = names[usize::from(amount) % 3];
            let is_read = name != INDEX || model.index.is_some();
            let file = input.pick(&[File::Fifo, File::Directory].each_ref()).clone();
            replace(model, name, file, if is_read { Outlook::Bad } else { Outlook::Open })
        }
        17 => {
            let companion = COMPANIONS[usize::from(amount) % COMPANIONS.len()];
            let content = CONTENTS[input.below(CONTENTS.len())];
            replace(model, companion, File::Content(content.to_vec()), Outlook::Good)
        }
        18 => {
            let companion = COMPANIONS[usize::from(amount) % COMPANIONS.len()];
            let file = match input.below(4) {
                0 => File::Fifo,
                1 => File::Directory,
                2 => File::Link(companion.to_owned()),
                _ => File::Link("/dev/zero".to_owned()),
            };
            replace(model, companion, file, Outlook::Open)
        }
        19 => {
            model.foreign_name = true;
            Outlook::Good
        }
        20 => {
            model.lengths.insert(name, input.pick(&LENGTHS));
            Outlook::Open
        }
        21 => {
            let data = &mut model.shards[shard].1.data;
            let at = usize::from(amount) % data.len().max(1);
            data.iter_mut().skip(at).take(8).for_each(|byte| *byte = 0xff);
            Outlook::Open
        }
        22 => {
            let (key, value) = input.pick(&CONFIG);
            let value = serde_json::from_str(value).expect("JSON");
            model.config.insert(key.to_owned(), value);
            Outlook::Open
        }
        _ => {
            let Some(index) = &mut model.index else { return Outlook::Good };
            match amount % 3 {
                0 => drop(index.pop()),
                1 => index.push(("no.such.tensor".to_owned(), name)),
                _ => index.extend(index.first().cloned()),
            }
            Outlook::Bad
        }
    }
}

const OFFSETS: [&str; 7] = [
    "[0,18446744073709551615]",
    "[18446744073709551608,18446744073709551612]",
    "[4,0]",
    "[0,0]",
    "[-1,3]",
    "[0.0,4.0]",
    "[1,5]",
];

const DTYPES: [&str; 8] =
    [r#""F32""#, r#""BF16""#, r#""F64""#, r#""I64""#, r#""I32""#, r#""F8_E4M3""#, r#""F4""#, "7"];

const SHAPES: [&str; 7] = [
    "[]",
    "[0]",
    "[0,18446744073709551615]",
    "[4294967296,4294967296,4]",
    "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
    "[1]",
    r#"["2"]"#,
];

const LENGTHS: [u64; 6] = [0, 1, 2, 100_000_001, u64::MAX, u64::MAX - 7];

const CONFIG: [(&str, &str); 12] = [
    ("num_hidden_layers", "0"),
    ("num_hidden_layers", "7"),
    ("num_hidden_layers", "18446744073709551615"),
    ("vocab_size", "1"),
    ("vocab_size", "-1"),
    ("vocab_size", "4294967296"),
    ("model_type", "7"),
    ("model_type", r#""gpt2""#),
    ("tie_word_embeddings", "true"),
    ("quantization_config", r#"{"quant_method":"gptq"}"#),
    ("text_config", r#"{"num_hidden_layers":1,"vocab_size":2}"#),
    ("layer_types", r#"["a","b"]"#),
];

fn cut(model: &mut Model, name: &str, bytes: i64) -> Outlook {
    model.cuts.insert(name.to_owned(), bytes);
    Outlook::Bad
}

fn change(model: &mut Model, shard: usize, entry: usize, key: &str, value: &str) -> Outlook {
    let TensorFile { header, .. } = &mut model.shards[shard].1;
    if let Some((_, entry)) = header.get_mut(entry) {
        entry[key] = serde_json::from_str::<Value>(value).unwrap_or(json!(null));
    }
    Outlook::Open
}

/// Sends one of the index's tensors elsewhere.
fn redirect(model: &mut Model, entry: usize, shard: String) -> Outlook {
    let first = &model.shards[0];
    let tensor = first.1.header.first().map_or_else(String::new, |(name, _)| name.clone());
    let index = model.index.get_or_insert_with(|| vec![(tensor, first.0.clone())]);
    let count = index.len();
    if let Some((_, named)) = index.get_mut(entry % count.max(1)) {
        *named = shard;
    }
    Outlook::Bad
}

fn replace(model: &mut Model, name: &str, file: File, outlook: Outlook) -> Outlook {
    model.files.insert(name.to_owned(), file);
    outlook
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
