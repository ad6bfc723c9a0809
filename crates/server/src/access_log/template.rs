//! Templates of lines, such as `$remote_addr "$request" $status`, parsed once.

use super::fields::Field;
use crate::settings::scope::alike;

/// The longest template, in bytes.
const LONGEST: usize = 4096;

/// The prefix of names that are fields of the request: `$http_accept_language`.
const OF_REQUEST: &str = "http_";

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Text that stands for itself.
    Text(Box<str>),
    /// A field of the table.
    Field(Field),
    /// A field of the request, by its name in lower case.
    RequestField(Box<str>),
    /// The client's address with its port.
    Client,
    /// The duration, in a unit that fits it.
    Took,
    /// ` pushed` for a push, ` upstream=ADDR` if an upstream has answered.
    Origin,
}

/// Parses a template.
///
/// # Errors
/// A sentence about the first mistake.
pub(super) fn parse(template: &str) -> Result<Vec<Part>, String> {
    if template.len() > LONGEST {
        return Err(format!("a template has {LONGEST} bytes at most"));
    }
    if let Some(control) = template.chars().find(|c| c.is_control() && *c != '\t') {
        return Err(format!("{control:?} would break the line: leave it out"));
    }
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        text.push_str(before);
        let (name, after) = name(after)?;
        rest = after;
        let Some(name) = name else {
            text.push('$');
            continue;
        };
        if !text.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut text).into()));
        }
        parts.push(part(name)?);
    }
    text.push_str(rest);
    if !text.is_empty() {
        parts.push(Part::Text(text.into()));
    }
    Ok(parts)
}

/// Splits off the name at the front of what follows a `$`. `None` stands for a second `$`.
fn name(rest: &str) -> Result<(Option<&str>, &str), String> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(after) = rest.strip_prefix('$') {
        return Ok((None, after));
    }
    if let Some(braced) = rest.strip_prefix('{') {
        let Some((name, after)) = braced.split_once('}') else {
            return Err("a ${ has no }: write ${status}".into());
        };
        return Ok((Some(name), after));
    }
    let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
    if end == 0 {
        return Err("a $ has no name after it: write $status, or $$ for a $".into());
    }
    Ok((Some(&rest[..end]), &rest[end..]))
}

fn part(name: &str) -> Result<Part, String> {
    if let Some(field) = Field::named(name) {
        return Ok(Part::Field(field));
    }
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if let Some(header) = name.strip_prefix(OF_REQUEST)
        && !header.is_empty()
        && header.chars().all(is_of_name)
    {
        let header = header.to_ascii_lowercase().replace('_', "-");
        if tidegate_trace::is_credential(header.as_bytes()) {
            return Err(format!("${name} is a credential, which no line has"));
        }
        return Ok(Part::RequestField(header.into()));
    }
    let names = Field::ALL.iter().map(|field| field.name());
    Err(match alike(name, names) {
        Some(other) => format!("there is no field ${name}: did you mean ${other}?"),
        None => format!("there is no field ${name}: docs/logs.md lists all"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_a_list_of_parts() {
        let text = |text: &str| Part::Text(text.into());
        let field = Part::Field;
        for (template, parts) in [
            ("$status", vec![field(Field::Status)]),
            (
                "[$status]",
                vec![text("["), field(Field::Status), text("]")],
            ),
            (
                "${status}s\t$$1 $remote_addr$request",
                vec![
                    field(Field::Status),
                    text("s\t$1 "),
                    field(Field::RemoteAddr),
                    field(Field::Request),
                ],
            ),
            ("$http_X_Thing", vec![Part::RequestField("x-thing".into())]),
            ("$http_referer", vec![field(Field::HttpReferer)]),
            ("ä $$", vec![text("ä $")]),
        ] {
            assert_eq!(parse(template), Ok(parts), "{template}");
        }
    }

    #[test]
    fn mistakes_are_sentences() {
        for (template, problem) in [
            (
                "$statsu",
                "there is no field $statsu: did you mean $status?",
            ),
            ("$xyzzy", "there is no field $xyzzy: docs/logs.md lists all"),
            (
                "a $ b",
                "a $ has no name after it: write $status, or $$ for a $",
            ),
            (
                "a $",
                "a $ has no name after it: write $status, or $$ for a $",
            ),
            ("${status", "a ${ has no }: write ${status}"),
            ("$status\n", "'\\n' would break the line: leave it out"),
            ("$http_", "there is no field $http_: docs/logs.md lists all"),
            (
                "$http_cookie",
                "$http_cookie is a credential, which no line has",
            ),
            (
                "$http_x_api_key",
                "$http_x_api_key is a credential, which no line has",
            ),
            (
                "$http_Authorization",
                "$http_Authorization is a credential, which no line has",
            ),
        ] {
            assert_eq!(parse(template), Err(problem.to_owned()), "{template}");
        }
        assert!(parse(&"x".repeat(LONGEST + 1)).is_err());
    }

    #[test]
    fn every_field_can_be_in_a_template() {
        for field in Field::ALL {
            let parsed = parse(&format!("${}", field.name()));
            assert_eq!(parsed, Ok(vec![Part::Field(*field)]));
        }
    }
}
