//! The other commands: plan, inspect, completions, man pages.

use serde_json::Value;

use crate::support::{Folder, config, tensors};
use crate::{LINEAR, TIES};

fn ok(folder: &Folder, args: &[&str]) -> String {
    let (code, stdout, stderr) = folder.run(args);
    assert_eq!((code, stderr.as_str()), (0, ""), "{args:?}");
    stdout
}

fn names(folder: &Folder) -> Vec<String> {
    let entries = std::fs::read_dir(folder.path("")).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_plan_writes_nothing_and_says_what_a_merge_does() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), TIES).unwrap();
    let before = names(&folder);
    let plan = ok(&folder, &["plan", "recipe.yml"]);
    assert_eq!(names(&folder), before);
    for part in
        ["method: ties", "base (base)", "9 tensors (F32), 9 merged and 0 copied", "18 of 18"]
    {
        assert!(plan.contains(part), "no {part:?} in: {plan}");
    }
    assert!(!plan.contains("lm_head"), "{plan}");
    let verbose = ok(&folder, &["plan", "recipe.yml", "-v"]);
    assert!(verbose.contains("0:lm_head.weight") || verbose.contains("1:lm_head.weight"));

    let json: Value =
        serde_json::from_str(&ok(&folder, &["plan", "recipe.yml", "--json"])).unwrap();
    assert_eq!(json["merge_method"], "ties");
    assert_eq!(json["tally"]["merged"], 9);
    let planned: Vec<&Value> = json["tensors"].as_array().unwrap().iter().collect();
    assert_eq!(planned.len(), tensors(0.0).len());
    // What was planned is what is written.
    let (code, _, stderr) = folder.run(&["merge", "recipe.yml", "out"]);
    assert_eq!(code, 0, "{stderr}");
    for file in json["files"].as_array().unwrap() {
        let written = folder.path("out").join(file["name"].as_str().unwrap());
        assert_eq!(std::fs::metadata(written).unwrap().len(), file["bytes"]);
    }
    let manifest = std::fs::read(folder.path("out/merge_manifest.json")).unwrap();
    let manifest: Value = serde_json::from_slice(&manifest).unwrap();
    for (planned, written) in planned.iter().zip(manifest["tensors"].as_array().unwrap()) {
        for key in ["name", "dtype", "shape", "operation", "file"] {
            assert_eq!(planned[key], written[key]);
        }
    }
}

#[test]
fn a_plan_takes_the_options_that_decide_on_it() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), LINEAR).unwrap();
    let plan = ok(&folder, &["plan", "recipe.yml", "--out-shard-size", "300"]);
    assert!(plan.contains("model-00001-of-0000") && plan.contains("tokenizer.json"), "{plan}");
    let plan = ok(&folder, &["plan", "recipe.yml", "--no-copy-tokenizer"]);
    assert!(plan.contains("model.safetensors") && !plan.contains("tokenizer.json"), "{plan}");
}

#[test]
fn a_plan_fails_as_the_merge_would() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), LINEAR.replace("model: b", "model: c")).unwrap();
    folder.fails(&["plan", "recipe.yml"], 2, &["recipe.yml:5:12", "`c`"]);
    folder.fails(&["plan", "none.yml"], 2, &["none.yml"]);
}

#[test]
fn a_plan_prints_notes_on_stderr() {
    let folder = Folder::new();
    let recipe = format!("{LINEAR}parameters: {{int8_mask: true}}\n");
    std::fs::write(folder.path("recipe.yml"), recipe).unwrap();
    let (code, stdout, stderr) = folder.run(&["plan", "recipe.yml"]);
    assert!(code == 0 && !stdout.contains("int8_mask"), "{stdout}");
    assert!(stderr.starts_with("note: recipe.yml:7:"), "{stderr}");
}

#[test]
fn inspecting_a_model() {
    let folder = Folder::new();
    folder.move_to_hub("b", "org/name", "c0ffee");
    for model in ["a", "org/name", "org/name@c0ffee"] {
        let text = ok(&folder, &["inspect", model]);
        for part in [
            "LlamaForCausalLM (llama)",
            "3 under model.layers",
            "8 rows",
            "F32: 9 tensors",
            "model.layers.*.mlp.up_proj.weight",
            "[6, 4]  x 3",
            "tokenizer.json",
        ] {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
    }
    assert!(ok(&folder, &["inspect", "a", "-v"]).contains("model.layers.2.mlp.up_proj.weight"));
    let json: Value = serde_json::from_str(&ok(&folder, &["inspect", "a", "--json"])).unwrap();
    assert_eq!(json["parameters"], 2 * 32 + 4 + 3 * (16 + 24));
    assert_eq!(json["tensors"].as_array().unwrap().len(), 9);
    assert_eq!(json["stacks"][0]["layers"], 3);
}

#[test]
fn what_cannot_be_inspected() {
    let folder = Folder::new();
    folder.fails(&["inspect", "c"], 2, &["`c` was not found", "no directory c"]);
    folder.fails(&["inspect", "a+b"], 2, &["`b`", "not supported yet"]);
    folder.fails(&["inspect", "a@b@c"], 2, &["more than one `@`"]);
    std::fs::remove_file(folder.path("a/config.json")).unwrap();
    folder.fails(&["inspect", "a"], 1, &["a has no config.json"]);
    let mut quantised = config();
    quantised["quantization_config"] = serde_json::json!({ "quant_method": "gptq" });
    folder.write_model("b", &quantised, &tensors(0.0));
    folder.fails(&["inspect", "b"], 1, &["gptq", "not supported"]);
}

#[test]
fn methods_are_listed_and_described() {
    let folder = Folder::new();
    let list = ok(&folder, &["methods"]);
    for name in ["linear", "dare_ties", "passthrough"] {
        assert!(list.contains(&format!("  {name} ")), "{list}");
    }
    // Each has a line of its own about what it does.
    let lines = list.lines().filter(|line| line.starts_with("  "));
    assert!(lines.clone().count() >= 7);
    assert!(lines.into_iter().all(|line| line.split_whitespace().count() > 3), "{list}");
    let page = ok(&folder, &["methods", "ties"]);
    for part in [
        "ties (TIES)",
        "the base model and any number of models besides",
        "https://arxiv.org/abs/2306.01708",
        "density",
        "per model",
        "a number between 0 and 1",
        "required",
        "fraction of this model's change that is kept",
        "one of sum, count",
    ] {
        assert!(page.contains(part), "no {part:?} in: {page}");
    }
    folder.fails(&["methods", "tise"], 2, &["no method `tise`", "did you mean `ties`?"]);
    folder.fails(&["methods", "quantum"], 2, &["no method `quantum`", "`mergecore methods`"]);
}

#[test]
fn the_page_about_methods_is_what_the_methods_say() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/methods.md");
    let page = std::fs::read_to_string(path).unwrap();
    let declared = ok(&Folder::new(), &["methods", "--markdown"]);
    let (_, table) = page.split_once("\n\n| method").expect("a page with a table");
    assert_eq!(
        format!("| method{table}"),
        declared,
        "docs/methods.md: replace its tables by what `mergecore methods --markdown` prints"
    );
}

#[test]
fn the_schema_is_printed_as_json() {
    let schema: Value = serde_json::from_str(&ok(&Folder::new(), &["schema"])).unwrap();
    let methods = schema["properties"]["merge_method"]["anyOf"].as_array().unwrap();
    assert!(methods.iter().any(|method| method["const"] == "ties"));
}

#[test]
fn completions_and_man_pages_know_every_option() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let script = ok(&folder, &["completions", shell]);
        for part in ["inspect", "out-shard-size", "model-card-template"] {
            assert!(script.contains(part), "no {part:?} for {shell}");
        }
    }
    assert!(ok(&folder, &["man"]).contains("mergecore\\-merge(1)"));
    std::fs::create_dir(folder.path("man")).unwrap();
    assert_eq!(ok(&folder, &["man", "man"]), "");
    let page = std::fs::read_to_string(folder.path("man/mergecore-merge.1")).unwrap();
    assert!(page.contains("out\\-shard\\-size") && page.contains("Examples"), "{page}");
    folder.fails(&["man", "nowhere"], 1, &["nowhere"]);
    let (code, _, stderr) = folder.run(&["completions", "csh"]);
    assert!(code == 2 && stderr.contains("bash"), "{stderr}");
}

#[test]
fn help_teaches() {
    let folder = Folder::new();
    let help = ok(&folder, &["--help"]);
    for part in ["Examples:", "merge_method: ties", "HF_HUB_CACHE", "dare_ties", "Exit status"] {
        assert!(help.contains(part), "no {part:?} in: {help}");
    }
    for command in ["merge", "plan", "inspect", "verify", "reproduce", "completions", "man"] {
        let help = ok(&folder, &[command, "--help"]);
        assert!(help.contains("Examples:"), "{help}");
    }
    let merge = ok(&folder, &["merge", "--help"]);
    for heading in ["Output:", "Merging:", "Model card:", "Resources:", "Messages:"] {
        assert!(merge.contains(heading), "{merge}");
    }
    let (code, _, stderr) = folder.run(&[]);
    assert!(code == 2 && stderr.contains("Usage:"), "{stderr}");
}

#[test]
fn a_card_by_a_template_and_a_name() {
    let folder = Folder::new();
    let template = "{{ username }}: {{ model_name }} of {{ models | join(', ') }}\n";
    std::fs::write(folder.path("card.jinja"), template).unwrap();
    let args = ["--model-card-template", "card.jinja", "--username", "me"];
    let (code, _, stderr) = folder.merge(LINEAR, &args);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(std::fs::read_to_string(folder.path("out/README.md")).unwrap(), "me: out of a, b\n");

    let wrong = &args[..2];
    std::fs::remove_dir_all(folder.path("out")).unwrap();
    std::fs::write(folder.path("card.jinja"), "{{ user_name }}").unwrap();
    folder.refuses_with(wrong, 2, LINEAR, &["card.jinja", "did you mean `username`?"]);
    folder.refuses_with(&["--model-card-template", "x"], 2, LINEAR, &["template x"]);
}

#[test]
fn verbose_says_where_models_were_found() {
    let folder = Folder::new();
    folder.move_to_hub("b", "org/name", "c0ffee");
    let recipe = LINEAR.replace("model: b", "model: org/name");
    let (code, stdout, stderr) = folder.merge(&recipe, &["-v"]);
    assert_eq!((code, stdout.as_str()), (0, "out\n"), "{stderr}");
    assert!(stderr.contains("org/name: 9 tensors") && stderr.contains("snapshots/c0ffee"));
    let (code, _, stderr) = folder.merge(LINEAR, &["-v", "--quiet"]);
    assert!(code == 2 && stderr.contains("--quiet"), "{stderr}");
}

/// A reader that stops reading is no error.
#[cfg(unix)]
#[test]
fn a_closed_pipe_is_no_failure() {
    let folder = Folder::new();
    std::fs::write(folder.path("recipe.yml"), LINEAR).unwrap();
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_mergecore"))
        .args(["plan", "recipe.yml", "--json"])
        .current_dir(folder.path(""))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

/// Names of tensors are other people's: they must neither reach the terminal raw nor
/// forge a line of a log.
#[test]
fn control_characters_are_escaped() {
    let folder = Folder::new();
    let mut odd = tensors(1.0);
    odd.insert("model.x\u{1b}[2J\nerror: fake".to_owned(), crate::support::floats(&[2], 1.0));
    folder.write_model("a", &config(), &odd);
    let text = ok(&folder, &["inspect", "a"]);
    assert!(text.contains("model.x\\u{1b}[2J\\nerror: fake") && !text.contains('\u{1b}'), "{text}");
    let (code, _, stderr) = folder.merge(LINEAR, &[]);
    assert_eq!(
        (code, stderr.lines().count(), stderr.contains('\u{1b}')),
        (1, 1, false),
        "{stderr}"
    );
}
