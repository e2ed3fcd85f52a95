//! Makes synthetic checkpoints for measurements: a base and two models trained on from
//! it, bf16.
//!
//! ```sh
//! cargo run --release -p mergecore-benches --bin make-checkpoint -- \
//!     [--experts N] DIR [LAYERS [HIDDEN [VOCAB]]]
//! ```
//!
//! writes DIR/base, DIR/a and DIR/b. They are Llama models; the defaults (22, 2048, 32000)
//! give 1.1 billion parameters, 2.2 GB a model; 10, 1536, 32000 give 0.6 GB.
//!
//! With `--experts` they are mixtures of N experts a layer, each of three small matrices:
//! with the defaults (24, 64, 512) and N = 136 it is 10,011 tensors in 42 MB a model.

use std::error::Error;
use std::path::Path;

use mergecore_benches::ModelSize;

const USAGE: &str = "usage: make-checkpoint [--experts N] DIR [LAYERS [HIDDEN [VOCAB]]]";

fn main() -> Result<(), Box<dyn Error>> {
    let mut args: Vec<String> = std::env::args().skip(1).collect();
    let mut default = ModelSize {
        layers: 22,
        hidden: 2048,
        vocab: 32_000,
        experts: 0,
        shard_bytes: 5_000_000_000,
    };
    if let Some(flag) = args.iter().position(|arg| arg == "--experts") {
        args.remove(flag);
        let experts = args.get(flag).ok_or(USAGE)?.parse()?;
        args.remove(flag);
        default = ModelSize::fine_grained(experts);
    }
    let dir = args.first().ok_or(USAGE)?;
    let number =
        |index: usize, default: usize| args.get(index).map_or(Ok(default), |text| text.parse());
    let size = ModelSize {
        layers: number(1, default.layers)?,
        hidden: number(2, default.hidden)?,
        vocab: number(3, default.vocab)?,
        ..default
    };
    for (name, seed) in [("base", None), ("a", Some(1)), ("b", Some(2))] {
        size.write(&Path::new(dir).join(name), seed)?;
    }
    Ok(())
}
