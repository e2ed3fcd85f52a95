//! Elements as they are stored, whatever their type, without widened copies.

use mergecore_tensor::{Element, Elements, ElementsMut, Losses, Simd};

use crate::{Apply, TILE, Tile};

/// Work on runs of elements of one type, whichever it is, for [`over_stored`], where there is an
/// example.
pub trait StoredWork {
    /// What comes of it.
    type Output;

    /// Does it.
    fn run<T: Element>(self, inputs: &[&[T]]) -> Self::Output;
}

/// Does the work on elements as they are stored; `None`, and nothing done, where not all are of
/// one floating-point type, or there are none.
///
/// ```
/// use mergecore_kernel::{DType, Element, Elements, StoredWork, over_stored};
///
/// /// The sum of all.
/// struct Sum;
///
/// impl StoredWork for Sum {
///     type Output = f64;
///
///     fn run<T: Element>(self, inputs: &[&[T]]) -> f64 {
///         inputs.iter().copied().flatten().map(|element| element.widen()).sum()
///     }
/// }
///
/// let (a, b) = (Elements::F32(&[1.0, 2.0]), Elements::F32(&[0.5]));
/// assert_eq!(over_stored(&[a, b], Sum), Some(3.5));
/// assert_eq!(over_stored(&[a, Elements::F64(&[0.5])], Sum), None);
/// ```
pub fn over_stored<W: StoredWork>(inputs: &[Elements<'_>], work: W) -> Option<W::Output> {
    fn of<T: Element, W: StoredWork>(
        _: &[T],
        inputs: &[Elements<'_>],
        work: W,
    ) -> Option<W::Output> {
        let typed = inputs.iter().map(|input| T::from_elements(*input));
        Some(work.run(&typed.collect::<Option<Vec<&[T]>>>()?))
    }
    match inputs.first()? {
        Elements::Bf16(first) => of(first, inputs, work),
        Elements::F16(first) => of(first, inputs, work),
        Elements::F32(first) => of(first, inputs, work),
        Elements::F64(first) => of(first, inputs, work),
        _ => None,
    }
}

/// An [`Apply`], which it must not implement itself, that computes tiles of elements in whatever
/// type they are stored. Inputs of one type are then not copied to `f64` first, which for
/// 16-bit ones is most of the traffic with memory.
///
/// ```
/// use mergecore_kernel::{
///     Element, Extent, Kernel, KernelError, Simd, Step, TypedApply, merge_slices,
/// };
///
/// /// The difference of two inputs.
/// #[derive(Debug)]
/// struct Difference;
///
/// impl TypedApply for Difference {
///     fn compute<T: Element>(
///         &self,
///         _: Simd,
///         _start: u64,
///         inputs: &[&[T]],
///         _room: &mut [T],
///         out: &mut [f64],
///     ) {
///         for ((out, a), b) in out.iter_mut().zip(inputs[0]).zip(inputs[1]) {
///             *out = a.widen() - b.widen();
///         }
///     }
/// }
///
/// impl Kernel for Difference {
///     fn first(&self, _: Extent) -> Result<Step, KernelError> {
///         Ok(Step::apply(Difference))
///     }
/// }
///
/// let mut out = [0.0f32; 2];
/// merge_slices(&Difference, &[&[3.0f32, 4.0], &[1.0, 0.5]], &[2], &mut out)?;
/// assert_eq!(out, [2.0, 3.5]);
/// # Ok::<(), KernelError>(())
/// ```
pub trait TypedApply: Send + Sync {
    /// Computes the output elements of a tile, whose first element has the flat index `start`.
    /// `room` is what [`room`](Self::room) made, perhaps for a longer tile, with whatever earlier
    /// tiles left in it.
    fn compute<T: Element>(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[&[T]],
        room: &mut [T],
        out: &mut [f64],
    );

    /// Room to compute tiles of at most `len` elements in; by default there is none.
    fn room<T: Element>(&self, _len: usize) -> Vec<T> {
        Vec::new()
    }

    /// As [`Apply::whole_rows`].
    fn whole_rows(&self) -> bool {
        false
    }
}

impl<A: TypedApply> Apply for A {
    fn apply(&self, tile: &mut Tile<'_>, out: &mut [f64]) {
        let mut room = self.room(tile.len());
        let inputs: Vec<&[f64]> = (0..tile.inputs()).map(|index| tile.input(index)).collect();
        self.compute(tile.simd(), tile.start(), &inputs, &mut room, out);
    }

    fn whole_rows(&self) -> bool {
        TypedApply::whole_rows(self)
    }

    fn apply_stored(
        &self,
        simd: Simd,
        start: u64,
        inputs: &[Elements<'_>],
        out: &mut ElementsMut<'_>,
    ) -> Option<Losses> {
        over_stored(inputs, Tiles { apply: self, simd, start, out })
    }
}

/// A run of stored elements, tile by tile.
struct Tiles<'a, 'b, A> {
    apply: &'a A,
    simd: Simd,
    start: u64,
    out: &'a mut ElementsMut<'b>,
}

impl<A: TypedApply> StoredWork for Tiles<'_, '_, A> {
    type Output = Losses;

    fn run<T: Element>(self, inputs: &[&[T]]) -> Losses {
        let Tiles { apply, simd, start, out } = self;
        let mut losses = Losses::default();
        let (mut room, mut values) = (apply.room(TILE), [0.0; TILE]);
        let mut parts = Vec::with_capacity(inputs.len());
        for at in (0..out.len()).step_by(TILE) {
            let values = &mut values[..TILE.min(out.len() - at)];
            parts.clear();
            parts.extend(inputs.iter().map(|input| &input[at..][..values.len()]));
            apply.compute(simd, start + at as u64, &parts, &mut room, values);
            losses.add(at as u64, out.part(at, values.len()).narrow(simd, values));
        }
        losses
    }
}
