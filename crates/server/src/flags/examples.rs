//! The end of `--help`.

/// Forms of values, and examples.
pub(super) const EXAMPLES: &str = "\
Routes:
  PATH=TARGET, where TARGET is a directory, an upstream, a redirect, or one of
  these words (write ./status for a directory of that name):
    status   answers {\"status\":\"ok\"}
    upload   takes a body of any size, answers {\"bytes\":N,\"sha256\":\"...\"}
    echo     sends the body back as it streams in
  An upstream is http://HOST:PORT (HTTP/1.1), h2c://HOST:PORT (HTTP/2 in
  cleartext) or https://HOST:PORT (TLS; HTTP/2 or HTTP/1.1 by ALPN). It may have
  several addresses, separated by commas: the least busy one gets the next
  request. The path of a request stays as it is, unless a path follows the
  address: that replaces PATH.
  upstream:NAME is [upstream.NAME] of the --config file. A path may follow, too.
  redirect:STATUS:LOCATION has {host}, {path} and {query} of the request, and
  {rest}, the path below PATH: redirect:301:https://www.example.com{path}{query}
  The longest PATH that covers a request wins; /a covers /a and /a/b, not /ab.
  Without routes there is a demo site at /, and /status, /upload and /echo.

Times:
  500ms, 10s, 5m, 1h; 0 turns a limit off.

Sizes:
  bytes, or 64K, 8M, 1G (of 1024 each).

Examples:
  the demo site, with a self-signed certificate:
    tidegate
  a directory, with your own certificate:
    tidegate --root ./public --listen 443 --listen-h2c none \\
        --cert site.pem --key site.key
  cleartext on loopback only, with a health check:
    tidegate --route /=./public --route /api/health=status \\
        --listen none --listen-h2c 127.0.0.1:8080
  what the page / needs, pushed as clients turn out to request it:
    tidegate --root ./public --preload /=/style.css --preload /=/app.js \\
        --push learned
  files and two upstreams:
    tidegate --root ./public --route /api=http://127.0.0.1:9000 \\
        --route /grpc.Service=h2c://10.0.0.1:50051,10.0.0.2:50051
  an upstream that takes WebSockets:
    tidegate --route /=http://127.0.0.1:3000 --websocket /socket";
