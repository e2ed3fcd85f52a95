//! Which value a parameter has for which tensor: levels, filters, gradients.
//!
//! The models' elements are all one number, so that the output shows the weights.

use mergecore::{MergeConfig, MergeOptions};

use crate::support::{Folder, Model};

const LAYERS: usize = 5;

fn folder() -> Folder {
    let folder = Folder::new();
    for (name, value) in [("one", 1.0), ("three", 3.0), ("ten", 10.0)] {
        folder.write_llama(name, LAYERS, value);
    }
    folder
}

/// The values of a part, layer by layer.
fn layers(merged: &Model, part: &str) -> Vec<f64> {
    let name = |layer| format!("model.layers.{layer}.{part}.weight");
    (0..).map_while(|layer| merged.get(&name(layer))).map(|tensor| tensor.value()).collect()
}

/// The values of embedding, norm and head.
fn outside(merged: &Model) -> [f64; 3] {
    ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
        .map(|name| merged[name].value())
}

#[test]
fn a_gradient_runs_along_the_slice() {
    let folder = folder();
    let whole = folder.merge(
        "merge_method: passthrough\nmodels: [{model: DIR/one, parameters: {scale: [0.25, 1, 3]}}]",
    );
    assert_eq!(layers(&whole, "mlp.up_proj"), [0.25, 0.625, 1.0, 2.0, 3.0]);
    assert_eq!(outside(&whole), [0.25; 3]);
    let merged = folder.merge(
        "merge_method: passthrough
slices:
  - sources: [{model: DIR/one, layer_range: [1, 4], parameters: {scale: [4, 6]}}]
  - sources: [{model: DIR/ten, layer_range: [2, 3], parameters: {scale: [0.5, 2]}}]",
    );
    assert_eq!(layers(&merged, "mlp.up_proj"), [4.0, 5.0, 6.0, 20.0]);
    // Embeddings as at the start of the first slice, the rest of the last.
    assert_eq!(outside(&merged), [4.0, 5.0, 5.0]);
}

#[test]
fn shared_parameters_have_gradients_too() {
    let merged = folder().merge("merge_method: slerp\nbase_model: DIR/one\nmodels: [{model: DIR/one}, {model: DIR/three}]\nparameters: {t: [{filter: mlp, value: [0, 1]}, {value: [1, 0.5, 0]}]}");
    assert_eq!(layers(&merged, "mlp.up_proj"), [1.0, 1.5, 2.0, 2.5, 3.0]);
    assert_eq!(layers(&merged, "self_attn.q_proj"), [3.0, 2.5, 2.0, 1.5, 1.0]);
    assert_eq!(outside(&merged), [3.0; 3]);
}

#[test]
fn flags_take_the_point_at_floor() {
    let merged = folder().merge("merge_method: linear\nmodels: [{model: DIR/one}]\nparameters: {weight: 2, normalize: [false, true, false]}");
    assert_eq!(layers(&merged, "mlp.up_proj"), [2.0, 2.0, 1.0, 1.0, 2.0]);
}

#[test]
fn the_first_filter_that_matches_wins() {
    let folder = folder();
    for (filters, attention, mlp, norm) in [
        ("[{filter: self_attn, value: 2}, {filter: layers, value: 3}, {value: 4}]", 2.0, 3.0, 4.0),
        (
            "[{filter: layers, value: 3}, {filter: self_attn, value: 2}, {filter: '*', value: 4}]",
            3.0,
            3.0,
            4.0,
        ),
        ("[{value: 4}, {filter: self_attn, value: 2}]", 4.0, 4.0, 4.0),
        ("{filter: mlp, value: 5}", 7.0, 5.0, 7.0),
    ] {
        let merged = folder.merge(&format!("merge_method: passthrough\nmodels: [{{model: DIR/one, parameters: {{scale: {filters}}}}}]\nparameters: {{scale: 7}}"));
        assert_eq!(layers(&merged, "self_attn.q_proj"), [attention; LAYERS], "{filters}");
        assert_eq!(layers(&merged, "mlp.up_proj"), [mlp; LAYERS], "{filters}");
        assert_eq!(merged["model.norm.weight"].value(), norm, "{filters}");
    }
}

#[test]
fn the_nearest_level_that_has_a_value_wins() {
    let merged = folder().merge(
        "merge_method: linear
modules:
  text_model:
    slices:
      - sources:
          - {model: DIR/one, layer_range: [0, 1], parameters: {weight: {filter: mlp, value: 2}}}
          - {model: DIR/ten, layer_range: [0, 1]}
        parameters: {weight: {filter: q_proj, value: 3}}
      - sources:
          - {model: DIR/one, layer_range: [1, 2], parameters: {weight: 6}}
          - {model: DIR/ten, layer_range: [1, 2]}
    parameters: {weight: [{filter: up_proj, value: 4}]}
parameters: {weight: 5, normalize: false}",
    );
    // up_proj: 2 of one from its source, 4 of ten from the module; and so on.
    assert_eq!(layers(&merged, "mlp.up_proj"), [2.0 + 40.0, 6.0 + 40.0]);
    assert_eq!(layers(&merged, "self_attn.q_proj"), [3.0 + 30.0, 6.0 + 50.0]);
    assert_eq!(outside(&merged), [5.0 + 50.0, 6.0 + 50.0, 6.0 + 50.0]);
}

/// Layer 3 of the input becomes layer 0 of the output.
#[test]
fn shared_filters_see_the_output_and_per_model_filters_the_input() {
    let folder = folder();
    let slices = "slices: [{sources: [{model: DIR/one, layer_range: [3, 4]}]}, {sources: [{model: DIR/one, layer_range: [0, 1]}]}]";
    let own = folder.merge(&format!("merge_method: passthrough\n{slices}\nparameters: {{scale: [{{filter: layers.0., value: 5}}, {{filter: layers.3., value: 7}}, {{value: 1}}]}}"));
    assert_eq!(layers(&own, "mlp.up_proj"), [7.0, 5.0]);
    let shared = folder.merge(&format!("merge_method: linear\n{slices}\nparameters: {{weight: 2, normalize: [{{filter: layers.0., value: true}}, {{value: false}}]}}"));
    assert_eq!(layers(&shared, "mlp.up_proj"), [1.0, 2.0]);
}

#[test]
fn a_model_listed_twice_has_two_weights() {
    let merged = folder().merge("merge_method: linear\nmodels: [{model: DIR/one, parameters: {weight: 2}}, {model: DIR/one, parameters: {weight: 0.5}}]\nparameters: {normalize: false}");
    assert_eq!(layers(&merged, "mlp.up_proj"), [2.5; LAYERS]);
}

#[test]
fn the_base_needs_no_weight_and_may_go_unlisted() {
    let folder = folder();
    let merge = |models: &str| {
        folder.merge(&format!("merge_method: ties\nbase_model: DIR/one\nmodels: [{models}]\nparameters: {{normalize: false}}"))
    };
    let three = "{model: DIR/three, parameters: {weight: 0.5}}";
    let unlisted = merge(three);
    assert_eq!(layers(&unlisted, "mlp.up_proj"), [2.0; LAYERS]);
    assert!(unlisted == merge(&format!("{{model: DIR/one}}, {three}")));
    assert!(unlisted == merge(&format!("{three}, {{model: DIR/one}}")));
}

#[test]
fn a_weight_that_some_tensor_lacks_is_named() {
    let error = folder().refuse("merge_method: linear\nmodels: [{model: DIR/one, parameters: {weight: {filter: mlp, value: 1}}}]");
    assert!(error.contains("needs the parameter `weight`"), "{error}");
    assert!(error.contains("model.embed_tokens.weight"), "{error}");
}

#[test]
fn a_value_that_a_gradient_makes_wrong_is_named() {
    let error = folder().refuse("merge_method: ties\nbase_model: DIR/one\nmodels: [{model: DIR/ten, parameters: {weight: 1, density: [0.5, 1.5]}}]");
    assert!(error.contains("`density` is 1.25") && error.contains("model.layers.3."), "{error}");
}

/// Nothing is ignored silently.
#[test]
fn a_value_where_it_cannot_count_is_noted() {
    let folder = folder();
    for (recipe, name) in [
        (
            "merge_method: slerp\nbase_model: DIR/one\nmodels: [{model: DIR/one}, {model: DIR/ten, parameters: {t: 0.9}}]\nparameters: {t: 0.5}",
            "t",
        ),
        (
            "merge_method: slerp\nbase_model: DIR/one\nslices: [{sources: [{model: DIR/one, layer_range: [0, 1]}, {model: DIR/ten, layer_range: [0, 1], parameters: {t: 0.9}}]}]\nparameters: {t: 0.5}",
            "t",
        ),
        (
            "merge_method: ties\nbase_model: DIR/one\nmodels: [{model: DIR/one, parameters: {weight: 0.9}}, {model: DIR/ten}]\nparameters: {weight: 0.5}",
            "weight",
        ),
    ] {
        let config = folder.recipe(recipe).unwrap();
        let plan = mergecore::plan(&config, &MergeOptions::default()).unwrap();
        let text = format!("`{name}` has no effect");
        assert!(plan.notes().iter().any(|note| note.contains(&text)), "{:?}", plan.notes());
    }
}

/// Each note was a parse of the whole recipe: a megabyte of such parameters took minutes.
#[test]
fn a_recipe_of_nothing_but_parameters_without_effect_is_checked_in_time() {
    let model = "  - {model: a, parameters: {weight: 1, int8_mask: 1}}\n";
    let text = format!("merge_method: linear\nmodels:\n{}", model.repeat(10_000));
    let config = MergeConfig::from_yaml_str(&text).unwrap();
    let started = std::time::Instant::now();
    let notes = mergecore_engine::check_recipe(&config, &mergecore::builtin_methods()).unwrap();
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    let (last, others) = notes.split_last().unwrap();
    assert!(others.iter().all(|note| note.contains("`int8_mask` has no effect")));
    let more = format!("{} more parameters have no effect", 10_000 - others.len());
    assert!(last.contains(&more), "{last}");
}
