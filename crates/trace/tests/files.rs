//! Files that are whole, cut off, damaged, or no traces.

use std::time::Duration;

use tidegate_trace::{Damage, Event, Record, Trace, VantagePoint, header, note, write};

fn record(connection: &str, millis: u64) -> Record {
    Record {
        time: Duration::from_millis(millis),
        group_id: connection.into(),
        event: Event::Omitted { frames: millis },
    }
}

fn file() -> String {
    let mut text = header("a test", VantagePoint::Server, None);
    for n in 0..3 {
        write(&record("a", n), &mut text);
        write(&record("b", n), &mut text);
    }
    text + &note("3 lines were lost")
}

#[test]
fn records_come_back_by_connection() {
    let trace = Trace::read(file().as_bytes());
    assert_eq!(trace.damage, None);
    assert_eq!(trace.notes, ["3 lines were lost"]);
    let [a, b] = &trace.connections[..] else {
        panic!("{trace:?}");
    };
    assert_eq!((a.id.as_str(), b.id.as_str()), ("a", "b"));
    assert_eq!(a.records, [0, 1, 2].map(|n| record("a", n)));
}

#[test]
fn a_file_that_is_cut_off_is_read_as_far_as_it_goes() {
    let file = file();
    let first = header("a test", VantagePoint::Server, None).len();
    for len in 0..file.len() {
        let trace = Trace::read(&file.as_bytes()[..len]);
        let whole = file[..len].ends_with('\n');
        if len < first {
            let none = matches!(trace.damage, Some(Damage::NotATrace));
            assert!(none, "{len}: {:?}", trace.damage);
        } else if whole {
            assert_eq!(trace.damage, None, "{len}");
        } else {
            let cut = matches!(trace.damage, Some(Damage::Cut { .. }));
            assert!(cut, "{len}: {:?}", trace.damage);
            let records: usize = trace.connections.iter().map(|all| all.records.len()).sum();
            let lines = file[..len].matches('\n').count();
            assert_eq!(records, (lines - 1).min(6));
        }
    }
    let cut = Trace::read(&file.as_bytes()[..first + 10]).damage.unwrap();
    assert_eq!(
        cut.to_string(),
        "the file is cut off in record 2; what comes before it was read"
    );
}

#[test]
fn a_damaged_record_costs_itself() {
    let damaged = file().replacen("\"frames\":1", "\"frames\":x", 1);
    let trace = Trace::read(damaged.as_bytes());
    let records: Vec<usize> = trace
        .connections
        .iter()
        .map(|all| all.records.len())
        .collect();
    assert_eq!(records, [2, 3]);
    let damage = trace.damage.unwrap().to_string();
    assert!(damage.starts_with("record 4 was left out: "), "{damage}");
}

#[test]
fn other_files_are_no_traces() {
    for other in ["", "hello\n", "{}\n", "\u{1e}{}\n", "\u{1e}"] {
        let damage = Trace::read(other.as_bytes()).damage;
        assert_eq!(damage, Some(Damage::NotATrace), "{other:?}");
    }
    let later = file().replace("\"tidegate_trace\":1", "\"tidegate_trace\":2");
    let damage = Trace::read(later.as_bytes()).damage.unwrap().to_string();
    assert!(damage.contains("version 2"), "{damage}");
}
