//! Model cards: the built-in one and a person's own, with a merge and without.

use mergecore::{
    MergeConfig, MergeOptions, ModelCardOptions, ModelCardTemplate, load_recipe, merge,
    render_model_card, save_model_card,
};

use crate::support::Folder;

const TIES: &str = "merge_method: ties
base_model: org/base
models:
  - model: org/base
  - {model: org/a, parameters: {weight: 0.5, density: 0.5}}
  - {model: org/b@v2, parameters: {weight: 0.5, density: 0.5}}
  - {model: ./local, parameters: {weight: 0.5, density: 0.5}}
";

fn options() -> ModelCardOptions {
    ModelCardOptions { model_name: "merged".to_owned(), ..ModelCardOptions::default() }
}

fn render(recipe: &str, options: &ModelCardOptions) -> String {
    render_model_card(&MergeConfig::from_yaml_str(recipe).unwrap(), options).unwrap()
}

fn with_template(text: &str) -> ModelCardOptions {
    ModelCardOptions { template: Some(ModelCardTemplate::new("mine.md", text)), ..options() }
}

#[test]
fn the_built_in_card() {
    let options = ModelCardOptions {
        username: Some("me".to_owned()),
        license: Some("apache-2.0".to_owned()),
        pipeline_tag: Some("text-generation".to_owned()),
        ..options()
    };
    let card = render(TIES, &options);
    let metadata = "---
base_model:
- org/base
- org/a
- org/b
base_model_relation: merge
library_name: transformers
license: apache-2.0
pipeline_tag: text-generation
tags:
- merge
- mergecore
---

# merged
";
    assert!(card.starts_with(metadata), "{card}");
    for part in [
        "[TIES](https://arxiv.org/abs/2306.01708) (`ties`)",
        "\n* [org/base](https://huggingface.co/org/base) (base)\n* [org/a](https://huggingface.co/org/a)\n",
        "\n* [org/b@v2](https://huggingface.co/org/b/tree/v2)\n* `./local`\n",
        &format!("\n```yaml\n{TIES}```\n"),
        "from_pretrained(\"me/merged\")",
    ] {
        assert!(card.contains(part), "no {part:?} in: {card}");
    }
    assert!(card.ends_with("```\n"), "{card}");
}

#[test]
fn what_is_not_known_is_left_out() {
    let recipe = "merge_method: mine\nmodels: [{model: /data/a}]\n";
    let card = render(recipe, &options());
    let expected = "---\nlibrary_name: transformers\ntags:\n- merge\n- mergecore\n---\n";
    assert!(card.starts_with(expected), "{card}");
    assert!(card.contains("\nmine (`mine`)\n") && card.contains("\n* `/data/a`\n"), "{card}");
    assert!(!card.contains("from_pretrained"), "{card}");
}

#[test]
fn a_recipe_with_fences_stays_within_its_own() {
    let recipe = "# ````\nmerge_method: linear\nmodels: [{model: org/a}]";
    let card = render(recipe, &options());
    assert!(card.contains(&format!("\n`````yaml\n{recipe}\n`````\n")), "{card}");
}

#[test]
fn a_persons_own_template_unchanged() {
    let options = with_template(include_str!("card.md.jinja"));
    let expected = format!(
        "---
license: apache-2.0
tags:
- merge
- mergekit
- lazymergekit
- org/a
- org/b@v2
- ./local
---

# merged

merged is a merge of the following models using [mergekit](https://github.com/cg123/mergekit):
* [org/a](https://huggingface.co/org/a)
* [org/b@v2](https://huggingface.co/org/b@v2)
* [./local](https://huggingface.co/./local)

## Configuration

```yaml
{TIES}```
"
    );
    assert_eq!(render(TIES, &options), expected);
}

#[test]
fn what_templates_can_use() {
    let text = "{{ username }}|{{ license }}|{{ base_model }}|{{ merge_method }}|{{ models | length }}|{{ models[0].split('/')[1].upper() }}|{% if license is defined %}yes{% else %}no{% endif %}|{{ license | default('mit') }}";
    let mut options = with_template(text);
    assert_eq!(render(TIES, &options), "||org/base|ties|3|A|no|mit");
    options.username = Some("me".to_owned());
    options.license = Some("mit".to_owned());
    assert_eq!(render(TIES, &options), "me|mit|org/base|ties|3|A|yes|mit");
    let html = with_template("{{ merge_method }}<&{{ yaml_config }}");
    let recipe = "merge_method: linear # <&>\nmodels: [{model: org/a}]\n";
    assert_eq!(render(recipe, &html), format!("linear<&\n{recipe}"));
}

/// As jinja2 has it: what is not there prints as nothing, wherever else it is set.
#[test]
fn templates_may_have_variables_of_their_own() {
    for (text, expected) in [
        (
            "{% if username %}{% set who = username %}{% else %}{% set who = \"anon\" %}{% endif %}by {{ who }}",
            "by anon",
        ),
        ("{% if foo is defined %}yes{% else %}no{% endif %}", "no"),
        ("{{ foo | default(\"d\") }}{{ foo }}", "d"),
        ("{% block title %}{{ model_name }}{% endblock %}", "merged"),
        ("{% set model = models[0] %}{{ model }}", "org/a"),
    ] {
        assert_eq!(render(TIES, &with_template(text)), expected, "{text}");
    }
}

#[test]
fn two_revisions_of_a_model_are_one_base_model() {
    let recipe = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: org/a}, {model: org/a@v2}]";
    let card = render(recipe, &options());
    assert!(card.starts_with("---\nbase_model:\n- org/a\nbase_model_relation"), "{card}");
}

#[test]
fn templates_that_are_wrong() {
    let config = MergeConfig::from_yaml_str(TIES).unwrap();
    for (text, parts) in [
        (
            "a\n{{ model_nam }}",
            &["mine.md", "`model_nam`", "did you mean `model_name`?", "yaml_config"][..],
        ),
        ("a\n{% for x in %}", &["mine.md:2", "correct the model card's template"]),
        ("{{ models.nothing() }}", &["mine.md:1", "nothing"]),
    ] {
        let error = render_model_card(&config, &with_template(text)).unwrap_err();
        assert!(error.is_recipe(), "{error}");
        for part in parts {
            assert!(error.to_string().contains(part), "no {part:?} in: {error}");
        }
    }
}

#[test]
fn a_merge_with_a_wrong_template_leaves_nothing() {
    let folder = Folder::new();
    folder.write_llama("a", 2, 1.0);
    let recipe = folder.recipe("merge_method: passthrough\nmodels: [{model: DIR/a}]").unwrap();
    let template = Some(ModelCardTemplate::new("mine", "{{ model_nam }}"));
    let options = MergeOptions { model_card_template: template, ..MergeOptions::default() };
    assert!(merge(&recipe, folder.path("out"), &options).is_err());
    assert_eq!(folder.names(), ["a"]);
}

#[test]
fn the_licence_that_all_models_have() {
    let folder = Folder::new();
    let readme = |name: &str, text: &str| {
        std::fs::write(folder.path(name).join("README.md"), text).unwrap();
    };
    for name in ["a", "b"] {
        folder.write_llama(name, 2, 1.0);
        readme(name, "---\nlanguage: en\nlicense: mit\n---\n# Model\n");
    }
    let recipe =
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: DIR/a}, {model: DIR/b}]";
    let card = || {
        folder.merge(recipe);
        std::fs::read_to_string(folder.path("out/README.md")).unwrap()
    };
    assert!(card().contains("\nlicense: mit\n"));
    assert!(card().contains("\n# out\n"));

    let notes = || {
        let notes = folder.notes(recipe).into_iter();
        notes.filter(|note| note.contains("licence")).collect::<Vec<_>>()
    };
    readme("b", "no metadata");
    assert!(!card().contains("license"));
    assert!(notes()[0].contains("/b` is not known") && notes()[0].contains("/a` is mit"));
    readme("b", "\u{feff}---\nlicense: [mit]\n---\n");
    assert!(card().contains("\nlicense: mit\n") && notes().is_empty());
    for name in ["a", "b"] {
        readme(name, "---\nlicense: other\n---\n");
    }
    assert!(!card().contains("license: other"));
    readme("a", "---\nlicense: mit\n---\n");
    readme("b", "---\nlicense: [\n---\n");
    assert!(!card().contains("license"));
    readme("b", "---\r\nlicense: llama2\r\n---\r\n");
    assert!(!card().contains("license"));
    let notes = notes();
    assert!(
        notes.len() == 1 && notes[0].contains("/a` is mit") && notes[0].contains("/b` is llama2"),
        "{notes:?}"
    );
}

#[test]
fn three_functions_without_a_merge() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), TIES).unwrap();
    let config = load_recipe(folder.path("recipe.yml")).unwrap();
    let models: Vec<String> = config.models().iter().map(ToString::to_string).collect();
    assert_eq!(models, ["org/a", "org/b@v2", "./local"]);
    let card = render_model_card(&config, &options()).unwrap();
    let path = save_model_card(&card, folder.path("")).unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap(), card);
    assert!(
        save_model_card(&card, folder.path("none"))
            .unwrap_err()
            .to_string()
            .contains("none/README.md")
    );

    std::fs::write(folder.path("recipe.yml"), TIES.replace("weight", "wieght")).unwrap();
    let error = load_recipe(folder.path("recipe.yml")).unwrap_err().to_string();
    assert!(error.contains("recipe.yml:5:33") && error.contains("`wieght`"), "{error}");
}
