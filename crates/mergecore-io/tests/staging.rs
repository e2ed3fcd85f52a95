//! The output's working directory, and every way in which it refuses.

mod support;

use std::fs;
use std::path::Path;

use mergecore_io::{IoError, StagedDir, Storage};
use support::{dir, names, put};

fn stage(output: &Path, overwrite: bool, content: &str) -> StagedDir {
    let staged = StagedDir::create(output, overwrite).unwrap();
    fs::write(staged.path().join("config.json"), content).unwrap();
    staged
}

#[test]
fn the_output_appears_when_committed_and_nothing_else_stays() {
    let dir = dir();
    let output = dir.path().join("a/b/out");
    let staged = stage(&output, false, "new");
    assert!(!output.exists());
    assert_eq!(staged.path(), dir.path().join("a/b/.out.mergecore-partial/output"));
    staged.commit().unwrap();
    assert_eq!(names(&output), ["config.json"]);
    assert_eq!(names(&dir.path().join("a/b")), ["out"]);
}

#[test]
fn dropping_removes_the_working_directory() {
    let dir = dir();
    drop(stage(&dir.path().join("out"), false, "new"));
    drop(stage(&dir.path().join("a/b/out"), false, "new"));
    assert!(names(dir.path()).is_empty());
    // But not a directory that was there before.
    fs::create_dir(dir.path().join("a")).unwrap();
    drop(stage(&dir.path().join("a/b/out"), false, "new"));
    assert_eq!(names(dir.path()), ["a"]);
}

#[test]
fn trailing_slashes_and_dots_mean_the_same_output() {
    for name in ["out/", "./out", "out/.", "sub/../out"] {
        let dir = dir();
        fs::create_dir(dir.path().join("sub")).unwrap();
        stage(&dir.path().join(name), false, "new").commit().unwrap();
        assert_eq!(names(dir.path()), ["out", "sub"], "{name}");
    }
}

#[test]
fn a_path_without_a_name() {
    for path in ["/", "..", ".", "", "a/.."] {
        let error = StagedDir::create(Path::new(path), true).unwrap_err();
        assert!(
            matches!(&error, IoError::OutputName { path: p } if p == Path::new(path)),
            "{path:?}: {error}"
        );
    }
}

#[test]
fn an_empty_output_is_replaced() {
    let dir = dir();
    let output = dir.path().join("out");
    fs::create_dir(&output).unwrap();
    stage(&output, false, "new").commit().unwrap();
    assert_eq!(names(&output), ["config.json"]);
}

#[test]
fn an_output_with_content() {
    let dir = dir();
    let output = dir.path().join("out");
    stage(&output, false, "old").commit().unwrap();
    let error = StagedDir::create(&output, false).unwrap_err();
    assert!(matches!(&error, IoError::OutputExists { path } if *path == output));
    assert!(error.to_string().contains("--overwrite"));

    let staged = stage(&output, true, "new");
    assert_eq!(fs::read_to_string(output.join("config.json")).unwrap(), "old");
    staged.commit().unwrap();
    assert_eq!(fs::read_to_string(output.join("config.json")).unwrap(), "new");
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn what_is_no_checkpoint_is_not_overwritten() {
    let dir = dir();
    put(&dir, "thesis.tex", "years of work");
    let error = StagedDir::create(dir.path(), true).unwrap_err();
    assert!(
        matches!(&error, IoError::OutputNotACheckpoint { found, .. } if found == &["thesis.tex"])
    );
}

#[test]
fn a_file_is_never_overwritten() {
    let dir = dir();
    put(&dir, "out", "x");
    for overwrite in [false, true] {
        let error = StagedDir::create(&dir.path().join("out"), overwrite).unwrap_err();
        assert!(matches!(error, IoError::OutputNotADirectory { found: "a file", .. }));
    }
}

#[test]
fn a_parent_that_is_a_file() {
    let dir = dir();
    put(&dir, "file", "x");
    let error = StagedDir::create(&dir.path().join("file/out"), false).unwrap_err();
    assert!(matches!(error, IoError::System { .. }), "{error}");
}

#[test]
fn two_at_once() {
    let dir = dir();
    let output = dir.path().join("out");
    let first = stage(&output, false, "first");
    let error = StagedDir::create(&output, true).unwrap_err();
    assert!(matches!(&error, IoError::OutputLocked { path, .. } if *path == output));
    let holder = format!(
        "another merge is writing to {}: process {} on ",
        output.display(),
        std::process::id()
    );
    assert!(error.to_string().starts_with(&holder), "{error}");
    assert!(first.path().join("config.json").exists());
    first.commit().unwrap();
    stage(&output, true, "second").commit().unwrap();
}

#[test]
fn what_a_crash_left_is_wiped() {
    let dir = dir();
    let left = dir.path().join(".out.mergecore-partial");
    fs::create_dir_all(left.join("output/sub")).unwrap();
    fs::write(left.join("lock"), "").unwrap();
    fs::write(left.join("journal"), "half").unwrap();
    fs::write(left.join("output/model.safetensors"), "half").unwrap();
    let output = dir.path().join("out");
    stage(&output, false, "new").commit().unwrap();
    assert_eq!(names(&output), ["config.json"]);
    assert_eq!(names(dir.path()), ["out"]);
}

#[test]
fn what_is_kept_is_there_for_the_next() {
    let dir = dir();
    let output = dir.path().join("a/out");
    let staged = stage(&output, false, "half");
    fs::write(staged.journal_path(), "journal").unwrap();
    staged.keep();
    drop(staged);
    assert!(!output.exists());
    let staged = StagedDir::resume(&output, false, &Storage::new()).unwrap();
    assert_eq!(names(staged.path()), ["config.json"]);
    // Neither is removed where the next one fails.
    drop(staged);
    let staged = StagedDir::resume(&output, false, &Storage::new()).unwrap();
    assert!(staged.journal_path().exists());
    staged.commit().unwrap();
    assert_eq!(names(&output), ["config.json"]);
    assert_eq!(names(&dir.path().join("a")), ["out"]);
}

#[test]
fn a_small_file_may_be_written_again() {
    let dir = dir();
    let staged = StagedDir::create(&dir.path().join("out"), false).unwrap();
    staged.write_file("config.json", b"long before").unwrap();
    staged.write_file("config.json", b"{}").unwrap();
    staged.commit().unwrap();
    assert_eq!(fs::read(dir.path().join("out/config.json")).unwrap(), b"{}");
}

#[test]
fn bytes_that_are_there_need_no_space() {
    let dir = dir();
    let (output, storage) = (dir.path().join("out"), Storage::new());
    let staged = StagedDir::create(&output, false).unwrap();
    let IoError::NoSpace { free, path, .. } =
        StagedDir::check_space(&output, u64::MAX, &storage).unwrap_err()
    else {
        panic!("there is space for everything")
    };
    assert_eq!(path, dir.path());
    staged.write_file("half", &[1; 1 << 20]).unwrap();
    fs::File::open(staged.path().join("half")).unwrap().sync_all().unwrap();
    // Others may write at the same time.
    let IoError::NoSpace { needed, .. } =
        StagedDir::check_space(&output, u64::MAX, &storage).unwrap_err()
    else {
        panic!("there is space for everything")
    };
    assert_eq!(needed, u64::MAX - (1 << 20));
    assert!(free > 0);
}

#[test]
fn what_can_be_seen_beforehand() {
    let dir = dir();
    let storage = Storage::new();
    put(&dir, "file", "x");
    StagedDir::check(&dir.path().join("a/b"), false, &storage).unwrap();
    let error = StagedDir::check(&dir.path().join("file"), false, &storage).unwrap_err();
    assert!(matches!(error, IoError::OutputNotADirectory { .. }));
    let error = StagedDir::check(dir.path(), false, &storage).unwrap_err();
    assert!(matches!(error, IoError::OutputExists { .. }));
    assert_eq!(names(dir.path()), ["file"]);
}

#[cfg(unix)]
#[test]
fn a_place_that_cannot_be_written_is_seen_beforehand() {
    use std::os::unix::fs::PermissionsExt;

    let dir = dir();
    let shut = dir.path().join("shut");
    fs::create_dir(&shut).unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(shut.join("probe"), "x").is_ok() {
        return; // root may write everywhere
    }
    let error = StagedDir::check(&shut.join("a/out"), false, &Storage::new()).unwrap_err();
    let start = format!("cannot write to {}: Permission denied", shut.display());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[test]
fn an_output_that_filled_up_meanwhile_is_kept_and_so_is_the_work() {
    let dir = dir();
    let output = dir.path().join("out");
    let staged = stage(&output, false, "new");
    let path = staged.path().to_owned();
    fs::create_dir(&output).unwrap();
    fs::write(output.join("other"), "x").unwrap();
    let error = staged.commit().unwrap_err();
    assert!(matches!(&error, IoError::Commit { staging, .. } if *staging == path), "{error}");
    assert_eq!(names(&output), ["other"]);
    assert_eq!(fs::read_to_string(path.join("config.json")).unwrap(), "new");
}

#[test]
fn what_took_the_outputs_place_meanwhile_is_replaced_only_if_it_is_an_output() {
    let dir = dir();
    let output = dir.path().join("out");
    let staged = stage(&output, true, "new");
    let path = staged.path().to_owned();
    fs::create_dir(&output).unwrap();
    fs::write(output.join("notes"), "x").unwrap();
    let error = staged.commit().unwrap_err();
    assert!(matches!(&error, IoError::OutputNotACheckpoint { .. }), "{error}");
    assert_eq!(names(&output), ["notes"]);
    assert_eq!(fs::read_to_string(path.join("config.json")).unwrap(), "new");
}

#[cfg(unix)]
#[test]
fn an_old_output_that_cannot_be_deleted() {
    use std::os::unix::fs::PermissionsExt;

    let dir = dir();
    let output = dir.path().join("out");
    stage(&output, false, "old").commit().unwrap();
    let shut = output.join("shut");
    fs::create_dir(&shut).unwrap();
    fs::write(shut.join("file"), "x").unwrap();
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(shut.join("probe"), "x").is_ok() {
        return; // root may delete everything
    }
    let error = stage(&output, true, "new").commit().unwrap_err();
    let IoError::OldOutputLeft { old, .. } = &error else { panic!("{error}") };
    assert_eq!(names(&output), ["config.json"]);
    fs::set_permissions(old.join("shut"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[cfg(unix)]
#[test]
fn links_stand_for_what_they_lead_to() {
    let dir = dir();
    fs::create_dir(dir.path().join("real")).unwrap();
    std::os::unix::fs::symlink("real", dir.path().join("out")).unwrap();
    std::os::unix::fs::symlink("gone", dir.path().join("broken")).unwrap();
    stage(&dir.path().join("out"), false, "new").commit().unwrap();
    assert!(fs::symlink_metadata(dir.path().join("out")).unwrap().is_symlink());
    assert_eq!(names(&dir.path().join("real")), ["config.json"]);
    let error = StagedDir::create(&dir.path().join("broken"), true).unwrap_err();
    assert!(matches!(error, IoError::BrokenLink { .. }));
}

/// Whoever makes the missing directory would otherwise lead the output elsewhere.
#[test]
fn a_way_back_from_a_directory_that_is_not_there() {
    let dir = dir();
    fs::create_dir(dir.path().join("precious")).unwrap();
    put(&dir, "precious/notes.txt", "mine");
    let path = dir.path().join("new/../precious");
    for result in
        [StagedDir::create(&path, true).map(drop), StagedDir::check(&path, true, &Storage::new())]
    {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, IoError::NoDirectory { path } if path.ends_with("new/..")),
            "{error}"
        );
    }
    assert_eq!(names(dir.path()), ["precious"]);
    assert_eq!(names(&dir.path().join("precious")), ["notes.txt"]);
}

/// What an exchange has left is deleted, never written to: links to it are somebody's backup.
#[cfg(unix)]
#[test]
fn an_old_output_is_not_taken_for_work_to_go_on_with() {
    let dir = dir();
    let output = dir.path().join("out");
    stage(&output, false, "old").commit().unwrap();
    fs::hard_link(output.join("config.json"), dir.path().join("backup")).unwrap();
    // As a process that is stopped between the exchange and all that comes after it leaves it.
    let home = dir.path().join(".out.mergecore-partial");
    fs::create_dir_all(&home).unwrap();
    fs::rename(&output, home.join("complete")).unwrap();
    fs::create_dir(&output).unwrap();
    fs::write(output.join("config.json"), "new").unwrap();
    fs::write(home.join("journal"), "").unwrap();
    let staged = StagedDir::resume(&output, true, &Storage::new()).unwrap();
    assert!(names(staged.path()).is_empty());
    staged.write_file("config.json", b"newer").unwrap();
    staged.commit().unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("backup")).unwrap(), "old");
    assert_eq!(fs::read_to_string(output.join("config.json")).unwrap(), "newer");
    assert_eq!(names(dir.path()), ["backup", "out"]);
}

/// Without its work, a journal would be believed of whatever comes into the work's place.
#[test]
fn a_journal_does_not_outlast_the_work() {
    let dir = dir();
    let output = dir.path().join("out");
    let staged = stage(&output, false, "half");
    fs::write(staged.journal_path(), "all done").unwrap();
    staged.keep();
    fs::remove_dir_all(staged.path()).unwrap();
    drop(staged);
    let staged = StagedDir::resume(&output, false, &Storage::new()).unwrap();
    assert!(names(staged.path()).is_empty() && !staged.journal_path().exists());
}

/// Complete, but stopped before it had its name.
#[test]
fn a_complete_output_without_its_name_is_gone_on_with() {
    let dir = dir();
    let output = dir.path().join("out");
    let complete = dir.path().join(".out.mergecore-partial/complete");
    fs::create_dir_all(&complete).unwrap();
    fs::write(complete.join("config.json"), "done").unwrap();
    let staged = StagedDir::resume(&output, false, &Storage::new()).unwrap();
    assert_eq!(names(staged.path()), ["config.json"]);
    staged.commit().unwrap();
    assert_eq!(names(dir.path()), ["out"]);
}

/// Whatever is where the work of a merge would be: it is refused, until it is to be discarded.
/// Links are, too, and what they lead to is somebody's.
#[cfg(unix)]
#[test]
fn what_is_odd_in_the_place_of_the_work_is_refused_or_discarded() {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    type Make = fn(&Path);
    let odd: [(Make, &str); 5] = [
        (|path| fs::write(path, "x").unwrap(), "a file"),
        (
            |path| {
                fs::create_dir(path).unwrap();
                fs::write(path.join("inside"), "x").unwrap();
            },
            "a directory",
        ),
        (|path| drop(UnixListener::bind(path).unwrap()), "a socket"),
        (|path| symlink("../victim/file", path).unwrap(), "a symbolic link"),
        (|path| symlink("../victim", path).unwrap(), "a symbolic link"),
    ];
    for name in ["", "lock", "journal", "output", "complete", "old"] {
        for (make, found) in odd {
            let right = if ["lock", "journal"].contains(&name) { "a file" } else { "a directory" };
            if found == right {
                continue;
            }
            let dir = dir();
            fs::create_dir(dir.path().join("victim")).unwrap();
            put(&dir, "victim/file", "mine");
            let home = dir.path().join(".out.mergecore-partial");
            let path = match name {
                "" => home,
                name => {
                    fs::create_dir(&home).unwrap();
                    home.join(name)
                }
            };
            make(&path);
            let output = dir.path().join("out");
            let error = StagedDir::resume(&output, false, &Storage::new()).unwrap_err();
            let IoError::OddWork { path: odd, found: what } = &error else { panic!("{error}") };
            assert_eq!((odd, *what), (&path, found), "{name}");
            assert!(path.symlink_metadata().is_ok(), "{name}, {found}");

            let staged = StagedDir::restart(&output, false, &Storage::new()).unwrap();
            assert!(names(staged.path()).is_empty(), "{name}, {found}");
            assert!(!staged.journal_path().exists(), "{name}, {found}");
            staged.write_file("config.json", b"{}").unwrap();
            staged.commit().unwrap();
            assert_eq!(names(&output), ["config.json"], "{name}, {found}");
            assert_eq!(names(dir.path()), ["out", "victim"], "{name}, {found}");
            assert!(!fs::symlink_metadata(&output).unwrap().is_symlink(), "{name}, {found}");
            assert_eq!(names(&dir.path().join("victim")), ["file"], "{name}, {found}");
            assert_eq!(fs::read_to_string(dir.path().join("victim/file")).unwrap(), "mine");
        }
    }
}

/// What another process works on is not discarded.
#[test]
fn work_that_is_under_way_is_not_discarded() {
    let dir = dir();
    let output = dir.path().join("out");
    let first = stage(&output, false, "first");
    fs::create_dir(first.journal_path()).unwrap();
    let error = StagedDir::restart(&output, false, &Storage::new()).unwrap_err();
    assert!(matches!(error, IoError::OutputLocked { .. }), "{error}");
    assert!(first.path().join("config.json").exists() && first.journal_path().is_dir());
}

/// A process that was forked and runs no other program yet has a copy of the lock file.
#[cfg(unix)]
#[test]
fn a_lock_ends_with_its_merge_although_processes_are_started_meanwhile() {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    let dir = dir();
    let output = dir.path().join("out");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                // With a directory to change to, a fork and not a vfork.
                assert!(Command::new("true").current_dir("/").status().unwrap().success());
            }
        });
        let staged = (0..3000).try_for_each(|_| {
            StagedDir::resume(&output, false, &Storage::new()).map(|staged| staged.keep())
        });
        done.store(true, Ordering::Relaxed);
        staged.unwrap();
    });
}
