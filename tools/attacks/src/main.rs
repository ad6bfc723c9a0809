//! Attacks a server in every way that SECURITY.md lists, with one attacker and with ten from ten
//! addresses, and prints the cost of each attack: the attackers' bytes, the memory that they pin, a
//! bystander's latency before and during the attack, and how the attack ends.
//!
//! Attackers are processes of their own with the lowest priority, so that they don't take the
//! processor from the server. All traffic stays on the loopback interface.

mod bystander;
mod peer;
mod processor;
mod rows;
mod server;

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use clap::Parser;

use bystander::{Seen, watch};
use peer::Attacker;
use rows::{Asks, ROWS, Row};
use server::Server;

/// The most memory that an attack may pin: the budget, 64 MiB, and 32 MiB.
const MEMORY_BOUND: u64 = 96 << 20;

/// How many times as long the bystander may wait.
const TIMES: u32 = 3;

/// How long a bystander's request may wait for the server in any case: for some turns of its loop,
/// in which other clients have their shares.
const FLOOR: Duration = Duration::from_millis(5);

/// After how many rounds a bystander that waits too long counts as a failure.
const ROUNDS: usize = 3;

/// The server's flags: limits that end within an attack's time.
const FLAGS: &[&str] = &[
    "--workers",
    "1",
    "--log",
    "warn",
    "--memory-budget",
    "64M",
    "--handshake-timeout",
    "2s",
    "--header-timeout",
    "1s",
    "--body-timeout",
    "1s",
    "--write-timeout",
    "1s",
];

/// The flags of the server that acts as an upstream, which has room for all that the proxy
/// forwards.
const UPSTREAM_FLAGS: &[&str] = &[
    "--workers",
    "2",
    "--log",
    "warn",
    "--memory-budget",
    "0",
    "--client-shares",
    "off",
];

/// Attacks a server, and shows what the attacks cost other clients.
#[derive(Parser)]
struct Flags {
    /// The server's program.
    #[arg(long, default_value = "target/release/tidegate", env = "TIDEGATE")]
    server: PathBuf,
    /// Attacks to run, by parts of their names. Default: all.
    #[arg(long)]
    only: Vec<String>,
    /// Numbers of attackers.
    #[arg(long, default_values_t = [1, 10])]
    attackers: Vec<u8>,
    /// How long each attack lasts, in milliseconds.
    #[arg(long, default_value_t = 2_500)]
    lasts: u64,
    /// Runs one attacker: the name of the attack, the two addresses of the server, and the address
    /// to attack from.
    #[arg(long, hide = true, num_args = 4)]
    attack: Vec<String>,
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let flags = Flags::parse();
    let lasts = Duration::from_millis(flags.lasts);
    let (_, most) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE)?;
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most)?;
    if let [name, plain, tls, from] = &flags.attack[..] {
        attack(name, plain.parse()?, tls.parse()?, from.parse()?, lasts)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_asked = |row: &&Row| {
        flags.only.is_empty()
            || flags
                .only
                .iter()
                .any(|part| row.name.contains(part.as_str()))
    };
    println!(
        "| attack | attackers | bytes sent | memory pinned | p99 before | p99 during | for the server before | for the server during | what ended it |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---|");
    let mut failures = Vec::new();
    for row in ROWS.iter().filter(is_asked) {
        for attackers in &flags.attackers {
            if let Some(failure) = try_row(&flags, row, *attackers, lasts)? {
                failures.push(format!("{} with {attackers}: {failure}", row.name));
            }
        }
    }
    for failure in &failures {
        println!("FAIL  {failure}");
    }
    println!("{} attacks out of bounds", failures.len());
    Ok(if failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs one attacker, in a process of its own. Prints the bytes that it sent, and a line with a
/// count for each kind of end.
fn attack(
    name: &str,
    plain: SocketAddr,
    tls: SocketAddr,
    from: Ipv4Addr,
    lasts: Duration,
) -> Result<(), Box<dyn Error>> {
    let row = ROWS
        .iter()
        .find(|row| row.name == name)
        .ok_or("there is no such attack")?;
    let mut attacker = Attacker::new(plain, tls, from, lasts);
    (row.attack)(&mut attacker);
    println!("{}", attacker.sent);
    for (end, count) in attacker.ends {
        println!("{count} {end}");
    }
    Ok(())
}

/// Runs an attack up to three times, until it stays within the bounds, and prints the last outcome.
/// Returns the bound that was exceeded.
fn try_row(
    flags: &Flags,
    row: &Row,
    attackers: u8,
    lasts: Duration,
) -> Result<Option<String>, Box<dyn Error>> {
    let mut outcome = run_row(flags, row, attackers, lasts)?;
    for _ in 1..ROUNDS {
        if outcome.failure().is_none() {
            break;
        }
        outcome = run_row(flags, row, attackers, lasts)?;
    }
    outcome.print(row, attackers);
    Ok(outcome.failure())
}

/// The outcome of an attack.
struct Outcome {
    sent: u64,
    pinned: u64,
    before: Seen,
    during: Seen,
    ends: BTreeMap<String, u64>,
}

impl Outcome {
    fn failure(&self) -> Option<String> {
        if self.pinned > MEMORY_BOUND {
            return Some(format!("{} MiB are pinned", self.pinned >> 20));
        }
        if self.during.failed > 0 {
            let (failed, all) = (self.during.failed, self.during.requests);
            let failure = &self.during.failure;
            return Some(format!(
                "{failed} of the bystander's {all} requests failed: {failure}"
            ));
        }
        let bound = (self.before.of_server * TIMES).max(FLOOR);
        let waits = self.during.of_server;
        (waits > bound).then(|| format!("the bystander waits {waits:?} for the server"))
    }

    fn print(&self, row: &Row, attackers: u8) {
        let mut ends: Vec<_> = self.ends.iter().collect();
        ends.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let ends = ends
            .iter()
            .take(3)
            .map(|(end, count)| format!("{count} × {end}"));
        let ms = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
        println!(
            "| `{}`: {} | {attackers} | {} KB | {} KB | {} | {} | {} | {} | {} |",
            row.name,
            row.what,
            self.sent.div_ceil(1000),
            self.pinned.div_ceil(1000),
            ms(self.before.p99),
            ms(self.during.p99),
            ms(self.before.of_server),
            ms(self.during.of_server),
            ends.collect::<Vec<_>>().join(", ")
        );
    }
}

fn run_row(
    flags: &Flags,
    row: &Row,
    attackers: u8,
    lasts: Duration,
) -> Result<Outcome, Box<dyn Error>> {
    let root = tempfile::tempdir()?;
    std::fs::write(root.path().join("small"), "fourteen bytes\n")?;
    std::fs::write(root.path().join("large"), vec![b'x'; 1_000_000])?;
    let root = format!("/={}", root.path().display());
    let own = |flags: &[&str]| {
        flags
            .iter()
            .map(|flag| (*flag).to_owned())
            .collect::<Vec<_>>()
    };
    let site = own(&[
        "--route",
        &root,
        "--route",
        "/upload=upload",
        "--route",
        "/echo=echo",
    ]);
    let upstream = [own(UPSTREAM_FLAGS), site.clone()].concat();
    let upstream = Server::start(&flags.server, None, &upstream)?;
    let proxied = format!("/proxied=http://{}/", upstream.plain);
    let all = [own(FLAGS), site, own(&["--route", &proxied])].concat();
    let server = Server::start(&flags.server, Some(1_024), &all)?;
    let proxied = match row.asks {
        Asks::File => None,
        Asks::Proxied => Some("/proxied/small"),
    };
    let before = watch(&server, proxied, Instant::now() + lasts / 2, || false)?;
    let memory = server.memory();
    let mut children = (0..attackers)
        .map(|index| start_attacker(row, &server, index, lasts))
        .collect::<io::Result<Vec<_>>>()?;
    let mut peak = memory;
    let during = watch(&server, proxied, Instant::now() + lasts, || {
        peak = peak.max(server.memory());
        children
            .iter_mut()
            .any(|child| matches!(child.try_wait(), Ok(None)))
    })?;
    let mut outcome = Outcome {
        sent: 0,
        pinned: peak.max(server.memory()) - memory,
        before,
        during,
        ends: BTreeMap::new(),
    };
    for mut child in children {
        let mut text = String::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_string(&mut text)?;
        }
        if !child.wait()?.success() {
            return Err(format!("an attacker of {} failed", row.name).into());
        }
        let mut lines = text.lines();
        outcome.sent += lines.next().unwrap_or_default().parse::<u64>()?;
        for line in lines {
            let (count, end) = line
                .split_once(' ')
                .ok_or("an attacker's line has no count")?;
            *outcome.ends.entry(end.to_owned()).or_default() += count.parse::<u64>()?;
        }
    }
    Ok(outcome)
}

fn start_attacker(row: &Row, server: &Server, index: u8, lasts: Duration) -> io::Result<Child> {
    let from = Ipv4Addr::new(127, 0, 1, 1 + index);
    Command::new("nice")
        .args(["-n", "19"])
        .arg(std::env::current_exe()?)
        .args([
            "--lasts",
            &lasts.as_millis().to_string(),
            "--attack",
            row.name,
        ])
        .args([
            server.plain.to_string(),
            server.tls.to_string(),
            from.to_string(),
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
}
