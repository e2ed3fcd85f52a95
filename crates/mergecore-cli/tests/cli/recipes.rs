//! Recipes that are refused, or accepted with a note.

use crate::support::{Folder, config, tensors};
use crate::{LINEAR, TIES, slices};

#[test]
fn a_recipe_that_is_not_there() {
    Folder::new().fails(&["merge", "none.yml", "out"], 2, &["none.yml", "check the path"]);
}

#[test]
fn a_recipe_that_is_a_directory() {
    Folder::new().fails(&["merge", "a", "out"], 2, &["a: ", "directory", "config.yml"]);
}

#[test]
fn an_empty_recipe() {
    Folder::new().refuses(2, "# nothing\n", &["recipe.yml", "merge_method", "models"]);
}

#[test]
fn a_density_below_zero_in_a_gradient() {
    let recipe = TIES.replace("density: 0.5", "density: [0.5, -0.5]");
    let parts = ["recipe.yml:5:", "models[0].parameters.density", "between 0 and 1"];
    Folder::new().refuses(2, &recipe, &parts);
}

#[test]
fn a_parameter_of_the_wrong_type() {
    let recipe = TIES.replace("density: 0.5", "density: much");
    let parts = ["recipe.yml:5:40", "density", "`much`", "between 0 and 1"];
    Folder::new().refuses(2, &recipe, &parts);
}

#[test]
fn a_dtype_that_is_none() {
    let recipe = format!("{LINEAR}dtype: bfloat61\n");
    Folder::new().refuses(2, &recipe, &["recipe.yml:7:8: dtype", "did you mean `bfloat16`?"]);
}

#[test]
fn a_base_that_a_slice_lacks() {
    let sources =
        "      - {model: b, layer_range: [0, 3]}\n      - {model: base, layer_range: [0, 3]}\n";
    let parts = ["recipe.yml:6:7: slices[0].sources", "slerp", "`a`", "add it"];
    Folder::new().refuses(2, &slices(sources, "slerp"), &parts);
}

#[test]
fn a_layer_range_says_where_to_end() {
    let sources =
        "      - {model: a, layer_range: [0, 3]}\n      - {model: b, layer_range: [1, 4]}\n";
    let parts =
        ["recipe.yml:7:33: slices[0].sources[1].layer_range", "`b`", "let it end at 3 or before"];
    Folder::new().refuses(2, &slices(sources, "slerp"), &parts);
}

#[test]
fn slerp_without_a_base_says_what_to_add() {
    let recipe = "merge_method: slerp\nparameters: {t: 0.5}\nmodels: [{model: a}, {model: b}]\n";
    Folder::new().refuses(2, recipe, &["recipe.yml:1:15: merge_method", "add `base_model:`"]);
}

#[test]
fn linear_weights_of_zero() {
    let recipe = LINEAR.replace("0.5", "0");
    let parts = ["recipe.yml:1:15", "model.embed_tokens.weight", "sum to 0", "normalize: false"];
    Folder::new().refuses(2, &recipe, &parts);
}

#[test]
fn an_adapter_has_a_place_and_a_way_out() {
    let folder = Folder::new();
    let adapter = LINEAR.replace("model: b", "model: b+lora");
    folder.refuses(2, &adapter, &["recipe.yml:5:12: models[1].model", "merge it into its base"]);
}

#[test]
fn what_mergekit_knows_and_has_no_effect_is_noted() {
    let folder = Folder::new();
    let recipe = format!("name: mine\n{LINEAR}parameters: {{density: 0.5, int8_mask: true}}\n");
    let (code, stdout, stderr) = folder.merge(&recipe, &[]);
    assert_eq!(code, 0, "{stderr}");
    assert!(!stdout.contains("note"), "{stdout}");
    for part in ["note: recipe.yml:1:", "`name`", "note: recipe.yml:8:", "`density`", "`int8_mask`"]
    {
        assert!(stderr.contains(part), "no {part:?} in: {stderr}");
    }
}

#[test]
fn different_model_types_go_on_with_a_note() {
    let folder = Folder::new();
    let mut other = config();
    other["model_type"] = "mistral".into();
    folder.write_model("b", &other, &tensors(2.0));
    let (code, _, stderr) = folder.merge(LINEAR, &["--allow-crimes"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("note: ") && stderr.contains("mistral"), "{stderr}");
}

#[test]
fn a_gradient_beyond_the_range() {
    let recipe = TIES.replace("density: 0.5", "density: [0.5, 2]");
    let parts =
        ["recipe.yml:5:40", "density", "is 1.25 for tensor `model.layers.1.", "between 0 and 1"];
    Folder::new().refuses(2, &recipe, &parts);
}

/// Each of several problems is a message of its own, in the order of the recipe.
#[test]
fn all_problems_are_printed_at_once() {
    let folder = Folder::new();
    let recipe = TIES.replace("density", "densty").replace("model: a", "model: gone");
    let recipe = format!("{recipe}  - model: c\ntokenizer_source: union\n");
    std::fs::write(folder.path("recipe.yml"), recipe).unwrap();
    for command in [&["merge", "recipe.yml", "out"][..], &["plan", "recipe.yml"]] {
        let parts = ["error: recipe.yml:4:12: ", "`gone`", "`densty`", "`c`", "`weight`", "union"];
        folder.fails(command, 2, &parts);
        let (_, _, stderr) = folder.run(command);
        let starts: Vec<&str> = stderr.lines().map(|line| &line[..24]).collect();
        let expected = [
            "error: recipe.yml:4:12: ",
            "error: recipe.yml:5:31: ",
            "error: recipe.yml:6:5: m",
            "error: recipe.yml:6:12: ",
            "error: recipe.yml:7:19: ",
        ];
        assert_eq!(starts, expected, "{stderr}");
    }
}

/// So are mistakes in reading the recipe, which leave nothing to plan.
#[test]
fn all_mistakes_in_a_recipe_are_printed_at_once() {
    let folder = Folder::new();
    let recipe =
        format!("{}dtyp: bfloat16\nout_dtype: int4\n", TIES.replace("model: a", "modle: a"));
    folder.refuses(2, &recipe, &["`modle`", "`dtyp`", "`int4`"]);
    let (_, _, stderr) = folder.merge(&recipe, &[]);
    let starts: Vec<&str> = stderr.lines().map(|line| &line[..23]).collect();
    let expected =
        ["error: recipe.yml:4:5: ", "error: recipe.yml:6:1: ", "error: recipe.yml:7:12:"];
    assert_eq!(starts, expected, "{stderr}");
}

/// The data has every tensor; a person sees how many there are.
#[test]
fn of_many_missing_tensors_twenty_are_printed() {
    let folder = Folder::new();
    let mut more = tensors(2.0);
    for index in 0..41 {
        more.insert(format!("extra.{index}"), more["model.norm.weight"].clone());
    }
    folder.write_model("b", &config(), &more);
    folder.refuses(1, LINEAR, &["`extra.0`", "`extra.19`", "error: 21 more problems of the same"]);
    let (_, _, stderr) = folder.merge(LINEAR, &[]);
    assert!(!stderr.contains("`extra.20`") && stderr.lines().count() == 21, "{stderr}");
}
