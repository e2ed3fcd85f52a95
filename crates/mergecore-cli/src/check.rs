//! `mergecore verify` and `mergecore reproduce`.

use indicatif::DecimalBytes;
use mergecore::{MergeOptions, reproduce, verify};

use crate::args::{ReproduceArgs, VerifyArgs};
use crate::table::count;
use crate::{FAILED, Failure, interrupt, print};

pub(crate) fn run_verify(args: &VerifyArgs) -> Result<(), Failure> {
    let options = MergeOptions { cancel: Some(interrupt::flag()?), ..args.options() };
    let found = verify(&args.output, &options)?;
    if !found.unknown_files.is_empty() && !args.quiet {
        print::note(format_args!("the manifest does not know {}", found.unknown_files.join(", ")));
    }
    found.faults.iter().for_each(print::error);
    if found.unhashed > 0 {
        print::error(format_args!(
            "{} without a hash, because the merge was told --no-hash: nothing shows whether the bytes are right; merge again without it, or see `mergecore reproduce`",
            count(found.unhashed, "tensor")
        ));
    }
    if !found.is_right() {
        return Err(Failure::told(FAILED));
    }
    if !args.quiet {
        print::result(format_args!(
            "{}: {} ({}) and {} are as they were written\n",
            args.output.display(),
            count(found.tensors, "tensor"),
            DecimalBytes(found.bytes),
            count(found.files, "file"),
        ))?;
    }
    Ok(())
}

pub(crate) fn run_reproduce(args: &ReproduceArgs) -> Result<(), Failure> {
    let options = MergeOptions { cancel: Some(interrupt::flag()?), ..args.options() };
    let found = reproduce(&args.manifest, &options)?;
    if !args.quiet {
        found.notes.iter().for_each(print::note);
    }
    found.differences.iter().for_each(print::error);
    if found.unhashed > 0 {
        print::error(format_args!(
            "{} without a hash, because the merge was told --no-hash: nothing to compare with",
            count(found.unhashed, "tensor")
        ));
    }
    if !found.is_same() {
        return Err(Failure::told(FAILED));
    }
    if !args.quiet {
        print::result(format_args!(
            "{} and {} came out as before, byte for byte\n",
            count(found.tensors, "tensor"),
            count(found.files, "file"),
        ))?;
    }
    Ok(())
}
