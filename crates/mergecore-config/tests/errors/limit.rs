//! [`Limit`]: what keeps reading a recipe bounded.

use mergecore_config::{ConfigError, Limit};

use crate::{error, says};

/// The text must go beyond the limit, and the error say so.
#[track_caller]
fn exceeds(limit: Limit, text: &str, parts: &[&str]) {
    let error = error(text);
    assert!(matches!(&error, ConfigError::TooLarge { limit: l, .. } if *l == limit), "{error}");
    says(&error, parts);
    says(&error, &[&limit.to_string(), "a recipe is far smaller"]);
}

#[test]
fn file() {
    exceeds(Limit::File, &" ".repeat((1 << 20) + 1), &["larger than 1 MiB"]);
}

#[test]
fn depth() {
    let parts = ["line 1, column", "more than 64 levels deep", "an alias contains itself"];
    exceeds(Limit::Depth, &"[".repeat(10_000), &parts);
    exceeds(Limit::Depth, &"{a: ".repeat(10_000), &parts);
    exceeds(Limit::Depth, "a: &a [*a, *a]", &parts);
}

#[test]
fn brackets() {
    exceeds(Limit::Brackets, &"{a: ".repeat(250_000), &["line 1, column"]);
}

#[test]
fn nodes() {
    exceeds(Limit::Nodes, &format!("[{}]", "1,".repeat(300_000)), &["more than 200,000 values"]);
}

#[test]
fn text() {
    let long = format!("- &a {}\n", "x".repeat(1 << 19)) + &"- *a\n".repeat(40);
    exceeds(Limit::Text, &long, &["16 MiB of text once aliases are written out"]);
}

#[test]
fn aliases() {
    let mut bomb = String::from("a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for i in 1..10 {
        let alias = format!("*a{}", i - 1);
        bomb += &format!("a{i}: &a{i} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    exceeds(Limit::Aliases, &bomb, &["aliases repeat one another too often"]);
}
