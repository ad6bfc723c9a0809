//! The rule that decides who may take more, and its limits for each resource.

use std::fmt;

/// A resource that clients share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// Connections that clients opened.
    Connections,
    /// Requests in progress.
    Requests,
    /// File descriptors: sockets of clients and of upstreams, and large files that are open.
    Descriptors,
    /// Bytes of memory that are actually held.
    Bytes,
    /// Bytes that clients may send beyond what the protocol lets every client send.
    Credit,
    /// Streams and connections in use at upstreams.
    UpstreamPlaces,
    /// Connections to upstreams that are being established.
    Dials,
}

impl Resource {
    /// The number of resources.
    pub const COUNT: usize = 7;

    /// All resources, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::Connections,
        Self::Requests,
        Self::Descriptors,
        Self::Bytes,
        Self::Credit,
        Self::UpstreamPlaces,
        Self::Dials,
    ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// Why nothing was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The resource is used up; only the reserve for small holders may be left.
    Exhausted,
    /// The client has its share: α times what is free.
    Share,
    /// The client has as much as any one client may hold.
    ClientLimit,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Exhausted => "all is in use",
            Self::Share => "the client holds its share",
            Self::ClientLimit => "the client's limit is reached",
        })
    }
}

/// How a client is treated that exceeds its share. Capacities and configured limits hold in every
/// mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The client gets no more.
    #[default]
    Enforce,
    /// The client gets more, and the ledger counts that.
    Log,
    /// The client gets more.
    Off,
}

/// How many times the free amount a client may hold. With 8, a client that is alone may have eight
/// ninths of the capacity, and ten greedy clients leave an eighty-first free. A larger number would
/// use more of the capacity, and leave less to a newcomer.
const ALPHA: u64 = 8;

/// The divisor that gives the reserve of a capacity for small holders, unless a reserve is set.
const RESERVE: u64 = 64;

/// The rule for one resource.
///
/// A client that holds `h` of a capacity `C`, of which all clients use `U`, may take `a` more if
///
/// - `h + a` is at most [`Rule::per_client`],
/// - `h + a` is at most 8 × (`C` − `U`), unless it is at most [`Rule::floor`],
/// - and `U + a` is at most `C` less [`Rule::reserve`]; or, if `h + a` is at most [`Rule::floor`],
///   `C` and [`Rule::overdraft`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rule {
    /// The capacity. 0: without limit.
    pub capacity: u64,
    /// The most that one client may hold. 0: without limit.
    pub per_client: u64,
    /// How much of the capacity is reserved for clients that hold at most [`Rule::floor`].
    pub reserve: u64,
    /// How much a client may hold whatever others hold, as long as any is left.
    pub floor: u64,
    /// How much more than the capacity clients may take that hold at most [`Rule::floor`]. Some
    /// holdings count whatever the rule says, so others can use up the capacity, including the
    /// reserve.
    pub overdraft: u64,
}

impl Rule {
    /// The rule that has no limit.
    pub const NONE: Self = Self {
        capacity: 0,
        per_client: 0,
        reserve: 0,
        floor: 0,
        overdraft: 0,
    };

    /// Creates the rule for this capacity, 0 for none. A 64th of it is the reserve, and the floor
    /// is 1.
    pub const fn new(capacity: u64) -> Self {
        Self {
            capacity,
            per_client: 0,
            reserve: capacity.div_ceil(RESERVE) * (capacity > 1) as u64,
            floor: 1,
            overdraft: 0,
        }
    }

    /// Sets the limit per client, 0 for none.
    #[must_use]
    pub const fn per_client(mut self, most: u64) -> Self {
        self.per_client = most;
        self
    }

    /// Sets the reserve and the floor.
    #[must_use]
    pub const fn reserve(mut self, reserve: u64, floor: u64) -> Self {
        self.reserve = reserve;
        self.floor = floor;
        self
    }

    /// Sets how much small holders may take beyond the capacity.
    #[must_use]
    pub const fn overdraft(mut self, overdraft: u64) -> Self {
        self.overdraft = overdraft;
        self
    }

    /// Returns whether the rule can refuse anything at all.
    pub const fn is_limited(&self) -> bool {
        self.capacity != 0 || self.per_client != 0
    }

    /// Checks whether a client that holds `held` may take `more`, while `used` is in use in all.
    ///
    /// # Errors
    /// Returns why the client may not.
    pub fn check(&self, held: u64, more: u64, used: u64) -> Result<(), Refusal> {
        let wanted = held.saturating_add(more);
        self.check_limit(wanted)?;
        self.check_total(wanted, more, used)?;
        self.check_share(wanted, used)
    }

    /// Returns how much is free, including the reserve; `u64::MAX` without a capacity.
    pub fn free(&self, used: u64) -> u64 {
        if self.capacity == 0 {
            u64::MAX
        } else {
            self.capacity.saturating_sub(used)
        }
    }

    /// Returns whether less than an eighth of the capacity is free while `used` is in use.
    pub fn is_tight(&self, used: u64) -> bool {
        self.capacity != 0 && self.free(used) < self.capacity / 8
    }

    /// Returns how much a holder may take at once, so that it needn't ask again soon: a sixteenth
    /// of what it could have, and at most `most`. Near a limit this is 1, so that limits are exact.
    pub fn batch(&self, held: u64, used: u64, most: u64) -> u64 {
        let own = match self.per_client {
            0 => u64::MAX,
            limit => limit.saturating_sub(held),
        };
        let free = self.free(used).saturating_sub(self.reserve);
        let share = free.saturating_mul(ALPHA).saturating_sub(held);
        (own.min(share).min(free) / 16).clamp(1, most.max(1))
    }

    /// Checks that a client may hold `wanted` at all.
    pub(crate) fn check_limit(&self, wanted: u64) -> Result<(), Refusal> {
        if self.per_client != 0 && wanted > self.per_client {
            return Err(Refusal::ClientLimit);
        }
        Ok(())
    }

    /// Checks that `more` is left, for a client that will hold `wanted` then.
    pub(crate) fn check_total(&self, wanted: u64, more: u64, used: u64) -> Result<(), Refusal> {
        let most = if wanted <= self.floor {
            self.capacity.saturating_add(self.overdraft)
        } else {
            self.capacity.saturating_sub(self.reserve)
        };
        if self.capacity != 0 && used.saturating_add(more) > most {
            return Err(Refusal::Exhausted);
        }
        Ok(())
    }

    /// Checks that `wanted` is within a client's share.
    pub(crate) fn check_share(&self, wanted: u64, used: u64) -> Result<(), Refusal> {
        if wanted > self.floor && wanted > self.free(used).saturating_mul(ALPHA) {
            return Err(Refusal::Share);
        }
        Ok(())
    }
}

/// The rules for all resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    rules: [Rule; Resource::COUNT],
    mode: Mode,
}

impl Limits {
    /// Creates rules without any limit.
    pub const fn none() -> Self {
        Self {
            rules: [Rule::NONE; Resource::COUNT],
            mode: Mode::Enforce,
        }
    }

    /// Sets the rule for `resource`.
    #[must_use]
    pub const fn with(mut self, resource: Resource, rule: Rule) -> Self {
        self.rules[resource as usize] = rule;
        self
    }

    /// Sets the mode.
    #[must_use]
    pub const fn mode(mut self, mode: Mode) -> Self {
        self.mode = mode;
        self
    }

    /// Returns the rule for `resource`.
    pub fn rule(&self, resource: Resource) -> &Rule {
        &self.rules[resource.index()]
    }

    /// Returns how a client is treated that exceeds its share.
    pub fn get_mode(&self) -> Mode {
        self.mode
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alone_a_client_may_have_nearly_all() {
        let rule = Rule::new(900);
        let mut held = 0;
        while rule.check(held, 1, held).is_ok() {
            held += 1;
        }
        assert_eq!(
            (held, rule.check(held, 1, held)),
            (800, Err(Refusal::Share))
        );
    }

    #[test]
    fn greedy_clients_come_to_equal_shares_and_leave_some() {
        let rule = Rule::new(8100).reserve(0, 1);
        let mut held = [0; 10];
        let mut used = 0;
        loop {
            let before = used;
            for held in &mut held {
                if rule.check(*held, 1, used).is_ok() {
                    *held += 1;
                    used += 1;
                }
            }
            if used == before {
                break;
            }
        }
        assert_eq!((held, rule.free(used)), ([800; 10], 100));
        assert_eq!(rule.check(0, 1, used), Ok(()), "a newcomer finds room");
    }

    #[test]
    fn the_reserve_is_for_small_holders() {
        let rule = Rule::new(100).reserve(10, 2);
        assert_eq!(rule.check(2, 1, 90), Err(Refusal::Exhausted));
        assert_eq!(rule.check(1, 1, 98), Ok(()));
        assert_eq!(rule.check(0, 2, 99), Err(Refusal::Exhausted));
    }

    #[test]
    fn small_holders_find_room_though_others_hold_more_than_all() {
        let rule = Rule::new(100).reserve(10, 2).overdraft(20);
        assert_eq!(rule.check(1, 1, 118), Ok(()));
        assert_eq!(rule.check(1, 1, 120), Err(Refusal::Exhausted));
        assert_eq!(rule.check(2, 1, 90), Err(Refusal::Exhausted));
    }

    #[test]
    fn limits_for_each_client_are_exact() {
        let rule = Rule::new(0).per_client(10);
        assert_eq!(rule.check(9, 1, 1 << 40), Ok(()));
        assert_eq!(rule.check(10, 1, 10), Err(Refusal::ClientLimit));
        assert_eq!(rule.check(u64::MAX, u64::MAX, 0), Err(Refusal::ClientLimit));
        assert_eq!(Rule::NONE.check(1 << 60, 1 << 60, 1 << 61), Ok(()));
        assert!(rule.is_limited() && Rule::new(1).is_limited() && !Rule::new(0).is_limited());
    }

    #[test]
    fn batches_shrink_near_limits() {
        let rule = Rule::new(0).per_client(160);
        assert_eq!(rule.batch(0, 0, 16), 10);
        assert_eq!(rule.batch(150, 150, 16), 1);
        assert_eq!(Rule::NONE.batch(1 << 60, 1 << 60, 16), 16);
        assert_eq!(Rule::new(6400).batch(0, 0, 16), 16);
        assert_eq!(Rule::new(6400).batch(0, 6400, 16), 1);
    }
}
