//! One test for each thing that can be wrong, named for it: where it is, what the text says.

#[path = "errors/config_error.rs"]
mod config_error;
#[path = "errors/limit.rs"]
mod limit;
#[path = "errors/model_ref_error.rs"]
mod model_ref_error;

use mergecore_config::{ConfigError, MergeConfig};

/// A recipe to which a mistake can be added.
const HEAD: &str = "merge_method: linear\nmodels: [{model: a}]\n";

#[track_caller]
fn error(text: &str) -> ConfigError {
    MergeConfig::from_yaml_str(text).unwrap_err()
}

/// The error that more lines make of a recipe.
#[track_caller]
fn tail(text: &str) -> ConfigError {
    error(&format!("{HEAD}{text}"))
}

/// Writes a file that is no recipe, and tries to read it as one.
#[track_caller]
fn of_file(content: &[u8]) -> (String, ConfigError) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    std::fs::write(&file, content).unwrap();
    (file.display().to_string(), MergeConfig::from_path(&file).unwrap_err())
}

/// The text of an error must be one paragraph that holds all of these.
#[track_caller]
fn says(error: &impl std::error::Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}

/// The misspelt key is the cause, not what it leaves missing.
#[test]
fn a_misspelt_key_is_not_missing_besides() {
    let error = error("merge_metod: linear\nmodel: [{modle: a}]\n");
    let keys: Vec<&str> = error
        .problems()
        .iter()
        .map(|problem| match problem {
            ConfigError::UnknownKey { key, .. } => key.as_str(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(keys, ["merge_metod", "model"]);
}

/// Of many mistakes in a long recipe the last have no line, which takes a parse each.
#[test]
fn ten_thousand_mistakes_are_found_in_time() {
    let begun = std::time::Instant::now();
    let wrong: String =
        (0..10_000).map(|n| format!("this_is_no_key_of_a_recipe_{n}: 1\n")).collect();
    let error = tail(&wrong);
    assert_eq!(error.problems().len(), 10_000);
    assert_eq!(error.problems()[0].place().unwrap().line(), Some(3));
    assert_eq!(error.problems()[9_999].place().unwrap().line(), None);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 1 + 20 + 1);
    assert!(text.ends_with("\n(21) 9980 more problems are not shown"), "{text}");
    // Ten thousand parses of this recipe take minutes.
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());
}

/// Found by fuzzing: only a line feed counted as the end of a line.
#[test]
fn an_unprintable_character_is_placed_after_any_end_of_line() {
    let error = MergeConfig::from_yaml_str("a: 1\r\nb: 2\rc: 3\u{2028}d: é\u{3}").unwrap_err();
    assert!(matches!(&error, ConfigError::Syntax { .. }));
    let place = error.place().unwrap();
    assert_eq!((place.line(), place.column()), (Some(4), Some(5)));
}

/// Each note was a parse of the whole recipe: a megabyte of such keys took minutes.
#[test]
fn a_recipe_of_nothing_but_keys_without_effect_is_read_in_time() {
    let slice = "  - {residual_weight: 0, sources: [{model: a, layer_range: [0, 1]}]}\n";
    let text = format!("merge_method: passthrough\nslices:\n{}", slice.repeat(10_000));
    let started = std::time::Instant::now();
    let config = MergeConfig::from_yaml_str(&text).unwrap();
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let (last, others) = config.notes().split_last().unwrap();
    assert!(others.iter().all(|note| note.place().line().is_some()));
    let more = format!("{} more keys have no effect", 10_000 - others.len());
    assert!(last.text().contains(&more), "{last}");
}

/// Found by fuzzing: keys, tags and model references were shown as they are, line breaks too.
#[test]
fn every_error_is_one_line_whatever_it_quotes() {
    for text in [
        "? \"a\\nb\\e[31m\"\n: 1\n",
        "\"a\\nb\": 1\n\"a\\nb\": 1\n",
        "a: !<a%0Ab> c\n",
        "merge_method: m\nmodels: [{model: \"a+b\\n+c\"}]\n",
        "merge_method: m\nmodels: [{model: \"a@\\nb@c\"}]\n",
        "merge_method: m\nmodels: [{model: \"a\\nb@\"}]\n",
        "merge_method: m\nmodels: [{model: \"@\\nb\"}]\n",
        "merge_method: m\nmodels: [{model: a}]\ndtype: \"b\\nf\"\n",
        "\"a\\tb\\n\": {[]: 1}\n",
    ] {
        let error = MergeConfig::from_yaml_str(text).unwrap_err();
        for message in error.problems().iter().map(ToString::to_string) {
            assert!(!message.contains(char::is_control), "{message:?}");
        }
    }
}
