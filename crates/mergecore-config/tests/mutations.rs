//! No text makes the crate panic, and what it accepts it can write and read again.

use mergecore_config::{
    InputModel, MergeConfig, MergeInput, ModelRef, Parameters, RecipePath, Scalar, Setting, Site,
    resolve,
};
use proptest::collection::vec;
use proptest::prelude::*;

const SEED: &str = r#"
name: x
merge_method: slerp
base_model: org/a@main+org/b
modules:
  text: &m
    slices:
      - sources:
          - {model: org/a, layer_range: [0, 32], parameters: {t: [0, 1e-3, yes]}}
          - model: {model: {path: ./b, revision: v1}, lora: c}
            layer_range: [0, 32]
        residual_weight: 0.5
  vision:
    <<: *m
    parameters:
      t:
        - filter: "self_attn"
          value: [0, 0.5, 0.3]
        - value: .5
dtype: torch.bfloat16
tokenizer:
  source: union
  tokens:
    "<|x|>": {source: {kind: model_token, model: org/a, token_id: 3}, force: true}
    é: {source: {kind: zero}}
chat_template: |
  {% if a %}
    b: c
"#;

const SCRAPS: [&str; 40] = [
    "",
    " ",
    "\n",
    "\n  ",
    "\t",
    ":",
    ": ",
    "- ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "*m",
    "&m ",
    "<<: *m",
    "null",
    "~",
    "-1",
    "1e999",
    ".nan",
    "'",
    "\"",
    "#",
    "!x ",
    "!!str ",
    "|",
    ">",
    "---\n",
    "...\n",
    "? ",
    "é",
    "\u{feff}",
    "\0",
    "\r\n",
    "%",
    "@",
    "+",
    "model: ",
    "layer_range: [0, 32]",
];

fn check(text: &str) -> Result<(), TestCaseError> {
    match MergeConfig::from_yaml_str(text) {
        Ok(config) => {
            let yaml = config.to_yaml_string();
            let again = MergeConfig::from_yaml_str(&yaml).expect(&yaml);
            prop_assert_eq!(&again, &config, "{}", yaml);
            prop_assert_eq!(config.source_text(), Some(text));
            let levels = config.levels(Site { module: Some(0), slice: Some(0), input: Some(0) });
            for level in &levels {
                for (name, _) in level.parameters.iter() {
                    if let Some(found) = resolve(&levels, name, "self_attn", 0.3) {
                        prop_assert!(config.place(&found.path).line().is_some());
                    }
                }
            }
        }
        Err(error) => {
            let lines = text.split('\n').count();
            for problem in error.problems() {
                prop_assert!(!problem.to_string().contains('\n'));
                let place = problem.place().unwrap();
                prop_assert!(place.line().is_none_or(|line| (1..=lines + 1).contains(&line)));
                prop_assert!(place.column().is_none_or(|column| column >= 1));
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn mutated_recipes(edits in vec((any::<prop::sample::Index>(), 0..12_usize, 0..SCRAPS.len()), 1..4)) {
        let mut text: Vec<char> = SEED.chars().collect();
        for (at, cut, scrap) in edits {
            let at = at.index(text.len() + 1);
            let end = (at + cut).min(text.len());
            text.splice(at..end, SCRAPS[scrap].chars());
        }
        check(&text.into_iter().collect::<String>())?;
    }

    #[test]
    fn arbitrary_text(text in any::<String>()) {
        check(&text)?;
    }

    #[test]
    fn arbitrary_values_round_trip(
        name in any::<String>().prop_filter("no merge key", |name| name != "<<"),
        path in any::<String>().prop_filter("some path", |path| !path.trim().is_empty()),
        revision in any::<Option<String>>(),
        text in any::<String>(),
        number in any::<f64>().prop_filter("finite", |n| n.is_finite()),
        template in any::<String>(),
    ) {
        let mut model = ModelRef::new(path);
        model.model.revision = revision;
        let parameters = Parameters::new()
            .with(name, text.clone())
            .with("n", vec![Scalar::Number(number), Scalar::Text(text)]);
        let input = MergeInput::Models(vec![InputModel { model, parameters }]);
        let mut config = MergeConfig::new("m", input);
        config.chat_template = Some(template);
        let yaml = config.to_yaml_string();
        let again = MergeConfig::from_yaml_str(&yaml);
        prop_assert_eq!(again.expect(&yaml), config, "{}", yaml);
    }

    #[test]
    fn arbitrary_model_references(text in "[a-c./~@+-]{0,8}") {
        if let Ok(model) = text.parse::<ModelRef>() {
            prop_assert_eq!(model.to_string(), text);
        }
    }

    #[test]
    fn numbers_read_as_rust_reads_them(text in "[+-]?[0-9]{1,3}(\\.[0-9]{0,3})?([eE][+-]?[0-9])?") {
        let expected: f64 = text.parse().unwrap();
        match Scalar::from(text.as_str()).as_f64() {
            Some(value) => prop_assert_eq!(value, expected),
            None => prop_assert!(text.trim_start_matches(['+', '-']).starts_with('0')),
        }
    }
}

#[test]
fn the_seed_itself_is_fine() {
    let config = MergeConfig::from_yaml_str(SEED).unwrap();
    assert_eq!(config.notes().len(), 3);
    assert_eq!(config.place(&RecipePath::root().key("dtype")).line(), Some(20));
    let levels = config.levels(Site { module: Some(1), ..Site::default() });
    assert!(matches!(levels[0].parameters.get("t"), Some(Setting::Conditional(_))));
}

#[test]
fn every_prefix_of_a_recipe() {
    for (end, _) in SEED.char_indices() {
        check(&SEED[..end]).unwrap();
    }
}
