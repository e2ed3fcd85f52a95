//! What the kernel is told about the pages of files, and asked to do with them.
//!
//! All of it is advice: where the system has no such call, or refuses it, nothing is lost
//! but time.

use std::fs::File;
use std::ops::Range;

/// These bytes will be read soon.
pub(crate) fn will_need(file: &File, bytes: Range<u64>) {
    // To be told of pages that are there costs the kernel as much as reading some of them.
    if !are_cached(file, &bytes) {
        advise(file, bytes, Advice::WillNeed);
    }
}

/// Whether the page cache holds the bytes, as far as a look at one in each MiB shows.
#[cfg(target_os = "linux")]
fn are_cached(file: &File, bytes: &Range<u64>) -> bool {
    use rustix::io::{ReadWriteFlags, preadv2};
    let is_cached = |at| {
        let mut byte = [0];
        let buffer = &mut [std::io::IoSliceMut::new(&mut byte)];
        matches!(preadv2(file, buffer, at, ReadWriteFlags::NOWAIT), Ok(1))
    };
    bytes.clone().step_by(1 << 20).chain(bytes.end.checked_sub(1)).all(is_cached)
}

#[cfg(not(target_os = "linux"))]
fn are_cached(_: &File, _: &Range<u64>) -> bool {
    true
}

/// These bytes will not be read again, or were written and can go to storage: what is
/// unchanged is dropped, and the writing of what is not begins.
pub(crate) fn done_with(file: &File, bytes: Range<u64>) {
    advise(file, bytes, Advice::DontNeed);
}

#[cfg(target_os = "linux")]
use rustix::fs::Advice;

#[cfg(target_os = "linux")]
fn advise(file: &File, bytes: Range<u64>, advice: Advice) {
    if let Some(len) = std::num::NonZeroU64::new(bytes.end.saturating_sub(bytes.start)) {
        // Advice that is not taken changes nothing.
        let _ = rustix::fs::fadvise(file, bytes.start, Some(len), advice);
    }
}

#[cfg(not(target_os = "linux"))]
enum Advice {
    WillNeed,
    DontNeed,
}

#[cfg(not(target_os = "linux"))]
fn advise(_: &File, _: Range<u64>, _: Advice) {}

/// Copies bytes from file to file within the kernel, sharing them where the file system
/// can; yields how many were copied, fewer than asked for where it cannot.
#[cfg(target_os = "linux")]
pub(crate) fn copy(from: &File, bytes: Range<u64>, to: &File, at: u64) -> u64 {
    let (mut from_at, mut to_at) = (bytes.start, at);
    while from_at < bytes.end {
        let left = (bytes.end - from_at).min(1 << 30) as usize;
        match rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left) {
            Err(rustix::io::Errno::INTR) => {}
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    from_at - bytes.start
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn copy(_: &File, _: Range<u64>, _: &File, _: u64) -> u64 {
    0
}
