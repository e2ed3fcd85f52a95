//! One test for each thing that can be wrong: what it says and where it points.

use mergecore_config::{ConfigError, Limit, MergeConfig, ModelRefError};

#[track_caller]
fn error(text: &str) -> ConfigError {
    MergeConfig::from_yaml_str(text).unwrap_err()
}

/// The error's line, column and path.
#[track_caller]
fn at(error: &ConfigError) -> (usize, usize, String) {
    let place = error.place().unwrap();
    (place.line().unwrap(), place.column().unwrap(), place.path().to_string())
}

const HEAD: &str = "merge_method: linear\nmodels: [{model: a}]\n";

#[track_caller]
fn tail(text: &str) -> ConfigError {
    error(&format!("{HEAD}{text}"))
}

#[test]
fn read() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("missing.yml");
    let error = MergeConfig::from_path(&file).unwrap_err();
    assert!(matches!(&error, ConfigError::Read { path, source }
        if *path == file && source.kind() == std::io::ErrorKind::NotFound));
    assert!(error.place().is_none());
    assert!(error.to_string().contains("missing.yml: the recipe cannot be read"));
}

#[test]
fn is_directory() {
    let dir = tempfile::tempdir().unwrap();
    let error = MergeConfig::from_path(dir.path()).unwrap_err();
    assert!(matches!(&error, ConfigError::IsDirectory { path } if path == dir.path()));
}

#[test]
fn not_utf8() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    std::fs::write(&file, b"merge_method: linear\n# caf\xe9\n").unwrap();
    let error = MergeConfig::from_path(&file).unwrap_err();
    assert!(matches!(&error, ConfigError::NotUtf8 { path, line: 2, offset: 26 } if *path == file));
}

#[test]
fn errors_and_places_name_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    std::fs::write(&file, format!("{HEAD}dtype: int8\n")).unwrap();
    let message = MergeConfig::from_path(&file).unwrap_err().to_string();
    let start = format!("{}:3:8: dtype: unknown dtype `int8`", file.display());
    assert!(message.starts_with(&start), "{message}");
}

#[test]
fn too_large() {
    let of = |text: &str| match error(text) {
        ConfigError::TooLarge { limit, .. } => limit,
        other => panic!("{other}"),
    };
    assert_eq!(of(&" ".repeat((1 << 20) + 1)), Limit::File);
    assert_eq!(of(&"[".repeat(10_000)), Limit::Depth);
    assert_eq!(of("a: &a [*a, *a]"), Limit::Depth);
    assert_eq!(of(&"{a: ".repeat(250_000)), Limit::Brackets);
    assert_eq!(of(&format!("[{}]", "1,".repeat(300_000))), Limit::Nodes);
    let long = format!("- &a {}\n", "x".repeat(1 << 19)) + &"- *a\n".repeat(40);
    assert_eq!(of(&long), Limit::Text);
    let mut bomb = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for i in 1..10 {
        let alias = format!("*a{}", i - 1);
        bomb += &format!("a{i}: &a{i} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    assert_eq!(of(&bomb), Limit::Aliases);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("r.yml");
    std::fs::write(&file, " ".repeat((1 << 20) + 1)).unwrap();
    let error = MergeConfig::from_path(&file).unwrap_err();
    assert_eq!(error.place().unwrap().file(), file.to_str());
}

#[test]
fn syntax() {
    for (text, line, column, says) in [
        ("a: 1\n\tb: 2\n", 2, 1, "no tabs there"),
        ("models:\n  - model: a\n parameters: 1\n", 3, 2, "indented alike"),
        ("filter: *\n", 1, 10, "must be in quotes"),
        ("filter: *x\n", 1, 9, "must stand before it"),
        ("models: [a, b\n", 2, 1, "a `]`, a `}` or a comma"),
        ("merge_method: \"linear\n", 2, 1, "closing quote"),
        ("merge_method: linear: x\n", 1, 21, "check the indentation"),
        ("merge_method: @x\n", 1, 15, "must be in quotes"),
        ("a: 1\n}\n", 2, 1, "YAML"),
        ("? [a]\n: 1\n", 1, 3, "keys are plain text"),
        ("a: 1\nbc: \u{7}\n", 2, 5, "cannot be printed"),
    ] {
        let error = error(text);
        assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
        assert_eq!(at(&error), (line, column, "the recipe".into()), "{text:?}");
        let message = error.to_string();
        assert!(message.contains(says), "{message}");
        assert!(message.starts_with(&format!("line {line}, column {column}: ")));
    }
}

#[test]
fn empty() {
    for text in ["", "\n\n", "# nothing\n", "---\n", "~", "\u{feff}"] {
        let error = error(text);
        assert!(matches!(error, ConfigError::Empty { .. }), "{text:?}: {error}");
        assert!(error.to_string().contains("`merge_method`"));
    }
}

#[test]
fn several_documents() {
    let error = tail("---\nname: x\n");
    assert!(matches!(error, ConfigError::SeveralDocuments { .. }));
    assert_eq!(at(&error), (4, 1, "the recipe".into()));
    assert!(MergeConfig::from_yaml_str(&format!("---\n{HEAD}...\n")).is_ok());
}

#[test]
fn duplicate_key() {
    let error = error("merge_method: a\nmodels:\n  - model: a\n    parameters: {t: 1, t: 2}\n");
    assert!(matches!(&error, ConfigError::DuplicateKey { key, first: Some(4), .. } if key == "t"));
    assert_eq!(at(&error), (4, 24, "models[0].parameters.t".into()));
    let error = tail("merge_method: ties\n");
    assert_eq!(
        error.to_string(),
        "line 3, column 1: merge_method: the key `merge_method` appears twice (first on line 1); \
         remove one of them"
    );
}

#[test]
fn bad_merge_key() {
    let error = tail("parameters:\n  <<: 3\n");
    assert!(matches!(&error, ConfigError::BadMergeKey { found, .. } if found == "the number 3"));
    assert_eq!(at(&error), (4, 7, "parameters.<<".into()));
}

#[test]
fn tag() {
    let error = tail("parameters: !include other.yml\n");
    assert!(matches!(&error, ConfigError::Tag { tag, .. } if tag == "include"));
    assert_eq!(at(&error), (3, 13, "parameters".into()));
}

#[test]
fn unknown_key() {
    let error = error("merge_method: a\nmodels:\n  - model: a\n    paramters: {}\n");
    assert!(matches!(
        &error,
        ConfigError::UnknownKey { key, suggestion: Some("parameters"), .. } if key == "paramters"
    ));
    assert_eq!(at(&error), (4, 5, "models[0].paramters".into()));
    let error = tail("deterministic: true\n");
    assert_eq!(at(&error), (3, 1, "deterministic".into()));
    let message = error.to_string();
    assert!(message.contains("valid keys here: merge_method, base_model"), "{message}");
}

#[test]
fn unknown_keys_at_every_level() {
    for (text, path) in [
        ("slices: [{sources: [{model: a, layer_range: [0, 1]}], x1: 2}]", "slices[0].x1"),
        (
            "slices: [{sources: [{model: a, layer_range: [0, 1], x1: 2}]}]",
            "slices[0].sources[0].x1",
        ),
        ("modules: {m: {models: [{model: a}], x1: 2}}", "modules.m.x1"),
        ("models: [{model: {model: a, x1: 2}}]", "models[0].model.x1"),
        ("models: [{model: {path: a, x1: 2}}]", "models[0].model.x1"),
        ("models: [{model: {model: {path: a, x1: 2}}}]", "models[0].model.model.x1"),
        ("models: [{model: a}]\nparameters: {t: {value: 1, x1: 2}}", "parameters.t.x1"),
        ("models: [{model: a}]\nparameters: {t: [{value: 1, x1: 2}]}", "parameters.t[0].x1"),
        ("models: [{model: a}]\ntokenizer: {x1: 2}", "tokenizer.x1"),
        ("models: [{model: a}]\ntokenizer: {tokens: {a: {x1: 2}}}", "tokenizer.tokens.a.x1"),
        (
            "models: [{model: a}]\ntokenizer: {tokens: {a: {source: {kind: zero, x1: 2}}}}",
            "tokenizer.tokens.a.source.x1",
        ),
    ] {
        let text = format!("merge_method: m\n{text}\n");
        let error = error(&text);
        assert!(matches!(&error, ConfigError::UnknownKey { key, .. } if key == "x1"), "{error}");
        let (line, column, found) = at(&error);
        assert_eq!(found, path);
        let there: String = text.lines().nth(line - 1).unwrap().chars().skip(column - 1).collect();
        assert!(there.starts_with("x1"), "{there}");
    }
}

#[test]
fn missing_key() {
    let missing = |text: &str| match error(text) {
        ConfigError::MissingKey { place, key, .. } => {
            (place.line(), place.column(), place.path().to_string(), key)
        }
        other => panic!("{other}"),
    };
    assert_eq!(
        missing("\nmodels: [{model: a}]\n"),
        (Some(2), Some(1), "the recipe".into(), "merge_method")
    );
    assert_eq!(
        missing("merge_method: m\nslices:\n  - sources:\n      - model: a\n"),
        (Some(4), Some(9), "slices[0].sources[0]".into(), "layer_range")
    );
    assert_eq!(missing("merge_method: m\nmodels: [{parameters: {}}]\n").3, "model");
    assert_eq!(missing("merge_method: m\nslices: [{parameters: {}}]\n").3, "sources");
    assert_eq!(missing("merge_method: m\nmodels: [{model: {revision: a}}]\n").3, "path");
    assert_eq!(missing(&format!("{HEAD}parameters: {{t: {{filter: a}}}}\n")).3, "value");
    assert_eq!(
        error("models: [{model: a}]\n").to_string(),
        "line 1, column 1: `merge_method` is missing; add it, as in `merge_method: linear`"
    );
}

#[test]
fn not_exactly_one() {
    let error = tail("slices: [{sources: [{model: a, layer_range: [0, 1]}]}]\n");
    assert!(matches!(&error, ConfigError::NotExactlyOne { found, .. }
        if *found == ["models", "slices"]));
    assert_eq!(
        error.to_string(),
        "line 3, column 1: slices: exactly one of `models`, `slices` and `modules` may be given, \
         found `models` and `slices`; keep one"
    );
    let error = tail("tokenizer_source: base\ntokenizer: {}\n");
    assert_eq!(at(&error), (4, 1, "tokenizer".into()));
    let none = MergeConfig::from_yaml_str("merge_method: m\n").unwrap_err();
    assert_eq!(
        none.to_string(),
        "line 1, column 1: exactly one of `models`, `slices` and `modules` is needed, \
         found none; add one"
    );
    let source = "{kind: model_token, model: m, token: a, token_id: 1}";
    let error = tail(&format!("tokenizer: {{tokens: {{a: {{source: {source}}}}}}}\n"));
    assert!(matches!(&error, ConfigError::NotExactlyOne { keys, .. }
        if *keys == ["token", "token_id"]));
}

#[test]
fn wrong_type() {
    let error = error("merge_method: m\nmodels: a\n");
    assert!(matches!(&error, ConfigError::WrongType { found, .. } if found == "the text `a`"));
    assert_eq!(at(&error), (2, 9, "models".into()));
    for range in ["[3]", "[1, 2, 3]", "3", "{a: 1}", "[]"] {
        let text = format!(
            "merge_method: m\nslices:\n  - sources:\n      - model: a\n        layer_range: {range}\n"
        );
        let error = MergeConfig::from_yaml_str(&text).unwrap_err();
        assert!(matches!(error, ConfigError::WrongType { .. }), "{error}");
        assert_eq!(at(&error), (5, 22, "slices[0].sources[0].layer_range".into()));
    }
    for (text, path, column) in [
        ("parameters: 3", "parameters", 13),
        ("parameters: {t: [1, [2]]}", "parameters.t[1]", 21),
        ("parameters: {t: [null, 1]}", "parameters.t[0]", 18),
        ("parameters: {t: {filter: 3, value: 1}}", "parameters.t.filter", 26),
        ("base_model: 7", "base_model", 13),
        ("dtype: [a]", "dtype", 8),
        ("chat_template: 1", "chat_template", 16),
        ("tokenizer: union", "tokenizer", 12),
        ("tokenizer_source: 1", "tokenizer_source", 19),
    ] {
        let error = tail(&format!("{text}\n"));
        assert!(matches!(error, ConfigError::WrongType { .. }), "{error}");
        assert_eq!(at(&error), (3, column, path.into()));
    }
}

#[test]
fn out_of_range() {
    let error = tail("parameters: {t: [0, .inf]}\n");
    assert!(matches!(&error, ConfigError::OutOfRange { found, .. } if found == "inf"));
    assert_eq!(at(&error), (3, 21, "parameters.t[1]".into()));
    let error = tail("parameters: {t: 9007199254740993}\n");
    assert_eq!(at(&error), (3, 17, "parameters.t".into()));
    let error = tail("tokenizer: {pad_to_multiple_of: 0}\n");
    assert_eq!(at(&error), (3, 33, "tokenizer.pad_to_multiple_of".into()));
    for start in ["-1", "1.5", "1e30", "99999999999999999999999"] {
        let error = MergeConfig::from_yaml_str(&format!(
            "merge_method: m\nslices: [{{sources: [{{model: a, layer_range: [{start}, 3]}}]}}]\n"
        ))
        .unwrap_err();
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
        assert_eq!(at(&error), (2, 46, "slices[0].sources[0].layer_range[0]".into()));
    }
}

#[test]
fn empty_list() {
    let error = error("merge_method: m\nmodels: []\n");
    assert!(matches!(error, ConfigError::EmptyList { .. }));
    assert_eq!(at(&error), (2, 9, "models".into()));
    let error = tail("parameters: {t: []}\n");
    assert!(matches!(error, ConfigError::EmptyList { .. }));
    assert_eq!(at(&error), (3, 17, "parameters.t".into()));
    for text in
        ["slices: []", "slices: [{sources: []}]", "modules: {}", "modules: {a: {models: []}}"]
    {
        let error = MergeConfig::from_yaml_str(&format!("merge_method: m\n{text}\n")).unwrap_err();
        assert!(matches!(error, ConfigError::EmptyList { .. }), "{error}");
    }
}

#[test]
fn empty_layer_range() {
    for (range, start, end) in [("[3, 3]", 3, 3), ("[4, 2]", 4, 2)] {
        let error = error(&format!(
            "merge_method: m\nslices:\n  - sources:\n      - model: a\n        layer_range: {range}\n"
        ));
        assert!(matches!(&error, ConfigError::EmptyLayerRange { start: s, end: e, .. }
            if (*s, *e) == (start, end)));
        assert_eq!(at(&error), (5, 22, "slices[0].sources[0].layer_range".into()));
    }
}

#[test]
fn mixed_list() {
    let error = tail("parameters:\n  t:\n    - value: 1\n    - 0.5\n");
    assert!(matches!(error, ConfigError::MixedList { .. }));
    assert_eq!(at(&error), (6, 7, "parameters.t[1]".into()));
    let error = tail("parameters: {t: [0.5, {value: 1}]}\n");
    assert_eq!(at(&error), (3, 23, "parameters.t[1]".into()));
}

#[test]
fn unknown_dtype() {
    let error = tail("dtype: bflot16\n");
    assert!(matches!(
        &error,
        ConfigError::UnknownDtype { found, suggestion: Some("bfloat16"), .. } if found == "`bflot16`"
    ));
    assert_eq!(at(&error), (3, 8, "dtype".into()));
    let message = tail("out_dtype: int64\n").to_string();
    for name in ["bfloat16", "float16", "float32", "float64"] {
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn model_ref() {
    let error = tail("base_model: a+b+c\n");
    assert!(matches!(
        &error,
        ConfigError::ModelRef { source: ModelRefError::SeveralPlus { text }, .. } if text == "a+b+c"
    ));
    assert_eq!(at(&error), (3, 13, "base_model".into()));
}

#[test]
fn through_serde_errors_carry_the_path() {
    let error = serde_json::from_str::<MergeConfig>(
        r#"{"merge_method": "m", "models": [{"model": "a", "weight": 1}]}"#,
    )
    .unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("models[0].weight: unknown key `weight`"), "{message}");
    let error = serde_yaml::from_str::<MergeConfig>("a: 1\na: 2\n").unwrap_err();
    assert!(error.to_string().contains("the key `a` appears twice"));
}

/// Found by fuzzing: only a line feed counted as the end of a line.
#[test]
fn an_unprintable_character_is_placed_after_any_end_of_line() {
    let error = MergeConfig::from_yaml_str("a: 1\r\nb: 2\rc: 3\u{2028}d: é\u{3}").unwrap_err();
    assert!(matches!(&error, ConfigError::Syntax { .. }));
    assert_eq!(at(&error), (4, 5, "the recipe".into()));
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
        let message = MergeConfig::from_yaml_str(text).unwrap_err().to_string();
        assert!(!message.contains(char::is_control), "{message:?}");
    }
}
