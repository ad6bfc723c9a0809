//! A proxy with a route to each kind of upstream, which several sections use.

use crate::bench::Bench;
use crate::process::Result;
use crate::tidegate::Tidegate;
use crate::upstreams::{Go, Nghttpd, Nginx, Speaks};

/// The proxy and its upstreams.
pub(crate) struct Everything {
    pub(crate) proxy: Tidegate,
    pub(crate) go: Go,
    _behind: Tidegate,
    _nginx: Nginx,
    _nghttpd: Nghttpd,
}

/// The routes to upstreams that serve files.
pub(crate) const DOWNLOADING: [&str; 12] = [
    "go-http",
    "go-h2c",
    "go-https",
    "go-https1",
    "tidegate-http",
    "tidegate-h2c",
    "tidegate-https",
    "nginx-http",
    "nginx-h2c",
    "nginx-https",
    "nghttpd-h2c",
    "nghttpd-https",
];

/// The routes to upstreams that echo bodies at `/echo`.
pub(crate) const ECHOING: [&str; 7] = [
    "go-http",
    "go-h2c",
    "go-https",
    "go-https1",
    "tidegate-http",
    "tidegate-h2c",
    "tidegate-https",
];

impl Everything {
    pub(crate) fn start(bench: &Bench) -> Result<Self> {
        let go = Go::start(bench, None)?;
        let nginx = Nginx::start(bench)?;
        let nghttpd = Nghttpd::start(bench)?;
        let www = bench.www().display().to_string();
        let behind = bench
            .tidegate("warn")
            .flags(&["--root", &www])
            .route("/upload", "upload")
            .route("/echo", "echo")
            .start()?;
        let mut launch = bench.tidegate("warn").flags(&["--root", &www]);
        for speaks in Speaks::ALL {
            let path = format!("/go-{}", speaks.name());
            launch = launch.route(&path, &format!("{}/", go.url(speaks)));
        }
        for (path, upstream) in [
            ("/tidegate-http", format!("http://{}/", behind.http)),
            ("/tidegate-h2c", format!("h2c://{}/", behind.http)),
            ("/tidegate-https", format!("https://{}/", behind.https)),
            ("/nginx-http", format!("http://{}/", nginx.http)),
            ("/nginx-h2c", format!("h2c://{}/", nginx.h2c)),
            ("/nginx-https", format!("https://{}/", nginx.https)),
            ("/nghttpd-h2c", format!("h2c://{}/", nghttpd.h2c)),
            ("/nghttpd-https", format!("https://{}/", nghttpd.https)),
        ] {
            launch = launch.route(path, &upstream);
        }
        Ok(Self {
            proxy: launch.start()?,
            go,
            _behind: behind,
            _nginx: nginx,
            _nghttpd: nghttpd,
        })
    }
}
