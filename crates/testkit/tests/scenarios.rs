//! Bugs that seeds of the simulator have found, as plans that can be read.

use std::time::Duration;

use tidegate_http::Config;
use tidegate_testkit::sim::{ExchangePlan, MessagePlan, Plan};

/// The seeds that draw what a plan leaves open.
const SEEDS: std::ops::Range<u64> = 0..20;

const fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A client may send 65,535 bytes until SETTINGS arrive. Once it has acknowledged them, its window
/// is negative, and credit that was too little to advertise is more than the whole window.
#[test]
fn settings_that_shrink_a_window_make_credit_due() {
    let plan = Plan {
        opens_early: true,
        outbox_limit: 100,
        ..Plan::quiet()
    };
    let plan = plan
        .server(|config| {
            config.initial_window_size = 1;
            config.max_stream_window_size = 0;
        })
        .network(|link| {
            link.delay = millis(10);
            link.capacity = 500;
        })
        .exchange(ExchangePlan::new("POST").request(MessagePlan::streamed(2000)));
    let report = plan.run(SEEDS);
    assert_eq!(report.messages, 2 * SEEDS.end);
    assert!(report.negative_windows > 0);
}

/// Long heads fill the buffers in both directions, so an end that reads nothing before it has
/// written its own waits for the other to read. If both do, they wait for ever.
#[test]
fn ends_that_both_have_much_to_send_do_not_wait_for_each_other_to_read() {
    let long = "x".repeat(2000);
    let head = || MessagePlan::default().field("x-long", &long);
    let set = |config: &mut Config| {
        config.outbound_high_water = 1000;
        config.encoder_table_size = 0;
    };
    let plan = Plan {
        outbox_limit: 1000,
        ..Plan::quiet()
    };
    let mut plan = plan
        .client(set)
        .server(set)
        .network(|link| link.capacity = 100);
    for (link, delay) in plan.links.iter_mut().zip([10, 30]) {
        link.delay = millis(delay);
    }
    let plan = (0..20).fold(plan, |plan, number| {
        let exchange = ExchangePlan::new("GET").starts_at(millis(2 * number));
        plan.exchange(exchange.request(head()).response(head()))
    });
    let report = plan.run(SEEDS);
    assert_eq!(report.messages, 2 * 20 * SEEDS.end);
    assert!(report.backpressure > 0);
}

/// The server's GOAWAY names the last request that it has got. The next one isn't made.
#[test]
fn a_graceful_end_completes_what_has_begun() {
    let plan = Plan {
        shut_downs: [None, Some(millis(60))],
        ..Plan::quiet()
    };
    let plan = plan
        .network(|link| link.delay = millis(10))
        .exchange(ExchangePlan::new("POST").request(MessagePlan::streamed(1 << 20)))
        .exchange(ExchangePlan::new("GET").starts_at(millis(200)));
    let report = plan.run(SEEDS);
    assert_eq!(report.shut_downs, [0, SEEDS.end]);
    assert_eq!(
        (report.streams, report.messages),
        (SEEDS.end, 2 * SEEDS.end)
    );
}
