//! What keeps a template from exhausting the stack before it is even run.
//!
//! The template engine counts the steps and the bytes that rendering takes, and how deeply
//! statements nest. It does not count how long a chain of operators is (`not not not ...`,
//! `a.b.c...`, `elif` after `elif`), nor how deeply values nest that are wrapped again and
//! again (`{% set x = [x] %}`), though it takes each by calling itself.

/// Characters of one tag's code, where other templates have some dozens.
const MAX_TAG: usize = 500;

/// Tags with `elif`.
const MAX_ELIFS: usize = 250;

/// Brackets, pipes and products, each of which may wrap a value.
const MAX_WRAPS: usize = 1000;

/// The line, from 1, at which a template goes beyond what is safe, and why.
pub(crate) fn beyond_limits(template: &str) -> Option<(usize, &'static str)> {
    let (mut elifs, mut wraps) = (0, 0);
    let mut rest = template;
    while let Some(start) = rest.find('{') {
        let line = || 1 + template[..template.len() - rest.len() + start].matches('\n').count();
        let tag = &rest[start..];
        let end = match tag.as_bytes().get(1) {
            Some(b'#') => tag.find("#}").unwrap_or(tag.len()),
            Some(b'{' | b'%') => {
                let (code, end) = code_of(tag);
                elifs += usize::from(code.trim_start_matches('-').starts_with("elif"));
                wraps += code.matches(['[', '{', '|', '*']).count();
                if code.len() > MAX_TAG {
                    return Some((line(), "an expression is too long"));
                }
                if elifs > MAX_ELIFS {
                    return Some((line(), "there are too many `elif`s"));
                }
                if wraps > MAX_WRAPS {
                    return Some((line(), "there are too many lists, mappings and filters"));
                }
                end
            }
            _ => 1,
        };
        rest = &tag[end..];
    }
    None
}

/// The code of a tag, without white space and the content of its texts, and where the tag
/// ends. All the rest, where it does not end.
fn code_of(tag: &str) -> (String, usize) {
    let mut code = String::new();
    let mut quote = None;
    let mut escaped = false;
    let close = if tag.starts_with("{{") { "}}" } else { "%}" };
    for (at, c) in tag.char_indices().skip(2) {
        match quote {
            Some(_) if escaped => escaped = false,
            Some(_) if c == '\\' => escaped = true,
            Some(open) if c == open => quote = None,
            Some(_) => {}
            None if tag[at..].starts_with(close) => return (code, at + 2),
            None if matches!(c, '"' | '\'') => {
                quote = Some(c);
                code.push(c);
            }
            None if c.is_whitespace() => {}
            None => code.push(c),
        }
    }
    (code, tag.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_spaces_and_comments_do_not_count() {
        let text = format!("{{{{ '{}}}}}\\'' }}}}{{# {} #}}", "x".repeat(9000), "[".repeat(9000));
        assert_eq!(beyond_limits(&text), None);
        assert_eq!(beyond_limits(&"{ [ | not a tag \n".repeat(9000)), None);
        assert_eq!(beyond_limits(&"{{ a }}{% if b %}{% endif %}".repeat(9000)), None);
        assert_eq!(beyond_limits("{{ 'never closed"), None);
        assert_eq!(beyond_limits("{"), None);
    }

    #[test]
    fn what_goes_too_far_has_a_line() {
        let long = format!("a\nb\n{{{{ {}1 }}}}", "not ".repeat(200));
        assert_eq!(beyond_limits(&long), Some((3, "an expression is too long")));
        let elifs = format!("{{% if a %}}{}{{% endif %}}", "\n{%- elif a %}".repeat(251));
        assert_eq!(beyond_limits(&elifs).unwrap().0, 252);
        let lists = "{% set x = [[x]] %}\n".repeat(501);
        assert_eq!(beyond_limits(&lists).unwrap().0, 501);
    }
}
