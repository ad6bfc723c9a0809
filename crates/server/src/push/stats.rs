//! Counters of hints and pushes.

use std::fmt;

/// Why a listed resource of a page wasn't pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The client's SETTINGS_ENABLE_PUSH is 0.
    Disabled,
    /// The request was conditional or for a part, so the client has the page and what it needs.
    Conditional,
    /// The resource was pushed or requested on this connection before.
    Repeated,
    /// The connection's diary is full.
    DiaryFull,
    /// The page, or the connection, has as many pushes as are allowed.
    Cap,
    /// The client's SETTINGS_MAX_CONCURRENT_STREAMS, or stream identifiers, are used up.
    StreamLimit,
    /// This view of the page is observed, to learn what clients request.
    Observed,
    /// Too few clients that got the page request the resource, or too many cancel its push.
    Unlikely,
    /// The connection is ending.
    GoingAway,
    /// The promise can't be made: the request names no authority, or the client takes no head of
    /// this size.
    Unpromisable,
}

impl Refusal {
    /// All reasons.
    pub const ALL: [Self; 10] = [
        Self::Disabled,
        Self::Conditional,
        Self::Repeated,
        Self::DiaryFull,
        Self::Cap,
        Self::StreamLimit,
        Self::Observed,
        Self::Unlikely,
        Self::GoingAway,
        Self::Unpromisable,
    ];

    /// Returns a word or two for statistics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Conditional => "conditional",
            Self::Repeated => "repeated",
            Self::DiaryFull => "diary full",
            Self::Cap => "cap",
            Self::StreamLimit => "stream limit",
            Self::Observed => "observed",
            Self::Unlikely => "unlikely",
            Self::GoingAway => "going away",
            Self::Unpromisable => "unpromisable",
        }
    }
}

/// Formats the reason for the end of a log line.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Disabled => "the client takes no pushes",
            Self::Conditional => "the client has the page already",
            Self::Repeated => "the client has it from this connection",
            Self::DiaryFull => "the connection's diary is full",
            Self::Cap => "enough is being pushed",
            Self::StreamLimit => "the client takes no more streams",
            Self::Observed => "this view is observed, to learn what clients request",
            Self::Unlikely => "too few clients want it",
            Self::GoingAway => "the connection is ending",
            Self::Unpromisable => "the promise can't be made",
        })
    }
}

/// Counters of resources. Each resource counts for every view of a page that needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Named in a 103 response.
    pub hinted: u64,
    /// Promised by PUSH_PROMISE.
    pub pushed: u64,
    /// Promised, and then reset by the client.
    pub cancelled: u64,
    /// Not promised.
    pub not_pushed: NotPushed,
}

impl Stats {
    pub(crate) fn add(&mut self, other: &Self) {
        let Self {
            hinted,
            pushed,
            cancelled,
            not_pushed,
        } = other;
        self.hinted += hinted;
        self.pushed += pushed;
        self.cancelled += cancelled;
        self.not_pushed.add(not_pushed);
    }
}

/// Counters of resources that weren't pushed, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NotPushed([u64; Refusal::ALL.len()]);

impl NotPushed {
    /// Returns the number of resources that weren't pushed for this reason.
    pub fn by(&self, why: Refusal) -> u64 {
        self.0[why as usize]
    }

    /// Returns the number for all reasons together.
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    pub(crate) fn count(&mut self, why: Refusal) {
        self.0[why as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, count) in self.0.iter_mut().zip(other.0) {
            *sum += count;
        }
    }
}

/// Formats the counters as in `4 refused (3 disabled, 1 repeated)`.
impl fmt::Display for NotPushed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sum = self.sum();
        write!(f, "{sum} refused")?;
        let mut before = " (";
        for why in Refusal::ALL {
            let count = self.by(why);
            if count > 0 {
                write!(f, "{before}{count} {}", why.label())?;
                before = ", ";
            }
        }
        f.write_str(if sum > 0 { ")" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_and_a_label_of_its_own() {
        let mut not_pushed = NotPushed::default();
        for (n, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, n);
            not_pushed.count(why);
            assert_eq!(not_pushed.by(why), 1);
            let same = Refusal::ALL
                .iter()
                .filter(|other| other.label() == why.label());
            assert_eq!(same.count(), 1, "{}", why.label());
        }
    }

    #[test]
    fn only_reasons_that_occurred_are_shown() {
        let mut not_pushed = NotPushed::default();
        assert_eq!(not_pushed.to_string(), "0 refused");
        not_pushed.count(Refusal::Repeated);
        not_pushed.count(Refusal::Disabled);
        not_pushed.count(Refusal::Disabled);
        let text = "3 refused (2 disabled, 1 repeated)";
        assert_eq!(not_pushed.to_string(), text);
        let one = not_pushed;
        not_pushed.add(&one);
        let text = "6 refused (4 disabled, 2 repeated)";
        assert_eq!(not_pushed.to_string(), text);
    }
}
