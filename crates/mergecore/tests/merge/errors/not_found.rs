//! `ModelNotFound`: where a model was looked for, and what to do.

use mergecore::{ModelLocation, ModelLocator, locate_model};

use super::says;

#[test]
fn model_not_found() {
    let locator = ModelLocator::new(|model| Err(format!("the shelf has no {}", model.path)));
    let error = |path: &str, revision: Option<&str>| {
        let revision = revision.map(str::to_owned);
        let location = ModelLocation { revision, ..ModelLocation::new(path) };
        locate_model(&location, Some(&locator)).unwrap_err()
    };
    says(&error("org/x", None), &["`org/x` was not found", "there is no directory org/x"]);
    says(&error("org/x", None), &["the shelf has no org/x", "`hf download org/x`"]);
    says(&error("org/x", None), &["HF_HUB_CACHE", "give the path of its directory"]);
    says(&error("org/x", Some("v2")), &["`org/x@v2`", "`hf download org/x --revision v2`"]);
    says(&error("./x", None), &["no directory ./x", "check the spelling"]);
    says(&error("~/x", None), &["`~` is not understood here: write the home directory out"]);

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    says(&error(path, Some("v2")), &["has no revisions (leave `@v2` out to use it)"]);
    let whole = format!("{path}/a@v2");
    std::fs::create_dir(&whole).unwrap();
    let write = format!("write it as {{model: {{path: {whole}}}}}");
    says(&error(&format!("{path}/a"), Some("v2")), &["a directory whose name has an `@`", &write]);
}
