//! Random schedules: sums are right, newcomers find room, and nothing leaks.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use proptest::prelude::*;
use tidegate_ledger::{ClientKey, Lease, Ledger, Limits, Mode, Resource, Rule, Shares};

fn key(number: u32) -> ClientKey {
    ClientKey::from(IpAddr::from(Ipv4Addr::from(number)))
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Open(u32),
    Need(usize, u64),
    Close(usize),
    Move(usize, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..8u32).prop_map(Step::Open),
        (any::<usize>(), 0..400u64).prop_map(|(at, need)| Step::Need(at, need)),
        any::<usize>().prop_map(Step::Close),
        (any::<usize>(), 0..8u32).prop_map(|(at, client)| Step::Move(at, client)),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..Default::default() })]

    #[test]
    fn sums_are_right_and_nothing_leaks(steps in steps(), capacity in 0..3000u64, batch in 1..64u64) {
        let what = Resource::Bytes;
        let ledger = Ledger::new(Limits::none().with(what, Rule::new(capacity).per_client(1000)));
        let mut leases: Vec<Lease> = Vec::new();
        let mut moved = false;
        for step in steps {
            let count = leases.len().max(1);
            match step {
                Step::Open(client) => leases.push(Lease::new(ledger.client(key(client)), what)),
                Step::Need(at, need) => if let Some(lease) = leases.get_mut(at % count) {
                    let before = lease.amount();
                    match lease.cover(need, batch) {
                        Ok(()) => prop_assert!(lease.amount() >= need
                            && lease.amount() <= need + 2 * batch),
                        Err(_) => prop_assert_eq!(lease.amount(), before),
                    }
                }
                Step::Close(at) => if at % count < leases.len() {
                    leases.swap_remove(at % count);
                }
                Step::Move(at, client) => if let Some(lease) = leases.get_mut(at % count) {
                    lease.transfer(ledger.client(key(client)));
                    moved = true;
                }
            }
            let sum: u64 = leases.iter().map(Lease::amount).sum();
            prop_assert_eq!(ledger.used(what), sum);
            prop_assert!(capacity == 0 || sum <= capacity);
            for number in 0..8 {
                let its = leases.iter().filter(|lease| lease.client().key() == key(number));
                let sum: u64 = its.map(Lease::amount).sum();
                prop_assert_eq!(ledger.client(key(number)).held(what), sum);
                prop_assert!(moved || sum <= 1000);
            }
        }
        drop(leases);
        prop_assert_eq!((ledger.used(what), ledger.clients()), (0, 0));
        prop_assert!(ledger.largest(what).is_none());
    }

    #[test]
    fn a_newcomer_finds_room(takes in prop::collection::vec((0..20u32, 1..300u64), 1..300), capacity in 200..3000u64) {
        let what = Resource::Connections;
        let ledger = Ledger::new(Limits::none().with(what, Rule::new(capacity)));
        let mut leases: Vec<_> = (0..20).map(|n| Lease::new(ledger.client(key(n)), what)).collect();
        for (client, more) in takes {
            let lease = &mut leases[client as usize];
            let _ = lease.set(lease.amount() + more);
            prop_assert_eq!(ledger.client(key(99)).check(what, 1), Ok(()));
        }
    }

    #[test]
    fn shares_are_the_same_rule(takes in prop::collection::vec((0..5u32, 1..100u64, any::<bool>()), 1..200)) {
        let rule = Rule::new(1000).per_client(600);
        let what = Resource::UpstreamPlaces;
        let ledger = Ledger::new(Limits::none().with(what, rule));
        let mut shares = Shares::new(rule);
        let clients: Vec<_> = (0..5).map(|n| ledger.client(key(n))).collect();
        for (at, amount, takes) in takes {
            let client = &clients[at as usize];
            if takes {
                prop_assert_eq!(client.take(what, amount), shares.take(at, amount));
            } else {
                let amount = amount.min(client.held(what));
                client.give(what, amount);
                shares.give(&at, amount);
            }
            prop_assert_eq!((client.held(what), ledger.used(what)), (shares.held(&at), shares.used()));
        }
        for (at, client) in clients.iter().enumerate() {
            client.give(what, client.held(what));
            shares.give(&(at as u32), shares.held(&(at as u32)));
        }
        prop_assert_eq!((shares.used(), shares.holders()), (0, 0));
    }
}

#[test]
fn threads_keep_to_limits_and_leave_nothing() {
    let what = Resource::Requests;
    let rule = Rule::new(500).per_client(100);
    let ledger = Ledger::new(Limits::none().with(what, rule));
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let ledger = &ledger;
            scope.spawn(move || {
                for round in 0..2000u32 {
                    let client = ledger.client(key((thread + round) % 3));
                    let mut lease = Lease::new(client, what);
                    let _ = lease.cover(u64::from(round % 60), 8);
                    assert!(ledger.used(what) <= 500);
                    assert!(Arc::clone(lease.client()).held(what) <= 100 + 4 * 60);
                }
            });
        }
    });
    assert_eq!((ledger.used(what), ledger.clients()), (0, 0));
}

#[test]
fn without_enforcement_shares_are_only_counted() {
    for (mode, counted) in [(Mode::Log, 1), (Mode::Off, 0)] {
        let what = Resource::Connections;
        let limits = Limits::none()
            .with(what, Rule::new(90).reserve(0, 1))
            .mode(mode);
        let ledger = Ledger::new(limits);
        let client = ledger.client(key(1));
        assert_eq!(client.take(what, 80), Ok(()));
        assert_eq!(client.take(what, 1), Ok(()));
        assert_eq!(ledger.refusals(what).over_share, counted);
        assert!(
            client.take(what, 10).is_err(),
            "capacities hold in every mode"
        );
        assert_eq!(ledger.refusals(what).refused, 1);
        client.give(what, 81);
    }
}

#[test]
fn what_is_there_already_is_covered_and_given_back() {
    let what = Resource::Bytes;
    let ledger = Ledger::new(Limits::none().with(what, Rule::new(1000)));
    let mut full = Lease::new(ledger.client(key(1)), what);
    full.hold(2000, 10);
    assert_eq!((full.amount(), ledger.used(what)), (2000, 2000));
    let mut other = Lease::new(ledger.client(key(2)), what);
    other.hold(100, 10);
    assert_eq!(other.amount(), 100);
    full.hold(50, 10);
    assert!(full.amount() <= 70, "{full:?}");
    other.hold(0, 10);
    assert_eq!(other.amount(), 0);
    assert_eq!(ledger.refusals(what).refused, 0);
}

#[test]
fn the_largest_holder_is_found() {
    let what = Resource::Connections;
    let ledger = Ledger::new(Limits::none());
    let held: Vec<_> = (0..200u32)
        .map(|number| {
            let mut lease = Lease::new(ledger.client(key(number)), what);
            lease.set(u64::from(number * 7 % 200)).expect("no limits");
            lease
        })
        .collect();
    let largest = ledger.largest(what).expect("some hold something");
    assert_eq!(largest.held(what), 199);
    // Among equals, the same client is always returned.
    let mut same = Lease::new(ledger.client(key(1000)), what);
    same.set(199).expect("no limits");
    let first = ledger.largest(what).expect("some hold something");
    assert_eq!(first.key(), largest.key());
    drop(same);
    assert_eq!(ledger.clients(), held.len());
}
