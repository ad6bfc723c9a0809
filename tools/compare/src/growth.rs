//! How the cost of a request grows with what there is of something: connections, streams, fields,
//! bytes. Connections are those of the server itself; the rest is counted in memory
//! (benches/server.rs).

use std::fmt::Write;

use crate::bench::Bench;
use crate::in_memory::Program;
use crate::plot::{Panel, Series};
use crate::process::Result;
use crate::rows;
use crate::site::{File, KB1, KB10, KB100, MB1, MB10, SMALL};
use crate::workloads::WORKLOADS;

/// Requests that a point has at least. Five times as many are counted for the difference.
const REQUESTS: u64 = 600;

/// Numbers of connections.
const CONNECTIONS: [usize; 4] = [10, 100, 1_000, 9_900];

/// A quantity that grows.
struct Axis {
    title: &'static str,
    /// The unit of the quantity.
    unit: &'static str,
    /// The name of each line, and the bench's arguments besides the quantity.
    lines: &'static [(&'static str, &'static [&'static str])],
    points: Vec<Point>,
}

/// A quantity, how many requests a round has with it, and the arguments that set it.
struct Point {
    quantity: u64,
    round: u64,
    arguments: Vec<String>,
}

fn point(quantity: u64, round: u64, arguments: &[&str]) -> Point {
    Point {
        quantity,
        round,
        arguments: arguments.iter().map(|word| (*word).to_owned()).collect(),
    }
}

fn axes(bench: &Bench) -> Vec<Axis> {
    let number = |name: &'static str| {
        move |n: u64, round: u64, more: &[&str]| {
            point(n, round, &[&[name, &n.to_string()], more].concat())
        }
    };
    let streams = number("--streams");
    let fields = number("--fields");
    let www = bench.site.www().display().to_string();
    let file = |File(name, size): File| {
        let (path, size_text) = (format!("/{name}"), size.to_string());
        let few = ["--connections", "1", "--streams", "4"];
        let of = ["--root", &www, "--path", &path, "--size", &size_text];
        point(size, 4, &[&few[..], &of].concat())
    };
    let plain: &[(&str, &[&str])] = &[("tidegate", &[])];
    vec![
        Axis {
            title: "streams of one connection",
            unit: "streams",
            lines: plain,
            points: [1, 4, 16, 64, 256, 1_000]
                .map(|n| streams(n, n, &["--connections", "1"]))
                .into(),
        },
        Axis {
            title: "fields besides the pseudo-header fields",
            unit: "fields",
            lines: &[("indexed", &[]), ("literals", &["--literals"])],
            points: [1, 5, 10, 20, 40, 80].map(|n| fields(n, 256, &[])).into(),
        },
        Axis {
            title: "bytes of the body, a file",
            unit: "bytes",
            lines: plain,
            points: [SMALL, KB1, KB10, KB100, MB1, MB10].map(file).into(),
        },
    ]
}

/// How many points there are, for the progress bar.
pub(crate) fn points(bench: &Bench) -> u64 {
    let axes = axes(bench);
    let counts = axes.iter().map(|axis| axis.lines.len() * axis.points.len());
    (counts.sum::<usize>() + CONNECTIONS.len() * 2) as u64
}

/// Counts. What can't be counted is an error.
pub(crate) fn measure(bench: &Bench) -> Result<Vec<Panel>> {
    let program = Program::server()?;
    let mut panels = vec![connections(bench)?];
    for axis in axes(bench) {
        let mut series = Vec::new();
        for (name, more) in axis.lines {
            let mut counted = Vec::new();
            for point in &axis.points {
                bench
                    .progress
                    .set_message(format!("growth with {}: {}", axis.unit, point.quantity));
                let mut arguments = point.arguments.clone();
                arguments.extend(more.iter().map(|word| (*word).to_owned()));
                // A large body needs no more than two rounds.
                let least = (REQUESTS * 2_000 / point.quantity.max(2_000)).max(point.round * 2);
                let least = if axis.unit == "bytes" {
                    least
                } else {
                    REQUESTS
                };
                let requests = least.div_ceil(point.round) * point.round;
                let count = program.per_request(requests, &arguments)?;
                counted.push((point.quantity as f64, count));
                bench.progress.inc(1);
            }
            series.push(Series {
                name,
                points: counted,
            });
        }
        panels.push(Panel {
            title: axis.title,
            series,
        });
    }
    Ok(panels)
}

fn connections(bench: &Bench) -> Result<Panel> {
    let workload = WORKLOADS.iter().find(|workload| workload.name == "tiny");
    let workload = workload.ok_or("there is no workload tiny")?;
    let mut points = Vec::new();
    for number in CONNECTIONS {
        bench
            .progress
            .set_message(format!("growth with connections: {number}"));
        let count = rows::with_connections(bench, workload, number)?;
        points.push((number as f64, count));
    }
    Ok(Panel {
        title: "connections, all active with one stream",
        series: vec![Series {
            name: "tidegate",
            points,
        }],
    })
}

/// Returns the figures as a Markdown table. The last column says how far the cost follows the
/// quantity.
pub(crate) fn table(panels: &[Panel]) -> String {
    let mut text = String::from(
        "| grows | user instructions per request | from the first to the last |\n|---|---|---|\n",
    );
    for panel in panels {
        for series in &panel.series {
            let cells: Vec<_> = series
                .points
                .iter()
                .map(|(x, y)| format!("{x}: {y:.0}"))
                .collect();
            let (Some((less, first)), Some((more, last))) =
                (series.points.first(), series.points.last())
            else {
                continue;
            };
            let name = match panel.series.len() {
                1 => String::new(),
                _ => format!(", {}", series.name),
            };
            let _ = writeln!(
                text,
                "| {}{name} | {} | × {:.2} for × {:.0} |",
                panel.title,
                cells.join(" · "),
                last / first,
                more / less
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_how_far_the_cost_follows() {
        let panel = Panel {
            title: "streams",
            series: vec![Series {
                name: "tidegate",
                points: vec![(1.0, 3_000.0), (10.0, 1_500.0)],
            }],
        };
        let line = "| streams | 1: 3000 · 10: 1500 | × 0.50 for × 10 |\n";
        assert!(table(&[panel]).ends_with(line));
    }
}
