//! Proves that reloads and upgrades lose nothing: while clients of every kind keep the server busy,
//! it gets SIGHUP with other routes and another certificate, and SIGUSR2. No request may fail and no
//! connection be refused.
//!
//! The program waits for conditions, such as lines of the log and requests that were answered, and
//! counts. It needs h2load. Run it with `tools/restart.sh`.
//!
//! - `server`   the server: its configuration, its log, signals
//! - `clients`  clients over HTTP/2 and HTTP/1.1, a gRPC call, an upload
//! - `socket`   a WebSocket, and the upstream that echoes it

mod clients;
mod server;
mod socket;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use clap::Parser;
use nix::sys::signal::Signal;
use tidegate_testkit::signals::end_on_signals;

use crate::clients::{Load, Load::*, Steps};
use crate::server::Server;

/// A step that fails when the machine does, or a check that doesn't hold.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Reloads before the memory is first looked at, so that every cache has its size.
const WARM_UP: usize = 5;

/// KiB by which the memory may differ after the other reloads, and between processes.
const MEMORY: u64 = 16 << 10;

/// Proves that reloads and upgrades of the server lose nothing
#[derive(Parser)]
struct Arguments {
    /// Reloads, each with another route and another certificate
    #[arg(long, default_value_t = 20)]
    reloads: usize,

    /// Upgrades, after the reloads
    #[arg(long, default_value_t = 5)]
    upgrades: usize,

    /// Bytes of the upload
    #[arg(long, default_value_t = 1 << 30)]
    upload: u64,
}

fn main() -> ExitCode {
    match prove(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("restart: {error}");
            ExitCode::FAILURE
        }
    }
}

fn prove(arguments: &Arguments) -> Result {
    end_on_signals()?;
    let mut server = Server::start()?;
    let steps = Arc::new(Steps::new(
        arguments.upload,
        arguments.reloads + arguments.upgrades,
    ));
    let clients: Vec<_> = [H2load, Http2, Http2, Http1, Http1, Call, WebSocket, Upload]
        .into_iter()
        .map(|load| {
            let (steps, ports) = (Arc::clone(&steps), server.ports());
            let run = move || steps.run(load, &ports);
            (load, thread::spawn(run))
        })
        .collect();
    let mut memory = 0;
    for reload in 1..=arguments.reloads {
        steps.wait_for_progress()?;
        server.reload(reload)?;
        steps.advance();
        if reload == WARM_UP.min(arguments.reloads) {
            memory = server.memory()?;
        }
    }
    steps.wait_for_progress()?;
    let after = server.memory()?;
    for upgrade in 1..=arguments.upgrades {
        steps.wait_for_progress()?;
        let paused = steps.without_h2load();
        server.upgrade(arguments.reloads + upgrade)?;
        drop(paused);
        steps.advance();
    }
    steps.wait_for_progress()?;
    let last = server.memory()?;
    steps.stop();
    for (load, client) in clients {
        client
            .join()
            .map_err(|_| format!("the client {load:?} panicked"))?;
    }
    server.signal(Signal::SIGTERM)?;
    server.wait_for("all connections are closed", arguments.upgrades + 1)?;

    println!(
        "{} reloads, {} upgrades",
        arguments.reloads, arguments.upgrades
    );
    for load in Load::ALL {
        println!("{}", steps.report(load));
    }
    println!(
        "memory: {memory} KiB after {WARM_UP} reloads, {after} KiB after all, {last} KiB of the \
         last process"
    );
    steps.check()?;
    for (what, bytes) in [("reloads", after), ("upgrades", last)] {
        if bytes > memory + MEMORY {
            return Err(format!("the memory grew by {what}: {bytes} KiB").into());
        }
    }
    Ok(())
}
