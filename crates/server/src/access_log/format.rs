//! The formats of lines.

use std::sync::Arc;

use super::fields::{Field, Needs};
use super::template::{self, Part};
use crate::settings::scope::alike;

/// The Combined Log Format, followed by the duration in seconds and the origin.
const COMBINED: &str = "$remote_addr - - [$time_local] \"$request\" $status $body_bytes_sent \
                        \"$http_referer\" \"$http_user_agent\" $request_time";

/// The kind of text in a log's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text.
    Text,
    /// An object for each line.
    Json,
}

/// The format of a log's lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// The parts of a line; of JSON, the fields.
    pub(super) parts: Vec<Part>,
    /// The kind of text.
    pub(super) style: Style,
    needs: Needs,
}

/// The part of a log that its entries know. Each log has one of its own.
pub(super) struct Shape {
    pub(super) format: Arc<Format>,
}

impl Format {
    fn new(parts: Vec<Part>, style: Style) -> Self {
        let mut needs = Needs::default();
        for part in &parts {
            let need = match part {
                Part::Field(field) => field.need(),
                Part::Client => Field::RemoteAddr.need(),
                _ => None,
            };
            needs = need.map_or(needs, |need| needs.with(need));
        }
        Self {
            parts,
            style,
            needs,
        }
    }

    /// Returns the Combined Log Format.
    pub fn combined() -> Self {
        let mut parts = template::parse(COMBINED).unwrap_or_default();
        debug_assert!(!parts.is_empty(), "the template is valid");
        parts.push(Part::Origin);
        Self::new(parts, Style::Text)
    }

    /// Returns the format of lines in the log, which has the time itself.
    pub fn short() -> Self {
        let text = |text: &str| Part::Text(text.into());
        let parts = vec![
            Part::Client,
            text(" \""),
            Part::Field(Field::Request),
            text("\" "),
            Part::Field(Field::Status),
            text(" "),
            Part::Field(Field::BodyBytesSent),
            text(" "),
            Part::Took,
            text(" \""),
            Part::Field(Field::HttpUserAgent),
            text("\""),
            Part::Origin,
        ];
        Self::new(parts, Style::Text)
    }

    /// Returns the format of JSON objects.
    pub fn json() -> Self {
        let fields = Field::ALL.iter().filter(|field| !field.key().is_empty());
        Self::new(fields.copied().map(Part::Field).collect(), Style::Json)
    }

    /// Reads the value of `--access-log-format`: a name or a template.
    ///
    /// # Errors
    /// A sentence about the first mistake.
    pub fn parse(typed: &str) -> Result<Arc<Self>, String> {
        let format = match typed {
            "combined" => Self::combined(),
            "json" => Self::json(),
            _ if typed.contains('$') => Self::new(template::parse(typed)?, Style::Text),
            _ => {
                let named = alike(typed, ["combined", "json"].into_iter());
                return Err(match named {
                    Some(name) => format!("did you mean {name}?"),
                    None => "expected combined, json, or a template such as \
                             '$remote_addr \"$request\" $status'"
                        .into(),
                });
            }
        };
        Ok(Arc::new(format))
    }

    /// Returns the kind of text.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Returns what must be gathered for a line.
    pub fn needs(&self) -> Needs {
        self.needs
    }
}

#[cfg(test)]
mod tests {
    use super::super::fields::Need;
    use super::*;

    #[test]
    fn only_what_a_format_has_is_gathered() {
        let combined = Format::parse("combined").unwrap();
        assert_eq!(combined.needs(), Needs::default().with(Need::Client));
        assert_eq!(Format::short().needs(), combined.needs());
        let json = Format::parse("json").unwrap();
        for field in Field::ALL {
            assert!(
                field.need().is_none_or(|need| json.needs().has(need)),
                "{field:?}"
            );
        }
        let template = Format::parse("$status $ssl_cipher").unwrap();
        assert_eq!(template.needs(), Needs::default().with(Need::Tls));
    }

    #[test]
    fn mistakes_are_sentences() {
        assert_eq!(Format::parse("jsn").unwrap_err(), "did you mean json?");
        assert!(
            Format::parse("x")
                .unwrap_err()
                .starts_with("expected combined, json,")
        );
    }
}
