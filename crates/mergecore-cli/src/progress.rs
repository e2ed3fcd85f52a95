//! The progress bar.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use indicatif::{DecimalBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mergecore::{Progress, ProgressCallback};

/// A bar on stderr; hidden where that is no terminal, or when quiet.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    /// A bar for that many bytes of tensors.
    pub(crate) fn new(quiet: bool, bytes: u64) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(bytes), target);
        let template = "{wide_bar} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left, {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Bar(bar)
    }

    /// What the merge is to call.
    pub(crate) fn callback(&self) -> Option<ProgressCallback> {
        if self.0.is_hidden() {
            return None;
        }
        let (bar, surveyed) = (self.0.clone(), AtomicU64::new(0));
        Some(ProgressCallback::new(move |progress: Progress| {
            bar.set_position(progress.bytes_done);
            let read = progress.bytes_surveyed;
            bar.set_message(if surveyed.swap(read, Ordering::Relaxed) < read {
                format!("{} read to select among all tensors", DecimalBytes(read))
            } else {
                format!("{}/{} tensors", progress.tensors_done, progress.tensors_total)
            });
        }))
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
