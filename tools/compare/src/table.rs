//! The Markdown tables: one for each unit.

use std::fmt::Write;

use crate::peers::Peer;
use crate::rows::{Cell, Row};
use crate::workloads::Unit;

/// The longest reason that a cell has room for.
const SHORT: usize = 20;

/// The longest reason that a note has room for.
const NOTE: usize = 1_000;

/// Returns the tables of these rows, with notes about what went wrong.
pub(crate) fn tables(rows: &[Row], peers: &[Peer]) -> String {
    let mut text = String::new();
    let mut notes = Vec::new();
    for unit in [Unit::Cpu, Unit::Instructions, Unit::Calls, Unit::Memory] {
        let of_unit: Vec<_> = rows.iter().filter(|row| row.unit == unit).collect();
        if of_unit.is_empty() {
            continue;
        }
        let shown = |peer: &&Peer| {
            let has_figure = |row: &&Row| row.figure(**peer).is_some();
            let is_missing = |row: &&Row| {
                let cell = row.cells.iter().find(|(other, _)| other == *peer);
                matches!(cell, Some((_, Cell::None(why))) if why != "–")
            };
            of_unit.iter().any(has_figure) || of_unit.iter().any(is_missing)
        };
        let peers: Vec<_> = peers.iter().filter(shown).copied().collect();
        let names: Vec<_> = peers.iter().map(|peer| peer.name()).collect();
        let _ = writeln!(
            text,
            "| {} | over | {} | of the best peer |",
            unit.name(),
            names.join(" | ")
        );
        let _ = writeln!(text, "|---|---|{}---:|", "---:|".repeat(peers.len()));
        for row in of_unit {
            let cells: Vec<_> = peers
                .iter()
                .map(|peer| cell(row, *peer, &mut notes))
                .collect();
            let ratio = row
                .ratio()
                .map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}"));
            let _ = writeln!(
                text,
                "| `{}`: {} | {} | {} | {ratio} |",
                row.name,
                row.what,
                row.over,
                cells.join(" | ")
            );
        }
        text.push('\n');
    }
    for note in notes {
        let _ = writeln!(text, "{note}");
    }
    text
}

/// Returns the figures of a row in one line, for those who wait.
pub(crate) fn line(row: &Row) -> String {
    let cells = row.cells.iter().filter_map(|(peer, cell)| match cell {
        Cell::Figure(figure) => Some(format!("{} {}", peer.name(), row.unit.show(*figure))),
        Cell::None(why) if why == "–" => None,
        Cell::None(_) => Some(format!("{} failed", peer.name())),
    });
    let cells: Vec<_> = cells.collect();
    format!(
        "{} over {}, {}: {}",
        row.name,
        row.over,
        row.unit.name(),
        cells.join(", ")
    )
}

/// Returns a figure; the best peer's in bold, as what tidegate is held against.
fn cell(row: &Row, peer: Peer, notes: &mut Vec<String>) -> String {
    let cell = row.cells.iter().find(|(other, _)| *other == peer);
    match cell {
        Some((_, Cell::Figure(figure))) => {
            let shown = row.unit.show(*figure);
            if row.best().is_some_and(|(best, _)| best == peer) {
                format!("**{shown}**")
            } else {
                shown
            }
        }
        Some((_, Cell::None(why))) if why.len() <= SHORT => why.clone(),
        Some((_, Cell::None(why))) => {
            let why: Vec<_> = why.split_whitespace().collect();
            let why: String = why.join(" ").chars().take(NOTE).collect();
            let name = peer.name();
            notes.push(format!("{} over {}, {name}: {why}", row.name, row.over));
            "failed".to_owned()
        }
        None => "–".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_figures_reasons_and_a_ratio() {
        let rows = [Row {
            name: "tiny",
            what: "a file",
            over: "h2c",
            unit: Unit::Cpu,
            cells: vec![
                (Peer::Tidegate, Cell::Figure(0.5)),
                (Peer::H2o, Cell::Figure(1.0)),
                (Peer::Caddy, Cell::None("not installed".to_owned())),
                (
                    Peer::Go,
                    Cell::None("a long reason why there is none".to_owned()),
                ),
            ],
        }];
        let text = tables(&rows, &[Peer::Tidegate, Peer::H2o, Peer::Caddy, Peer::Go]);
        let line = "| `tiny`: a file | h2c | 0.50 | **1.00** | not installed | failed | 0.50 |";
        assert!(text.contains(line), "{text}");
        assert!(text.ends_with("tiny over h2c, Go: a long reason why there is none\n"));
    }
}
