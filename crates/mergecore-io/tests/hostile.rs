//! Checkpoints from strangers: an error or what they say, at once, and nothing opened that
//! is not a file. Memory is in `huge_headers.rs`, names that lead elsewhere in
//! `errors/index_error.rs`.

mod support;

use std::fs;
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use mergecore_io::{Checkpoint, HeaderError, IoError, TensorSource, parse_header};
use support::{dir, file, index, put, raw_file, sharded, single};

/// What opening gives, which must not take ten seconds.
fn open(dir: &Path) -> Result<Checkpoint, IoError> {
    let (send, receive) = mpsc::channel();
    let dir = dir.to_owned();
    std::thread::spawn(move || send.send(Box::new(Checkpoint::open(&dir))));
    receive.recv_timeout(Duration::from_secs(10)).map(|opened| *opened).expect("it takes too long")
}

/// The error of a header with one byte of data.
#[track_caller]
fn refused(header: &str) -> HeaderError {
    let bytes = raw_file(header, 1);
    parse_header(&bytes, bytes.len() as u64).unwrap_err()
}

/// Puts what is no file in the place of each file that is read.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_opened() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    let make_pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    let make_socket = |path: &Path| drop(UnixListener::bind(path).unwrap());
    type Make<'a> = &'a dyn Fn(&Path);
    let makers: [(&str, Make<'_>); 5] = [
        ("a named pipe", &make_pipe),
        ("a socket", &make_socket),
        ("a directory", &|path| fs::create_dir(path).unwrap()),
        ("a device", &|path| symlink("/dev/zero", path).unwrap()),
        ("a directory", &|path| symlink(".", path).unwrap()),
    ];
    for name in [
        "config.json",
        "model.safetensors.index.json",
        "model.safetensors",
        "generation_config.json",
        "tokenizer.json",
        "tokenizer.model",
        "chat_template.jinja",
    ] {
        for (kind, make) in makers {
            let dir = single();
            let path = dir.path().join(name);
            let _ = fs::remove_file(&path);
            make(&path);
            let error = open(dir.path()).unwrap_err();
            assert!(
                matches!(&error, IoError::NotAFile { found, path: p } if *found == kind && *p == path),
                "{name} as {kind}: {error}"
            );
        }
    }
    let dir = sharded();
    fs::remove_file(dir.path().join("m-2.safetensors")).unwrap();
    make_pipe(&dir.path().join("m-2.safetensors"));
    assert!(matches!(open(dir.path()), Err(IoError::NotAFile { found: "a named pipe", .. })));
}

/// An output without the tokenizer would be another model, so that a hub cache that lost a
/// blob is not a model without a tokenizer.
#[cfg(unix)]
#[test]
fn a_tokenizer_that_is_a_broken_link() {
    let dir = single();
    std::os::unix::fs::symlink("../blobs/gone", dir.path().join("tokenizer.json")).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, IoError::BrokenLink { path } if path.ends_with("tokenizer.json")));
}

#[cfg(unix)]
#[test]
fn links_in_a_circle() {
    let dir = single();
    for name in ["config.json", "model.safetensors"] {
        let path = dir.path().join(name);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(name, &path).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(error.to_string().contains(&format!("{name}: ")), "{error}");
        fs::remove_file(&path).unwrap();
        put(&dir, name, "{}");
    }
}

#[test]
fn a_header_length_beyond_the_file_takes_no_memory() {
    let dir = single();
    for length in [100_000_000u64, 100_000_001, u64::MAX] {
        put(&dir, "model.safetensors", length.to_le_bytes());
        assert!(matches!(open(dir.path()), Err(IoError::Header { .. })));
    }
    put(&dir, "model.safetensors", "");
    assert!(matches!(
        open(dir.path()),
        Err(IoError::Header { source: HeaderError::TooShort { file_len: 0 }, .. })
    ));
}

#[test]
fn offsets_that_overflow_or_run_backwards() {
    let offsets = |offsets: &str| {
        refused(&format!(r#"{{"w":{{"dtype":"U8","shape":[1],"data_offsets":{offsets}}}}}"#))
    };
    assert!(matches!(offsets("[0,18446744073709551615]"), HeaderError::Size { .. }));
    assert!(matches!(offsets("[18446744073709551615,0]"), HeaderError::Offset { .. }));
    assert!(matches!(offsets("[1,0]"), HeaderError::Offset { .. }));
    for beyond in ["[0,18446744073709551616]", "[-1,0]", "[0,1e0]", "[0]", "[0,1,1]", "0"] {
        assert!(matches!(offsets(beyond), HeaderError::Entry { .. }), "{beyond}");
    }
    let last = u64::MAX / 8;
    let error = refused(&format!(
        r#"{{"w":{{"dtype":"U8","shape":[{last}],"data_offsets":[0,{last}]}},
            "x":{{"dtype":"U8","shape":[{last}],"data_offsets":[{last},{}]}}}}"#,
        2 * last
    ));
    assert!(matches!(error, HeaderError::Truncated { .. }), "{error}");
}

#[test]
fn tensors_that_share_bytes() {
    let same = r#"{"dtype":"U8","shape":[1],"data_offsets":[0,1]}"#;
    let error = refused(&format!(r#"{{"a":{same},"b":{same}}}"#));
    assert!(matches!(error, HeaderError::Offset { tensor, .. } if tensor == "b"));
}

/// Which readers accept: only the bytes must be in order.
#[test]
fn entries_out_of_order() {
    let dir = single();
    let header = r#"{"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},
        "a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#;
    let mut bytes = raw_file(header, 0);
    bytes.extend([7, 8, 9]);
    put(&dir, "model.safetensors", bytes);
    let mut out = [0; 2];
    open(dir.path()).unwrap().tensor("b").unwrap().read(0..2, &mut out).unwrap();
    assert_eq!(out, [8, 9]);
}

/// Other readers take the later one without a word.
#[test]
fn one_name_twice_in_a_header() {
    let entry =
        |range: &str| format!(r#""w":{{"dtype":"U8","shape":[1],"data_offsets":[{range}]}}"#);
    for ranges in [["0,1", "1,2"], ["9,9", "0,1"], ["0,1", "0,1"]] {
        let [first, second] = ranges.map(entry);
        let error = refused(&format!("{{{first},{second}}}"));
        assert!(matches!(error, HeaderError::DuplicateTensor { .. }), "{error}");
    }
}

#[test]
fn a_dtype_that_does_not_fit_its_bytes() {
    for (dtype, needed) in [("BF16", 8), ("F32", 16), ("F64", 32), ("BOOL", 4)] {
        let dir = single();
        let header = format!(r#"{{"w":{{"dtype":"{dtype}","shape":[4],"data_offsets":[0,12]}}}}"#);
        put(&dir, "model.safetensors", raw_file(&header, 12));
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(&error, IoError::Header { source: HeaderError::Size { expected, .. }, .. }
                if *expected == needed),
            "{error}"
        );
    }
}

#[test]
fn tensors_without_elements() {
    let dir = single();
    let header = r#"{"none":{"dtype":"F32","shape":[0,1000000000000],"data_offsets":[0,0]},
        "deep":{"dtype":"F32","shape":[3,0,2],"data_offsets":[0,0]},
        "one":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
    put(&dir, "model.safetensors", raw_file(header, 4));
    let checkpoint = open(dir.path()).unwrap();
    for (name, len) in [("none", 0), ("deep", 0), ("one", 1)] {
        let tensor = checkpoint.tensor(name).unwrap();
        assert_eq!(tensor.len(), len);
        tensor.read(0..len, &mut vec![0; 4 * len as usize]).unwrap();
    }
}

#[test]
fn nesting_without_end() {
    for (open_with, name) in [
        ("[", "config.json"),
        ("{\"a\":", "config.json"),
        ("{\"weight_map\":", "model.safetensors.index.json"),
        ("[", "model.safetensors.index.json"),
    ] {
        let dir = single();
        put(&dir, name, open_with.repeat(1_000_000));
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(error, IoError::ConfigSyntax { .. } | IoError::Index { .. }),
            "{name}: {error}"
        );
    }
    for open_with in ["[", "{\"a\":", "{\"w\":{\"extra\":"] {
        let error = refused(&open_with.repeat(1_000_000));
        assert!(matches!(error, HeaderError::Json { .. }), "{error}");
    }
}

#[test]
fn text_that_is_not_utf8() {
    for name in ["config.json", "model.safetensors.index.json"] {
        let dir = single();
        put(&dir, name, b"{\"caf\xe9\": 1}");
        let error = open(dir.path()).unwrap_err();
        assert!(
            matches!(error, IoError::ConfigSyntax { .. } | IoError::Index { .. }),
            "{name}: {error}"
        );
    }
    let dir = single();
    let mut bytes = file(&[("cafe", &[1])]);
    let at = bytes.windows(4).position(|part| part == b"cafe").unwrap();
    bytes[at + 3] = 0xe9;
    put(&dir, "model.safetensors", bytes);
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, IoError::Header { source: HeaderError::NotUtf8 { .. }, .. }));
}

#[cfg(target_os = "linux")]
#[test]
fn file_names_that_are_not_utf8() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    // Beside a model they do not matter.
    let dir = single();
    fs::write(dir.path().join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
    open(dir.path()).unwrap();
    // As the only weights they cannot be named, and so are not there.
    let from = dir.path().join("model.safetensors");
    fs::rename(from, dir.path().join(OsStr::from_bytes(b"\xff.safetensors"))).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(error.to_string().contains("\u{fffd}.safetensors: "), "{error}");
}

#[test]
fn an_index_of_a_million_shards() {
    let dir = single();
    let names: Vec<String> = (0..1_000_000).map(|i| format!("m-{i}.safetensors")).collect();
    let map: Vec<(&str, &str)> = names.iter().map(|name| (&**name, &**name)).collect();
    put(&dir, "model.safetensors.index.json", index(&map));
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, IoError::MissingShards { .. }), "{error}");
    assert!(error.to_string().len() < 1000, "{error}");
}

#[test]
fn not_all_of_a_thousand_files_are_named() {
    let dir = dir();
    for i in 0..1000 {
        put(&dir, &format!("file-{i}"), "");
    }
    let text = open(dir.path()).unwrap_err().to_string();
    assert!(text.contains("and 988 more") && text.len() < 1000, "{text}");
}
