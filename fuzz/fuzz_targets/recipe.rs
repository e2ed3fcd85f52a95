//! Recipes are untrusted text.
//!
//! Oracle: an error says where, and that place lies within the text; what is accepted can
//! be written and read again, with nothing lost and no more text than the limits allow;
//! every parameter resolves to a value that has a place. The engine's check of methods and
//! parameters never panics and blames nothing but the recipe. Time and memory are libFuzzer's to bound.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mergecore::{Place, builtin_methods};
use mergecore_config::{MergeConfig, MergeInput, ModuleInput, Site, resolve, resolve_value};

/// A tree of values may have 16 MiB of text with aliases written out; written it is
/// quoted and indented.
const MAX_WRITTEN: usize = 64 << 20;

fuzz_target!(|text: &str| {
    let config = match MergeConfig::from_yaml_str(text) {
        Ok(config) => config,
        Err(error) => {
            for problem in error.problems() {
                let place = problem.place().expect("only files have errors without a place");
                check_place(place, text);
                check_line(&problem.to_string());
            }
            return;
        }
    };
    assert_eq!(config.source_text(), Some(text));
    for note in config.notes() {
        check_place(note.place(), text);
        check_line(&note.to_string());
    }

    let written = config.to_yaml_string();
    assert!(written.len() <= MAX_WRITTEN, "{} bytes from {}", written.len(), text.len());
    // Aliases may be written out beyond what a file may have.
    if written.len() <= 1 << 20 {
        let again = MergeConfig::from_yaml_str(&written);
        let again = again.unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again, config, "{written}");
        assert_eq!(again.to_yaml_string(), written);
    }

    for site in sites(&config).into_iter().take(20) {
        check_parameters(&config, site, text);
    }
    match mergecore_engine::check_recipe(&config, &builtin_methods()) {
        Ok(notes) => assert!(notes.iter().all(|note| !note.is_empty())),
        Err(error) => assert!(error.is_recipe() && !error.to_string().is_empty(), "{error}"),
    }
});

fn check_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}

/// A place may be just behind the last line or the last column.
fn check_place(place: &Place, text: &str) {
    assert!(place.line().is_some() == place.column().is_some());
    let (Some(line), Some(column)) = (place.line(), place.column()) else { return };
    // YAML knows more ends of line than one.
    let ends = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
    let lines = 1 + text.matches(ends).count();
    assert!((1..=lines + 1).contains(&line), "{place} of {lines} lines");
    let longest = text.split(ends).map(|line| line.chars().count()).max().unwrap_or(0);
    assert!((1..=longest + 1).contains(&column), "{place} of {longest} columns");
}

fn sites(config: &MergeConfig) -> Vec<Site> {
    let inputs = |module, slices: bool| {
        let (slice, input) = (slices.then_some(0), Some(0));
        [Site { module, slice, input: None }, Site { module, slice, input }]
    };
    match &config.input {
        MergeInput::Models(_) => inputs(None, false).into(),
        MergeInput::Slices(_) => inputs(None, true).into(),
        MergeInput::Modules(modules) => modules
            .iter()
            .enumerate()
            .flat_map(|(index, (_, module))| {
                inputs(Some(index), matches!(module.input, ModuleInput::Slices(_)))
            })
            .collect(),
    }
}

fn check_parameters(config: &MergeConfig, site: Site, text: &str) {
    let levels = config.levels(site);
    for (name, _) in levels.iter().flat_map(|level| level.parameters.iter()).take(20) {
        for (tensor, position) in [("model.layers.0.self_attn.q_proj.weight", 0.3), ("", 1.0)] {
            let found = resolve(&levels, name, tensor, position);
            assert_eq!(found.is_some(), resolve_value(&levels, name, tensor, position).is_some());
            if let Some(found) = found {
                let place = config.place(&found.path);
                assert!(place.line().is_some(), "{place}");
                check_place(&place, text);
            }
        }
    }
}
