//! Ctrl-C and the system's requests to end.

use mergecore::CancelFlag;

use crate::{FAILED, Failure};

/// A flag that is set when the process is asked to end (SIGINT, SIGTERM, SIGHUP). Who asks a
/// second time has it end at once.
pub(crate) fn flag() -> Result<CancelFlag, Failure> {
    let flag = CancelFlag::new();
    let cancel = flag.clone();
    let asked = move || match cancel.is_cancelled() {
        false => cancel.cancel(),
        true => std::process::exit(FAILED.into()),
    };
    match ctrlc::set_handler(asked) {
        Ok(()) => Ok(flag),
        Err(error) => Err(Failure::new(format!("cannot be told of Ctrl-C: {error}"), FAILED)),
    }
}
