//! The settings and limits of the loops and their engines.

use std::sync::Arc;
use std::time::Duration;

use tidegate_http::{Config as EngineConfig, MemoryBudget, WallClock};
use tidegate_ledger::{Ledger, Resource};
use tidegate_net::Options;

use super::ConfigError;
use crate::flags::{Flags, Size};
use crate::memory;
use crate::shares;

/// The default of `--proxy-protocol-from`.
const LOOPBACK: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// Returns the ledger of what clients share, and the memory budget.
pub(super) fn shared(flags: &Flags, workers: usize) -> Result<Shared, ConfigError> {
    let quarter = || memory::available().map(|bytes| bytes / 4);
    let budget = flags.memory_budget.map(|size| size.0).or_else(quarter);
    let descriptors = shares::raise_descriptors().map_err(ConfigError::Descriptors)?;
    let budget = budget.unwrap_or(0);
    let ledger = shares::Shared::new(flags).ledger(descriptors, workers, budget);
    Ok(Shared {
        budget: (budget > 0).then(|| MemoryBudget::of(&ledger)),
        ledger,
        descriptors,
    })
}

/// The resources that all workers share for as long as the process lasts.
#[derive(Clone)]
pub(super) struct Shared {
    /// The account of each client.
    pub(super) ledger: Arc<Ledger>,
    /// The memory for requests, if it is limited.
    pub(super) budget: Option<Arc<MemoryBudget>>,
    /// The descriptors that the process may have.
    pub(super) descriptors: u64,
}

/// Returns the options of the workers' loops.
pub(super) fn options(
    flags: &Flags,
    has_websockets: bool,
    shared: &Shared,
    wall_clock: WallClock,
) -> Result<Options, ConfigError> {
    let mut engine = EngineConfig::server();
    engine.max_concurrent_streams = flags.max_streams;
    engine.priorities = flags.priorities;
    engine.max_stream_window_size = saturate(flags.max_stream_window);
    engine.memory_budget = shared.budget.clone();
    engine.timeouts.handshake = flags.handshake_timeout;
    engine.timeouts.header_block = flags.header_timeout;
    engine.timeouts.body = flags.body_timeout;
    engine.min_body_rate = saturate(flags.min_body_rate);
    engine.timeouts.write = flags.write_timeout;
    engine.timeouts.idle = flags.idle_timeout;
    engine.timeouts.shutdown = flags.shutdown_timeout;
    // RFC 8441 §3: browsers use this setting where they see it, so it is advertised only if
    // some path takes WebSockets.
    engine.enable_connect_protocol = has_websockets;
    engine.wall_clock = Some(wall_clock);
    let mut options = Options::new(engine.build().map_err(ConfigError::Engine)?);
    options.ledger = Arc::clone(&shared.ledger);
    options.h2c_upgrade = flags.h2c_upgrade;
    if flags.proxy_protocol {
        options.proxy_protocol_from = if flags.proxy_protocol_from.is_empty() {
            LOOPBACK.iter().filter_map(|net| net.parse().ok()).collect()
        } else {
            flags.proxy_protocol_from.clone()
        };
    }
    options.handshake_timeout = flags.handshake_timeout;
    options.write_timeout = flags.write_timeout;
    options.notsent_lowat = saturate(flags.notsent_lowat);
    // The loop always has a limit, so 0 becomes one that no shutdown reaches.
    let no_limit = Duration::from_secs(365 * 24 * 3600);
    options.shutdown_timeout = match flags.shutdown_timeout {
        Duration::ZERO => no_limit,
        limit => limit,
    };
    if options.ledger.rule(Resource::Requests).is_limited() {
        options.makes_requests_for_others = flags.trust_forwarded_from.clone();
    }
    Ok(options)
}

/// Converts to `u32`. The engine refuses values that are too large for it.
fn saturate(size: Size) -> u32 {
    u32::try_from(size.0).unwrap_or(u32::MAX)
}
