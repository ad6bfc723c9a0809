//! Traces of the simulator go through the engine again, and it does the same.

use tidegate_testkit::sim;
use tidegate_trace::Values;

/// Fewer than `cargo run --release -p sim -- --replay` runs.
const SEEDS: u64 = 20;

#[test]
fn the_engine_does_as_recorded() {
    for seed in 0..SEEDS {
        for values in [Values::Most, Values::Protocol] {
            if let Err(differences) = sim::replay(seed, values) {
                panic!("seed {seed}, {values:?}:\n{differences}");
            }
        }
    }
}
