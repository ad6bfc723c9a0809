//! Atomic instructions of requests, by which workers meet: counted, and what they would cost with
//! many processors, on paper.
//!
//! An atomic instruction takes its cache line away from all other processors. The simulation takes
//! the worst: the atomic instructions of all workers are of one line, which goes from one processor
//! to the next each time. That is done for the ledger's, which all workers share, and for all of
//! them: most of the others are of lines that one worker alone uses.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::fmt::Write;

use crate::profile::Place;

/// Numbers of workers that are simulated.
const WORKERS: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];

/// Nanoseconds until a line has come from another processor: of the same socket, and of the other
/// one.
const TRANSFERS: [u64; 2] = [60, 150];

/// How often each worker needs the line in the simulation.
const ACCESSES: usize = 2_000;

/// Part of the names of the ledger's functions.
const LEDGER: &str = "tidegate_ledger::";

/// The fewest atomic instructions per request that have a row.
const LEAST: f64 = 0.000_5;

/// Rows that a workload has at most.
const ROWS: usize = 10;

/// A workload's atomic instructions.
pub(crate) struct Shared {
    pub(crate) name: String,
    /// Nanoseconds of CPU time per request with one worker.
    pub(crate) nanos: f64,
    /// Atomic instructions of one request, by function.
    pub(crate) functions: BTreeMap<String, f64>,
}

impl Shared {
    pub(crate) fn new(
        name: String,
        micros: f64,
        requests: u64,
        atomics: &BTreeMap<Place, u64>,
    ) -> Self {
        let mut functions = BTreeMap::new();
        for (place, count) in atomics {
            let each = *count as f64 / requests as f64;
            *functions.entry(short(&place.function)).or_default() += each;
        }
        Self {
            name,
            nanos: micros * 1_000.0,
            functions,
        }
    }

    /// Returns the atomic instructions of functions that have this in their names.
    fn each(&self, name: &str) -> f64 {
        let named = self.functions.iter();
        let named = named.filter(|(function, _)| function.contains(name));
        named.map(|(_, each)| each).sum()
    }
}

/// Returns a function's name without the hash, and without what it is generic over.
fn short(function: &str) -> String {
    let (mut name, mut depth) = (String::new(), 0);
    let whole = function
        .rsplit_once("::h")
        .map_or(function, |(name, hash)| {
            let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            if is_hash { name } else { function }
        });
    for (at, char) in whole.char_indices() {
        match char {
            '<' if at > 0 => depth += 1,
            '>' if depth > 0 => depth -= 1,
            '<' | '>' => {}
            _ if depth == 0 => name.push(char),
            _ => {}
        }
    }
    name.replace("::::", "::")
}

/// Simulates workers. Returns the nanoseconds that one worker spends on a request.
fn simulate(workers: usize, nanos: f64, each: f64, transfer: u64) -> f64 {
    if each <= 0.0 {
        return nanos;
    }
    // The worker's own work between two accesses to the line.
    let gap = nanos / each;
    // The next access of each worker. What comes first in time has the line first.
    let mut queue: BinaryHeap<_> = (0..workers)
        .map(|worker| Reverse(((gap * worker as f64 / workers as f64) as u64, worker)))
        .collect();
    let mut left = vec![ACCESSES; workers];
    let (mut free, mut owner, mut spent) = (0, usize::MAX, 0.0);
    // Requests differ a little, so that workers don't march in step. The numbers are the same in
    // each run.
    let mut random = 1u64;
    while let Some(Reverse((wanted, worker))) = queue.pop() {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let part = 0.5 + (random >> 33) as f64 / f64::from(1u32 << 31);
        let mut now = wanted.max(free);
        if owner != worker {
            now += transfer;
        }
        (free, owner) = (now, worker);
        spent += (now - wanted) as f64 + gap;
        left[worker] -= 1;
        if left[worker] > 0 {
            queue.push(Reverse((now + (gap * part) as u64, worker)));
        }
    }
    spent / (workers * ACCESSES) as f64 * each
}

/// Returns the Markdown tables.
pub(crate) fn tables(all: &[Shared]) -> String {
    let mut text = String::from("| workload | function | atomic instructions per request |\n");
    text.push_str("|---|---|---:|\n");
    for shared in all {
        let mut functions: Vec<_> = shared.functions.iter().collect();
        functions.sort_by(|one, other| other.1.total_cmp(one.1));
        let shown = functions.iter().filter(|(_, each)| **each >= LEAST);
        for (function, each) in shown.take(ROWS) {
            let _ = writeln!(text, "| {} | `{function}` | {each:.4} |", shared.name);
        }
        let _ = writeln!(text, "| {} | all | {:.4} |", shared.name, shared.each(""));
    }
    let workers: Vec<_> = WORKERS.iter().map(usize::to_string).collect();
    let _ = write!(
        text,
        "\n| on paper: ns per request and worker, if they were of one line | {} |\n",
        workers.join(" | ")
    );
    let _ = writeln!(text, "|---|{}", "---:|".repeat(WORKERS.len()));
    for shared in all {
        for (what, name) in [("the ledger's", LEDGER), ("all", "")] {
            for transfer in TRANSFERS {
                let each = shared.each(name);
                let cells: Vec<_> = WORKERS
                    .iter()
                    .map(|workers| simulate(*workers, shared.nanos, each, transfer))
                    .map(|nanos| format!("{nanos:.0}"))
                    .collect();
                let _ = writeln!(
                    text,
                    "| {}, {what}, {transfer} ns from one processor to another | {} |",
                    shared.name,
                    cells.join(" | ")
                );
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shared_costs_nothing_and_one_line_serves_one_at_a_time() {
        assert_eq!(simulate(64, 1_000.0, 0.0, 100), 1_000.0);
        // 64 workers that need a line for 100 ns each: 6,400 ns for a request of each.
        let bound = simulate(64, 1_000.0, 1.0, 100);
        assert!((6_000.0..7_000.0).contains(&bound), "{bound}");
        // Two workers that meet seldom: the transfers, and hardly more.
        let seldom = simulate(2, 100_000.0, 1.0, 100);
        assert!((100_050.0..100_150.0).contains(&seldom), "{seldom}");
        // One worker keeps the line.
        assert!(simulate(1, 1_000.0, 1.0, 100) < 1_001.0);
    }

    #[test]
    fn a_function_is_named_without_its_hash() {
        let name = "tidegate_net::event_loop::EventLoop<S>::run::h0123456789abcdef";
        assert_eq!(short(name), "tidegate_net::event_loop::EventLoop::run");
        let name = "<tidegate_ledger::Lease as core::ops::Drop>::drop";
        assert_eq!(
            short(name),
            "tidegate_ledger::Lease as core::ops::Drop::drop"
        );
    }
}
