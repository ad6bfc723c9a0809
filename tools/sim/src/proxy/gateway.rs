//! The proxy: the server's own service.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tidegate::access_log::Logs;
use tidegate::app::App;
use tidegate::flags::UnknownHost;
use tidegate::handlers::files;
use tidegate::proxy::{DOWNLOAD_WINDOW, Host, Route, Settings};
use tidegate::push::{self, Mode, PushCache};
use tidegate::request_id::RequestIds;
use tidegate::router::Router;
use tidegate::site::{Served, Site, Target};
use tidegate::trace_context::TraceContext;
use tidegate_http::{Config, MemoryBudget, WallClock};
use tidegate_ledger::Ledger;
use tidegate_net::{MemoryLoop, Options, Protocol};
use tidegate_pool::{Security, Upstream, client_config};

use super::plan::Plan;
use super::upstreams::address;
use super::workers::Workers;

/// Returns the server's own service, with a route to each upstream: as many workers as the plan
/// has, on one ledger.
pub(super) fn gateway(plan: &Plan, ledger: &Arc<Ledger>, now: Instant) -> Workers {
    let budget = &MemoryBudget::of(ledger);
    let workers = plan.shares.as_ref().map_or(1, |shares| shares.workers);
    let mut config = client_config();
    config.max_stream_window_size = match &plan.shares {
        Some(shares) => shares.download_window,
        None => DOWNLOAD_WINDOW,
    };
    config.memory_budget = Some(Arc::clone(budget));
    let config = config.build().expect("the proxy's config is valid");
    let mut options = tidegate_pool::Options::new(config);
    options.max_connections = plan.max_connections;
    options.max_http2_connections = plan.max_http2_connections;
    options.max_response_windows = budget.size() / 2 / workers as u64;
    let options = Arc::new(options);
    let mut pool = tidegate_pool::Limits::default();
    pool.max_idle = plan.max_idle;
    let upstreams = plan.upstreams.iter().enumerate();
    let upstreams = upstreams.map(|(number, upstream)| Upstream {
        name: format!("u{number}"),
        addresses: (0..upstream.addresses)
            .map(|n| address(number, n).into())
            .collect(),
        security: match upstream.protocol {
            Protocol::Http2 => Security::H2c,
            Protocol::Http1 => Security::Http1,
        },
        options: Arc::clone(&options),
    });
    let settings = Settings {
        generation: 0,
        upstreams: upstreams.collect(),
        keys: Vec::new(),
        names: Vec::new(),
        pool,
        trusted: Vec::new(),
        requests: None,
        dropped: Vec::new(),
        request_id: RequestIds::Off,
        trace_context: TraceContext::Pass,
    };
    let routes = (0..plan.upstreams.len()).map(|upstream| {
        let route = Route {
            upstream,
            base: None,
            scheme: "http",
            authority: "upstream".into(),
            host: Host::Keep,
        };
        let target = Target::Proxy(Arc::new(route));
        (format!("/u{upstream}"), target.into())
    });
    let list = PushCache::new(Vec::new()).expect("an empty list is valid");
    let mut config = Config::server();
    config.enable_connect_protocol = true;
    config.memory_budget = Some(Arc::clone(budget));
    let mut options = Options::new(config.build().expect("the proxy's config is valid"));
    options.ledger = Arc::clone(ledger);
    let site = Site {
        name: "default".into(),
        clients: None,
        early_data: None,
        routes: Arc::new(Router::new(routes)),
        rules: None,
        websockets: Arc::new(Router::new([("/".to_owned(), ())])),
        trust_x_priority: true,
        log: None,
        push: push::Options {
            list: Arc::new(list),
            early_hints: false,
            mode: Mode::Off,
        },
    };
    let served = Served {
        sites: vec![site],
        hosts: None,
        unknown_host: UnknownHost::NotFound,
        proxy: Arc::new(settings),
        logs: Logs::default(),
        trace: None,
        wall_clock: WallClock::new(),
        // The date's bytes decide how large heads are, so it is the same for each run.
        time_of_day: || SystemTime::UNIX_EPOCH,
        files: files::Shared::new(&options.ledger, 0),
    };
    Workers::new((0..workers).map(|_| {
        let app = App::new(served.clone(), Arc::default());
        let memory = MemoryLoop::new(options.clone(), app, plan.capacity, now);
        memory.expect("there are file descriptors")
    }))
}
