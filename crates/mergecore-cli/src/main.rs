//! The `mergecore` command: parses arguments, shows progress, prints errors.

mod args;
mod progress;
mod size;

use std::process::ExitCode;

use args::{Cli, Command, MergeArgs};
use clap::Parser;
use mergecore::{MergeConfig, MergeOptions, MergeReport, merge};
use progress::Bar;

/// The recipe or the command line is wrong.
const USAGE: u8 = 2;
/// The merge failed.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let Command::Merge(args) = Cli::parse().command;
    match run(&args) {
        Ok(report) => {
            if !args.quiet {
                summarise(&report);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if error.is_recipe() { USAGE } else { FAILED })
        }
    }
}

fn run(args: &MergeArgs) -> mergecore::Result<MergeReport> {
    let config = MergeConfig::from_path(&args.config)?;
    let bar = Bar::new(args.quiet);
    let options = MergeOptions { progress: bar.callback(), ..args.options() };
    let result = merge(&config, &args.output, &options);
    bar.finish();
    result
}

fn summarise(report: &MergeReport) {
    for note in &report.notes {
        eprintln!("note: {note}");
    }
    let tally = report.tally;
    eprintln!(
        "{} tensors ({} merged, {} copied; {} of {} input tensors used), {} in {} file{}, {:.1} s",
        report.tensors,
        tally.merged,
        tally.copied,
        tally.inputs - tally.unused,
        tally.inputs,
        indicatif::DecimalBytes(report.bytes),
        report.files,
        if report.files == 1 { "" } else { "s" },
        report.elapsed.as_secs_f64(),
    );
    println!("{}", report.output.display());
}
