//! Work that takes long, and an end to the wait for it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mergecore_kernel::{KernelError, ReadInputs};

/// Between two looks at whether the result is still wanted.
const LOOK: Duration = Duration::from_millis(20);

/// Whether the decomposition of a matrix of this shape, and what goes with it, takes more than
/// some hundredths of a second: 256 rows and columns about do. Long and narrow ones are held up
/// by memory.
fn is_long((rows, columns): (usize, usize)) -> bool {
    rows.saturating_mul(columns).saturating_mul(rows.min(columns) + 64) > 1 << 24
}

/// Does work for a matrix of this shape; [`KernelError::Interrupted`] where the driver of the
/// inputs no longer wants it.
///
/// Where it takes long and may be cancelled, it is done on a thread of its own, and this one
/// waits: faer's routines cannot be told to stop. Work that is no longer waited for ends when it
/// next asks whether it is to, or is done.
pub(crate) fn interruptible<T: Send + 'static>(
    shape: (usize, usize),
    inputs: &dyn ReadInputs,
    work: impl FnOnce(&dyn Fn() -> bool) -> Result<T, KernelError> + Send + 'static,
) -> Result<T, KernelError> {
    if !is_long(shape) || !inputs.can_be_cancelled() {
        return work(&|| inputs.is_cancelled());
    }
    // Shared, for where there can be no thread it is done here.
    let work = Arc::new(Mutex::new(Some(work)));
    let stopped = Arc::new(AtomicBool::new(false));
    let (sender, receiver) = mpsc::channel();
    let (taken, stop) = (Arc::clone(&work), Arc::clone(&stopped));
    let started =
        std::thread::Builder::new().name("mergecore-spectral".to_owned()).spawn(move || {
            let work = taken.lock().unwrap_or_else(PoisonError::into_inner).take();
            // Nobody may be there any more.
            let _ = sender.send(work.map(|work| work(&|| stop.load(Ordering::Relaxed))));
        });
    let Ok(thread) = started else {
        let work = work.lock().unwrap_or_else(PoisonError::into_inner).take();
        return work.map_or(Err(KernelError::Interrupted), |work| work(&|| inputs.is_cancelled()));
    };
    loop {
        match receiver.recv_timeout(LOOK) {
            Ok(done) => return done.unwrap_or(Err(KernelError::Interrupted)),
            Err(RecvTimeoutError::Timeout) if inputs.is_cancelled() => {
                stopped.store(true, Ordering::Relaxed);
                return Err(KernelError::Interrupted);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => match thread.join() {
                Err(panic) => std::panic::resume_unwind(panic),
                Ok(()) => return Err(KernelError::Interrupted),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Inputs that nobody wants after a while.
    struct Until(Instant);

    impl ReadInputs for Until {
        fn read(&self, _: usize, _: u64, _: &mut [f64]) -> Result<(), KernelError> {
            Ok(())
        }

        fn is_cancelled(&self) -> bool {
            Instant::now() >= self.0
        }
    }

    const LARGE: (usize, usize) = (1000, 1000);

    fn wanted() -> Until {
        Until(Instant::now() + Duration::from_secs(3600))
    }

    #[test]
    fn what_it_yields_is_what_the_work_does() {
        for shape in [LARGE, (3, 2)] {
            assert_eq!(interruptible(shape, &wanted(), |_| Ok(7)), Ok(7));
            let failed = interruptible::<()>(shape, &wanted(), |_| Err(KernelError::Interrupted));
            assert_eq!(failed, Err(KernelError::Interrupted));
        }
    }

    #[test]
    fn work_that_asks_nothing_is_not_waited_for() {
        let inputs = Until(Instant::now() + Duration::from_millis(50));
        let stopped = interruptible(LARGE, &inputs, |_| {
            std::thread::sleep(Duration::from_secs(5));
            Ok(())
        });
        assert_eq!(stopped, Err(KernelError::Interrupted));
        assert!(inputs.0.elapsed() < Duration::from_secs(2), "{:?}", inputs.0.elapsed());
    }

    #[test]
    fn work_that_is_not_waited_for_is_told() {
        let (told, seen) = mpsc::channel();
        let inputs = Until(Instant::now());
        let stopped = interruptible(LARGE, &inputs, move |stop| {
            while !stop() {
                std::thread::sleep(Duration::from_millis(1));
            }
            told.send(()).map_err(|_| KernelError::Interrupted)
        });
        assert_eq!(stopped, Err(KernelError::Interrupted));
        assert_eq!(seen.recv_timeout(Duration::from_secs(60)), Ok(()));
    }

    #[test]
    #[should_panic(expected = "the work panics")]
    fn a_panic_is_the_callers() {
        let _ = interruptible::<()>(LARGE, &wanted(), |_| panic!("the work panics"));
    }
}
