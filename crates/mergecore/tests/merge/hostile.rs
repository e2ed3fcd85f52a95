//! Models, templates and names from strangers: an error or a merge, at once, and nothing
//! written but the output.

use std::fs;
use std::sync::mpsc;
use std::time::Duration;

use mergecore::{
    DType, MergeConfig, MergeOptions, ModelCardOptions, ModelCardTemplate, render_model_card,
};
use serde_json::{Value, json};

use crate::support::{Folder, Model, Tensor, llama, llama_config};

/// What `run` gives, which must not take half a minute.
fn soon<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || send.send(run()));
    receive.recv_timeout(Duration::from_secs(30)).expect("it takes too long")
}

const LINEAR: &str =
    "{merge_method: linear, parameters: {weight: 1}, models: [{model: DIR/a}, {model: DIR/b}]}";
const STACK: &str = "{merge_method: passthrough, slices: [{sources: [{model: DIR/a, layer_range: [0, 2]}]}, {sources: [{model: DIR/a, layer_range: [0, 1]}]}]}";

/// Merges models `a` and `b` that are alike, and plans to stack layers of one: neither may
/// panic or take long. Yields the folder, with the mean in `out`, and what became of that.
fn both(config: &Value, model: &Model) -> (Folder, Result<(), String>) {
    let folder = Folder::new();
    folder.write("a", config, model);
    folder.write("b", config, model);
    soon(move || {
        let options = MergeOptions { threads: Some(1), ..MergeOptions::default() };
        let stack = folder.recipe(STACK).unwrap();
        let _ = mergecore::plan(&stack, &options);
        let merged = folder.merge_with(LINEAR, "out", &options);
        let merged = merged.map(drop).map_err(|error| error.to_string());
        (folder, merged)
    })
}

/// Neither counts nor ids are believed before they agree with the tensors.
#[test]
fn numbers_of_config_json_that_lie() {
    let lies = [
        json!(u64::MAX),
        json!(1e300),
        json!(-1),
        json!(null),
        json!("2"),
        json!({ "num_hidden_layers": u64::MAX }),
        json!(vec![0; 1000]),
    ];
    for lie in lies {
        for key in [
            "num_hidden_layers",
            "vocab_size",
            "text_config",
            "eos_token_id",
            "architectures",
            "model_type",
            "torch_dtype",
            "tie_word_embeddings",
            "layer_types",
            "quantization_config",
        ] {
            let mut config = llama_config(2);
            config[key] = lie.clone();
            let (_, merged) = both(&config, &llama(2, 1.0));
            // Only what says that the weights are something else is refused.
            let refused = key == "quantization_config" && !lie.is_null();
            assert!(merged.is_ok() || refused, "{key}: {}", merged.unwrap_err());
        }
    }
}

#[test]
fn layers_numbered_beyond_counting() {
    for layer in
        ["18446744073709551615", "18446744073709551616", "99999999999999999999999", "-1", "٣"]
    {
        let mut model = llama(2, 1.0);
        model.insert(format!("model.layers.{layer}.mlp.up_proj.weight"), Tensor::constant(2.0));
        let (folder, merged) = both(&llama_config(2), &model);
        merged.unwrap();
        assert!(folder.read("out") == model, "{layer}");
    }
}

/// The headers count, and the output's config.json says what was written.
#[test]
fn a_dtype_that_config_json_lies_about() {
    let mut config = llama_config(2);
    for (lie, written) in [("float16", "float32"), ("int4", "float32"), ("", "float32")] {
        config["torch_dtype"] = json!(lie);
        let (folder, merged) = both(&config, &llama(2, 1.0));
        merged.unwrap();
        assert_eq!(folder.json("out/config.json")["torch_dtype"], written);
        assert!(folder.read("out") == llama(2, 1.0));
    }
}

#[test]
fn shapes_of_many_dimensions_and_of_none() {
    let mut model = llama(2, 1.0);
    for (name, shape) in [
        ("ones", vec![1; 64]),
        ("model.layers.0.ones", vec![1; 64]),
        ("empty", vec![0]),
        ("model.layers.1.empty", vec![3, 0, 1 << 40]),
        ("scalar", vec![]),
    ] {
        let len = shape.iter().product();
        model.insert(name.to_owned(), Tensor::of(DType::F32, &shape, &vec![1.0; len]));
    }
    let (folder, merged) = both(&llama_config(2), &model);
    merged.unwrap();
    assert!(folder.read("out") == model);
    let methods = ["ties", "dare_ties", "task_arithmetic", "slerp"];
    soon(move || {
        for method in methods {
            let recipe = format!(
                "{{merge_method: {method}, base_model: DIR/a, models: [{{model: DIR/a, parameters: {{weight: 1}}}}, {{model: DIR/b, parameters: {{weight: 1}}}}], parameters: {{t: 0.5, density: 0.5}}}}"
            );
            assert!(folder.merge(&recipe) == model, "{method}");
        }
    });
}

/// Heads were looked for among all tensors, taken out of a list of all, or compared with every
/// embedding, one by one.
#[test]
fn as_many_heads_as_there_is_room_for() {
    let many = |part: &str, row: usize| {
        let name = |i| format!("{part}.{i}.weight");
        let tensors = (0..100_000).map(|i| (name(i), Tensor::of(DType::F32, &[0, row], &[])));
        tensors.chain(llama(2, 1.0)).collect::<Model>()
    };
    let (heads, embeddings) = (many("lm_head", 2), many("embed", 3));
    let both = heads.clone().into_iter().chain(embeddings.clone()).collect();
    let (mut tied, mut vocabulary) = (llama_config(2), llama_config(2));
    tied["tie_word_embeddings"] = json!(true);
    vocabulary["vocab_size"] = json!(7); // which no tensor has
    let folder = Folder::new();
    folder.write("heads", &llama_config(2), &heads);
    folder.write("embeddings", &tied, &embeddings);
    folder.write("both", &vocabulary, &both);
    let whole = |base: &str, model: &str| {
        format!(
            "{{merge_method: task_arithmetic, parameters: {{weight: 1}}, base_model: DIR/{base}, models: [{{model: DIR/{model}}}]}}"
        )
    };
    let stacked = "{merge_method: passthrough, slices: [{sources: [{model: DIR/embeddings, layer_range: [0, 2]}]}, {sources: [{model: DIR/heads, layer_range: [0, 2]}]}]}";
    for (recipe, tensors) in [
        (whole("heads", "embeddings"), None),
        (whole("embeddings", "heads"), None),
        (stacked.to_owned(), None),
        (whole("both", "both"), Some(200_007)),
    ] {
        let config = folder.recipe(&recipe).unwrap();
        let planned = soon(move || mergecore::plan(&config, &MergeOptions::default()));
        match (planned, tensors) {
            (Ok(plan), Some(tensors)) => assert_eq!(plan.tensors().len(), tensors),
            (Err(error), None) => assert!(error.lines()[0].contains("` is in `"), "{recipe}"),
            (other, _) => panic!("{recipe}: {:?}", other.map(|plan| plan.tensors().len())),
        }
    }
}

/// Names of tensors become parts of a header and never of a path.
#[test]
fn names_of_tensors_that_look_like_paths() {
    let mut model = llama(2, 1.0);
    for name in [
        "../../escaped",
        "/tmp/escaped",
        "..",
        "C:\\escaped",
        "model.layers.0/../../../escaped",
        "a\0b",
        "a\nb\u{1b}[2J",
        "",
        " ",
    ] {
        model.insert(name.to_owned(), Tensor::constant(5.0));
    }
    model.insert("x".repeat(100_000), Tensor::constant(5.0));
    let (folder, merged) = both(&llama_config(2), &model);
    merged.unwrap();
    assert!(folder.read("out") == model);
    let names = ["a", "b", "out"];
    assert_eq!(folder.names(), names);
    for name in names {
        let entries = fs::read_dir(folder.path(name)).unwrap();
        assert!(entries.flatten().all(|entry| entry.file_type().unwrap().is_file()), "{name}");
    }
}

/// Links are how hub caches are made: they are read, and what they lead to is not written.
#[cfg(unix)]
#[test]
fn files_that_are_links_to_elsewhere() {
    use std::os::unix::fs::symlink;

    let folder = Folder::new();
    folder.write_llama("a", 2, 1.0);
    let names = ["tokenizer.json", "generation_config.json", "README.md", "config.json"];
    for name in names {
        let precious = folder.path(&format!("precious-{name}"));
        let link = folder.path("a").join(name);
        match fs::rename(&link, &precious) {
            Ok(()) => {}
            Err(_) => fs::write(&precious, "{}").unwrap(),
        }
        symlink(&precious, &link).unwrap();
    }
    // Names of files that a merge writes, which no merge reads.
    for name in ["mergecore_config.yml", "merge_manifest.json", "model.safetensors.index.json.tmp"]
    {
        symlink(folder.path("precious-README.md"), folder.path("a").join(name)).unwrap();
    }
    let contents = || names.map(|name| fs::read(folder.path(&format!("precious-{name}"))).unwrap());
    let before = contents();
    folder.merge("{merge_method: passthrough, models: [{model: DIR/a}]}");
    assert_eq!(contents(), before);
    for entry in fs::read_dir(folder.path("out")).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_type().unwrap().is_file(), "{:?}", entry.file_name());
    }
    assert_eq!(fs::read(folder.path("out/tokenizer.json")).unwrap(), b"{}");
}

/// A card is a courtesy: whatever the models' own look like, the merge goes on.
#[cfg(unix)]
#[test]
fn a_models_card_that_is_none() {
    let makers: [&dyn Fn(&std::path::Path); 6] = [
        &|path| {
            let made = std::process::Command::new("mkfifo").arg(path).status();
            assert!(made.unwrap().success());
        },
        &|path| std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
        &|path| fs::create_dir(path).unwrap(),
        &|path| fs::write(path, b"---\nlicense: \xff\n---\n").unwrap(),
        &|path| fs::write(path, format!("---\nlicense: {}\n---\n", "[".repeat(90_000))).unwrap(),
        &|path| {
            let mut bomb = String::from("---\na0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
            for i in 1..12 {
                let alias = format!("*a{}", i - 1);
                bomb += &format!("a{i}: &a{i} [{}]\n", [alias.as_str(); 9].join(", "));
            }
            fs::write(path, bomb + "license: mit\n---\n").unwrap();
        },
    ];
    for make in makers {
        let folder = Folder::new();
        folder.write_llama("a", 2, 1.0);
        make(&folder.path("a/README.md"));
        soon(move || {
            folder.merge("{merge_method: passthrough, models: [{model: DIR/a}]}");
            let card = fs::read_to_string(folder.path("out/README.md")).unwrap();
            assert!(card.starts_with("---\n"), "{card}");
        });
    }
}

/// The licence of a model's card is a value of the output's, never more of its metadata.
#[test]
fn a_licence_that_would_be_more() {
    let folder = Folder::new();
    folder.write_llama("a", 2, 1.0);
    let card = "---\nlicense: \"mit\\ntags:\\n- evil\\n---\\n# Hello\"\n---\n";
    fs::write(folder.path("a/README.md"), card).unwrap();
    folder.merge("{merge_method: passthrough, models: [{model: DIR/a}]}");
    let card = fs::read_to_string(folder.path("out/README.md")).unwrap();
    assert!(!card.contains("\n- evil") && !card.contains("\n# Hello"), "{card}");
}

/// The longest and deepest that is accepted is rendered, on a thread's usual small stack.
#[test]
fn templates_just_within_the_limits() {
    let chain = |head: &str, link: &str, n, tail: &str| format!("{head}{}{tail}", link.repeat(n));
    for text in [
        chain("{{ ", "-", 490, "1 }}"),
        chain("{{ 1", "+1", 240, " }}"),
        chain("{{ models", "[:]", 160, " }}"),
        chain("{{ 'x'", "|e", 245, " }}"),
        chain("{% if a %}", "{% elif a %}", 250, "{% endif %}"),
        format!("{}{{{{ x }}}}", chain("{% set x = [1] %}", "{% set x = [x] %}", 999, "")),
        format!("{}{{{{ x }}}}", chain("{% set x = [1] %}", "{% set x = [x[:]] %}", 499, "")),
        format!(
            "{}{{{{ f(15, 1) }}}}",
            chain(
                "{% macro f(n, x) %}{% if n %}{{ f(n - 1, ",
                "[",
                60,
                &format!(
                    "x{}) }}}}{{% else %}}{{{{ x }}}}{{% endif %}}{{% endmacro %}}",
                    "]".repeat(60)
                )
            )
        ),
    ] {
        let start: String = text.chars().take(60).collect();
        let text = text.to_owned();
        let rendered = soon(move || {
            let recipe = "merge_method: linear\nmodels: [{model: x}]";
            let config = MergeConfig::from_yaml_str(recipe).unwrap();
            let template = Some(ModelCardTemplate::new("mine.md", text));
            render_model_card(&config, &ModelCardOptions { template, ..Default::default() })
        });
        assert!(rendered.is_ok(), "{start}: {}", rendered.unwrap_err());
    }
}

#[test]
fn templates_that_loop_grow_or_read_files() {
    let doubling = "{% set x = x ~ x %}".repeat(60);
    let chain = |head: &str, link: &str, tail: &str| format!("{head}{}{tail}", link.repeat(50_000));
    for (text, says) in [
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
            "more work",
        ),
        ("{% for i in range(999999999999) %}x{% endfor %}", "range"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        ("{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}", "recursion"),
        (&format!("{{% set x = 'xxxxxxxx' %}}{doubling}{{{{ x }}}}"), "more work"),
        ("{{ 'x' * 999999999999 }}", "more work"),
        ("{{ ('x' * 99999999) * 99999999 }}", ""),
        ("{{ models * 99999999 }}", ""),
        ("{{ 'x'.center(999999999999) }}", ""),
        ("{{ '%999999999999d' | format(1) }}", ""),
        ("{{ 'x' | indent(999999999999) }}", ""),
        ("{{ 'x' | replace('', 'x' * 9999999) | replace('x', 'x' * 9999999) }}", ""),
        ("{% include '/etc/passwd' %}", "include"),
        ("{% import '/etc/passwd' as x %}", ""),
        ("{% from '../secret' import x %}", ""),
        ("{% extends 'card' %}", ""),
        ("{% include 'card' %}", ""),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", ""),
        ("{{ open('/etc/passwd').read() }}", ""),
        ("{{ self.__init__.__globals__ }}", ""),
        ("{% block a %}{{ self.a() }}{% endblock %}", "recursion"),
        ("{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}", "namespace"),
        (
            &format!("{{% set x = 1 %}}{}{{{{ x }}}}", "{% set x = [x] %}".repeat(60_000)),
            "too many",
        ),
        (
            &format!("{{% set x = [] %}}{}{{{{ x }}}}", "{% set x = x[:] %}".repeat(50_000)),
            "too many",
        ),
        (&chain("{{ ", "not ", "1 }}"), "too long"),
        (&chain("{{ ", "-", "1 }}"), "too long"),
        (&chain("{{ 1", "+1", " }}"), "too long"),
        (&chain("{{ models", ".a", " }}"), "too long"),
        (&chain("{{ models", "()", " }}"), "too long"),
        (&chain("{{ models", "|e", " }}"), "too long"),
        (&chain("{{ 1", " if 1 else 1", " }}"), "too long"),
        (&chain("{% set a", ".a", " = 1 %}"), "too long"),
        (&chain("{% filter e", "|e", " %}x{% endfilter %}"), "too long"),
        (&chain("{{ ", "(", "1"), "too long"),
        (&chain("{% if a %}", "{% elif a %}", "{% endif %}"), "too many `elif`s"),
        (&chain("", "{% if true %}", ""), "recursion"),
    ] {
        let start: String = text.chars().take(60).collect();
        let text = text.to_owned();
        let rendered = soon(move || {
            let recipe = "merge_method: linear\nmodels: [{model: a}]";
            let config = MergeConfig::from_yaml_str(recipe).unwrap();
            let template = Some(ModelCardTemplate::new("mine.md", text));
            render_model_card(&config, &ModelCardOptions { template, ..Default::default() })
        });
        let error = rendered.map(|card| card.len()).map_err(|error| error.to_string());
        println!("{start}: {error:?}");
        let text = error.unwrap_err();
        assert!(text.starts_with("mine.md") && text.contains(says), "{start}: {text}");
    }
}
