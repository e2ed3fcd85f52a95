//! Headers of the greatest length that the format allows, and what reading them takes. One
//! test, so that nothing else is in this process's memory.

#![cfg(target_os = "linux")]

use std::fs;
use std::time::{Duration, Instant};

use mergecore_io::{Checkpoint, MAX_HEADER_BYTES};

/// The most memory that this process ever had, in bytes.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    1024 * line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
}

/// As many repetitions as fit, between a head and a tail.
fn filled(head: &str, part: &str, tail: &str) -> Vec<u8> {
    let room = MAX_HEADER_BYTES as usize - head.len() - tail.len();
    let mut bytes = MAX_HEADER_BYTES.to_le_bytes().to_vec();
    bytes.extend(head.bytes());
    bytes.extend(part.repeat(room / part.len()).bytes());
    bytes.extend(tail.bytes());
    bytes.resize(8 + MAX_HEADER_BYTES as usize, b' ');
    bytes
}

#[test]
fn headers_of_100_megabytes() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), "{}").unwrap();
    let path = dir.path().join("model.safetensors");

    // Nothing but zeros, of which the disk holds none.
    fs::write(&path, MAX_HEADER_BYTES.to_le_bytes()).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(8 + MAX_HEADER_BYTES).unwrap();
    check(dir.path(), "not what a safetensors file has there");

    let end = r#""data_offsets":[0,0]}}"#;
    let shape = r#"{"w":{"dtype":"U8","shape":["#;
    let unknown = r#"{"w":{"dtype":"F32","extra":["#;
    let offsets = r#"{"w":{"dtype":"F32","shape":[1],"data_offsets":["#;
    for (head, part, tail, says) in [
        (shape, "1,", &*format!("1],{end}"), "dimensions"),
        (unknown, "0,", &*format!("0],\"shape\":[1],{end}"), "needs 4"),
        (offsets, "0,", "0]}}", "trailing characters"),
        (unknown, "[", "", "recursion limit"),
        ("{", r#""a":["U8",[0],[0,0]],"#, r#""a":["U8",[0],[0,1]]}"#, "lists tensor `a` twice"),
        (r#"{"__metadata__":{"a":""#, "x", "\"}}x", "trailing characters"),
    ] {
        fs::write(&path, filled(head, part, tail)).unwrap();
        check(dir.path(), says);
    }
}

#[track_caller]
fn check(dir: &std::path::Path, says: &str) {
    let start = Instant::now();
    let text = Checkpoint::open(dir).unwrap_err().to_string();
    let (taken, peak) = (start.elapsed(), peak() / 1_000_000);
    println!("{says}: {taken:?}, {peak} MB");
    assert!(text.contains(says), "no {says:?} in: {text}");
    assert!(taken < Duration::from_secs(60), "{says}: {taken:?}");
    assert!(peak < 1_500, "{says}: {peak} MB");
}
