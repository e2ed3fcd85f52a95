//! One kernel on arrays, without any files: TIES on three task vectors, and the masks of
//! DARE.
//!
//!     cargo run -p mergecore --example kernel_on_arrays

use mergecore::ndarray::array;
use mergecore::{Dare, Ties, bf16, dare_ties, ties, ties_slices};

fn main() -> Result<(), mergecore::KernelError> {
    let base = array![[0.0f32, 0.0], [1.0, 1.0]];
    let a = array![[1.0f32, 2.0], [1.5, 1.0]];
    let b = array![[3.0f32, -1.0], [0.5, 1.1]];

    // Weights 1 and 1; of each model the larger half of the changes is kept.
    let params = Ties::new([1.0, 1.0], [0.5, 0.5]);
    let merged = ties(base.view(), &[a.view(), b.view()], &params)?;
    println!("ties:\n{merged}");

    // The same on plain slices of any float type, into a buffer of one's own.
    let narrow = |values: &[f32]| values.iter().map(|v| bf16::from_f32(*v)).collect::<Vec<_>>();
    let (base16, a16) = (narrow(&[0.0, 1.0]), narrow(&[2.0, 1.5]));
    let mut out = [bf16::ZERO; 2];
    ties_slices(&base16, &[&a16], &Ties::new([1.0], [1.0]), &mut out)?;
    println!("ties on slices: {out:?}");

    // DARE drops at random, by a seed; which elements can be asked for.
    let params = Dare::new([0.5, 0.5], [0.5, 0.5], 42);
    println!("dare_ties:\n{}", dare_ties(base.view(), &[a.view(), b.view()], &params)?);
    println!("kept of the first model: {:?}", params.mask(0, 0, 4)?);
    Ok(())
}
