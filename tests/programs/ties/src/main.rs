use mergecore_ties::ndarray::array;
use mergecore_ties::{KernelError, Ties, ties};

fn main() -> Result<(), KernelError> {
    let base = array![[0.0f32, 0.0], [0.0, 0.0]];
    let a = array![[4.0f32, -1.0], [3.0, 0.5]];
    let b = array![[2.0f32, 3.0], [-5.0, 0.1]];

    // Weights 1 and 1; of each task vector the largest three quarters are kept.
    let params = Ties::new([1.0, 1.0], [0.75, 0.75]);
    let merged = ties(base.view(), &[a.view(), b.view()], &params)?;
    println!("{merged}");
    Ok(())
}
