//! Models by name.

use crate::LINEAR;
use crate::support::Folder;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

#[test]
fn models_from_the_cache() {
    let folder = Folder::new();
    let (code, _, stderr) = folder.merge(LINEAR, &[]);
    assert_eq!(code, 0, "{stderr}");
    let expected = std::fs::read(folder.path("out/model.safetensors")).unwrap();

    folder.move_to_hub("b", "org/name", COMMIT);
    for name in ["org/name", "org/name@main", &format!("org/name@{COMMIT}")] {
        let recipe = LINEAR.replace("model: b", &format!("model: {name}"));
        let (code, _, stderr) = folder.merge(&recipe, &["--overwrite", "--allow-crimes"]);
        assert_eq!((code, stderr.contains("note")), (0, false), "{stderr}");
        let merged = std::fs::read(folder.path("out/model.safetensors")).unwrap();
        let tensors = |file: &[u8]| {
            let header = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
            file[8 + header..].to_vec()
        };
        assert!(tensors(&merged) == tensors(&expected), "{name}");
    }
}

#[test]
fn a_directory_comes_before_the_cache() {
    let folder = Folder::new();
    folder.move_to_hub("b", "org/name", COMMIT);
    std::fs::create_dir(folder.path("org")).unwrap();
    std::fs::create_dir(folder.path("org/name")).unwrap();
    let recipe = LINEAR.replace("model: b", "model: org/name");
    folder.refuses(1, &recipe, &["org/name has no config.json"]);
}

#[test]
fn a_model_that_the_cache_has_not() {
    let folder = Folder::new();
    folder.move_to_hub("b", "org/name", COMMIT);
    for (name, parts) in [
        ("org/other", &["no directory org/other", "hub/models--org--other", "hf download"][..]),
        ("else/name", &["did you mean `org/name`"]),
        ("org/name@v2", &["its revision `v2`", "there are main", COMMIT, "--revision v2"]),
        ("a@v2", &["a is a directory, which has no revisions", "leave `@v2` out"]),
        ("./c", &["no directory ./c", "check the spelling"]),
        ("~/c", &["no directory ~/c", "write the home directory out"]),
    ] {
        let recipe = LINEAR.replace("model: b", &format!("model: {name}"));
        folder.refuses(2, &recipe, &[&["recipe.yml:5:12"], parts].concat());
    }
}

#[test]
fn a_directory_with_an_at_in_its_name() {
    let folder = Folder::new();
    std::fs::rename(folder.path("b"), folder.path("b@2")).unwrap();
    let recipe = LINEAR.replace("model: b", "model: ./b@2");
    folder.refuses(2, &recipe, &["{model: {path: ./b@2}}"]);
    let (code, _, stderr) =
        folder.merge(&LINEAR.replace("model: b", "model: {model: {path: ./b@2}}"), &[]);
    assert_eq!(code, 0, "{stderr}");
}

#[test]
fn a_download_that_was_not_completed() {
    let folder = Folder::new();
    folder.move_to_hub("b", "org/name", COMMIT);
    let model = folder.path("hub/models--org--name");
    let weights = model.join("snapshots").join(COMMIT).join("model.safetensors");
    let recipe = LINEAR.replace("model: b", "model: org/name");
    std::fs::remove_file(&weights).unwrap();
    folder.refuses(1, &recipe, &["models--org--name", "safetensors"]);
    std::fs::remove_dir_all(model.join("snapshots")).unwrap();
    folder.refuses(2, &recipe, &["never completed", COMMIT]);
}

#[cfg(unix)]
#[test]
fn a_link_to_a_blob_that_is_gone() {
    let folder = Folder::new();
    folder.move_to_hub("b", "org/name", COMMIT);
    let weights =
        folder.path("hub/models--org--name/snapshots").join(COMMIT).join("model.safetensors");
    std::fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink("../../blobs/gone", &weights).unwrap();
    let recipe = LINEAR.replace("model: b", "model: org/name");
    folder.refuses(1, &recipe, &["recipe.yml:5:12", "model.safetensors", "the blob was removed"]);
}
