//! Ctrl-C and the system's requests to end.

use std::io;

use mergecore::CancelFlag;

use crate::{FAILED, Failure};

/// A flag that is set when the process is asked to end (SIGINT, SIGTERM, SIGHUP; those that it
/// was started to ignore, as by `nohup`, it ignores). Who asks a second time has it end at once.
pub(crate) fn flag() -> Result<CancelFlag, Failure> {
    let flag = CancelFlag::new();
    let cancel = flag.clone();
    let asked = move || match cancel.is_cancelled() {
        false => cancel.cancel(),
        true => std::process::exit(FAILED.into()),
    };
    match listen(asked) {
        Ok(()) => Ok(flag),
        Err(error) => Err(Failure::new(format!("cannot be told of Ctrl-C: {error}"), FAILED)),
    }
}

#[cfg(unix)]
fn listen(asked: impl Fn() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let ignored = ignored();
    let heard = [SIGHUP, SIGINT, SIGTERM].into_iter();
    let heard = heard.filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = signal_hook::iterator::Signals::new(heard)?;
    let wait = move || signals.forever().for_each(|_| asked());
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).map(drop)
}

/// The signals that this process was started to ignore, the first one's bit lowest; none where
/// the system does not tell.
#[cfg(unix)]
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(not(unix))]
fn listen(asked: impl Fn() + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(asked).map_err(io::Error::other)
}
