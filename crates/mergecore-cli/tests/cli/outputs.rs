//! Where the output may go, and that nothing else is touched.

use crate::LINEAR;
use crate::support::Folder;

#[test]
fn an_output_that_exists_is_untouched() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    folder.refuses(1, LINEAR, &["out exists", "--overwrite"]);
}

#[test]
fn overwriting_replaces_the_whole_directory() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &["--out-shard-size", "500"]).0, 0);
    assert_eq!(folder.merge(LINEAR, &["--overwrite"]).0, 0);
    let names = |path| -> Vec<_> {
        let entries = std::fs::read_dir(folder.path(path)).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    let weights: Vec<_> =
        names("out").into_iter().filter(|name| name.contains("safetensors")).collect();
    assert_eq!(weights, ["model.safetensors"]);
    assert!(names("").iter().all(|name| !name.starts_with('.')), "{:?}", names(""));
}

#[test]
fn a_failed_merge_keeps_the_output_that_it_was_to_replace() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    crate::poison(&folder, f32::NAN);
    folder.fails_halfway(&["--overwrite"], LINEAR, &["--allow-nonfinite"]);
}

#[test]
fn overwriting_what_is_no_checkpoint() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("out")).unwrap();
    std::fs::write(folder.path("out/thesis.tex"), "years of work").unwrap();
    let parts = ["out does not look like a checkpoint", "thesis.tex", "choose another output"];
    folder.refuses_with(&["--overwrite"], 1, LINEAR, &parts);
}

#[test]
fn an_output_that_is_a_file() {
    let folder = Folder::new();
    std::fs::write(folder.path("out"), "a file").unwrap();
    folder.refuses_with(&["--overwrite"], 1, LINEAR, &["out is a file", "choose another name"]);
}

#[test]
fn an_output_inside_an_input() {
    let folder = Folder::new();
    folder.merge(LINEAR, &[]);
    let parts = ["a/merged", "choose another output directory"];
    folder.fails(&["merge", "recipe.yml", "a/merged"], 1, &parts);
    folder.fails(&["merge", "recipe.yml", "b/../a/x/y"], 1, &["a/x/y", "choose another output"]);
}

#[test]
fn an_output_inside_an_input_is_told_with_mistakes_of_the_recipe() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), LINEAR.replace("linear", "liner")).unwrap();
    let parts = ["error: recipe.yml:1:15: ", "`liner`", "\nerror: the output ", "a/merged is"];
    let (code, _, stderr) = folder.run(&["merge", "recipe.yml", "a/merged"]);
    assert_eq!(code, 2, "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

#[test]
fn an_output_that_is_an_input() {
    let folder = Folder::new();
    folder.merge(LINEAR, &[]);
    let parts = ["inputs are never written", "choose another output directory"];
    folder.fails(&["merge", "recipe.yml", "a", "--overwrite"], 1, &parts);
    folder.fails(&["merge", "recipe.yml", "./a/", "--overwrite"], 1, &parts);
}

#[test]
fn an_output_around_an_input() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("models")).unwrap();
    std::fs::rename(folder.path("a"), folder.path("models/a")).unwrap();
    std::fs::write(folder.path("models/config.json"), "{}").unwrap();
    let recipe = LINEAR.replace("model: a", "model: models/a");
    std::fs::write(folder.path("recipe.yml"), recipe).unwrap();
    let parts = ["models/a", "inputs are never written"];
    folder.fails(&["merge", "recipe.yml", "models", "--overwrite"], 1, &parts);
}

#[test]
fn an_output_without_a_name() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), LINEAR).unwrap();
    folder.fails(&["merge", "recipe.yml", ".."], 1, &["choose another output directory"]);
}

#[test]
fn an_output_below_a_file() {
    let folder = Folder::new();
    folder.merge(LINEAR, &[]);
    let parts = ["recipe.yml/out", "part of that path is a file, so choose another"];
    folder.fails(&["merge", "recipe.yml", "recipe.yml/out"], 1, &parts);
}

#[cfg(unix)]
#[test]
fn an_output_where_nothing_may_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    folder.merge(LINEAR, &[]);
    let parent = folder.path("locked");
    std::fs::create_dir(&parent).unwrap();
    let mode = |mode| {
        std::fs::set_permissions(&parent, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o555);
    // Root may write everywhere, so that there is nothing to test.
    if std::fs::create_dir(parent.join("probe")).is_err() {
        let parts = ["locked", "check who may read and write there"];
        folder.fails(&["merge", "recipe.yml", "locked/out"], 1, &parts);
    }
    mode(0o755);
}
