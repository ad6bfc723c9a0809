//! Bugs that seeds have found, as plans that can be read.

use std::time::Duration;

use tidegate_ledger::Rule;
use tidegate_net::Protocol;

use super::plan::{Answer, ClientPlan, ExchangePlan, Plan, Role, SharesPlan, UpstreamPlan};

/// The seeds that draw what a plan leaves open.
const SEEDS: std::ops::Range<u64> = 0..5;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// Seeds 206 and 1225: a worker compared what each client has at it alone. So a client with seven
/// connections at the other worker took the only one of a newcomer whose request was on its way.
#[test]
fn who_has_many_connections_at_another_worker_takes_none_of_a_newcomers() {
    let greedy = |worker| ClientPlan::new(Protocol::Http1, 1, Role::Attacker).at_worker(worker);
    let plan = Plan::quiet()
        .shares(SharesPlan {
            connections: Rule::new(8),
            ..SharesPlan::new(2)
        })
        .upstream(UpstreamPlan::new(Protocol::Http2));
    let plan = (0..7).fold(plan, |plan, _| {
        let silent = ExchangePlan::get(0).answered(Answer::Silent);
        plan.client(greedy(0), [silent])
    });
    let newcomer = ClientPlan::new(Protocol::Http1, 2, Role::Newcomer)
        .at_worker(1)
        .far_away(millis(400))
        .joins_at(millis(500));
    let plan = plan
        .client(newcomer, [ExchangePlan::get(0).starts_at(millis(500))])
        .client(greedy(1).joins_at(millis(600)), []);
    for report in plan.run(SEEDS) {
        assert_eq!(report.newcomers, 1);
        assert_eq!((report.made_room, report.connections_refused), (0, 1));
    }
}

/// Uploads that their upstream doesn't read use up the window that all streams of an HTTP/2
/// connection share. Another upload needs another connection.
#[test]
fn uploads_that_nobody_reads_do_not_hold_up_another() {
    let deaf = (0..10).map(|_| ExchangePlan::post(0, 200_000).answered(Answer::Deaf));
    let upload = ExchangePlan::post(0, 30_000).starts_at(millis(500));
    let plan = Plan::quiet()
        .foul()
        .upstream(UpstreamPlan::new(Protocol::Http2))
        .client(ClientPlan::new(Protocol::Http2, 1, Role::Attacker), deaf)
        .client(
            ClientPlan::new(Protocol::Http1, 2, Role::Newcomer),
            [upload],
        );
    for report in plan.run(SEEDS) {
        assert_eq!((report.newcomers, report.connections), (1, 2));
    }
}
