//! Rotations of neighbouring columns, gathered by the thousand and then applied to a matrix a
//! panel of rows at a time, which stays in the cache meanwhile.

use faer::Mat;
use mergecore_kernel::{Simd, Vectorize};

/// A rotation of two columns `a` and `b`, to `cos * a + sin * b` and `cos * b - sin * a`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rotation {
    pub(crate) cos: f64,
    pub(crate) sin: f64,
}

impl Rotation {
    /// The rotation that takes `(f, g)` to `(r, 0)`, and `r`.
    pub(crate) fn onto_first(f: f64, g: f64) -> (Self, f64) {
        if g == 0.0 {
            return (Rotation { cos: 1.0, sin: 0.0 }, f);
        }
        if f == 0.0 {
            return (Rotation { cos: 0.0, sin: 1.0 }, g);
        }
        // Scaled, for the squares of both may be too small to tell from zero.
        let scale = f.abs().max(g.abs());
        let (f1, g1) = (f / scale, g / scale);
        let r = (f1 * f1 + g1 * g1).sqrt();
        (Rotation { cos: f1 / r, sin: g1 / r }, r * scale)
    }
}

/// Runs of rotations, each of columns `k` and `k + 1`, then `k + 1` and `k + 2`, and so on.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    /// First column, and where the run's rotations end.
    runs: Vec<(usize, usize)>,
    rotations: Vec<Rotation>,
}

impl Runs {
    /// Adds a rotation to the run being made.
    pub(crate) fn push(&mut self, rotation: Rotation) {
        self.rotations.push(rotation);
    }

    /// Ends the run being made: its first rotation is of column `first` and the next one.
    pub(crate) fn end_run(&mut self, first: usize) {
        self.runs.push((first, self.rotations.len()));
    }

    /// Number of rotations.
    pub(crate) fn len(&self) -> usize {
        self.rotations.len()
    }

    pub(crate) fn clear(&mut self) {
        self.runs.clear();
        self.rotations.clear();
    }
}

/// Rows of a panel.
const ROWS: usize = 16;

/// A matrix in panels of rows, each holding its columns one after the other.
#[derive(Debug)]
pub(crate) struct Panels {
    rows: usize,
    columns: usize,
    /// Those of one panel after those of another; rows beyond the last are zeros.
    values: Vec<[f64; ROWS]>,
}

impl Panels {
    pub(crate) fn from_matrix(matrix: &Mat<f64>) -> Self {
        let (rows, columns) = matrix.shape();
        let mut values = vec![[0.0; ROWS]; rows.div_ceil(ROWS) * columns];
        for column in 0..columns {
            for (panel, part) in matrix.col_as_slice(column).chunks(ROWS).enumerate() {
                values[panel * columns + column][..part.len()].copy_from_slice(part);
            }
        }
        Panels { rows, columns, values }
    }

    /// The columns of these indices, in this order.
    pub(crate) fn to_matrix(&self, columns: &[usize]) -> Mat<f64> {
        let mut matrix = Mat::zeros(self.rows, columns.len());
        for (to, from) in columns.iter().enumerate() {
            for (panel, part) in matrix.col_as_slice_mut(to).chunks_mut(ROWS).enumerate() {
                let rows = &self.values[panel * self.columns + from];
                part.copy_from_slice(&rows[..part.len()]);
            }
        }
        matrix
    }

    /// Changes the sign of a column.
    pub(crate) fn negate(&mut self, column: usize) {
        for rows in self.values.iter_mut().skip(column).step_by(self.columns) {
            *rows = rows.map(|value| -value);
        }
    }

    /// Applies the runs in their order.
    ///
    /// # Panics
    /// Where a run goes beyond the last column.
    pub(crate) fn rotate(&mut self, simd: Simd, runs: &Runs) {
        for panel in self.values.chunks_exact_mut(self.columns) {
            simd.run(Rotate { panel, runs });
        }
    }
}

/// Applies runs of rotations to one panel.
struct Rotate<'a> {
    panel: &'a mut [[f64; ROWS]],
    runs: &'a Runs,
}

impl Vectorize for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn vectorize(self) {
        let mut begin = 0;
        for &(first, end) in &self.runs.runs {
            let rotations = &self.runs.rotations[begin..end];
            begin = end;
            let columns = &mut self.panel[first..=first + rotations.len()];
            let mut a = columns[0];
            for (Rotation { cos, sin }, at) in rotations.iter().zip(0..) {
                let b = columns[at + 1];
                let mut rotated = [0.0; ROWS];
                for row in 0..ROWS {
                    rotated[row] = cos * a[row] + sin * b[row];
                    a[row] = cos * b[row] - sin * a[row];
                }
                columns[at] = rotated;
            }
            columns[rotations.len()] = a;
        }
    }
}
