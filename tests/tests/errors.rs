//! Every error that a crate can give has a test of its name.
//!
//! Of an error enum `IoError` with a variant `NoWeights`, that is a test `no_weights` in a
//! module `io_error`; of an error that is a struct, a test of the struct's name. It must
//! stand in the `tests` folder of a crate, of the enum's own or of one that uses it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mergecore_tests::project_root;
use syn::{Attribute, Item, Type};

/// `.rs` files in a folder and those below.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

fn items(path: &Path) -> Vec<Item> {
    let text = std::fs::read_to_string(path).unwrap();
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())).items
}

/// `NotUtf8` as `not_utf8`, `DTypesDiffer` as `d_types_differ`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}

fn has(attributes: &[Attribute], name: &str) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident(name))
}

/// Whether `thiserror` derives it.
fn is_derived(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("derive")).any(|attribute| {
        let mut derived = false;
        attribute
            .parse_nested_meta(|meta| {
                derived |= meta.path.segments.last().is_some_and(|last| last.ident == "Error");
                Ok(())
            })
            .unwrap();
        derived
    })
}

/// The names of types with an `impl Error`.
fn implemented(items: &[Item]) -> Vec<String> {
    let name = |item: &Item| {
        let Item::Impl(item) = item else { return None };
        let (of, _) = item.trait_.as_ref()?;
        let Type::Path(path) = &*item.self_ty else { return None };
        let is_error = of.segments.last()?.ident == "Error";
        is_error.then(|| path.path.segments.last().unwrap().ident.to_string())
    };
    items.iter().filter_map(name).collect()
}

/// What needs a test: as `module::test`, or `test` for a struct.
fn errors(dir: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for path in sources(dir) {
        let items = items(&path);
        let by_hand = implemented(&items);
        for item in &items {
            match item {
                Item::Enum(item)
                    if is_derived(&item.attrs) || by_hand.contains(&item.ident.to_string()) =>
                {
                    let module = snake_case(&item.ident.to_string());
                    let variants = item.variants.iter();
                    names.extend(variants.map(|variant| {
                        format!("{module}::{}", snake_case(&variant.ident.to_string()))
                    }));
                }
                Item::Struct(item)
                    if is_derived(&item.attrs) || by_hand.contains(&item.ident.to_string()) =>
                {
                    names.push(snake_case(&item.ident.to_string()));
                }
                _ => {}
            }
        }
    }
    names
}

/// Adds the tests among items, with and without the innermost module's name.
fn add_tests(items: &[Item], module: &str, tests: &mut BTreeSet<String>) {
    for item in items {
        match item {
            Item::Fn(item) if has(&item.attrs, "test") => {
                tests.insert(format!("{module}::{}", item.sig.ident));
                tests.insert(item.sig.ident.to_string());
            }
            Item::Mod(item) => {
                let items = item.content.as_ref().map(|(_, items)| &items[..]);
                add_tests(items.unwrap_or_default(), &item.ident.to_string(), tests);
            }
            _ => {}
        }
    }
}

#[test]
fn every_error_has_a_test_of_its_name() {
    let (mut needed, mut tests) = (Vec::new(), BTreeSet::new());
    for entry in std::fs::read_dir(project_root().join("crates")).unwrap() {
        let dir = entry.unwrap().path();
        needed.extend(errors(&dir.join("src")));
        for path in sources(&dir.join("tests")) {
            let module = path.file_stem().unwrap().to_string_lossy();
            add_tests(&items(&path), &module, &mut tests);
        }
    }
    assert!(needed.len() > 100, "most errors are not found: {needed:?}");
    needed.retain(|name| !tests.contains(name));
    assert!(needed.is_empty(), "without a test of their name: {needed:#?}");
}
