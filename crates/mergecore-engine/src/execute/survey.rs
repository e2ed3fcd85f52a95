//! What some methods must know of all tensors before any is merged.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use mergecore_kernel::{Concatenation, Cutoff, ErasedPartial, ErasedScan, Step, SurveyRun};

use super::chunk::Buffers;
use super::tensor::prefetch_after;
use super::{Job, Pool};
use crate::EngineError;
use crate::plan::Operation;

/// The outcome of a survey.
pub(super) struct Surveyed {
    run: SurveyRun,
    /// Of each of the plan's tensors, its number in the survey.
    numbers: Vec<Option<usize>>,
}

impl Surveyed {
    /// Which elements of one of the plan's tensors are among those selected; `None` where it has
    /// no part in the survey.
    pub(super) fn kept(&self, tensor: usize) -> Option<Vec<Cutoff>> {
        Some(self.run.kept(self.numbers[tensor]?))
    }
}

/// A piece of a tensor of the plan, and its first index in the survey.
struct Piece {
    tensor: usize,
    elements: Range<u64>,
    start: u64,
}

impl<'a> Job<'a> {
    /// Reads all tensors as often as the kernels' survey asks for, where they have one.
    pub(super) fn survey(&'a self, pool: &Pool) -> Result<Option<Surveyed>, EngineError> {
        let Some(survey) = &self.plan.survey else { return Ok(None) };
        let mut numbers = vec![None; self.plan.tensors.len()];
        let (mut members, mut lengths) = (Vec::new(), Vec::new());
        for (index, tensor) in self.plan.tensors.iter().enumerate() {
            if matches!(&tensor.operation, Operation::Merge(kernel) if kernel.survey().is_some()) {
                numbers[index] = Some(members.len());
                members.push(index);
                lengths.push(tensor.inputs.first().map_or(0, |input| input.source.len()));
            }
        }
        let failed = |source| EngineError::Kernel { tensor: "all tensors".to_owned(), source };
        let (run, mut step) =
            SurveyRun::begin(survey, Concatenation::new(lengths)).map_err(failed)?;
        while let Step::Scan(scan) = step {
            let total = self.scan_all(&*scan, run.tensors(), &members, pool)?;
            step = scan.finish(total).map_err(failed)?;
        }
        Ok(Some(Surveyed { run, numbers }))
    }

    fn scan_all(
        &self,
        scan: &dyn ErasedScan,
        all: &Concatenation,
        members: &[usize],
        pool: &Pool,
    ) -> Result<ErasedPartial, EngineError> {
        let mut pieces = Vec::new();
        for (number, piece) in scan.ranges(all.extent()).into_iter().flat_map(|r| all.pieces(r)) {
            let tensor = members[number];
            let chunk = self.budget.chunk(&self.plan.tensors[tensor]);
            for start in piece.clone().step_by(chunk as usize) {
                let elements = start..piece.end.min(start + chunk);
                pieces.push(Piece { tensor, elements, start: all.start(number) + start });
            }
        }
        let (next, total) = (AtomicUsize::new(0), Mutex::new(Ok(scan.empty())));
        let work = || {
            let mut buffers = Buffers::new(self.options.simd);
            let mut partial = scan.empty();
            let done = std::iter::from_fn(|| pieces.get(next.fetch_add(1, Ordering::Relaxed)))
                .try_for_each(|piece| self.fold(scan, all, piece, &mut partial, &mut buffers));
            let mut total = total.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *total, done) {
                (Ok(total), Ok(())) => scan.combine(total, partial),
                (Ok(_), Err(error)) => {
                    next.store(pieces.len(), Ordering::Relaxed); // the others stop
                    *total = Err(error);
                }
                (Err(_), _) => {}
            }
        };
        pool.run(|| {
            rayon::scope(|scope| {
                (0..self.budget.workers).for_each(|_| scope.spawn(|_| work()));
            });
        });
        total.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn fold(
        &self,
        scan: &dyn ErasedScan,
        all: &Concatenation,
        piece: &Piece,
        partial: &mut ErasedPartial,
        buffers: &mut Buffers,
    ) -> Result<(), EngineError> {
        self.options.check_cancelled()?;
        let Piece { tensor, elements, start } = piece;
        let inputs = &self.plan.tensors[*tensor].inputs;
        prefetch_after(inputs, elements);
        buffers.inputs.read(*tensor, inputs, elements.clone())?;
        let read = buffers.inputs.part(elements);
        buffers.worker.fold(scan, partial, *start, all.extent(), &read);
        let element: usize = inputs.iter().map(|input| input.source.dtype().size()).sum();
        self.report_surveyed((elements.end - elements.start) * element as u64);
        Ok(())
    }
}
