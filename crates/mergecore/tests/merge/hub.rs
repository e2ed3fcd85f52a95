//! Models by name, in a cache as the hub's own programs lay it out.

use std::path::Path;

use mergecore::{HubCache, MergeOptions, hub_locator, merge};

use crate::support::{Folder, llama, llama_config};

const COMMITS: [&str; 2] =
    ["aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"];

#[cfg(unix)]
fn link(blob: &str, at: &Path) {
    std::os::unix::fs::symlink(format!("../../blobs/{blob}"), at).unwrap();
}

/// Where links need a privilege, the hub's own programs copy too.
#[cfg(not(unix))]
fn link(blob: &str, at: &Path) {
    std::fs::copy(at.join("../../../blobs").join(blob), at).unwrap();
}

/// A cache with `org/name`, sharded, in two commits: `main` of value 2, `old` of value
/// 1. The snapshots' files are links into blobs.
fn cache(folder: &Folder) -> HubCache {
    let model = folder.path("hub/models--org--name");
    for dir in ["blobs", "refs"] {
        std::fs::create_dir_all(model.join(dir)).unwrap();
    }
    for ((commit, reference), value) in COMMITS.iter().zip(["old", "main"]).zip([1.0, 2.0]) {
        std::fs::write(model.join("refs").join(reference), commit).unwrap();
        folder.write_sharded("download", &llama_config(2), &llama(2, value), 2);
        let snapshot = model.join("snapshots").join(commit);
        std::fs::create_dir_all(&snapshot).unwrap();
        for entry in std::fs::read_dir(folder.path("download")).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let blob = blake3::hash(&std::fs::read(entry.path()).unwrap()).to_string();
            std::fs::rename(entry.path(), model.join("blobs").join(&blob)).unwrap();
            link(&blob, &snapshot.join(name));
        }
    }
    HubCache::new(folder.path("hub"))
}

#[test]
fn links_into_blobs_and_revisions() {
    let folder = Folder::new();
    folder.write_llama("a", 2, 4.0);
    let locator = Some(hub_locator(cache(&folder)));
    let options = MergeOptions { locator, overwrite: true, ..MergeOptions::default() };
    for (name, value) in
        [("org/name", 3.0), ("org/name@old", 2.5), (&format!("org/name@{}", COMMITS[1]), 3.0)]
    {
        let recipe = format!(
            "merge_method: linear\nparameters: {{weight: 1}}\nmodels: [{{model: DIR/a}}, {{model: {name}}}]"
        );
        let config = folder.recipe(&recipe).unwrap();
        merge(&config, folder.path("out"), &options).unwrap();
        assert_eq!(folder.read("out")["model.norm.weight"].value(), value, "{name}");
    }
    // Two revisions are two models.
    let both = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: org/name}, {model: org/name@old}]";
    merge(&folder.recipe(both).unwrap(), folder.path("out"), &options).unwrap();
    assert_eq!(folder.read("out")["lm_head.weight"].value(), 1.5);
}
