//! The figures of docs/performance.md: written between the marks there, with the plots beside it,
//! so that one command renews all of them and no word around them.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::ValueEnum;
use tidegate_testkit::signals::check_ended;

use crate::bench::Bench;
use crate::cores::{self, Shared};
use crate::latency::{self, load_average};
use crate::peers::{Peer, Transport};
use crate::process::{Result, find};
use crate::rows::{self, Row};
use crate::stages::{self, Column};
use crate::workloads::{Unit, WORKLOADS, Workload};
use crate::{growth, plot, table};

const PAGE: &str = "docs/performance.md";
const PLOTS: &str = "docs/performance";
const README: &str = "README.md";

/// Columns of a line of text.
const COLUMNS: usize = 100;

/// A part of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All of them.
    All,
    /// The cost of each workload for each server, and the plot.
    Costs,
    /// User instructions beside other servers.
    Instructions,
    /// Latency below saturation.
    Latency,
    /// The instructions by part of the server.
    Stages,
    /// How the cost grows.
    Growth,
    /// The atomic instructions, by which workers meet.
    Cores,
}

impl Part {
    /// The parts in the order of the page.
    const PARTS: [Self; 6] = [
        Self::Costs,
        Self::Instructions,
        Self::Latency,
        Self::Stages,
        Self::Growth,
        Self::Cores,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Costs => "costs",
            Self::Instructions => "instructions",
            Self::Latency => "latency",
            Self::Stages => "stages",
            Self::Growth => "growth",
            Self::Cores => "cores",
        }
    }
}

/// The workloads whose instructions are counted.
const COUNTED: [&str; 5] = ["tiny", "one-stream", "browser", "literals", "connections"];

/// The servers whose instructions are counted: valgrind runs one request in the time of fifty.
const COUNTED_PEERS: [Peer; 6] = [
    Peer::Tidegate,
    Peer::H2o,
    Peer::Nginx,
    Peer::Nghttpd,
    Peer::Hyper,
    Peer::Floor,
];

/// Measures these parts, and writes each as soon as it is there.
pub(crate) fn run(bench: &Bench, peers: &[Peer], parts: &[Part]) -> Result {
    let root = bench.site.root.clone();
    fs::create_dir_all(root.join(PLOTS))?;
    let wanted = Part::PARTS
        .into_iter()
        .filter(|part| parts.contains(part) || parts.contains(&Part::All));
    replace(&root.join(PAGE), "machine", &machine(bench, peers)?)?;
    for part in wanted {
        let before = load_average()?;
        let figures = match part {
            Part::Costs => costs(bench, peers, &root)?,
            Part::Instructions => instructions(bench, peers)?,
            Part::Latency => latency::table(bench, peers)?,
            Part::Stages => stages(bench)?,
            Part::Growth => growth(bench, &root)?,
            Part::Cores | Part::All => cores(bench)?,
        };
        let text = format!(
            "`cargo run --release -p compare -- --documented={}`, {},\n{}, load average {before} \
             before and {} after:\n\n{}",
            part.name(),
            today(),
            binary(bench)?,
            load_average()?,
            figures.trim_end()
        );
        replace(&root.join(PAGE), part.name(), &text)?;
        bench
            .progress
            .suspend(|| println!("## {}\n\n{text}\n", part.name()));
    }
    bench.progress.finish_and_clear();
    Ok(())
}

fn costs(bench: &Bench, peers: &[Peer], root: &Path) -> Result<String> {
    let all = WORKLOADS.iter().flat_map(|workload| {
        let over = workload.over.iter();
        over.map(move |over| (workload, *over, workload.unit))
    });
    let rows = measure(bench, peers, all.collect())?;
    fs::write(
        root.join(PLOTS).join("costs.svg"),
        plot::costs(&rows, peers),
    )?;
    let caption = format!(
        "![Each server's cost as a multiple of the best peer's]({PLOTS}/costs.svg)\n\n\
         `cargo run --release -p compare -- --documented`, {}:\n[{PAGE}]({PAGE}) has the figures.",
        today()
    );
    replace(&root.join(README), "plot", &caption)?;
    let picture = "![Each server's cost as a multiple of the best peer's](performance/costs.svg)";
    Ok(format!("{picture}\n\n{}", table::tables(&rows, peers)))
}

fn instructions(bench: &Bench, peers: &[Peer]) -> Result<String> {
    let peers: Vec<_> = COUNTED_PEERS
        .into_iter()
        .filter(|peer| peers.contains(peer))
        .collect();
    let all = WORKLOADS
        .iter()
        .filter(|workload| COUNTED.contains(&workload.name))
        .flat_map(|workload| {
            let over = workload.over.iter();
            over.map(move |over| (workload, *over, Unit::Instructions))
        });
    let rows = measure(bench, &peers, all.collect())?;
    Ok(table::tables(&rows, &peers))
}

fn measure(
    bench: &Bench,
    peers: &[Peer],
    planned: Vec<(&Workload, Transport, Unit)>,
) -> Result<Vec<Row>> {
    let loads = planned
        .iter()
        .map(|(_, _, unit)| rows::loads(bench, peers, *unit));
    begin(bench, loads.sum());
    let mut all = Vec::new();
    for (workload, over, unit) in planned {
        let row = rows::measure(bench, workload, over, peers, unit);
        check_ended()?;
        bench
            .progress
            .suspend(|| eprintln!("{}", table::line(&row)));
        all.push(row);
    }
    Ok(all)
}

fn begin(bench: &Bench, loads: u64) {
    bench.progress.reset();
    bench.progress.set_length(loads);
}

fn workload(name: &str) -> Result<&'static Workload> {
    let workload = WORKLOADS.iter().find(|workload| workload.name == name);
    workload.ok_or_else(|| format!("no workload is called {name}").into())
}

fn stages(bench: &Bench) -> Result<String> {
    let all = [
        ("tiny", Transport::H2c),
        ("tiny", Transport::Tls),
        ("one-stream", Transport::H2c),
        ("browser", Transport::H2c),
        ("literals", Transport::H2c),
    ];
    begin(bench, all.len() as u64 * 2);
    let mut columns = Vec::new();
    for (name, over) in all {
        let (requests, profile) = rows::profile(bench, workload(name)?, over)?;
        let title = format!("`{name}`, {}", over.name());
        columns.push(Column::of(title, requests, &profile));
    }
    Ok(stages::table(&columns))
}

fn growth(bench: &Bench, root: &Path) -> Result<String> {
    begin(bench, growth::points(bench));
    let panels = growth::measure(bench)?;
    let title = "User instructions per request, in memory";
    fs::write(
        root.join(PLOTS).join("growth.svg"),
        plot::panels(title, &panels),
    )?;
    let picture = "![User instructions per request, by what grows](performance/growth.svg)";
    Ok(format!("{picture}\n\n{}", growth::table(&panels)))
}

fn cores(bench: &Bench) -> Result<String> {
    let all = [
        ("tiny", Transport::H2c),
        ("arena-json", Transport::H2c),
        ("connections", Transport::Tls),
        ("proxy-http1", Transport::Tls),
    ];
    begin(bench, all.len() as u64 * 2);
    let mut shared = Vec::new();
    for (name, over) in all {
        let workload = workload(name)?;
        let (requests, profile) = rows::profile(bench, workload, over)?;
        let atomics = profile.atomics(&bench.site.tidegate)?;
        let row = rows::measure(bench, workload, over, &[Peer::Tidegate], Unit::Cpu);
        let micros = row
            .figure(Peer::Tidegate)
            .ok_or_else(|| format!("{name} has no CPU time"))?;
        let title = format!("`{name}`, {}", over.name());
        shared.push(Shared::new(title, micros, requests, &atomics));
    }
    Ok(cores::tables(&shared))
}

/// Returns the day, by UTC.
fn today() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%d").to_string()
}

fn git(root: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(root)
        .output()?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Returns which server was measured: its commit, and whether the sources differ from it.
fn binary(bench: &Bench) -> Result<String> {
    let site = &bench.site;
    if site.tidegate != site.target.join("release/tidegate") {
        return Ok("another binary".to_owned());
    }
    let commit = git(&site.root, &["rev-parse", "--short=8", "HEAD"])?;
    let sources = ["status", "--porcelain", "--", "crates", "Cargo.lock"];
    let changes = git(&site.root, &sources)?;
    Ok(if changes.is_empty() {
        format!("commit {commit}")
    } else {
        format!("commit {commit} with changes")
    })
}

/// Returns the machine and the servers' versions.
fn machine(bench: &Bench, peers: &[Peer]) -> Result<String> {
    let cpus = fs::read_to_string("/proc/cpuinfo")?;
    let models = || {
        let values = cpus.lines().filter_map(|line| line.split_once(':'));
        values.filter(|(name, _)| name.trim() == "model name")
    };
    let model = models().next().map_or("", |(_, model)| model.trim());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let version = kernel.split('-').next().unwrap_or_default().trim();
    let (mut there, mut missing) = (Vec::new(), Vec::new());
    for peer in peers {
        match version_of(*peer, bench) {
            Some(version) => there.push(format!("{} {version}", peer.name())),
            None if matches!(peer, Peer::Tidegate | Peer::Floor) => {}
            None => missing.push(peer.name()),
        }
    }
    let mut text = format!(
        "{model}, {} processors, Linux {version}. Beside {}.",
        models().count(),
        there.join(", ")
    );
    if !missing.is_empty() {
        text += &format!(
            " Left out, because it isn't installed: {}.",
            missing.join(", ")
        );
    }
    let others: Vec<_> = Peer::value_variants()
        .iter()
        .filter(|peer| !peers.contains(peer))
        .map(|peer| peer.name())
        .collect();
    if !others.is_empty() {
        text += &format!(" Left out by --only: {}.", others.join(", "));
    }
    Ok(wrap(&text))
}

/// Returns the version that a peer says it has, if it is installed.
fn version_of(peer: Peer, bench: &Bench) -> Option<String> {
    let (name, argument) = match peer {
        Peer::H2o | Peer::Nghttpd | Peer::Nghttpx => (peer.name(), "--version"),
        Peer::Nginx | Peer::Haproxy => (peer.name(), "-v"),
        Peer::Apache => ("apache2", "-v"),
        Peer::Caddy => ("caddy", "version"),
        Peer::Go => ("go", "version"),
        Peer::Hyper => return hyper_version(bench),
        Peer::Tidegate | Peer::Floor => return None,
    };
    let output = Command::new(find(name)?).arg(argument).output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    version(&String::from_utf8_lossy(&said))
}

fn hyper_version(bench: &Bench) -> Option<String> {
    crate::built::hyper(&bench.site).ok()?;
    let lock = bench.site.target.join("compare/hyper/Cargo.lock");
    let lock = fs::read_to_string(lock).ok()?;
    let (_, rest) = lock.split_once("name = \"hyper\"\n")?;
    version(rest.lines().next()?)
}

/// Returns the first number with a dot in it.
fn version(text: &str) -> Option<String> {
    let words = text.split(|char: char| !char.is_ascii_digit() && char != '.');
    let mut words = words.map(|word| word.trim_matches('.'));
    words.find(|word| word.contains('.')).map(str::to_owned)
}

/// Breaks a text into lines.
fn wrap(text: &str) -> String {
    let (mut wrapped, mut length) = (String::new(), 0);
    for word in text.split(' ') {
        let long = word.chars().count();
        if length > 0 && length + 1 + long > COLUMNS {
            wrapped.push('\n');
            length = 0;
        } else if length > 0 {
            wrapped.push(' ');
            length += 1;
        }
        wrapped.push_str(word);
        length += long;
    }
    wrapped + "\n"
}

/// Replaces what is between the marks of this name in a file.
fn replace(path: &Path, name: &str, text: &str) -> Result {
    let page = fs::read_to_string(path)?;
    let replaced = between(&page, name, text)
        .ok_or_else(|| format!("{} has no marks for {name}", path.display()))?;
    Ok(fs::write(path, replaced)?)
}

fn between(page: &str, name: &str, text: &str) -> Option<String> {
    let begin = format!("<!-- compare: {name} -->\n");
    let end = format!("<!-- compare: end of {name} -->");
    let (before, rest) = page.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{}\n{end}{after}", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_marks_is_replaced() {
        let page = "a\n<!-- compare: costs -->\nold\nlines\n<!-- compare: end of costs -->\nb\n";
        let new = "a\n<!-- compare: costs -->\nnew\n<!-- compare: end of costs -->\nb\n";
        assert_eq!(between(page, "costs", "new\n\n").as_deref(), Some(new));
        assert_eq!(between(new, "costs", "new").as_deref(), Some(new));
        assert_eq!(between(page, "growth", "new"), None);
    }

    #[test]
    fn the_page_has_marks_for_all_parts() {
        let root = crate::site::root().unwrap();
        let page = fs::read_to_string(root.join(PAGE)).unwrap();
        for part in Part::PARTS {
            assert!(between(&page, part.name(), "").is_some(), "{part:?}");
        }
        assert!(between(&page, "machine", "").is_some());
        let readme = fs::read_to_string(root.join(README)).unwrap();
        assert!(between(&readme, "plot", "").is_some());
    }

    #[test]
    fn a_version_is_the_first_number_with_a_dot() {
        assert_eq!(
            version("nginx version: nginx/1.22.1\n").as_deref(),
            Some("1.22.1")
        );
        assert_eq!(
            version("go version go1.24.1 linux/amd64").as_deref(),
            Some("1.24.1")
        );
        assert_eq!(version("HAProxy 2").as_deref(), None);
    }

    #[test]
    fn lines_have_100_columns_at_most() {
        let text = wrap(&"word ".repeat(60));
        assert!(text.lines().all(|line| line.len() <= COLUMNS) && text.lines().count() == 3);
    }
}
