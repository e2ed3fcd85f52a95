//! Singular value decomposition of one matrix, in one thread.

use faer::dyn_stack::{MemBuffer, MemStack, StackReq};
use faer::linalg::householder::{
    apply_block_householder_sequence_on_the_left_in_place_scratch as apply_reflections_scratch,
    apply_block_householder_sequence_on_the_left_in_place_with_conj as apply_reflections,
};
use faer::linalg::matmul::matmul;
use faer::linalg::qr::no_pivoting::factor::{
    qr_in_place, qr_in_place_scratch, recommended_block_size,
};
use faer::linalg::svd::bidiag::{bidiag_in_place, bidiag_in_place_scratch};
use faer::{Accum, Conj, Mat, MatMut, MatRef, Par};
use mergecore_kernel::{KernelError, Simd};

use crate::bidiagonal::{Bidiagonal, Unfinished};
use crate::rotations::Panels;

/// The decomposition of a matrix that has at least as many rows as columns.
///
/// A QR decomposition makes it square, reflections from both sides make that bidiagonal (both
/// faer's), and QR steps make it diagonal. faer's own way from bidiagonal to diagonal, divide and
/// conquer, is faster, but as of 0.24.4 panics or yields wrong values for some matrices of low
/// rank, which changes between models often are.
#[derive(Debug)]
pub(crate) struct Svd {
    /// What makes the matrix square.
    reflections: Option<Reflections>,
    /// Left singular vectors of the square matrix.
    left: Mat<f64>,
    /// Singular values, the largest first.
    values: Vec<f64>,
    /// Right singular vectors.
    right: Mat<f64>,
    /// How many values differ from zero by more than rounding errors.
    rank: usize,
}

/// Reflections as faer's QR decomposition leaves them.
#[derive(Debug)]
struct Reflections {
    vectors: Mat<f64>,
    factors: Mat<f64>,
}

impl Svd {
    /// Decomposes a matrix of finite elements, none of them far from 1 if not far less.
    ///
    /// # Errors
    /// [`KernelError::Interrupted`] where `stop` says so, [`KernelError::Undefined`] where it
    /// does not converge.
    pub(crate) fn new(matrix: Mat<f64>, stop: &dyn Fn() -> bool) -> Result<Self, KernelError> {
        let (rows, columns) = matrix.shape();
        assert!(rows >= columns, "as many rows as columns, or more");
        let squares: f64 = (0..columns).map(|j| norm_squared(matrix.col_as_slice(j))).sum();
        let (square, reflections) = match rows > columns {
            true => {
                let reflections = Reflections::of(matrix);
                (reflections.triangle(), Some(reflections))
            }
            false => (matrix, None),
        };
        let go_on = || if stop() { Err(KernelError::Interrupted) } else { Ok(()) };
        go_on()?;
        let mut bidiagonal = bidiagonalised(square);
        go_on()?;
        let unconverged = || KernelError::Undefined {
            what: format!(
                "the singular value decomposition of a change of {rows} x {columns} elements did not converge"
            ),
            instead: "set `decompose: false` for this tensor, so that the mean of the changes is taken",
        };
        bidiagonal.diagonalise(Simd::detect(), stop).map_err(|unfinished| match unfinished {
            Unfinished::Stopped => KernelError::Interrupted,
            Unfinished::NoConvergence => unconverged(),
        })?;
        let kept = norm_squared(&bidiagonal.diagonal);
        if (kept - squares).abs() > 1e-9 * squares {
            return Err(unconverged());
        }
        let Bidiagonal { diagonal, left, right, .. } = bidiagonal;
        let mut order: Vec<usize> = (0..columns).collect();
        order.sort_by(|a, b| diagonal[*b].total_cmp(&diagonal[*a]));
        let values: Vec<f64> = order.iter().map(|at| diagonal[*at]).collect();
        let zero = values.first().map_or(0.0, |largest| largest * rows as f64 * f64::EPSILON);
        let rank = values.iter().take_while(|value| **value > zero).count();
        let left_matrix = left.to_matrix(&order);
        drop(left);
        let right = right.to_matrix(&order);
        Ok(Svd { reflections, left: left_matrix, values, right, rank })
    }

    /// The singular values, the largest first.
    pub(crate) fn values(&self) -> &[f64] {
        &self.values
    }

    /// How many singular values differ from zero by more than rounding errors: exceed the largest
    /// times the number of rows times 2^-52.
    pub(crate) fn rank(&self) -> usize {
        self.rank
    }

    /// The first left and right singular vectors, in columns.
    pub(crate) fn vectors(&self, count: usize) -> (Mat<f64>, MatRef<'_, f64>) {
        (self.before_reflections(self.left.subcols(0, count)), self.right.subcols(0, count))
    }

    /// The matrix with its singular values replaced by ones, those of zero kept: its nearest
    /// matrix with orthonormal columns where it has full rank.
    pub(crate) fn polar(self) -> Mat<f64> {
        let (left, right) =
            (self.left.subcols(0, self.rank), self.right.subcols(0, self.rank).transpose());
        let mut product = Mat::zeros(self.left.nrows(), self.right.nrows());
        matmul(product.as_mut(), Accum::Replace, left, right, 1.0, Par::Seq);
        match self.reflections {
            Some(_) => self.before_reflections(product.as_ref()),
            None => product,
        }
    }

    /// What the columns of a matrix were before the matrix decomposed was made square.
    fn before_reflections(&self, columns: MatRef<'_, f64>) -> Mat<f64> {
        let Some(reflections) = &self.reflections else { return columns.to_owned() };
        let mut all = Mat::zeros(reflections.vectors.nrows(), columns.ncols());
        all.subrows_mut(0, columns.nrows()).copy_from(columns);
        reflect(reflections.vectors.as_ref(), reflections.factors.as_ref(), all.as_mut());
        all
    }
}

/// The polar factor of a matrix of any shape: see [`Svd::polar`].
///
/// # Errors
/// As [`Svd::new`].
pub(crate) fn polar(matrix: Mat<f64>, stop: &dyn Fn() -> bool) -> Result<Mat<f64>, KernelError> {
    match matrix.nrows() < matrix.ncols() {
        true => {
            let transposed = matrix.transpose().to_owned();
            drop(matrix);
            Ok(Svd::new(transposed, stop)?.polar().transpose().to_owned())
        }
        false => Ok(Svd::new(matrix, stop)?.polar()),
    }
}

fn norm_squared(values: &[f64]) -> f64 {
    mergecore_kernel::dot(values, values)
}

/// Calls `work` with a stack of memory.
fn with_memory<T>(need: StackReq, work: impl FnOnce(&mut MemStack) -> T) -> T {
    let mut memory = MemBuffer::new(need);
    work(MemStack::new(&mut memory))
}

impl Reflections {
    /// Of the QR decomposition of a matrix.
    fn of(mut matrix: Mat<f64>) -> Self {
        let (rows, columns) = matrix.shape();
        let block = recommended_block_size::<f64>(rows, columns);
        let mut factors = Mat::zeros(block, columns);
        let (par, params) = (Par::Seq, faer::Spec::default());
        let need = qr_in_place_scratch::<f64>(rows, columns, block, par, params);
        with_memory(need, |stack| {
            qr_in_place(matrix.as_mut(), factors.as_mut(), par, stack, params);
        });
        Reflections { vectors: matrix, factors }
    }

    /// The upper triangle, which the decomposition leaves above the reflections.
    fn triangle(&self) -> Mat<f64> {
        let columns = self.vectors.ncols();
        let mut square = Mat::zeros(columns, columns);
        for column in 0..columns {
            let above = ..=column;
            let values = &self.vectors.col_as_slice(column)[above];
            square.col_as_slice_mut(column)[above].copy_from_slice(values);
        }
        square
    }
}

/// Applies a sequence of reflections to a matrix.
fn reflect(vectors: MatRef<'_, f64>, factors: MatRef<'_, f64>, matrix: MatMut<'_, f64>) {
    let (rows, block, columns) = (vectors.nrows(), factors.nrows(), matrix.ncols());
    with_memory(apply_reflections_scratch::<f64>(rows, block, columns), |stack| {
        apply_reflections(vectors, factors, Conj::No, matrix, Par::Seq, stack);
    });
}

/// A square matrix made bidiagonal by reflections from both sides.
fn bidiagonalised(mut matrix: Mat<f64>) -> Bidiagonal {
    let size = matrix.nrows();
    let rest = size.saturating_sub(1);
    let block = recommended_block_size::<f64>(size, size);
    let (mut left_factors, mut right_factors) = (Mat::zeros(block, size), Mat::zeros(block, rest));
    let (par, params) = (Par::Seq, faer::Spec::default());
    with_memory(bidiag_in_place_scratch::<f64>(size, size, par, params), |stack| {
        let factors = (left_factors.as_mut(), right_factors.as_mut());
        bidiag_in_place(matrix.as_mut(), factors.0, factors.1, par, stack, params);
    });
    let diagonal = (0..size).map(|i| matrix[(i, i)]).collect();
    let above = (0..rest).map(|i| matrix[(i, i + 1)]).collect();
    let mut vectors = Mat::identity(size, size);
    reflect(matrix.as_ref(), left_factors.as_ref(), vectors.as_mut());
    let left = Panels::from_matrix(&vectors);
    vectors = Mat::identity(size, size);
    // The vectors of the reflections from the right lie in rows.
    let rows = matrix.submatrix(0, rest.min(1), rest, rest).transpose().to_owned();
    drop(matrix);
    let part = vectors.submatrix_mut(size - rest, size - rest, rest, rest);
    reflect(rows.as_ref(), right_factors.as_ref(), part);
    drop(rows);
    Bidiagonal { diagonal, above, left, right: Panels::from_matrix(&vectors) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reproducible numbers from -1 to 1.
    fn numbers() -> impl FnMut() -> f64 {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 11) as f64 / (1u64 << 52) as f64 - 1.0
        }
    }

    fn product(a: MatRef<'_, f64>, b: MatRef<'_, f64>) -> Mat<f64> {
        let mut product = Mat::zeros(a.nrows(), b.ncols());
        matmul(product.as_mut(), Accum::Replace, a, b, 1.0, Par::Seq);
        product
    }

    fn low_rank(rows: usize, columns: usize, rank: usize) -> Mat<f64> {
        let mut next = numbers();
        let left = Mat::from_fn(rows, rank, |_, _| next());
        let right = Mat::from_fn(rank, columns, |_, _| next());
        product(left.as_ref(), right.as_ref())
    }

    /// An element from row, column and source of numbers.
    type Fill<'a> = &'a mut dyn FnMut(usize, usize, &mut dyn FnMut() -> f64) -> f64;

    /// Matrices of all kinds: full, of low rank, with equal singular values, with rows or
    /// columns of zeros, of sizes that differ by orders of magnitude.
    fn kinds(rows: usize, columns: usize) -> Vec<(&'static str, Mat<f64>)> {
        let mut next = numbers();
        let mut of =
            |name, f: Fill<'_>| (name, Mat::from_fn(rows, columns, |i, j| f(i, j, &mut next)));
        let tenths = |n: usize| 0.1f64.powi(n as i32);
        let on_diagonal = |i, j, value: f64| if i == j { value } else { 0.0 };
        let few = 1 + columns / 7;
        let pattern = low_rank(few, columns, few);
        let coarse = low_rank(rows, columns, 4.min(columns));
        vec![
            of("random", &mut |_, _, next| next()),
            of("sparse", &mut |_, _, next| {
                if next() < -0.8 { (next() * 8.0).round() } else { 0.0 }
            }),
            of("ones", &mut |_, _, _| 1.0),
            of("identity", &mut |i, j, _| on_diagonal(i, j, 1.0)),
            of("falling diagonal", &mut |i, j, _| on_diagonal(i, j, tenths(i))),
            of("rising diagonal", &mut |i, j, _| on_diagonal(i, j, tenths(columns - 1 - j))),
            of("falling rows", &mut |i, _, next| next() * tenths(i % 17)),
            of("rising rows", &mut |i, j, next| next() * tenths((rows - i) % 23) * tenths(j % 7)),
            of("Hilbert", &mut |i, j, _| 1.0 / (1 + i + j) as f64),
            of("columns of zeros", &mut |_, j, next| if j % 3 == 1 { 0.0 } else { next() }),
            of("few rows", &mut |i, _, next| if i % 50 == 3 { next() } else { 0.0 }),
            of("equal rows", &mut |i, j, _| pattern[(0, j)] * [1.0, -2.0][i % 2]),
            of("repeated rows", &mut |i, j, _| pattern[(i % few, j)]),
            of("on a grid", &mut |i, j, _| (coarse[(i, j)] * 64.0).round() / 64.0),
            of("two blocks", &mut |i, j, _| {
                if (i < rows / 2) == (j < columns / 2) { ((i * 7 + j * 3) % 5) as f64 } else { 0.0 }
            }),
            of("a corner", &mut |i, j, _| f64::from(u8::from(i == rows - 1 && j == columns - 1))),
            ("rank 1", low_rank(rows, columns, 1)),
            ("rank 3", low_rank(rows, columns, 3.min(columns))),
        ]
    }

    fn is_orthonormal(columns: MatRef<'_, f64>) -> bool {
        let gram = product(columns.transpose(), columns);
        let unit = |i, j| if i == j { 1.0 } else { 0.0 };
        let entries = (0..gram.ncols()).flat_map(|j| (0..gram.nrows()).map(move |i| (i, j)));
        entries.into_iter().all(|(i, j)| f64::abs(gram[(i, j)] - unit(i, j)) < 1e-11)
    }

    #[test]
    fn matrices_of_all_kinds() {
        let sizes = [(1, 1), (2, 1), (2, 2), (7, 3), (31, 31), (130, 129), (150, 150), (300, 140)];
        for (rows, columns) in sizes {
            for (name, matrix) in kinds(rows, columns) {
                let norm = (0..columns).map(|j| norm_squared(matrix.col_as_slice(j))).sum::<f64>();
                let norm = norm.sqrt();
                let svd = Svd::new(matrix.clone(), &|| false).expect("it converges");
                let (left, right) = svd.vectors(columns);
                assert!(is_orthonormal(left.as_ref()), "{name} {rows} x {columns}");
                assert!(is_orthonormal(right), "{name} {rows} x {columns}");
                assert!(svd.values().is_sorted_by(|a, b| a >= b && *b >= 0.0));
                let mut scaled = left.clone();
                for (j, value) in svd.values().iter().enumerate() {
                    scaled.col_as_slice_mut(j).iter_mut().for_each(|x| *x *= value);
                }
                let again = product(scaled.as_ref(), right.transpose());
                for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                    let off = (again[(i, j)] - matrix[(i, j)]).abs();
                    assert!(off <= 1e-13 * norm, "{name} {rows} x {columns} is off by {off:e}");
                }
            }
        }
    }

    #[test]
    fn ranks() {
        for (name, matrix) in kinds(300, 140) {
            let rank = match name {
                "ones" | "rank 1" | "equal rows" | "a corner" => 1,
                "rank 3" => 3,
                "few rows" => 6,
                "repeated rows" => 21,
                "columns of zeros" => 93,
                "random" | "identity" => 140,
                _ => continue,
            };
            let svd = Svd::new(matrix, &|| false).expect("it converges");
            assert_eq!(svd.rank(), rank, "{name}");
            assert!(is_orthonormal(svd.vectors(rank).0.as_ref()), "{name}");
        }
    }

    /// The polar factor has the singular values 0 and 1, and times the rest is the matrix.
    #[test]
    fn polar_factors() {
        for (rows, columns) in [(1, 1), (9, 9), (40, 13), (13, 40)] {
            for (name, tall) in kinds(rows.max(columns), rows.min(columns)) {
                let matrix = if rows < columns { tall.transpose().to_owned() } else { tall };
                let factor = polar(matrix, &|| false).expect("it converges");
                let gram = product(factor.transpose(), factor.as_ref());
                let again = product(factor.as_ref(), gram.as_ref());
                for (i, j) in (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j))) {
                    assert!((again[(i, j)] - factor[(i, j)]).abs() < 1e-12, "{name}");
                }
            }
        }
    }

    /// Wherever the memory lies: vector instructions must not group sums by addresses.
    #[test]
    fn same_bits_every_time() {
        let (_, matrix) = kinds(61, 37).swap_remove(0);
        let run = |matrix| {
            let factor = polar(matrix, &|| false).expect("it converges");
            (0..37).flat_map(|j| factor.col_as_slice(j).to_vec()).map(f64::to_bits).collect()
        };
        let first: Vec<u64> = run(matrix.clone());
        for offset in 1..40 {
            let in_the_way = vec![0u8; 8 * offset];
            assert_eq!(run(matrix.clone()), first);
            drop(in_the_way);
        }
    }

    #[test]
    fn interrupted() {
        let (_, matrix) = kinds(9, 5).swap_remove(0);
        assert_eq!(Svd::new(matrix, &|| true).err(), Some(KernelError::Interrupted));
    }

    #[test]
    fn nan_does_not_converge() {
        let (_, mut matrix) = kinds(9, 5).swap_remove(0);
        matrix[(3, 2)] = f64::NAN;
        let text = Svd::new(matrix, &|| false).err().map(|error| error.to_string());
        assert_eq!(
            text.as_deref(),
            Some(
                "the singular value decomposition of a change of 9 x 5 elements did not converge; set `decompose: false` for this tensor, so that the mean of the changes is taken"
            )
        );
    }
}
