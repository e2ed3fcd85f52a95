//! The masks of DARE as a merge draws them, for comparison with other programs:
//!
//!     echo "TENSOR LEN DENSITY..." | dare-masks SEED
//!
//! For every line, LEN bytes a density: 1 where the element is kept.

use std::io::{BufRead, Write};

use mergecore::{Dare, stream_key};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seed = std::env::args().nth(1).ok_or("usage: dare-masks SEED")?.parse()?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let tensor = words.next().ok_or("no tensor")?;
        let len = words.next().ok_or("no length")?.parse()?;
        let densities: Vec<f64> = words.map(str::parse).collect::<Result<_, _>>()?;
        let models = densities.len();
        let dare = Dare { densities, stream: stream_key(seed, tensor), ..Dare::default() };
        for model in 0..models {
            let mask: Vec<u8> = dare.mask(model, 0, len)?.into_iter().map(u8::from).collect();
            out.write_all(&mask)?;
        }
    }
    Ok(out.flush()?)
}
