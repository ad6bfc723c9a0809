//! Changes to the fields of responses, as `--response-field` has them.

use tidegate_http::{Field, KnownName, ResponseHead};

/// A change, as typed: `set NAME: VALUE`, `append NAME: VALUE` or `remove NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    action: Action,
    /// In lower case.
    name: Box<str>,
    /// Empty for a field that is removed.
    value: Box<str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// The field has this value alone.
    Set,
    /// The field has this value, too.
    Append,
    /// There is no such field.
    Remove,
}

/// The responses that a change is for, by the name of its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Always,
    /// RFC 6797 §7.2: "An HSTS Host MUST NOT include the STS header field in HTTP responses
    /// conveyed over non-secure transport."
    Secure,
    /// Not with an error, which a cache would keep for as long as what was wanted.
    NoError,
}

impl When {
    fn of(name: &str) -> Self {
        match name {
            "strict-transport-security" => Self::Secure,
            "cache-control" | "cdn-cache-control" | "expires" => Self::NoError,
            _ => Self::Always,
        }
    }

    fn holds(self, status: u16, is_secure: bool) -> bool {
        match self {
            Self::Always => true,
            Self::Secure => is_secure,
            Self::NoError => status < 400,
        }
    }
}

impl Change {
    /// Reads a change.
    ///
    /// # Errors
    /// A sentence that says what is wrong with it.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let (action, rest) = typed.split_once(' ').unwrap_or((typed, ""));
        let action = match action {
            "set" => Action::Set,
            "append" => Action::Append,
            "remove" => Action::Remove,
            _ => {
                return Err(
                    "expected \"set NAME: VALUE\", \"append NAME: VALUE\" or \"remove NAME\""
                        .into(),
                );
            }
        };
        let (name, value) = match (action, rest.split_once(':')) {
            (Action::Remove, None) => (rest, ""),
            (Action::Remove, Some(_)) => {
                return Err("write the name alone: all fields of that name are removed".into());
            }
            (_, Some((name, value))) => (name, value),
            (_, None) => return Err("a colon is missing: write NAME: VALUE".into()),
        };
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        check_name(&name)?;
        if action != Action::Remove {
            check_value(&name, value)?;
        }
        Ok(Self {
            action,
            name: name.into(),
            value: value.into(),
        })
    }
}

/// Checks the name of a field that may be changed, in lower case.
fn check_name(name: &str) -> Result<(), String> {
    // RFC 9110 §5.6.2.
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.is_empty() || !name.bytes().all(is_fit) {
        return Err("expected the name of a field, such as X-Frame-Options".into());
    }
    let why = match name {
        "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade"
        | "te" | "trailer" | "http2-settings" => {
            "is about one connection, which the server itself frames"
        }
        "content-length" | "content-range" => {
            "is about the content, which the server itself counts"
        }
        "date" => "is the time of the response, which the server itself writes",
        "priority" => "is about the order of sending: use --default-priority",
        _ => return Ok(()),
    };
    Err(format!("{name} can't be changed, because it {why}"))
}

fn check_value(name: &str, value: &str) -> Result<(), String> {
    if value.is_empty() {
        return Err(format!(
            "{name} has no value: write \"remove {name}\" for none"
        ));
    }
    if ResponseHead::new(200).field(name, value).is_invalid() {
        return Err(format!(
            "{name} can't have this value: leave out line breaks and other controls"
        ));
    }
    // RFC 6797 §6.1.1: "The REQUIRED "max-age" directive".
    if name == "strict-transport-security" && !value.to_ascii_lowercase().contains("max-age=") {
        return Err(
            "strict-transport-security needs a time in seconds, as in max-age=31536000".into(),
        );
    }
    Ok(())
}

/// The changes to the fields of a route's responses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResponseFields {
    /// The names of fields that are removed first.
    removed: Vec<(Box<str>, When)>,
    /// Names and values of the fields that are added then.
    added: Vec<(Box<str>, Box<str>, When)>,
}

impl ResponseFields {
    /// Returns the sum of changes that are made one after the other.
    pub fn new(changes: &[Change]) -> Self {
        let mut sum = Self::default();
        for Change {
            action,
            name,
            value,
        } in changes
        {
            let when = When::of(name);
            if *action != Action::Append {
                sum.added.retain(|(other, ..)| other != name);
                if !sum.removed.iter().any(|(other, _)| other == name) {
                    sum.removed.push((name.clone(), when));
                }
            }
            if *action != Action::Remove {
                sum.added.push((name.clone(), value.clone(), when));
            }
        }
        sum
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty()
    }

    /// Returns the head with the changes. `is_secure`: the client has it over TLS.
    pub fn applied_to(&self, head: &ResponseHead, is_secure: bool) -> ResponseHead {
        let status = head.status();
        let mut changed = ResponseHead::new(status);
        for field in head.headers() {
            let mut removed = self.removed.iter();
            let is_removed = removed
                .any(|(name, when)| name.as_bytes() == field.name && when.holds(status, is_secure));
            if !is_removed {
                changed.push_field(field);
            }
        }
        for (name, value, when) in &self.added {
            if when.holds(status, is_secure) {
                changed.push_field(Field {
                    known: KnownName::of(name.as_bytes()),
                    name: name.as_bytes(),
                    value: value.as_bytes(),
                    never_indexed: false,
                });
            }
        }
        changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(changes: &[&str], status: u16, is_secure: bool) -> Vec<String> {
        let changes: Vec<_> = changes
            .iter()
            .map(|typed| Change::parse(typed).unwrap_or_else(|error| panic!("{typed}: {error}")))
            .collect();
        let head = ResponseHead::new(status)
            .field("server", "tidegate")
            .field("content-length", "5")
            .field("vary", "accept");
        let changed = ResponseFields::new(&changes).applied_to(&head, is_secure);
        assert_eq!(changed.content_length(), Some(5));
        changed.validate().unwrap();
        let fields = changed.headers().map(|field| {
            let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
            format!("{}: {}", text(field.name), text(field.value))
        });
        fields
            .filter(|field| field != "content-length: 5")
            .collect()
    }

    #[test]
    fn changes_are_made_one_after_the_other() {
        for (changes, fields) in [
            (&[][..], &["server: tidegate", "vary: accept"][..]),
            (&["remove Server"], &["vary: accept"]),
            (&["set Server:  x y "], &["vary: accept", "server: x y"]),
            (
                &["append vary: origin"],
                &["server: tidegate", "vary: accept", "vary: origin"],
            ),
            (
                &["append vary: origin", "set vary: *", "append vary: a: b"],
                &["server: tidegate", "vary: *", "vary: a: b"],
            ),
            (
                &["set x-a: 1", "remove x-a", "remove vary"],
                &["server: tidegate"],
            ),
        ] {
            assert_eq!(applied(changes, 200, false), fields, "{changes:?}");
        }
    }

    #[test]
    fn some_fields_are_for_some_responses() {
        let changes = [
            "set cache-control: max-age=60",
            "set strict-transport-security: max-age=60",
            "remove vary",
            "remove server",
        ];
        let (cached, hsts) = (
            "cache-control: max-age=60",
            "strict-transport-security: max-age=60",
        );
        for (status, is_secure, fields) in [
            (200, true, &[cached, hsts][..]),
            (304, false, &[cached]),
            (404, true, &[hsts]),
            (503, false, &[]),
        ] {
            assert_eq!(applied(&changes, status, is_secure), fields, "{status}");
        }
    }

    #[test]
    fn mistakes_are_sentences() {
        for (typed, says) in [
            ("", "expected \"set NAME: VALUE\""),
            ("x-a: 1", "expected \"set NAME: VALUE\""),
            ("set x-a", "a colon is missing"),
            ("set : 1", "expected the name of a field"),
            ("set x a: 1", "expected the name of a field"),
            ("set :status: 200", "expected the name of a field"),
            (
                "set x-a:",
                "x-a has no value: write \"remove x-a\" for none",
            ),
            ("set x-a: a\r\nb: c", "leave out line breaks"),
            ("remove x-a: 1", "write the name alone"),
            ("set Connection: close", "connection can't be changed"),
            (
                "remove transfer-encoding",
                "transfer-encoding can't be changed",
            ),
            ("append trailer: x", "because it is about one connection"),
            ("set content-length: 5", "because it is about the content"),
            ("remove date", "because it is the time of the response"),
            ("set priority: u=1", "use --default-priority"),
            (
                "set Strict-Transport-Security: preload",
                "as in max-age=31536000",
            ),
        ] {
            let error = Change::parse(typed).expect_err(typed);
            assert!(error.contains(says), "{typed}: {error}");
        }
    }
}
