//! `verify` and `reproduce`, and what a merge says of work that was left.

use crate::LINEAR;
use crate::support::Folder;

#[test]
fn an_output_is_verified_and_a_flipped_bit_named() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    let (code, stdout, stderr) = folder.run(&["verify", "out"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.starts_with("out: 9 tensors (") && stdout.ends_with("as they were written\n"));
    assert_eq!(folder.run(&["verify", "out", "--quiet"]), (0, String::new(), String::new()));

    let path = folder.path("out/model.safetensors");
    let mut content = std::fs::read(&path).unwrap();
    *content.last_mut().unwrap() ^= 128;
    std::fs::write(&path, content).unwrap();
    let parts = ["error: tensor `model.norm.weight` in model.safetensors was changed"];
    folder.fails(&["verify", "out"], 1, &parts);
    folder.fails(&["verify", "out", "--quiet"], 1, &parts);
}

#[test]
fn what_is_no_output_cannot_be_verified() {
    let folder = Folder::new();
    folder.fails(&["verify", "a"], 1, &["a has no merge_manifest.json", "give the output"]);
    folder.fails(&["verify", "missing"], 1, &["there is no missing; give the output"]);
    std::fs::write(folder.path("a/merge_manifest.json"), "{}").unwrap();
    for command in ["verify", "reproduce"] {
        let parts = ["a/merge_manifest.json is not a merge_manifest.json", "give the output"];
        folder.fails(&[command, "a"], 1, &parts);
        let parts = ["a/model.safetensors is not a merge_manifest.json", "give the output"];
        folder.fails(&[command, "a/model.safetensors"], 1, &parts);
    }
}

#[test]
fn weights_beside_those_of_the_merge_are_an_error_and_notes_are_none() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &[]).0, 0);
    std::fs::write(folder.path("out/notes.txt"), "mine").unwrap();
    let (code, _, stderr) = folder.run(&["verify", "out"]);
    assert_eq!((code, stderr.as_str()), (0, "note: the manifest does not know notes.txt\n"));
    std::fs::rename(folder.path("out/notes.txt"), folder.path("out/old.safetensors")).unwrap();
    folder.fails(&["verify", "out"], 1, &["error: old.safetensors was not written by the merge"]);
}

#[test]
fn an_output_without_hashes_is_not_said_to_be_right() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &["--no-hash"]).0, 0);
    folder.fails(&["verify", "out"], 1, &["9 tensors without a hash", "--no-hash"]);
    folder.fails(&["reproduce", "out"], 1, &["9 tensors without a hash"]);
}

#[test]
fn a_merge_is_reproduced_from_elsewhere() {
    let folder = Folder::new();
    assert_eq!(folder.merge(LINEAR, &["--random-seed", "5"]).0, 0);
    std::fs::create_dir(folder.path("elsewhere")).unwrap();
    std::fs::rename(folder.path("out"), folder.path("elsewhere/moved")).unwrap();
    let manifest = "elsewhere/moved/merge_manifest.json";
    std::fs::copy(folder.path(manifest), folder.path("mine.json")).unwrap();
    for manifest in ["elsewhere/moved", manifest, "mine.json"] {
        let (code, stdout, stderr) = folder.run(&["reproduce", manifest]);
        assert_eq!(code, 0, "{stderr}");
        assert_eq!(stdout, "9 tensors and 5 files came out as before, byte for byte\n");
    }
    std::fs::write(folder.path("a/tokenizer.json"), "{}").unwrap();
    let parts = ["tokenizer.json came out another: it had 13 bytes and has 2"];
    folder.fails(&["reproduce", "mine.json"], 1, &parts);
    crate::poison(&folder, 3.0);
    let parts = ["tensor `model.layers.1.self_attn.q_proj.weight` came out another: its input"];
    folder.fails(&["reproduce", "elsewhere/moved"], 1, &parts);
}

#[test]
fn work_that_another_merge_has_left() {
    let folder = Folder::new();
    crate::poison(&folder, f32::NAN);
    folder.fails_halfway(&[], LINEAR, &["--allow-nonfinite"]);
    let recipe = LINEAR.replace("weight: 0.5", "weight: 0.25");
    assert_ne!(recipe, LINEAR);
    std::fs::write(folder.path("recipe.yml"), &recipe).unwrap();
    let args = ["merge", "recipe.yml", "out", "--allow-nonfinite"];
    let (code, _, stderr) = folder.run(&args);
    assert_eq!(code, 1, "{stderr}");
    for part in
        [".out.mergecore-partial holds what another merge", "the recipe differs", "--restart"]
    {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!stderr.contains("is kept in"), "{stderr}");
    let (code, _, stderr) = folder.run(&[&args[..], &["--restart"]].concat());
    assert_eq!(code, 0, "{stderr}");
    assert!(!folder.path(".out.mergecore-partial").exists());
}

#[test]
fn what_is_odd_in_the_place_of_the_work_is_discarded_on_request() {
    for name in ["journal", "lock", "output"] {
        let folder = Folder::new();
        let path = folder.path(".out.mergecore-partial").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match name {
            "output" => std::fs::write(&path, "x").unwrap(),
            _ => std::fs::create_dir(&path).unwrap(),
        }
        let (code, _, stderr) = folder.merge(LINEAR, &[]);
        assert_eq!(code, 1, "{stderr}");
        let told = format!("error: .out.mergecore-partial/{name} is a ");
        assert!(stderr.starts_with(&told) && stderr.contains("(--restart)"), "{stderr}");
        assert!(!stderr.contains("is kept in"), "{stderr}");
        let (code, _, stderr) = folder.merge(LINEAR, &["--restart"]);
        assert_eq!(code, 0, "{stderr}");
        assert!(!folder.path(".out.mergecore-partial").exists());
    }
}
