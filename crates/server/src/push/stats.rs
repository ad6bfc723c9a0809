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
    refused: [u64; Refusal::ALL.len()],
}

impl Stats {
    /// The number of counters.
    pub const LEN: usize = 3 + Refusal::ALL.len();

    /// Returns the number of resources that weren't pushed for this reason.
    pub fn refused(&self, why: Refusal) -> u64 {
        self.refused[why as usize]
    }

    pub(super) fn refuse(&mut self, why: Refusal) {
        self.refused[why as usize] += 1;
    }

    /// Returns all counters, to be summed up.
    pub(crate) fn to_array(self) -> [u64; Self::LEN] {
        let mut array = [0; Self::LEN];
        array[..3].copy_from_slice(&[self.hinted, self.pushed, self.cancelled]);
        array[3..].copy_from_slice(&self.refused);
        array
    }

    /// The reverse of [`Stats::to_array`].
    pub(crate) fn from_array(array: [u64; Self::LEN]) -> Self {
        let [hinted, pushed, cancelled, refused @ ..] = array;
        Self {
            hinted,
            pushed,
            cancelled,
            refused,
        }
    }
}

/// Formats the counters as in `3 hinted, 2 pushed, 1 cancelled, 4 refused (3 disabled, 1
/// repeated)`.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hinted,
            pushed,
            cancelled,
            refused,
        } = self;
        let sum: u64 = refused.iter().sum();
        write!(
            f,
            "{hinted} hinted, {pushed} pushed, {cancelled} cancelled, {sum} refused"
        )?;
        let mut before = " (";
        for why in Refusal::ALL {
            let count = self.refused(why);
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
        let mut stats = Stats::default();
        for (n, why) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, n);
            stats.refuse(why);
            assert_eq!(stats.refused(why), 1);
            let same = Refusal::ALL
                .iter()
                .filter(|other| other.label() == why.label());
            assert_eq!(same.count(), 1, "{}", why.label());
        }
        stats.hinted = 7;
        assert_eq!(Stats::from_array(stats.to_array()), stats);
    }

    #[test]
    fn only_reasons_that_occurred_are_shown() {
        let mut stats = Stats {
            hinted: 3,
            pushed: 2,
            cancelled: 1,
            ..Stats::default()
        };
        assert_eq!(
            stats.to_string(),
            "3 hinted, 2 pushed, 1 cancelled, 0 refused"
        );
        stats.refuse(Refusal::Repeated);
        stats.refuse(Refusal::Disabled);
        stats.refuse(Refusal::Disabled);
        assert_eq!(
            stats.to_string(),
            "3 hinted, 2 pushed, 1 cancelled, 3 refused (2 disabled, 1 repeated)"
        );
    }
}
