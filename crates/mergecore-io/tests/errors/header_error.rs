//! [`HeaderError`]: headers of safetensors files.

use mergecore_io::{Header, HeaderError, parse_header};

use crate::says;
use crate::support::raw_file;

/// Reads a header that is followed by `data` bytes.
fn parse(json: &str, data: u64) -> Result<Header, HeaderError> {
    let bytes = raw_file(json, 0);
    parse_header(&bytes, bytes.len() as u64 + data)
}

/// A header of a tensor `w`.
fn tensor(dtype: &str, shape: &str, offsets: &str) -> String {
    format!(r#"{{"w":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}}}"#)
}

#[test]
fn too_short() {
    let error = parse_header(b"abc", 3).unwrap_err();
    assert!(matches!(error, HeaderError::TooShort { file_len: 3 }));
    says(&error, &["only 3 bytes", "cut off", "fetch it again"]);
}

#[test]
fn lfs_pointer() {
    let text = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let error = parse_header(text, text.len() as u64).unwrap_err();
    assert!(matches!(error, HeaderError::LfsPointer));
    says(&error, &["a Git LFS pointer", "run `git lfs pull`"]);
}

#[test]
fn too_long() {
    let error = parse_header(&u64::MAX.to_le_bytes(), u64::MAX).unwrap_err();
    assert!(matches!(error, HeaderError::TooLong { header_len: u64::MAX }));
    says(&error, &["a header of 18446744073709551615 bytes", "limit of 100000000"]);
    says(&error, &["probably not a safetensors file", "fetch it again"]);
}

#[test]
fn header_truncated() {
    let error = parse_header(&1000u64.to_le_bytes(), 108).unwrap_err();
    assert!(matches!(error, HeaderError::HeaderTruncated { header_len: 1000, missing: 900 }));
    says(&error, &["should be 1000 bytes long", "ends 900 bytes before", "fetch the file again"]);
}

#[test]
fn incomplete() {
    let error = parse_header(&1000u64.to_le_bytes(), 2000).unwrap_err();
    assert!(matches!(error, HeaderError::Incomplete { needed: 1008, given: 8 }));
    says(&error, &["1008 bytes are needed", "8 were given"]);
    let error = parse_header(b"", 100).unwrap_err();
    assert!(matches!(error, HeaderError::Incomplete { needed: 8, given: 0 }));
}

#[test]
fn not_utf8() {
    let mut bytes = raw_file("{\"a\":1}", 0);
    bytes[10] = 0xff;
    let error = parse_header(&bytes, 15).unwrap_err();
    assert!(matches!(error, HeaderError::NotUtf8 { position: 2 }));
    says(&error, &["not UTF-8 (from its byte 2 on)", "fetch it again"]);
}

#[test]
fn json() {
    for text in ["{\"a\":", "[1]", &"[".repeat(100_000)] {
        let error = parse(text, 0).unwrap_err();
        assert!(matches!(error, HeaderError::Json { .. }));
        says(&error, &["not what a safetensors file has there", "line 1", "fetch it again"]);
    }
}

#[test]
fn entry() {
    let json = r#"{"ok":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"bad":{"dtype":"U8","shape":[-1]}}"#;
    let error = parse(json, 1).unwrap_err();
    assert!(matches!(error, HeaderError::Entry { .. }));
    says(&error, &["entry for tensor `bad` is malformed", "-1", "write the file again"]);
}

#[test]
fn dtype() {
    for dtype in ["F4", "F6_E2M3", "C64", "F8_E4M3FNUZ", "NEW"] {
        let error = parse(&tensor(dtype, "0", "0,0"), 0).unwrap_err();
        assert!(matches!(error, HeaderError::Dtype { .. }));
        says(&error, &[&format!("`w` has dtype {dtype},"), "not supported", "BF16, F16 or F32"]);
    }
}

#[test]
fn offset() {
    for start in [3, 5] {
        let json = format!(
            r#"{{"a":{{"dtype":"U8","shape":[4],"data_offsets":[0,4]}},
                "b":{{"dtype":"U8","shape":[4],"data_offsets":[{start},{}]}}}}"#,
            start + 4
        );
        let error = parse(&json, start + 4).unwrap_err();
        assert!(matches!(error, HeaderError::Offset { expected: 4, .. }));
        says(&error, &[&format!("tensor `b` begins at byte {start}"), "end at byte 4"]);
        says(&error, &["no gap and no overlap", "must be written again"]);
    }
}

#[test]
fn size() {
    let error = parse(&tensor("F32", "2", "0,4"), 4).unwrap_err();
    assert!(matches!(error, HeaderError::Size { expected: 8, .. }), "{error}");
    says(&error, &["`w` of shape [2] and dtype F32 needs 8 bytes", "gives it bytes 0..4"]);
    says(&error, &["must be written again"]);
}

#[test]
fn rank() {
    let ones = |rank| vec!["1"; rank].join(",");
    assert_eq!(parse(&tensor("F32", &ones(64), "0,4"), 4).unwrap().entries[0].shape, [1; 64]);
    for rank in [65, 100] {
        let error = parse(&tensor("F32", &ones(rank), "0,4"), 4).unwrap_err();
        assert!(matches!(error, HeaderError::Rank { .. }));
        says(&error, &[&format!("`w` has {rank} dimensions"), "at most 64", "written again"]);
    }
}

#[test]
fn overflow() {
    for shape in ["18446744073709551615,2", "18446744073709551615,2,0", "4611686018427387904"] {
        let error = parse(&tensor("F32", shape, "0,0"), 0).unwrap_err();
        assert!(matches!(error, HeaderError::Overflow { .. }), "{shape}: {error}");
        let shape = shape.replace(',', ", ");
        says(&error, &[&format!("`w` has shape [{shape}], too large to be true"), "written again"]);
    }
}

#[test]
fn truncated() {
    let json = tensor("F32", "2", "0,8");
    let error = parse(&json, 5).unwrap_err();
    let expected = 8 + json.len() as u64 + 8;
    assert!(matches!(error, HeaderError::Truncated { expected: e, .. } if e == expected));
    says(&error, &[&format!("describes {expected} bytes and it has {}", expected - 3)]);
    says(&error, &["3 too few", "fetch it again"]);
    let n = u64::MAX / 8;
    let error = parse(&tensor("U8", &n.to_string(), &format!("0,{n}")), 0).unwrap_err();
    assert!(matches!(error, HeaderError::Truncated { .. }));
}

#[test]
fn trailing_bytes() {
    let error = parse(&tensor("F32", "2", "0,8"), 10).unwrap_err();
    assert!(matches!(error, HeaderError::TrailingBytes { .. }));
    says(&error, &["2 bytes after its last tensor", "fetch it again"]);
}

/// Found by fuzzing whole directories: the later of the two was taken without a word.
#[test]
fn duplicate_tensor() {
    let entry = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let error = parse(&format!(r#"{{"a":{entry},"\u0061":{entry}}}"#), 1).unwrap_err();
    assert!(matches!(&error, HeaderError::DuplicateTensor { tensor } if tensor == "a"));
    says(&error, &["lists tensor `a` twice", "the file must be written again"]);
}
