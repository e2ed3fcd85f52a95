//! Recipes from strangers: an answer at once, whatever is in them. Nesting, alias bombs
//! and size have their tests in `errors/limit.rs`.

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use mergecore_config::{ConfigError, MergeConfig};

/// What reading gives, which must not take ten seconds.
fn read(path: &Path) -> Result<MergeConfig, ConfigError> {
    let (send, receive) = mpsc::channel();
    let path = path.to_owned();
    std::thread::spawn(move || send.send(Box::new(MergeConfig::from_path(path))));
    receive.recv_timeout(Duration::from_secs(10)).map(|read| *read).expect("it takes too long")
}

#[cfg(unix)]
#[test]
fn pipes_sockets_and_devices_are_not_opened() {
    use std::os::unix::net::UnixListener;

    let dir = tempfile::tempdir().unwrap();
    let path = |name| dir.path().join(name);
    let made = std::process::Command::new("mkfifo").arg(path("pipe")).status();
    assert!(made.unwrap().success());
    let _listener = UnixListener::bind(path("socket")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", path("zero")).unwrap();
    std::os::unix::fs::symlink("pipe", path("link")).unwrap();
    for (name, kind) in [
        ("pipe", "a named pipe"),
        ("link", "a named pipe"),
        ("socket", "a socket"),
        ("zero", "a device"),
    ] {
        let error = read(&path(name)).unwrap_err();
        assert!(matches!(error, ConfigError::NotAFile { found, .. } if found == kind), "{error}");
    }
}

/// As `mergecore merge <(...)` gives it.
#[cfg(target_os = "linux")]
#[test]
fn what_the_shell_hands_over_is_read() {
    use std::io::Write;
    use std::os::fd::AsRawFd;

    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"merge_method: linear\nmodels: [{model: a}]\n").unwrap();
    drop(writer);
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    assert_eq!(read(Path::new(&path)).unwrap().merge_method, "linear");
}

#[cfg(target_os = "linux")]
#[test]
fn a_name_that_is_not_utf8() {
    use std::os::unix::ffi::OsStrExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9.yml"));
    std::fs::write(&path, "merge_method: linear\n").unwrap();
    let text = read(&path).unwrap_err().to_string();
    assert!(text.contains("caf\u{fffd}.yml:1:1: "), "{text}");
}

#[test]
fn a_layer_beyond_counting() {
    let range = "layer_range: [0, 18446744073709551616]";
    let text = format!("merge_method: m\nslices: [{{sources: [{{model: a, {range}}}]}}]\n");
    let error = MergeConfig::from_yaml_str(&text).unwrap_err();
    assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
}
