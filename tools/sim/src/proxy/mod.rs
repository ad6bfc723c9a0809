//! The proxy between its clients and its upstreams: the real service on the real loop, with a
//! network and a clock that one seed controls.
//!
//! Clients ask over HTTP/2 and HTTP/1.1, upstreams answer over both, at several addresses. One seed
//! decides who is who, what is asked and answered, how slowly everybody writes and reads, how the
//! network delays, cuts into pieces and holds back, and what goes wrong: connections refused, cut
//! or reset, streams refused or reset, GOAWAY, silence, answers before the question is whole,
//! clients that cancel or leave. Checked is, whatever happens:
//!
//! - each request ends: with the upstream's response, with one of the gateway's own, or with a
//!   reset; none is lost;
//! - what looks complete is complete: a response whose end a client sees has every byte and trailer
//!   that the upstream gave, and so has a request whose end an upstream sees;
//! - no request is answered by two upstreams, and none is processed twice unless that does no harm
//!   and the first time was lost;
//! - where nothing goes wrong, or only what can be mended (refused streams, graceful ends), every
//!   request gets its upstream's response;
//! - at the end nothing is left: no stream, no connection, nothing in the ledger; and the engines'
//!   books add up all along.
//!
//! One seed of many is a [siege]: several workers share a ledger that has little, clients
//! from several addresses, of which some have many connections, take all they can, and newcomers
//! ask for little. After every step, the accounts must add up, nobody holds more than its share or
//! its limit, all hold no more than the budget and its overdraft, and only who holds something has
//! an account. And every newcomer gets its answer, whole, at its first attempt, and within seconds.
//!
//! [`run`] panics when a check fails; the same seed fails the same way again. A test can also list
//! clients, upstreams and faults itself: `regressions.rs` has what failing seeds have found.

/// Prints what happens, if the run is verbose.
macro_rules! trace {
    ($world:expr, $($words:tt)*) => {
        if $world.verbose {
            println!("{:>12.6} {}", $world.now.as_secs_f64(), format_args!($($words)*));
        }
    };
}

mod clients;
mod gateway;
mod messages;
mod peer;
mod plan;
#[cfg(test)]
mod regressions;
mod report;
#[cfg(test)]
mod scenario;
mod shares;
mod siege;
mod upstreams;
mod workers;
mod world;

use tidegate_testkit::rng::Rng;

use report::Report;

/// Runs one seed. With `verbose`, prints what happens.
///
/// # Panics
/// When a check fails.
pub(crate) fn run(seed: u64, verbose: bool) -> Report {
    let mut rng = Rng::new(seed ^ 0x7072_6f78_7921);
    let plan = plan::Plan::drawn(&mut rng);
    if verbose {
        println!("{plan:#?}");
    }
    world::World::new(plan, rng, verbose).run()
}

#[cfg(test)]
mod tests {
    #[test]
    fn some_seeds() {
        for seed in 0..150 {
            let result = std::panic::catch_unwind(|| super::run(seed, false));
            assert!(
                result.is_ok(),
                "replay: cargo run -p sim -- --proxy --seed {seed}"
            );
        }
    }

    #[test]
    fn a_seed_is_played_the_same_way_each_time() {
        let mut sieges = 0;
        for seed in 0.. {
            let one = super::run(seed, false);
            sieges += one.sieges;
            if one.sieges == 1 || seed < 3 {
                assert_eq!(one, super::run(seed, false), "seed {seed}");
            }
            if sieges == 3 {
                break;
            }
        }
    }
}
