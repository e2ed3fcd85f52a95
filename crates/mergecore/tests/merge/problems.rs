//! All problems are reported together, and each cause once.

use mergecore::{
    EngineError, Error, InputModel, MergeConfig, MergeInput, MergeOptions, ModelRef, Parameters,
    plan, plan_for_output,
};

use crate::support::{Folder, Model, Tensor, llama, llama_config};

/// Two Llamas that fit together.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write_llama("a", 4, 1.0);
    folder.write_llama("b", 4, 2.0);
    folder
}

/// The problems that planning the recipe ends with, without this folder's path.
fn problems(folder: &Folder, recipe: &str) -> Vec<String> {
    let config = folder.recipe(recipe).unwrap();
    let error = plan(&config, &MergeOptions::default()).unwrap_err();
    let Error::Merge(error) = error else { panic!("{error}") };
    let dir = folder.path("").display().to_string(); // ends with a slash
    let texts = error.problems().iter().map(|problem| problem.to_string().replace(&dir, ""));
    let texts: Vec<String> = texts.collect();
    assert_eq!(matches!(error, EngineError::Several { .. }), texts.len() > 1, "{error}");
    texts
}

#[track_caller]
fn assert_are(problems: &[String], expected: &[&[&str]]) {
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, parts) in problems.iter().zip(expected) {
        assert!(parts.iter().all(|part| problem.contains(part)), "{parts:?} in {problems:#?}");
    }
}

#[test]
fn mistakes_of_the_recipe_and_models_that_are_not_there_come_together() {
    let folder = folder();
    std::fs::create_dir(folder.path("empty")).unwrap();
    let recipe = "merge_method: ties
models:
  - {model: DIR/a, parameters: {densty: 0.5, weight: 1}}
  - {model: DIR/gone, parameters: {weight: heavy}}
  - {model: DIR/empty, parameters: {wieght: 1}}
tokenizer_source: union
chat_template: auto
";
    assert_are(
        &problems(&folder, recipe),
        &[
            &["line 1, column 15", "ties needs a base model"],
            &["line 3, ", "`densty`", "did you mean `density`?"],
            &["line 4, ", "`gone` was not found"],
            &["line 5, ", "config.json"],
            &["line 5, ", "`wieght`"],
            &["line 6, column 19", "`tokenizer_source: union` is not supported"],
            &["line 7, column 16", "`chat_template` is not supported"],
        ],
    );
    // With a base, it is known whose parameters count.
    assert_are(
        &problems(&folder, &format!("{recipe}base_model: DIR/b\n"))[1..4],
        &[&["gone` was not found"], &["`weight` is the text `heavy`, but"], &["config.json"]],
    );
}

/// What holds of whatever tensor is known although no tensor can be looked at.
/// Where an output may not be is said with all else, also where planning fails: be an input one
/// that cannot be opened.
#[test]
fn what_is_wrong_with_the_output_comes_with_the_rest() {
    let folder = folder();
    std::fs::create_dir_all(folder.path("broken")).unwrap();
    std::fs::write(folder.path("broken/config.json"), "{").unwrap();
    std::fs::create_dir_all(folder.path("taken")).unwrap();
    std::fs::write(folder.path("taken/config.json"), "{}").unwrap();
    let overlaps = &["the output ", "inputs are never written"][..];
    let recipe = |method: &str, models: &str| {
        format!("merge_method: {method}\nparameters: {{weight: 1}}\nmodels: [{models}]\n")
    };
    let all = "{model: DIR/a}, {model: DIR/missing}, {model: DIR/broken}";
    let missing = &["DIR/missing` was not found"][..];
    let broken = &["DIR/broken/config.json is not valid JSON"][..];
    let unknown = &["unknown merge method"][..];
    let adapter = "{model: DIR/a+DIR/b}";
    let refused = &["the adapter"][..];
    for (recipe, out, expected) in [
        (recipe("linear", all), "a/out", &[missing, broken, overlaps][..]),
        (recipe("linear", all), "broken/out", &[missing, broken, overlaps]),
        (recipe("linear", all), "broken", &[missing, broken, overlaps]),
        (recipe("linear", all), "missing", &[missing, broken]),
        (recipe("linear", all), "taken", &[missing, broken, &["taken exists", "--overwrite"]]),
        (recipe("liner", "{model: DIR/a}"), ".", &[unknown, overlaps]),
        (recipe("linear", adapter), "a/out", &[refused, overlaps]),
    ] {
        let config = folder.recipe(&recipe).unwrap();
        let out = folder.path(out);
        let error = plan_for_output(&config, &out, &MergeOptions::default()).unwrap_err();
        let Error::Merge(error) = error else { panic!("{error}") };
        let dir = folder.path("").display().to_string();
        let texts = error.problems().iter().map(|one| one.to_string().replace(&dir, "DIR/"));
        assert_are(&texts.collect::<Vec<_>>(), expected);
        let merged = mergecore::merge(&config, &out, &MergeOptions::default()).unwrap_err();
        assert_eq!(merged.to_string(), error.to_string());
    }
    assert_eq!(folder.names(), ["a", "b", "broken", "taken"]);
}

#[test]
fn parameters_are_checked_although_a_model_is_missing() {
    let recipe = "merge_method: slerp
base_model: DIR/a
models: [{model: DIR/a}, {model: DIR/gone}]
parameters: {t: [0.5, much]}
";
    assert_are(
        &problems(&folder(), recipe),
        &[
            &["gone` was not found"],
            &["line 4, column 17: parameters.t: `t` is the text `much`, but must be"],
        ],
    );
    let without = recipe.replace("parameters: {t: [0.5, much]}", "");
    assert_are(
        &problems(&folder(), &without),
        &[&["slerp needs the parameter `t`, but the recipe gives none; add"], &["gone`"]],
    );
    // Whether a condition holds, names of tensors decide.
    let conditional = recipe.replace("[0.5, much]", "{filter: mlp, value: much}");
    assert_are(&problems(&folder(), &conditional), &[&["gone` was not found"]]);
}

#[test]
fn a_cause_is_reported_once_for_all_tensors() {
    let folder = folder();
    // Each of eleven tensors lacks two weights.
    assert_are(
        &problems(&folder, "merge_method: linear\nmodels:\n  - model: DIR/a\n  - model: DIR/b\n"),
        &[
            &["line 3, column 5", "`weight` for the model `a`", "model.embed_tokens.weight"],
            &["line 4, column 5", "`weight` for the model `b`"],
        ],
    );
    let slices = "merge_method: slerp\nbase_model: DIR/a\nslices:
  - sources: [{model: DIR/a, layer_range: [0, 2]}, {model: DIR/b, layer_range: [0, 2]}]
  - sources: [{model: DIR/a, layer_range: [2, 4]}, {model: DIR/b, layer_range: [2, 4]}]
";
    assert_are(&problems(&folder, slices), &[&["slerp needs the parameter `t`"]]);
    assert_are(
        &problems(&folder, &format!("{slices}parameters: {{t: much}}\n")),
        &[&["`t` is the text `much` for tensor `model.embed_tokens.weight`"]],
    );
    let zeros = "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: [0, 0]}\n";
    assert_are(&problems(&folder, zeros), &[&["sum to 0"]]);
    let ties = "merge_method: ties\nslices:
  - sources: [{model: DIR/a, layer_range: [0, 2]}]
  - sources: [{model: DIR/b, layer_range: [0, 2]}]\n";
    assert_are(&problems(&folder, ties), &[&["ties needs a base model"]]);
}

/// The misspelt name is the cause, not what it leaves missing, but another entry that
/// lacks the parameter has a fault of its own.
#[test]
fn a_misspelt_parameter_is_not_missing_besides() {
    let recipe = "merge_method: linear\nmodels:
  - {model: DIR/a, parameters: {wieght: 1}}
  - {model: DIR/b}\n";
    assert_are(
        &problems(&folder(), recipe),
        &[&["`wieght`", "did you mean `weight`?"], &["`weight` for the model `b`"]],
    );
}

#[test]
fn every_layer_that_is_not_there_is_reported() {
    let folder = folder();
    let mut unnumbered = llama(0, 1.0);
    unnumbered.insert("model.w".to_owned(), Tensor::constant(1.0));
    folder.write("flat", &llama_config(3), &unnumbered);
    let recipe = "merge_method: passthrough
slices:
  - sources: [{model: DIR/a, layer_range: [0, 5]}]
  - sources: [{model: DIR/b, layer_range: [3, 9]}]
  - sources: [{model: DIR/flat, layer_range: [0, 1]}]
  - sources: [{model: DIR/flat, layer_range: [1, 2]}]
  - sources: [{model: DIR/a, layer_range: [0, 2]}, {model: DIR/b, layer_range: [0, 1]}]
";
    assert_are(
        &problems(&folder, recipe),
        &[
            &["line 3, ", "[0, 5]", "4 layers"],
            &["line 4, ", "[3, 9]"],
            &["line 5, column 23", "no stack of layers can be recognised in `flat`"],
            &["line 7, column 14", "passthrough merges exactly one model", "are 2 models"],
            &["line 7, ", "`b` gives 1 and `a` 2"],
        ],
    );
}

#[test]
fn every_architecture_that_differs_is_reported_and_no_tensor_of_it() {
    let folder = folder();
    for name in ["qwen", "gemma"] {
        let mut config = llama_config(3);
        config["model_type"] = name.into();
        folder.write(name, &config, &llama(3, 1.0));
    }
    let models = "models: [{model: DIR/a}, {model: DIR/qwen}, {model: DIR/gemma}]";
    let recipe = format!("merge_method: linear\n{models}\nparameters: {{weight: 1}}\n");
    assert_are(
        &problems(&folder, &recipe),
        &[
            &["`qwen` is a qwen model"],
            &["`qwen` has 3 layers"],
            &["`gemma` is a gemma model"],
            &["`gemma` has 3 layers"],
        ],
    );
}

#[test]
fn every_tensor_that_does_not_fit_is_reported() {
    let folder = folder();
    let mut b = llama(4, 2.0);
    b.remove("model.layers.2.mlp.up_proj.weight");
    b.remove("model.layers.3.mlp.up_proj.weight");
    b.insert("model.norm.weight".to_owned(), Tensor::of(mergecore::DType::F32, &[3], &[0.0; 3]));
    b.insert("model.extra".to_owned(), Tensor::constant(0.0));
    let ints = Tensor { dtype: mergecore::DType::I32, ..Tensor::constant(0.0) };
    b.insert("lm_head.weight".to_owned(), ints);
    folder.write("b", &llama_config(4), &b);
    // Of c the same is missing, and the shape wrong where b has nothing.
    let mut c = llama(4, 3.0);
    c.remove("model.layers.3.mlp.up_proj.weight");
    c.insert(
        "model.layers.2.mlp.up_proj.weight".to_owned(),
        Tensor::of(mergecore::DType::F32, &[1, 2], &[0.0; 2]),
    );
    c.insert("model.extra".to_owned(), Tensor::constant(0.0));
    folder.write("c", &llama_config(4), &c);
    let recipe = "merge_method: linear
models: [{model: DIR/a}, {model: DIR/b}, {model: DIR/c, parameters: {weight: -2}}]
parameters: {weight: 1}
";
    assert_are(
        &problems(&folder, recipe),
        &[
            &["line 1, column 15", "sum to 0"],
            &["`model.extra` is in `b` but not in `a`"],
            &["`lm_head.weight` is I32 in `b` but F32 in `a`"],
            &["`model.norm.weight` has shape [3] in `b`"],
            &["`model.layers.2.mlp.up_proj.weight` is in `a` but not in `b`"],
            &["`model.layers.2.mlp.up_proj.weight` has shape [1, 2] in `c`"],
            &["`model.layers.3.mlp.up_proj.weight` is in `a` but not in `b`"],
            &["`model.layers.3.mlp.up_proj.weight` is in `a` but not in `c`"],
        ],
    );
}

#[test]
fn forty_missing_tensors_are_listed_and_twenty_shown() {
    let folder = Folder::new();
    folder.write_llama("a", 20, 1.0);
    folder.write("b", &llama_config(20), &{
        let mut b = llama(20, 1.0);
        b.retain(|name, _| !name.contains("layers") || name.contains("norm"));
        for layer in 0..20 {
            b.insert(format!("model.layers.{layer}.norm"), Tensor::constant(1.0));
        }
        b
    });
    let recipe = "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1, t: 2, weigth: 3}\n";
    let config = folder.recipe(recipe).unwrap();
    let error = plan(&config, &MergeOptions::default()).unwrap_err();
    let text = error.to_string();
    let Error::Merge(error) = error else { panic!("{error}") };
    // 40 tensors of a that b lacks, 20 of b that a lacks, and the parameter.
    assert_eq!(error.problems().len(), 61);
    assert!(error.is_recipe());
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 1 + 20 + 1, "{text}");
    assert_eq!(lines[0], "61 problems:");
    assert!(lines[1].starts_with("(1) ") && lines[1].contains("`weigth`"), "{text}");
    assert!(lines[22].ends_with("40 more problems of the same kind are not shown"), "{text}");
}

/// Of many mistakes in a long recipe the last have no line, which takes a parse each.
#[test]
fn ten_thousand_mistakes_are_reported_in_time() {
    let mut recipe = "merge_method: linear\nmodels: [{model: DIR/a}]\nparameters:\n".to_owned();
    for index in 0..10_000 {
        recipe += &format!("  this_is_no_parameter_of_any_method_{index}: 1\n");
    }
    let begun = std::time::Instant::now();
    let problems = problems(&folder(), &recipe);
    assert_eq!(problems.len(), 10_001); // and `weight` is missing
    assert!(problems[0].starts_with("line 4, column 3: parameters.this"), "{}", problems[0]);
    assert!(problems[9_999].starts_with("parameters.this_is_no_"), "{}", problems[9_999]);
    assert!(problems[10_000].starts_with("models[0]: linear needs"), "{}", problems[10_000]);
    // Ten thousand parses of this recipe take minutes.
    assert!(begun.elapsed().as_secs() < 40, "{:?}", begun.elapsed());
}

/// Not to be written in a recipe, but in a program.
#[test]
fn a_recipe_without_inputs_is_refused() {
    for input in [
        MergeInput::Models(Vec::new()),
        MergeInput::Slices(Vec::new()),
        MergeInput::Modules(Vec::new()),
    ] {
        let config = MergeConfig::new("linear", input);
        let error = plan(&config, &MergeOptions::default()).unwrap_err();
        let refused = matches!(error, Error::Merge(EngineError::ModelCount { found: 0, .. }));
        assert!(refused, "{error}");
        assert!(error.to_string().contains("here are 0 models"), "{error}");
    }
}

/// Small files are copied at the end: what cannot be is known at the beginning.
#[test]
fn a_tokenizer_that_cannot_be_copied_is_found_while_planning() {
    let folder = folder();
    let file = std::fs::File::create(folder.path("a/tokenizer.json")).unwrap();
    file.set_len(100_000_001).unwrap(); // sparse
    let recipe = "merge_method: linear\nmodels: [{model: DIR/a}]\nparameters: {weight: 0}\n";
    assert_are(
        &problems(&folder, recipe),
        &[&["sum to 0"], &["a/tokenizer.json", "100000001 bytes"]],
    );
    // Not where it is not copied.
    let options = MergeOptions { copy_tokenizer: false, ..MergeOptions::default() };
    let config = folder.recipe(&recipe.replace("weight: 0", "weight: 1")).unwrap();
    plan(&config, &options).unwrap();
}

/// A recipe built in a program has no lines: its problems keep the order of planning.
#[test]
fn problems_without_lines_keep_their_order() {
    let input = |name: &str| InputModel {
        model: ModelRef::new(name),
        parameters: Parameters::new().with("wieght", 1.0),
    };
    let models = MergeInput::Models(vec![input("no/a"), input("no/b")]);
    let error = plan(&MergeConfig::new("linear", models), &MergeOptions::default()).unwrap_err();
    let lines: Vec<String> = error.to_string().lines().map(str::to_owned).collect();
    assert_are(
        &lines,
        &[
            &["4 problems:"],
            &["(1) models[0].parameters.wieght: "],
            &["(2) models[1].parameters.wieght: "],
            &["(3) models[0].model: ", "`no/a` was not found"],
            &["(4) models[1].model: ", "`no/b` was not found"],
        ],
    );
}

#[test]
fn a_merge_of_nothing_is_refused() {
    let folder = Folder::new();
    folder.write("a", &llama_config(2), &Model::new());
    let recipe = "merge_method: linear\nmodels: [{model: DIR/a}]\nparameters: {weight: 1}\n";
    assert_are(&problems(&folder, recipe), &[&["`a` has no tensors", "nothing to merge"]]);
}

/// What config.json says of dtypes is not what is stored.
#[test]
fn a_dtype_that_no_weight_has_is_noted() {
    let folder = folder();
    let mut config = llama_config(4);
    config["torch_dtype"] = "bfloat16".into();
    folder.write("b", &config, &llama(4, 1.0));
    let recipe =
        "merge_method: linear\nmodels: [{model: DIR/a}, {model: DIR/b}]\nparameters: {weight: 1}\n";
    let notes = folder.notes(recipe);
    let of_dtypes: Vec<_> = notes.iter().filter(|note| note.contains("config.json")).collect();
    assert_eq!(of_dtypes.len(), 1, "{notes:?}");
    assert!(of_dtypes[0].contains("/b` says bfloat16, but its weights are float32"), "{notes:?}");
    config["torch_dtype"] = "float32".into();
    folder.write("b", &config, &llama(4, 1.0));
    assert!(folder.notes(recipe).iter().all(|note| !note.contains("config.json")));
}
