//! `--push learned`: pushes only those listed resources of a page that clients turn out to request.
//!
//! A push hides whether the client would have requested the resource. So some views of a page are
//! *observed*: they are answered as if there were no list, without pushes, hints and links. For
//! some seconds after that, the client's requests for the page's resources are counted.
//!
//! 1. While little is known of a resource, every view is observed; later, one in [`CONTROL`].
//! 2. A resource is pushed after [`ENOUGH_VIEWS`] observed views if two in three of those clients
//!    requested it, unless more than one in eight pushes was cancelled.
//! 3. Old counts weigh less: counts are halved when they have grown, and every [`HALF_LIFE`].
//!
//! The list bounds the memory: nothing is counted for paths that aren't in it. So no client can
//! fill the memory, or make the server push what its operator didn't list. A client counts once for
//! each page and connection.

use std::time::{Duration, Instant};

use super::list::MAX_NEEDS;

/// Once the page's resources are known, one in this many views is observed. That is rare enough to
/// cost little, and shows a change of the site after some hundred views.
pub(super) const CONTROL: u32 = 16;

/// Views that must have been observed before a resource is pushed. If half of the clients want a
/// resource, two in three request it in one of ten such samples. If nine in ten want it, they do so
/// in nearly every sample.
pub(super) const ENOUGH_VIEWS: u16 = 16;

/// How long a client that got the page is watched. Browsers request what a page needs within a
/// round trip or two after it arrives; later requests come from the user.
pub(super) const WATCH: Duration = Duration::from_secs(10);

/// The time after which counts are halved. Sites change daily, visitors hourly.
pub(super) const HALF_LIFE: Duration = Duration::from_secs(3600);

/// Observed views at which the counts are halved, so that the latest views always carry weight.
const FULL_VIEWS: u16 = 64;

/// Pushes at which the counts are halved.
const FULL_PUSHES: u16 = 256;

/// Cancelled pushes that don't count: a client or two that want no pushes say nothing about the
/// resource.
const FORGIVEN: u16 = 4;

/// The counts of one worker.
#[derive(Debug)]
pub(super) struct Learning {
    pages: Vec<PageCounts>,
}

#[derive(Debug)]
struct PageCounts {
    /// Views until the next one that is observed in any case.
    until_control: u32,
    halved_at: Instant,
    /// The counts for each resource that the page needs.
    needs: Box<[Counts]>,
}

/// Counts for one resource of one page, halved over time, so all are small.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    observed: u16,
    asked: u16,
    pushed: u16,
    cancelled: u16,
}

/// The judgement about a resource of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Too few views were observed.
    Unknown,
    /// Clients request it.
    Likely,
    /// Clients don't request it, or cancel pushes of it.
    Unlikely,
}

impl Counts {
    fn verdict(self) -> Verdict {
        if self.observed < ENOUGH_VIEWS {
            return Verdict::Unknown;
        }
        let is_asked_for = self.asked * 3 >= self.observed * 2;
        let is_cancelled = self.cancelled * 8 > self.pushed + 8 * FORGIVEN;
        if is_asked_for && !is_cancelled {
            Verdict::Likely
        } else {
            Verdict::Unlikely
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
    /// Returns empty counts. `needs` has the number of resources that each page needs.
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

    /// Returns whether to observe this view of a page. `fresh` has the places, among what the page
    /// needs, of resources that the client doesn't have; nothing can be learned about others.
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
        // After this many halvings all counts are 0.
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

    /// Counts an observed view of the page by a client that doesn't have this resource.
    pub(super) fn observed(&mut self, page: u16, place: usize) {
        self.count(page, place, |counts| {
            counts.observed += 1;
            if counts.observed >= FULL_VIEWS {
                counts.halve_views();
            }
        });
    }

    /// Counts a request for the resource by an observed client.
    pub(super) fn asked(&mut self, page: u16, place: usize) {
        self.count(page, place, |counts| {
            // The view may have been halved away since then.
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

/// A client that is being observed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watch {
    pub(super) page: u16,
    until: Instant,
    /// A bit for each resource that the page needs, set while the client neither has nor requested
    /// it.
    waiting: u32,
}

// `Watch::waiting` has a bit for each resource.
const _: () = assert!(MAX_NEEDS <= u32::BITS as usize);

impl Watch {
    /// Watches a client that just got this page and doesn't have the resources at these places.
    pub(super) fn new(page: u16, fresh: impl Iterator<Item = usize>, now: Instant) -> Self {
        Self {
            page,
            until: now + WATCH,
            waiting: fresh.fold(0, |bits, place| bits | 1 << place),
        }
    }

    /// Notes that the client requests the resource at this place. Returns whether that counts.
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

        /// Makes a new client view the page. `wants` returns for each resource whether the client
        /// requests it, or accepts its push.
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
        assert_eq!(site.pushed, 0, "only known resources are pushed");
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
        // The clients have the resource in their caches: none requests it, and all cancel.
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
        assert!(!watch.asks(1, now), "the client has that one already");
        assert!(watch.asks(0, now) && !watch.asks(0, now), "counted once");
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
    fn the_counts_of_a_resource_take_8_bytes() {
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
        /// Whatever clients do, and at any time, counts stay bounded, and one of any 16 successive
        /// views is observed.
        #[test]
        fn counts_stay_bounded_and_it_never_stops_learning(
            steps in prop::collection::vec((0u64..4000, any::<u8>()), 0..600),
        ) {
            let mut site = Site::new(4);
            let mut unobserved = 0;
            for (seconds, wants) in steps {
                // Mostly immediately, sometimes after a long time.
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

        /// However long clients wanted a resource, or didn't, the verdict changes after enough
        /// views by clients that do the opposite.
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
