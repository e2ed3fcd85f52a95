//! One test for each thing that can go wrong, named for it: what leads there, and what the
//! text says.

#[path = "errors/header_error.rs"]
mod header_error;
#[path = "errors/index_error.rs"]
mod index_error;
#[path = "errors/io_error.rs"]
mod io_error;
mod support;

/// The text of an error must be one paragraph that holds all of these.
#[track_caller]
fn says(error: &impl std::error::Error, parts: &[&str]) {
    let text = error.to_string();
    assert!(!text.contains('\n'), "{text}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
}
