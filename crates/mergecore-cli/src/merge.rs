//! `mergecore merge`.

use std::path::Path;

use indicatif::DecimalBytes;
use mergecore::{
    EngineError, IoError, MergeConfig, MergeOptions, MergePlan, MergeReport, partial_work,
    plan_for_output,
};

use crate::args::MergeArgs;
use crate::progress::Bar;
use crate::table::count;
use crate::{Failure, interrupt, print};

pub(crate) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let options = args.options()?;
    let config = MergeConfig::from_path(&args.config)?;
    let options = MergeOptions { cancel: Some(interrupt::flag()?), ..options };
    let plan = plan_for_output(&config, &args.output, &options)?;
    if args.verbose {
        describe(&plan);
    }
    if !args.quiet {
        plan.notes().iter().for_each(print::note);
    }
    let bar = Bar::new(args.quiet, plan.layout().total_bytes());
    let options = MergeOptions { progress: bar.callback(), ..options };
    let report = plan.execute(&args.output, &options);
    bar.finish();
    let report = report.map_err(|error| with_partial_work(error, &args.output))?;
    if !args.quiet {
        // The plan's come first, and were printed.
        report.notes[plan.notes().len()..].iter().for_each(print::note);
        summarise(&report);
        print::result(format_args!("{}\n", report.output.display()))?;
    }
    Ok(())
}

/// Says what a merge that failed has kept.
fn with_partial_work(error: EngineError, output: &Path) -> Failure {
    let kept = match error {
        // Tells of another's, or of what is none.
        EngineError::PartialDiffers { .. }
        | EngineError::Io(IoError::OutputLocked { .. } | IoError::OddWork { .. }) => None,
        _ => partial_work(output),
    };
    let mut failure = Failure::from(error);
    failure.note = kept.map(|path| {
        format!(
            "what was done so far is kept in {}: the same command goes on with it, --restart begins anew; or delete it",
            path.display()
        )
    });
    failure
}

fn describe(plan: &MergePlan) {
    for model in plan.models() {
        let bytes = model.checkpoint.files().iter().map(|file| file.bytes).sum();
        print::say(format_args!(
            "{}: {} tensors, {}, in {}",
            model.name(),
            model.checkpoint.len(),
            DecimalBytes(bytes),
            model.checkpoint.dir().display(),
        ));
    }
}

fn summarise(report: &MergeReport) {
    let tally = report.tally;
    print::say(format_args!(
        "{} tensors ({} merged, {} copied; {} of {} input tensors used), {} in {}, {:.1} s",
        report.tensors,
        tally.merged,
        tally.copied,
        tally.inputs - tally.unused,
        tally.inputs,
        DecimalBytes(report.bytes),
        count(report.files, "file"),
        report.elapsed.as_secs_f64(),
    ));
}
