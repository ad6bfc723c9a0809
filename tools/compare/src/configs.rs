//! Command lines and configurations of the servers: no log, as many streams as the load uses, and
//! otherwise each server's own defaults.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use nix::sys::resource::{Resource, getrlimit};

use crate::peers::{Start, Task, Transport};
use crate::process::Result;
use crate::site::{STATUS, Site};

/// Streams that each server allows on a connection.
const STREAMS: usize = 1_000;

/// Connections that each server allows.
const CONNECTIONS: usize = 16_000;

impl Start<'_> {
    fn is_tls(&self) -> bool {
        self.transport == Transport::Tls
    }

    /// Writes a configuration. Returns its path, which no other server has.
    fn write(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self
            .site
            .path(&format!("{name}-{}.conf", self.address.port()));
        fs::write(&path, text)?;
        Ok(path)
    }

    /// Returns the address of the server behind a proxy, or what no server listens on.
    fn behind(&self) -> String {
        self.upstream
            .map_or_else(|| "127.0.0.1:9".to_owned(), |upstream| upstream.to_string())
    }
}

/// Returns the words that name the certificate and its key.
fn pair(site: &Site) -> (String, String) {
    let shown = |path: PathBuf| path.display().to_string();
    (shown(site.certificate()), shown(site.key()))
}

pub(crate) fn tidegate(command: &mut Command, start: &Start<'_>) {
    let address = start.address.to_string();
    let (listen, h2c) = if start.is_tls() {
        (address.as_str(), "none")
    } else {
        ("none", address.as_str())
    };
    command.args(["--listen", listen, "--listen-h2c", h2c, "--log", "warn"]);
    command.args(["--workers", &start.workers.to_string()]);
    command.arg("--cert").arg(start.site.certificate());
    command.arg("--key").arg(start.site.key());
    let route = match start.task {
        Task::File(_) | Task::Files => format!("/={}", start.site.www().display()),
        Task::Status => "/status=status".to_owned(),
        Task::Echo => "/echo=echo".to_owned(),
        Task::Discard => "/discard=upload".to_owned(),
        Task::Proxy(Transport::H2c) => format!("/=h2c://{}", start.behind()),
        Task::Proxy(_) | Task::WebSocket => format!("/=http://{}", start.behind()),
    };
    command.args(["--route", &route]);
    if start.task == Task::WebSocket {
        command.args(["--websocket", "/websocket"]);
    }
}

/// A server that this program has in itself.
pub(crate) fn own(command: &mut Command, name: &str, start: &Start<'_>) {
    let size = match start.task {
        Task::File(file) => file.1,
        Task::Status => STATUS.len() as u64,
        _ => 0,
    };
    command.args([name, "--listen", &start.address.to_string()]);
    command.args(["--size", &size.to_string()]);
    if start.is_tls() {
        command.arg("--cert").arg(start.site.certificate());
        command.arg("--key").arg(start.site.key());
    }
}

pub(crate) fn h2o(command: &mut Command, start: &Start<'_>) -> Result {
    let (cert, key) = pair(start.site);
    let tls = if start.is_tls() {
        format!(
            "\n  ssl:\n    certificate-file: {cert}\n    key-file: {key}\n    ocsp-update-interval: 0"
        )
    } else {
        String::new()
    };
    let status = STATUS.replace('"', "\\\"");
    let paths = match start.task {
        Task::Proxy(_) | Task::WebSocket => {
            format!("/: {{proxy.reverse.url: \"http://{}/\"}}", start.behind())
        }
        Task::Status => format!(
            "/status: {{mruby.handler: 'Proc.new {{ |env| [200, {{\"content-type\" => \
             \"application/json\"}}, [\"{status}\"]] }}'}}"
        ),
        Task::Discard => "/discard: {mruby.handler: 'Proc.new { |env| [200, {}, []] }'}".to_owned(),
        _ => format!("/: {{file.dir: {}}}", start.site.www().display()),
    };
    let text = format!(
        "num-threads: {}\nmax-connections: {CONNECTIONS}\nlisten:\n  host: {}\n  port: {}{tls}\n\
         hosts:\n  default:\n    paths:\n      {paths}\n",
        start.workers,
        start.address.ip(),
        start.address.port()
    );
    command.arg("-c").arg(start.write("h2o", &text)?);
    Ok(())
}

pub(crate) fn nginx(command: &mut Command, start: &Start<'_>) -> Result {
    let (cert, key) = pair(start.site);
    let at = start.site.path(&format!("nginx-{}", start.address.port()));
    fs::create_dir_all(&at)?;
    let at = at.display();
    let protocol = match start.transport {
        Transport::H2c => "http2",
        Transport::Tls => "ssl http2",
        Transport::Http1 => "",
    };
    let location = match start.task {
        Task::Status => {
            format!("location /status {{ default_type application/json; return 200 '{STATUS}'; }}")
        }
        Task::Proxy(_) => "location / { proxy_pass http://behind; proxy_http_version 1.1; \
                           proxy_set_header connection ''; }"
            .to_owned(),
        Task::WebSocket => "location / { proxy_pass http://behind; proxy_http_version 1.1; \
                            proxy_set_header upgrade $http_upgrade; \
                            proxy_set_header connection upgrade; }"
            .to_owned(),
        _ => String::new(),
    };
    // One process in place of a master and a worker, so that valgrind and strace see all of it.
    let processes = if start.workers == 1 {
        "master_process off;".to_owned()
    } else {
        format!("worker_processes {};", start.workers)
    };
    let text = format!(
        "daemon off; {processes} pid {at}/pid; error_log {at}/errors;
        events {{ worker_connections {CONNECTIONS}; }}
        http {{
            access_log off; keepalive_requests 1000000000; keepalive_timeout 600s;
            http2_max_concurrent_streams {STREAMS}; root {www};
            client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
            fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
            ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3;
            upstream behind {{ server {behind}; keepalive 100; keepalive_requests 1000000000; }}
            server {{ listen {address} {protocol}; {location} }}
        }}\n",
        www = start.site.www().display(),
        behind = start.behind(),
        address = start.address,
    );
    let config = start.write("nginx", &text)?;
    command.args(["-e", &format!("{at}/start")]);
    command.arg("-c").arg(config);
    Ok(())
}

pub(crate) fn nghttpd(command: &mut Command, start: &Start<'_>) {
    command.args(["-n", &start.workers.to_string(), "-m", &STREAMS.to_string()]);
    command.args(["-a", &start.address.ip().to_string(), "-d"]);
    command.arg(start.site.www());
    if !start.is_tls() {
        command.arg("--no-tls");
    }
    command.arg(start.address.port().to_string());
    if start.is_tls() {
        command.arg(start.site.key()).arg(start.site.certificate());
    }
}

pub(crate) fn nghttpx(command: &mut Command, start: &Start<'_>) {
    let of = |address: std::net::SocketAddr| format!("{},{}", address.ip(), address.port());
    let plain = if start.is_tls() { "" } else { ";no-tls" };
    let protocol = match start.task {
        Task::Proxy(Transport::H2c) => ";;proto=h2",
        _ => "",
    };
    command.args(["--conf=/dev/null", "--no-ocsp"]);
    command.arg(format!("--workers={}", start.workers));
    command.arg(format!("--worker-frontend-connections={CONNECTIONS}"));
    command.arg(format!("--frontend-http2-max-concurrent-streams={STREAMS}"));
    command.arg(format!("--frontend={}{plain}", of(start.address)));
    if let Some(upstream) = start.upstream {
        command.arg(format!("--backend={}{protocol}", of(upstream)));
    }
    command.arg(start.site.key()).arg(start.site.certificate());
}

pub(crate) fn haproxy(command: &mut Command, start: &Start<'_>) -> Result {
    let bind = match start.transport {
        Transport::H2c => "proto h2".to_owned(),
        Transport::Tls => format!("ssl crt {} alpn h2", start.site.pair().display()),
        Transport::Http1 => String::new(),
    };
    let does = match start.task {
        Task::Proxy(Transport::H2c) => format!("server behind {} proto h2", start.behind()),
        Task::Proxy(_) | Task::WebSocket => format!("server behind {}", start.behind()),
        Task::Status => format!(
            "http-request return status 200 content-type application/json string {}",
            STATUS.replace('"', "\\\"")
        ),
        Task::File(file) => format!(
            "http-request return status 200 content-type text/plain file {}",
            start.site.www().join(file.0).display()
        ),
        Task::Files | Task::Discard | Task::Echo => return Err("haproxy serves no files".into()),
    };
    // A connection may take two descriptors, and haproxy doesn't start without all of them.
    let (_, descriptors) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let connections = CONNECTIONS.min(descriptors as usize / 2 - 50);
    let text = format!(
        "global\n    nbthread {}\n    maxconn {connections}\n    \
         tune.h2.max-concurrent-streams {STREAMS}\n\
         defaults\n    mode http\n    timeout connect 5s\n    timeout client 600s\n    \
         timeout server 600s\n    http-reuse always\n\
         listen site\n    bind {} {bind}\n    {does}\n",
        start.workers, start.address
    );
    command
        .args(["-db", "-f"])
        .arg(start.write("haproxy", &text)?);
    Ok(())
}

pub(crate) fn apache(command: &mut Command, start: &Start<'_>) -> Result {
    let (cert, key) = pair(start.site);
    let at = start.site.path(&format!("apache-{}", start.address.port()));
    fs::create_dir_all(&at)?;
    let mut modules = vec![
        "mpm_event",
        "authz_core",
        "unixd",
        "http2",
        "proxy",
        "proxy_http",
    ];
    modules.extend(["proxy_http2", "reqtimeout", "mime"]);
    if start.is_tls() {
        modules.push("ssl");
    }
    let load: String = modules
        .iter()
        .filter(|name| **name != "unixd")
        .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
        .collect();
    let does = match start.task {
        Task::Proxy(Transport::H2c) => format!("ProxyPass / h2c://{}/", start.behind()),
        Task::Proxy(_) | Task::WebSocket => format!("ProxyPass / http://{}/", start.behind()),
        _ => format!("DocumentRoot {}", start.site.www().display()),
    };
    let tls = if start.is_tls() {
        format!("SSLEngine on\nSSLCertificateFile {cert}\nSSLCertificateKeyFile {key}\n")
    } else {
        String::new()
    };
    let text = format!(
        "ServerRoot {at}\nPidFile {at}/pid\nErrorLog {at}/errors\nServerName localhost\n{load}\
         User www-data\nGroup www-data\nTypesConfig /etc/mime.types\nListen {address}\n\
         Protocols h2 h2c http/1.1\nH2MaxSessionStreams {STREAMS}\nMaxKeepAliveRequests 0\n\
         KeepAliveTimeout 600\nStartServers 1\nServerLimit 1\nThreadLimit 200\n\
         ThreadsPerChild 200\nMaxRequestWorkers 200\nAsyncRequestWorkerFactor 80\n\
         <Directory />\nRequire all granted\n</Directory>\n{tls}{does}\n",
        at = at.display(),
        address = start.address,
    );
    // One process, as for nginx.
    command
        .args(["-X", "-f"])
        .arg(start.write("apache", &text)?);
    Ok(())
}

pub(crate) fn caddy(command: &mut Command, start: &Start<'_>) -> Result {
    let (cert, key) = pair(start.site);
    let tls = if start.is_tls() {
        format!("tls {cert} {key}\n")
    } else {
        String::new()
    };
    let scheme = if start.is_tls() { "https" } else { "http" };
    let does = match start.task {
        Task::Proxy(Transport::H2c) => format!("reverse_proxy h2c://{}", start.behind()),
        Task::Proxy(_) | Task::WebSocket => format!("reverse_proxy {}", start.behind()),
        Task::Status => format!("header content-type application/json\nrespond `{STATUS}`"),
        _ => format!("root * {}\nfile_server", start.site.www().display()),
    };
    let text = format!(
        "{{\nadmin off\nauto_https off\nlog {{\nlevel ERROR\n}}\n\
         servers {{\nprotocols h1 h2 h2c\n}}\n}}\n\
         {scheme}://:{} {{\nbind {}\n{tls}{does}\n}}\n",
        start.address.port(),
        start.address.ip()
    );
    command.args(["run", "--adapter", "caddyfile", "--config"]);
    command.arg(start.write("caddy", &text)?);
    command.env("GOMAXPROCS", start.workers.to_string());
    command.env("HOME", start.site.path("caddy-home"));
    Ok(())
}

pub(crate) fn go(command: &mut Command, start: &Start<'_>) {
    let port = match start.transport {
        Transport::H2c => "--h2c",
        Transport::Tls => "--https",
        Transport::Http1 => "--http",
    };
    command.args([port, &start.address.to_string()]);
    command.arg("--cert").arg(start.site.certificate());
    command.arg("--key").arg(start.site.key());
    command.arg("--root").arg(start.site.www());
    command.env("GOMAXPROCS", start.workers.to_string());
}

pub(crate) fn hyper(command: &mut Command, start: &Start<'_>) {
    command.args([&start.address.to_string(), &start.workers.to_string()]);
    command.arg(start.site.www());
    if start.is_tls() {
        command.arg(start.site.certificate()).arg(start.site.key());
    }
}
