//! What methods say of themselves, for people.

use std::fmt::Write;

use mergecore_kernel::Method;

use crate::Registry;

impl Registry {
    /// A page of Markdown about all methods: what each does, what it takes, its parameters.
    ///
    /// ```
    /// # use mergecore_engine::Registry;
    /// # mod example { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/src/doc_example.rs")); }
    /// let mut registry = Registry::new();
    /// registry.register(example::Mean);
    /// assert!(registry.to_markdown().contains("## `mean`"));
    /// ```
    pub fn to_markdown(&self) -> String {
        let mut page = String::from("| method | what it does | inputs |\n|---|---|---|\n");
        for method in self.methods() {
            let (name, summary) = (method.name(), method.summary());
            let inputs = method.inputs();
            line(&mut page, format_args!("| [`{name}`](#{name}) | {summary} | {inputs} |"));
        }
        for method in self.methods() {
            section(&mut page, method);
        }
        page
    }
}

fn line(page: &mut String, text: std::fmt::Arguments<'_>) {
    writeln!(page, "{text}").expect("a text takes whatever is written to it");
}

fn section(page: &mut String, method: &dyn Method) {
    line(page, format_args!("\n## `{}`\n", method.name()));
    let summary = method.summary();
    let dot = if summary.is_empty() { "" } else { ". " };
    let source = method.source().map(|source| format!(" Source: <{source}>."));
    let (title, inputs) = (method.title(), method.inputs());
    line(
        page,
        format_args!("{title}. {summary}{dot}Takes {inputs}.{}", source.unwrap_or_default()),
    );
    if method.parameters().is_empty() {
        line(page, format_args!("\nIt has no parameters."));
        return;
    }
    line(page, format_args!("\n| parameter | scope | value | default | |\n|---|---|---|---|---|"));
    for parameter in method.parameters() {
        line(
            page,
            format_args!(
                "| `{}` | {} | {} | {} | {} |",
                parameter.name, parameter.scope, parameter.kind, parameter.default, parameter.help
            ),
        );
    }
}
