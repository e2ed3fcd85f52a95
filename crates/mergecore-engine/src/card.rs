//! README.md: a plain model card.

use std::fmt::Write;

use crate::plan::MergePlan;

pub(crate) fn render(plan: &MergePlan) -> String {
    let mut card = String::from("---\nbase_model:\n");
    for model in &plan.models {
        // A JSON string is a YAML string whatever the name holds.
        let _ = writeln!(card, "- {}", serde_json::Value::from(model.name()));
    }
    card.push_str(
        "library_name: transformers\ntags:\n- mergecore\n- merge\n---\n\n# Merged model\n\n",
    );
    let _ = write!(
        card,
        "A merge of pre-trained language models made with mergecore {}",
        env!("CARGO_PKG_VERSION")
    );
    let title = &plan.title;
    let _ = match &plan.source {
        Some(source) => writeln!(card, ", by the method [{title}]({source})."),
        None => writeln!(card, ", by the method {title}."),
    };
    card.push_str("\nModels:\n\n");
    for (index, model) in plan.models.iter().enumerate() {
        let base = if plan.base == Some(index) { " (base)" } else { "" };
        let _ = writeln!(card, "* `{}`{base}", model.name());
    }
    // A fence longer than any run of backticks in the recipe.
    let longest = plan.recipe.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let _ = write!(card, "\nThe recipe:\n\n{fence}yaml\n{}\n{fence}\n", plan.recipe.trim_end());
    card
}
