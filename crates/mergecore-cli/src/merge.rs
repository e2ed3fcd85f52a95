//! `mergecore merge`.

use indicatif::DecimalBytes;
use mergecore::{MergeConfig, MergeOptions, MergePlan, MergeReport, plan};

use crate::args::MergeArgs;
use crate::progress::Bar;
use crate::table::count;
use crate::{Failure, print};

pub(crate) fn run(args: &MergeArgs) -> Result<(), Failure> {
    let options = args.options()?;
    let config = MergeConfig::from_path(&args.config)?;
    let plan = plan(&config, &options)?;
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
    let report = report?;
    if !args.quiet {
        // The plan's come first, and were printed.
        report.notes[plan.notes().len()..].iter().for_each(print::note);
        summarise(&report);
        print::result(format_args!("{}\n", report.output.display()))?;
    }
    Ok(())
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
