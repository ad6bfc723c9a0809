//! `--push learned`: of what the list names for a page, only what clients really go on to ask for is pushed.
//!
//! A push hides whether the client would have asked. So some views of a page are *observed*: they are answered as if there
//! were no list, without pushes, hints and links, and for some seconds it is counted which of the page's resources the
//! client asks for.
//!
//! 1. While little is known of a resource, every view is observed; later one of [`CONTROL`].
//! 2. A resource is pushed when [`ENOUGH_VIEWS`] were observed and two of three of those clients asked for it,
//!    unless more than one of eight pushes was cancelled.
//! 3. What is long ago counts less: counts are halved when they have grown, and every [`HALF_LIFE`].
//!
//! The list bounds the memory: nothing is ever counted for paths that only clients name, so no client can fill it, or have
//! something pushed to others that its owner didn't list. A client counts once for each page and connection.

use std::time::{Duration, Instant};

use super::list::MAX_NEEDS;

/// One of so many views is observed once the page's resources are known: rare enough to cost little, and after a change
/// of the site some hundred views bring it to light.
pub(super) const CONTROL: u32 = 16;

/// Views that must have been observed before a resource is pushed. Of a resource that half of the clients want, two of
/// three ask for it in one such sample of ten; of one that nine of ten want, in nearly every one.
pub(super) const ENOUGH_VIEWS: u16 = 16;

/// How long a client that got the page is watched. What a page needs is asked for within a round trip or two of its
/// arrival; later requests are what its user does.
pub(super) const WATCH: Duration = Duration::from_secs(10);

/// How long it takes until what was counted counts half. Sites change by the day, visitors by the hour.
pub(super) const HALF_LIFE: Duration = Duration::from_secs(3600);

/// Observed views at which the counts are halved, so that the latest ones always weigh something.
const FULL_VIEWS: u16 = 64;

/// Pushes at which the counts are halved.
const FULL_PUSHES: u16 = 256;

/// Cancelled pushes that are forgiven: a client or two that don't want any say nothing about the resource.
const FORGIVEN: u16 = 4;

/// What one worker has learned.
#[derive(Debug)]
pub(super) struct Learning {
    pages: Vec<PageCounts>,
}

#[derive(Debug)]
struct PageCounts {
    /// Views until the next one is observed in any case.
    until_control: u32,
    halved_at: Instant,
    /// For each resource that the page needs.
    needs: Box<[Counts]>,
}

/// What clients did about one resource of one page. Decayed counts, all small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    observed: u16,
    asked: u16,
    pushed: u16,
    cancelled: u16,
}

/// What is known of a resource of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too few views were observed.
    Unknown,
    /// Clients ask for it.
    Likely,
    /// They don't, or cancel it when it is pushed.
    Unlikely,
}

impl Counts {
    fn verdict(self) -> Verdict {
        if self.observed < ENOUGH_VIEWS {
            return Verdict::Unknown;
        }
        let is_asked_for = self.asked * 3 >= self.observed * 2;
        let is_cancelled = self.cancelled * 8 > self.pushed + 8 * FORGIVEN;
        match is_asked_for && !is_cancelled {
            true => Verdict::Likely,
            false => Verdict::Unlikely,
        }
    }

    fn halve_views(&mut self) {
        self.observed /= 2;
        self.asked /= 2;
    }

    fn halve_pushes(&mut self) {
        self.pushed /= 2;
        self.cancelled /= 2;
    }
}

impl Learning {
    /// Nothing is known yet of pages that need so many resources each.
    pub(super) fn new(needs: impl IntoIterator<Item = usize>, now: Instant) -> Self {
        let page = |needs: usize| PageCounts {
            until_control: CONTROL - 1,
            halved_at: now,
            needs: vec![Counts::default(); needs].into(),
        };
        Self {
            pages: needs.into_iter().map(page).collect(),
        }
    }

    /// Whether this view of a page is to be observed. `fresh` are the places, among what the page needs, of resources that
    /// the client hasn't got; of others nothing can be learned.
    pub(super) fn is_observed(
        &mut self,
        page: u16,
        mut fresh: impl Iterator<Item = usize>,
        now: Instant,
    ) -> bool {
        let Some(page) = self.pages.get_mut(usize::from(page)) else {
            return false;
        };
        let half_lives =
            now.saturating_duration_since(page.halved_at).as_secs() / HALF_LIFE.as_secs();
        // All counts are 0 after so many.
        for _ in 0..half_lives.min(u64::from(u16::BITS)) {
            page.halved_at = now;
            for counts in &mut page.needs {
                counts.halve_views();
                counts.halve_pushes();
            }
        }
        let is_unknown = fresh.any(|place| {
            let counts = page.needs.get(place);
            counts.is_some_and(|counts| counts.verdict() == Verdict::Unknown)
        });
        match page.until_control.checked_sub(1) {
            Some(left) if !is_unknown => {
                page.until_control = left;
                false
            }
            _ => {
                page.until_control = CONTROL - 1;
                true
            }
        }
    }

    pub(super) fn verdict(&self, page: u16, place: usize) -> Verdict {
        let page = self.pages.get(usize::from(page));
        let counts = page.and_then(|page| page.needs.get(place));
        counts.map_or(Verdict::Unknown, |counts| counts.verdict())
    }

    /// A view of the page is observed, by a client that hasn't got this resource.
    pub(super) fn observed(&mut self, page: u16, place: usize) {
        self.count(page, place, |counts| {
            counts.observed += 1;
            if counts.observed >= FULL_VIEWS {
                counts.halve_views();
            }
        });
    }

    /// An observed client asked for the resource.
    pub(super) fn asked(&mut self, page: u16, place: usize) {
        self.count(page, place, |counts| {
            // The view may have been halved away since.
            counts.asked = (counts.asked + 1).min(counts.observed);
        });
    }

    pub(super) fn pushed(&mut self, page: u16, place: usize) {
        self.count(page, place, |counts| {
            counts.pushed += 1;
            if counts.pushed >= FULL_PUSHES {
                counts.halve_pushes();
            }
        });
    }

    pub(super) fn cancelled(&mut self, page: u16, place: usize) {
        self.count(page, place, |counts| {
            counts.cancelled = (counts.cancelled + 1).min(counts.pushed);
        });
    }

    fn count(&mut self, page: u16, place: usize, change: impl FnOnce(&mut Counts)) {
        let page = self.pages.get_mut(usize::from(page));
        if let Some(counts) = page.and_then(|page| page.needs.get_mut(place)) {
            change(counts);
        }
    }
}

/// One client under observation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) page: u16,
    until: Instant,
    /// A bit for each place among what the page needs: the client hasn't got it, nor asked for it yet.
    waiting: u32,
}

// A bit for each place.
const _: () = assert!(MAX_NEEDS <= u32::BITS as usize);

impl Watch {
    /// Watches a client that just got this page, and hasn't got the resources at these places.
    pub(super) fn new(page: u16, fresh: impl Iterator<Item = usize>, now: Instant) -> Self {
        Self {
            page,
            until: now + WATCH,
            waiting: fresh.fold(0, |bits, place| bits | 1 << place),
        }
    }

    /// The client asks for the resource at this place: whether that counts.
    pub(super) fn asks(&mut self, place: usize, now: Instant) -> bool {
        let bit = 1 << place;
        let counts = self.waiting & bit != 0 && now < self.until;
        self.waiting &= !bit;
        counts
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One page with some resources, and clients that each view it once.
    struct Site {
        learning: Learning,
        now: Instant,
        observed: usize,
        pushed: usize,
    }

    impl Site {
        fn new(needs: usize) -> Self {
            let now = Instant::now();
            Self {
                learning: Learning::new([needs], now),
                now,
                observed: 0,
                pushed: 0,
            }
        }

        fn needs(&self) -> usize {
            self.learning.pages[0].needs.len()
        }

        /// A new client views the page; `wants` says of each resource whether the client asks for it, or lets its push
        /// be.
        fn view(&mut self, wants: impl Fn(usize) -> bool) {
            let all = 0..self.needs();
            if self.learning.is_observed(0, all.clone(), self.now) {
                self.observed += 1;
                let mut watch = Watch::new(0, all.clone(), self.now);
                for place in all {
                    self.learning.observed(0, place);
                    if wants(place) && watch.asks(place, self.now) {
                        self.learning.asked(0, place);
                    }
                }
                return;
            }
            for place in all {
                if self.learning.verdict(0, place) == Verdict::Likely {
                    self.pushed += 1;
                    self.learning.pushed(0, place);
                    if !wants(place) {
                        self.learning.cancelled(0, place);
                    }
                }
            }
        }

        fn verdict(&self, place: usize) -> Verdict {
            self.learning.verdict(0, place)
        }
    }

    #[test]
    fn what_clients_ask_for_is_pushed_and_nothing_else() {
        let mut site = Site::new(2);
        for n in 0..usize::from(ENOUGH_VIEWS) {
            assert_eq!(site.verdict(0), Verdict::Unknown, "after {n} views");
            site.view(|place| place == 0);
        }
        assert_eq!(site.pushed, 0, "nothing is pushed that isn't known");
        assert_eq!(
            (site.verdict(0), site.verdict(1)),
            (Verdict::Likely, Verdict::Unlikely)
        );
        let observed = site.observed;
        for _ in 0..160 {
            site.view(|place| place == 0);
        }
        assert_eq!(site.pushed, 150);
        assert_eq!(
            site.observed - observed,
            10,
            "one of {CONTROL} stays observed"
        );
    }

    #[test]
    fn two_of_three_is_enough() {
        for (wanting, verdict) in [(11, Verdict::Likely), (10, Verdict::Unlikely)] {
            let mut site = Site::new(1);
            for n in 0..ENOUGH_VIEWS {
                site.view(|_| n < wanting);
            }
            assert_eq!(site.verdict(0), verdict, "{wanting} of {ENOUGH_VIEWS}");
        }
    }

    #[test]
    fn what_clients_cancel_is_pushed_no_more_and_tried_again_hours_later() {
        let mut site = Site::new(1);
        for _ in 0..ENOUGH_VIEWS {
            site.view(|_| true);
        }
        // They have it in their caches: none asks, all cancel.
        for _ in 0..u32::from(FORGIVEN) + 1 {
            assert_eq!(site.verdict(0), Verdict::Likely);
            site.view(|_| false);
        }
        assert_eq!(site.verdict(0), Verdict::Unlikely);
        site.now += HALF_LIFE;
        for _ in 0..ENOUGH_VIEWS {
            site.view(|_| true);
        }
        assert_eq!(site.verdict(0), Verdict::Likely);
    }

    #[test]
    fn requests_long_after_the_page_do_not_count() {
        let now = Instant::now();
        let mut watch = Watch::new(0, [0, 2].into_iter(), now);
        assert!(!watch.asks(1, now), "it has that one already");
        assert!(watch.asks(0, now) && !watch.asks(0, now), "once is enough");
        assert!(!watch.asks(2, now + WATCH));
    }

    #[test]
    fn after_a_day_without_visitors_nothing_is_known() {
        let mut site = Site::new(1);
        for _ in 0..100 {
            site.view(|_| true);
        }
        site.now += Duration::from_secs(24 * 3600);
        assert!(site.learning.is_observed(0, 0..1, site.now));
        assert_eq!(site.learning.pages[0].needs[0], Counts::default());
    }

    // docs/push.md and docs/limits.md say so.
    #[test]
    fn what_is_learned_of_a_resource_takes_8_octets() {
        assert_eq!(size_of::<Counts>(), 8);
    }

    #[test]
    fn nothing_is_learned_of_what_the_list_lacks() {
        let now = Instant::now();
        let mut learning = Learning::new([1], now);
        assert!(!learning.is_observed(1, 0..9, now));
        learning.observed(0, 1);
        learning.asked(7, 0);
        assert_eq!(learning.verdict(0, 1), Verdict::Unknown);
        assert_eq!(learning.verdict(7, 0), Verdict::Unknown);
    }

    proptest! {
        /// Whatever clients do, and whenever: counts stay bounded, and of any 16 views in a row one is observed.
        #[test]
        fn counts_stay_bounded_and_it_never_stops_learning(
            steps in prop::collection::vec((0u64..4000, any::<u8>()), 0..600),
        ) {
            let mut site = Site::new(4);
            let mut unobserved = 0;
            for (seconds, wants) in steps {
                // Mostly at once, now and then after a long time.
                site.now += Duration::from_secs(if wants < 16 { seconds } else { 0 });
                let before = site.observed;
                site.view(|place| wants >> place & 1 == 1);
                unobserved = if site.observed > before { 0 } else { unobserved + 1 };
                prop_assert!(unobserved < CONTROL);
                for counts in &site.learning.pages[0].needs {
                    prop_assert!(counts.asked <= counts.observed && counts.observed < FULL_VIEWS);
                    prop_assert!(counts.cancelled <= counts.pushed && counts.pushed < FULL_PUSHES);
                }
            }
        }

        /// However long a resource was wanted or not: after so many views by clients of the other mind, so is the verdict.
        #[test]
        fn it_follows_a_change_of_mind(before in 0usize..3000, wanted in any::<bool>()) {
            let mut site = Site::new(1);
            for _ in 0..before {
                site.view(|_| wanted);
            }
            for _ in 0..usize::from(FULL_VIEWS) * CONTROL as usize {
                site.view(|_| !wanted);
            }
            let verdict = if wanted { Verdict::Unlikely } else { Verdict::Likely };
            prop_assert_eq!(site.verdict(0), verdict);
        }
    }
}
