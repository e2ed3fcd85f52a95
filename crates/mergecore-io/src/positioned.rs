//! Reads and writes at a position, without a shared cursor, so that many
//! threads can use one file.

use std::fs::File;
use std::io;

/// Fills `out` with the bytes at `offset`. A file that ends before that is
/// [`io::ErrorKind::UnexpectedEof`].
pub(crate) fn read_exact_at(file: &File, out: &mut [u8], offset: u64) -> io::Result<()> {
    fill(out, offset, |part, at| read_some(file, part, at))
}

/// Writes all of `bytes` at `offset`.
pub(crate) fn write_all_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    drain(bytes, offset, |part, at| write_some(file, part, at))
}

#[cfg(unix)]
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, out, offset)
}

#[cfg(windows)]
fn read_some(file: &File, out: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, out, offset)
}

#[cfg(unix)]
fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_some(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, offset)
}

fn fill(
    mut out: &mut [u8],
    mut offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    while !out.is_empty() {
        match read(out, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                out = &mut out[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn drain(
    mut bytes: &[u8],
    mut offset: u64,
    mut write: impl FnMut(&[u8], u64) -> io::Result<usize>,
) -> io::Result<()> {
    while !bytes.is_empty() {
        match write(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                bytes = &bytes[n..];
                offset += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_goes_on_after_interruptions_and_partial_reads() {
        let data: Vec<u8> = (0..10).collect();
        let mut calls = 0;
        let mut out = [0; 7];
        fill(&mut out, 2, |part, at| {
            calls += 1;
            if calls % 2 == 1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = part.len().min(3);
            part[..n].copy_from_slice(&data[at as usize..at as usize + n]);
            Ok(n)
        })
        .unwrap();
        assert_eq!(out, [2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(calls, 6);
    }

    #[test]
    fn fill_reports_the_end_of_the_file() {
        let error = fill(&mut [0; 4], 0, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn drain_goes_on_after_interruptions_and_partial_writes() {
        let mut written = vec![0; 6];
        let mut calls = 0;
        drain(&[1, 2, 3, 4, 5], 1, |part, at| {
            calls += 1;
            if calls == 2 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let n = part.len().min(2);
            written[at as usize..at as usize + n].copy_from_slice(&part[..n]);
            Ok(n)
        })
        .unwrap();
        assert_eq!(written, [0, 1, 2, 3, 4, 5]);
        let error = drain(&[1], 0, |_, _| Ok(0)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
