//! What the command says: results on stdout, messages on stderr.
//!
//! On a terminal messages are coloured and wrapped; elsewhere, as in a log file, each is
//! one plain line.

use std::fmt::Display;
use std::io::{ErrorKind, IsTerminal, Write};

use anstyle::{AnsiColor, Style};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();

/// Narrower than this, wrapping makes things worse.
const NARROWEST: usize = 40;

/// Prints an error.
pub(crate) fn error(text: impl Display) {
    message("error", ERROR, &text.to_string());
}

/// Prints something the user should know.
pub(crate) fn note(text: impl Display) {
    message("note", NOTE, &text.to_string());
}

/// Prints a line for people that is no result.
pub(crate) fn say(text: impl Display) {
    let _ = writeln!(anstream::stderr(), "{text}");
}

/// Prints a result. Whoever reads it may stop reading, as `head` does.
pub(crate) fn result(text: impl Display) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// The text without control characters, which would reach the terminal and break lines:
/// names of tensors, files and tokens are other people's.
pub(crate) fn plain(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

fn message(kind: &str, style: Style, text: &str) {
    let text = layout(&format!("{kind}: "), &plain(text), width());
    let (label, rest) = text.split_at(kind.len());
    // Strips the colours where stderr is no terminal.
    let _ = writeln!(anstream::stderr(), "{style}{label}{style:#}{rest}");
}

/// The width to wrap at, if stderr is a terminal.
fn width() -> Option<usize> {
    let stderr = std::io::stderr();
    let size = stderr.is_terminal().then(|| terminal_size::terminal_size_of(&stderr))??;
    Some(usize::from(size.0.0)).filter(|width| *width >= NARROWEST)
}

/// The message behind its label, wrapped to a width, further lines indented.
fn layout(label: &str, text: &str, width: Option<usize>) -> String {
    let text = format!("{label}{text}");
    match width {
        None => text,
        Some(width) => {
            let options = textwrap::Options::new(width).subsequent_indent("  ").break_words(false);
            textwrap::fill(&text, options)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::layout;

    #[test]
    fn a_log_gets_one_line_and_a_terminal_short_ones() {
        let text = "recipe.yml:5:12: models[1].model: there is no directory org/name; check it";
        assert_eq!(layout("error: ", text, None), format!("error: {text}"));
        let wrapped = layout("error: ", text, Some(40));
        let lines: Vec<&str> = wrapped.lines().collect();
        assert_eq!(lines[0], "error: recipe.yml:5:12: models[1].model:");
        assert!(lines.len() == 3 && lines[1..].iter().all(|line| line.starts_with("  ")));
        assert!(lines.iter().all(|line| line.len() <= 40), "{wrapped}");
        let path = "x".repeat(60);
        assert!(layout("error: ", &path, Some(40)).contains(&path));
    }
}
