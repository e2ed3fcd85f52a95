//! What methods say of themselves, for people.

use std::fmt::Write;

use mergecore_kernel::{Base, DefaultValue, Inputs, Method, Parameter, Scope};

use crate::Registry;

/// How many models a method takes, in words.
///
/// ```
/// use mergecore_engine::describe_inputs;
/// use mergecore_kernel::{Base, Inputs};
///
/// let inputs = Inputs { base: Base::Required, models: 2..=usize::MAX };
/// assert_eq!(describe_inputs(&inputs), "the base model and at least 2 models besides");
/// ```
pub fn describe_inputs(inputs: &Inputs) -> String {
    let models = |n: usize| if n == 1 { "one model".to_owned() } else { format!("{n} models") };
    let (least, most) = (*inputs.models.start(), *inputs.models.end());
    let others = match (least, most) {
        (least, most) if least == most => format!("exactly {}", models(least)),
        (least, usize::MAX) => format!("at least {}", models(least)),
        (least, most) => format!("{least} to {}", models(most)),
    };
    match inputs.base {
        Base::None => others,
        Base::Optional => format!("{others}, besides a base model where one is named"),
        Base::Required => format!("the base model and {others} besides"),
    }
}

/// A parameter's default, as a recipe would say it, or `required` or `unset`.
///
/// ```
/// use mergecore_engine::describe_default;
/// use mergecore_kernel::Parameter;
///
/// assert_eq!(describe_default(&Parameter::DENSITY), "1");
/// assert_eq!(describe_default(&Parameter::WEIGHT), "required");
/// ```
pub fn describe_default(parameter: &Parameter) -> String {
    match parameter.default {
        DefaultValue::Required => "required".to_owned(),
        DefaultValue::Unset => "unset".to_owned(),
        DefaultValue::Number(number) => match number != 0.0 && number.abs() < 1e-3 {
            true => format!("{number:e}"),
            false => number.to_string(),
        },
        DefaultValue::Flag(flag) => flag.to_string(),
        DefaultValue::Text(text) => text.to_owned(),
    }
}

/// Whether each model has its own value, in words.
///
/// ```
/// use mergecore_engine::describe_scope;
/// use mergecore_kernel::Parameter;
///
/// assert_eq!(describe_scope(&Parameter::WEIGHT), "per model");
/// ```
pub fn describe_scope(parameter: &Parameter) -> &'static str {
    match parameter.scope {
        Scope::Shared => "shared",
        Scope::PerModel => "per model",
    }
}

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
            let inputs = describe_inputs(&method.inputs());
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
    let (title, inputs) = (method.title(), describe_inputs(&method.inputs()));
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
                parameter.name,
                describe_scope(parameter),
                parameter.kind,
                describe_default(parameter),
                parameter.help
            ),
        );
    }
}
