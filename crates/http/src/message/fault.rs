//! The first fault of a head that was built.

use tidegate_hpack::Fields;

use crate::error::Violation;

/// A fault as the head keeps it: builders report none until the head is used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fault {
    violation: Violation,
    /// The field's place in the list; `None` if the fault is one of the pseudo-fields together.
    place: Option<u16>,
}

impl Fault {
    /// A fault of the head as a whole.
    pub(super) fn of_head(violation: Violation) -> Self {
        Self {
            violation,
            place: None,
        }
    }

    /// A fault of the field that is at `place`.
    pub(super) fn of_field(violation: Violation, place: usize) -> Self {
        Self {
            violation,
            place: u16::try_from(place).ok(),
        }
    }

    #[cold]
    pub(super) fn explain(self, fields: &Fields) -> InvalidHead {
        let field = self.place.and_then(|place| fields.iter().nth(place.into()));
        InvalidHead {
            field: field.map(|field| String::from_utf8_lossy(field.name).into_owned()),
            violation: self.violation,
        }
    }
}

/// The first thing in a head that HTTP/2 forbids, which includes what HTTP/1.1 forbids.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct InvalidHead {
    /// The name of the field; `None` if pseudo-fields or the status are wrong, as `violation` says.
    pub field: Option<String>,
    /// The rule that the head breaks.
    pub violation: Violation,
}

impl std::fmt::Display for InvalidHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.field {
            Some(name) => write!(f, "field {name:?}: {}", self.violation),
            None => self.violation.fmt(f),
        }
    }
}

impl std::error::Error for InvalidHead {}
