//! The progress bar.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mergecore::{Progress, ProgressCallback};

/// A bar on stderr; hidden where that is no terminal, or when quiet.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(quiet: bool) -> Self {
        let target =
            if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let template = "{bar:40} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}, {eta} left, {msg}";
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
        let bar = self.0.clone();
        Some(ProgressCallback::new(move |progress: Progress| {
            bar.set_length(progress.bytes_total);
            bar.set_position(progress.bytes_done);
            bar.set_message(format!(
                "{}/{} tensors",
                progress.tensors_done, progress.tensors_total
            ));
        }))
    }

    pub(crate) fn finish(&self) {
        self.0.finish_and_clear();
    }
}
