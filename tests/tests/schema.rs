//! The recipe's JSON Schema, judged by a validator that knows nothing of this project: it takes
//! the recipes that a merge takes, and refuses mistakes that an editor should show.

use std::path::Path;

use jsonschema::Validator;
use mergecore::builtin_methods;
use mergecore_tests::project_root;
use serde_json::Value;

fn validator() -> Validator {
    let schema = builtin_methods().recipe_schema();
    assert!(jsonschema::draft7::meta::is_valid(&schema), "the schema is one");
    jsonschema::draft7::new(&schema).unwrap()
}

fn recipes(dir: &Path) -> Vec<(String, Value)> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let recipes = files.filter(|path| path.extension().is_some_and(|end| end == "yml"));
    let read = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path.display().to_string(), serde_yaml::from_str(&text).unwrap())
    };
    recipes.map(read).collect()
}

#[test]
fn recipes_that_people_wrote_are_valid() {
    let (validator, root) = (validator(), project_root());
    let dirs = ["tests/recipes", "models/recipes", "crates/mergecore-config/tests/recipes"];
    let all: Vec<_> = dirs.iter().flat_map(|dir| recipes(&root.join(dir))).collect();
    assert!(all.len() >= 18, "{}", all.len());
    for (name, recipe) in all {
        let errors: Vec<String> = validator.iter_errors(&recipe).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{name}: {errors:?}");
    }
}

/// What replaces what in a valid recipe.
const MISTAKES: [(&str, &str); 14] = [
    ("merge_method: ties", "merge_method: tise"),
    ("merge_method: ties", "merge_methods: ties"),
    ("base_model: org/base", "dtype: bfloat16"),
    ("density: 0.5", "density: 1.5"),
    ("density: 0.5", "density: half"),
    ("density: 0.5", "desnity: 0.5"),
    ("density: 0.5", "density: {filter: mlp}"),
    ("density: 0.5", "density: [0.1, 2]"),
    ("density: 0.5", "density: []"),
    ("density: 0.5", "density: [{filter: mlp, value: 3}]"),
    ("normalize: true", "normalize: 0.5"),
    ("consensus: count", "consensus: majority"),
    ("model: org/a", "name: org/a"),
    ("models:", "model:"),
];

const VALID: &str = "
merge_method: ties
base_model: org/base
models:
  - model: org/a
    parameters: {density: 0.5, weight: [0, 0.5, 1]}
  - {model: {model: {path: org/b, revision: main}}, parameters: {weight: 1}}
parameters:
  normalize: true
  consensus: count
  lambda: [{filter: mlp, value: [0.1, 0.2]}, {value: 1}]
  int8_mask: true
";

/// Keys that are there and empty.
#[test]
fn nothing_is_a_value() {
    let validator = validator();
    let recipe = "
merge_method: nuslerp
base_model: null
dtype:
out_dtype: ~
tokenizer_source: null
tokenizer: null
chat_template: null
models:
  - model: {model: org/a, lora: null, adapter: null}
    parameters: {weight: 1}
  - {model: org/b, parameters: {weight: 1}}
parameters:
  nuslerp_flatten: null
";
    let recipe: Value = serde_yaml::from_str(recipe).unwrap();
    let errors: Vec<String> = validator.iter_errors(&recipe).map(|e| e.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

#[test]
fn mistakes_are_not() {
    let validator = validator();
    let parse = |text: &str| -> Value { serde_yaml::from_str(text).unwrap() };
    let errors: Vec<String> =
        validator.iter_errors(&parse(VALID)).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    for (right, wrong) in MISTAKES {
        assert!(VALID.contains(right), "{right}");
        assert!(!validator.is_valid(&parse(&VALID.replace(right, wrong))), "{wrong}");
    }
}

#[test]
fn every_method_completes_its_own_parameters() {
    let schema = builtin_methods().recipe_schema();
    for method in builtin_methods().methods() {
        let own = &schema["definitions"][format!("method_{}", method.name())]["properties"];
        for parameter in method.parameters() {
            let property = &own[parameter.name];
            assert_eq!(property["description"], parameter.help, "{}", parameter.name);
        }
        assert_eq!(own.as_object().unwrap().len(), method.parameters().len());
    }
}
