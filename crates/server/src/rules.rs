//! The rules of a route: what holds for all its answers, whatever its target.

use std::sync::Arc;

use tidegate_http::{Priority, RequestHead, ResponseHead};

use crate::redirect::Redirect;
use crate::response_fields::ResponseFields;

/// The rules of a route.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The changes to the fields of its responses.
    pub fields: ResponseFields,
    /// Answers requests in cleartext.
    pub to_https: Option<Redirect>,
    /// The most bytes of a request's body. `u64::MAX`: no limit.
    pub max_body: u64,
    /// The priority of responses whose clients give none. `None`: by their type.
    pub priority: Option<Priority>,
}

/// The rules for the answer to one request.
#[derive(Clone, Debug, Default)]
pub struct Terms(Option<Ruled>);

#[derive(Clone, Debug)]
struct Ruled {
    rules: Arc<Rules>,
    /// Whether the client has the answer over TLS.
    is_secure: bool,
}

/// No rules.
pub static NO_TERMS: Terms = Terms(None);

impl Terms {
    /// Returns the terms of a route with these rules. `is_secure`: the client has the answer over
    /// TLS.
    pub fn new(rules: &Arc<Rules>, is_secure: bool) -> Self {
        Self(Some(Ruled {
            rules: Arc::clone(rules),
            is_secure,
        }))
    }

    /// Returns the redirect that answers a request in cleartext, if there is one.
    pub fn to_https(&self) -> Option<&Redirect> {
        let ruled = self.0.as_ref().filter(|ruled| !ruled.is_secure)?;
        ruled.rules.to_https.as_ref()
    }

    /// Returns the limit of a request's body.
    pub fn body_limit(&self) -> BodyLimit {
        BodyLimit(
            self.0
                .as_ref()
                .map_or(u64::MAX, |ruled| ruled.rules.max_body),
        )
    }

    /// Returns the priority of an answer whose client gives none, unless it is by its type.
    pub fn priority(&self) -> Option<Priority> {
        self.0.as_ref()?.rules.priority
    }

    /// Returns the head with changed fields, or `None` if it stays as it is.
    #[inline]
    pub fn applied_to(&self, head: &ResponseHead) -> Option<ResponseHead> {
        let Ruled { rules, is_secure } = self.0.as_ref()?;
        let is_changed = !rules.fields.is_empty();
        is_changed.then(|| rules.fields.applied_to(head, *is_secure))
    }
}

/// How many more bytes a request's body may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyLimit(u64);

impl BodyLimit {
    /// Whether the request says itself that its body is too large.
    pub fn is_exceeded_by(self, head: &RequestHead) -> bool {
        // Most routes have no limit, and the length isn't looked for then.
        self.0 != u64::MAX && head.content_length().is_some_and(|length| length > self.0)
    }

    /// Counts a piece of the body. Returns whether the body is too large now.
    pub fn count(&mut self, bytes: usize) -> bool {
        if self.0 == u64::MAX {
            return false;
        }
        let left = self.0.checked_sub(bytes as u64);
        self.0 = left.unwrap_or(0);
        left.is_none()
    }
}

impl Default for BodyLimit {
    fn default() -> Self {
        Self(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_a_limit() {
        let mut limit = BodyLimit(10);
        let head = |length: &str| {
            RequestHead::new("POST", "http", "a", "/").field("content-length", length)
        };
        assert!(!limit.is_exceeded_by(&head("10")) && limit.is_exceeded_by(&head("11")));
        assert!(!limit.is_exceeded_by(&RequestHead::new("POST", "http", "a", "/")));
        assert!(!limit.count(4) && !limit.count(6) && !limit.count(0) && limit.count(1));
        assert!(!BodyLimit::default().count(usize::MAX));
    }
}
