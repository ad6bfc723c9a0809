//! Gets a thousand URLs over one connection, with a progress bar. Against the server's demo site:
//! `cargo run --release -p tidegate-pool --example fetch -- localhost:8443 /tide.svg`.

use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::time::Instant;

use indicatif::ProgressBar;
use tidegate_pool::net::http::{Body, RequestHead};
use tidegate_pool::net::{
    ConnId, Conns, End, EventLoop, Mailbox, Service, TlsConnectorConfig, Trust,
};
use tidegate_pool::{
    Event, Limits, Options, Pool, RequestId, RequestOptions, Security, Upstream, UpstreamId,
    client_config,
};

/// The number of requests.
pub(crate) const COUNT: usize = 1000;

pub(crate) struct Fetch {
    pub(crate) pool: Pool<usize>,
    upstream: UpstreamId,
    head: RequestHead,
    requests: Vec<RequestId>,
    pub(crate) bytes: usize,
    bar: ProgressBar,
    mailbox: Option<Mailbox<Start>>,
}

/// The message that starts the requests, with the mailbox that ends the loop.
pub(crate) struct Start(Mailbox<Start>);

impl Fetch {
    /// Handles all events of the pool.
    fn drain(&mut self, conns: &mut Conns) {
        while let Some(event) = self.pool.next_event() {
            let is_over = match event {
                Event::Response { end, .. } => end,
                Event::Data { key, data, end } => {
                    self.bytes += data.len();
                    self.pool.consume(conns, self.requests[key], data.len());
                    end
                }
                Event::Trailers { .. } => true,
                Event::Failed { key, failure, .. } => {
                    self.bar.suspend(|| eprintln!("{key}: {failure}"));
                    true
                }
                _ => false,
            };
            self.bar.inc(u64::from(is_over));
        }
        if self.bar.position() == COUNT as u64
            && let Some(mailbox) = self.mailbox.take()
        {
            mailbox.shut_down();
        }
    }
}

impl Service for Fetch {
    type Message = Start;

    fn message(&mut self, conns: &mut Conns, Start(mailbox): Start) {
        self.mailbox = Some(mailbox);
        for key in 0..COUNT {
            let (head, options) = (self.head.clone(), RequestOptions::default());
            let request = self
                .pool
                .request(conns, key, self.upstream, head, &Body::Empty, options);
            self.requests.push(request);
        }
    }

    fn opened(&mut self, conns: &mut Conns, conn: ConnId) {
        self.pool.opened(conns, conn);
    }

    fn event(&mut self, conns: &mut Conns, conn: ConnId, event: tidegate_http::Event) {
        self.pool.event(conns, conn, event);
    }

    fn closed(&mut self, conns: &mut Conns, conn: ConnId, why: &End) {
        self.pool.closed(conns, conn, why);
    }

    fn settle(&mut self, conns: &mut Conns) -> bool {
        self.drain(conns);
        false
    }

    fn next_timeout(&self) -> Option<Instant> {
        self.pool.next_timeout()
    }

    fn handle_timeout(&mut self, conns: &mut Conns, now: Instant) {
        self.pool.handle_timeout(conns, now);
    }
}

/// Makes the requests, and returns the service when all are over.
pub(crate) fn fetch(server: &str, path: &str) -> Result<Fetch, Box<dyn std::error::Error>> {
    let host = server.split(':').next().unwrap_or_default().to_owned();
    let config = client_config().build()?;
    let mut options = Options::new(config.clone());
    // Requests beyond its streams wait.
    options.max_http2_connections = 1;
    let mut pool = Pool::new(Limits::default());
    let upstream = pool.add(Upstream {
        name: server.to_owned(),
        addresses: server.to_socket_addrs()?.map(Into::into).collect(),
        security: Security::Tls {
            // The demo site's certificate is self-signed. Elsewhere, use `Trust::System`.
            config: Arc::new(TlsConnectorConfig::new(&Trust::Anybody, None)?),
            name: host.try_into()?,
        },
        options: Arc::new(options),
    });
    let fetch = Fetch {
        pool,
        upstream,
        head: RequestHead::new("GET", "https", server, path),
        requests: Vec::new(),
        bytes: 0,
        bar: ProgressBar::new(COUNT as u64),
        mailbox: None,
    };
    let event_loop = EventLoop::new(Vec::new(), tidegate_net::Options::new(config), fetch)?;
    let mailbox = event_loop.mailbox();
    mailbox.send(Start(mailbox.clone()));
    Ok(event_loop.run()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let server = args.next().unwrap_or_else(|| "localhost:8443".into());
    let path = args.next().unwrap_or_else(|| "/tide.svg".into());
    let began = Instant::now();
    let fetch = fetch(&server, &path)?;
    fetch.bar.finish();
    let stats = fetch.pool.stats();
    println!(
        "{} bytes over {} connection(s) in {:.0?}, {} requests reused one",
        fetch.bytes,
        stats.connected,
        began.elapsed(),
        stats.reused
    );
    Ok(())
}
