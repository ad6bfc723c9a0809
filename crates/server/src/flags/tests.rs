use clap::CommandFactory;

use tidegate_net::Protocols;

use super::values::{cert_field, tls_group, tls_suite};
use super::*;
use crate::handlers::Named;

fn typed(line: &str) -> Result<Flags, clap::Error> {
    let words = std::iter::once("tidegate").chain(line.split_whitespace());
    Arguments::try_parse_from(words).map(|arguments| arguments.flags)
}

#[test]
fn the_command_is_consistent() {
    Arguments::command().debug_assert();
    Flags::command().debug_assert();
}

#[test]
fn nothing_typed_gives_the_defaults() {
    let flags = typed("").unwrap();
    assert_eq!(flags.max_streams, 1000);
    assert_eq!(
        (flags.max_connections, flags.max_connections_per_client),
        (None, 0)
    );
    assert_eq!(flags.client_shares, ClientShares::Enforce);
    assert_eq!(flags.idle_timeout, Duration::from_secs(600));
    assert_eq!(flags.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(flags.trust_x_priority, Switch::On);
    assert_eq!(flags.notsent_lowat, Size(32 << 10));
    assert_eq!(flags.log, "info");
    assert_eq!((flags.early_hints, flags.push), (None, Mode::Off));
    assert!(flags.listen.is_empty() && flags.route.is_empty() && flags.cert.is_empty());
}

#[test]
fn addresses() {
    assert_eq!(listen("none"), Ok(Listen::None));
    assert_eq!(
        listen("8443"),
        Ok(Listen::Everywhere(8443, Protocols::Both))
    );
    assert_eq!(listen(":0"), Ok(Listen::Everywhere(0, Protocols::Both)));
    assert_eq!(
        listen("127.0.0.1:80"),
        Ok(Listen::At(([127, 0, 0, 1], 80).into(), Protocols::Both))
    );
    assert_eq!(
        listen("[::1]:80"),
        Ok(Listen::At("[::1]:80".parse().unwrap(), Protocols::Both))
    );
    for wrong in [
        "",
        ":",
        "65536",
        ":x",
        "localhost",
        "127.0.0.1",
        "::1",
        "[::1]",
        "1.2.3.4:",
        "-1",
        "none:80",
    ] {
        assert!(listen(wrong).is_err(), "{wrong:?}");
    }
    assert!(listen("127.0.0.1").unwrap_err().contains("port is missing"));
}

#[test]
fn listen_can_be_repeated() {
    let flags = typed("--listen 1 --listen [::1]:2 --listen-h2c none").unwrap();
    assert_eq!(flags.listen.len(), 2);
    assert_eq!(flags.listen_h2c, [Listen::None]);
}

#[test]
fn priorities_to_follow() {
    assert_eq!(typed("").unwrap().priorities, Priorities::Rfc9218);
    let auto = typed("--priorities auto").unwrap();
    assert_eq!(auto.priorities, Priorities::Auto);
    let rfc9218 = typed("--priorities rfc9218").unwrap();
    assert_eq!(rfc9218.priorities, Priorities::Rfc9218);
    assert!(typed("--priorities rfc7540").is_err());
}

#[test]
fn durations() {
    assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
    assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
    assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
    assert_eq!(duration("1h"), Ok(Duration::from_secs(3600)));
    assert_eq!(duration("0"), Ok(Duration::ZERO));
    assert_eq!(duration("0s"), Ok(Duration::ZERO));
    let too_long = ["8761h", "99999999999999999999s", "18446744073709551615h"];
    for wrong in [
        "", "s", "10", "-1s", "+1s", "1.5s", "1 s", "10S", "1d", "١s",
    ]
    .into_iter()
    .chain(too_long)
    {
        assert!(duration(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn sizes() {
    for (typed, bytes) in [
        ("0", 0),
        ("65536", 65_536),
        ("64K", 65_536),
        ("3g", 3 << 30),
        ("64G", 64 << 30),
    ] {
        assert_eq!(size(typed), Ok(Size(bytes)), "{typed}");
    }
    for wrong in [
        "",
        "K",
        "64 K",
        "64KB",
        "-1",
        "1.5M",
        "9999999G",
        "99999999999999999999",
        "18446744073709551615K",
    ] {
        assert!(size(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn routes() {
    let target = |typed| route(typed).map(|route| (route.path, route.target));
    let help = Arguments::command().render_long_help().to_string();
    for named in Named::ALL {
        let (typed, target) = (named.word(), RouteTarget::Named(*named));
        assert_eq!(route(&format!("/a/={typed}")).unwrap().target, target);
        assert!(help.contains(&format!(" {typed}")), "{typed} in the help");
    }
    for (typed, path) in [("/a%20b=status", "/a%20b"), ("/\u{e4} =echo", "/%C3%A4%20")] {
        assert_eq!(
            target(typed).unwrap().0,
            path,
            "in the form that requests have"
        );
    }
    let directory = RouteTarget::Directory("./a=b".into());
    assert_eq!(target("/d=./a=b"), Ok(("/d".into(), directory)));
    for wrong in [
        "", "/", "=x", "a=status", "/a=", "/a%2=x", "/a?b=x", "//=x", "/a//b=x", "/../a=x",
        "/a/.=x", "/a;b=x", "/a\\b=x", "/a%2Fb=x", "/a%00=x", "/a#=x",
    ] {
        assert!(route(wrong).is_err(), "{wrong:?}");
    }
    for upstream in ["/=http://a", "/=h2c://a:1,b:2", "/=https://[::1]/x"] {
        let target = target(upstream).unwrap().1;
        assert!(matches!(target, RouteTarget::Upstream(_)), "{upstream}");
    }
    // None of these is taken as the name of a directory.
    for wrong in ["/=http://", "/=ftp://a", "/=h2c://a:port", "/=http://a:0"] {
        assert!(route(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn networks() {
    let written = |typed| net(typed).map(|net| net.to_string());
    for (typed, expected) in [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.1/24", "192.0.2.0/24"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(written(typed), Ok(expected.into()), "{typed}");
    }
    for wrong in [
        "",
        "localhost",
        "192.0.2.1/33",
        "192.0.2.1:80",
        "10.0.0.0/8,::/0",
    ] {
        assert!(net(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn wrong_flags_exit_with_status_2() {
    for line in [
        "--nonsense",
        "--workers 0",
        "--workers many",
        "--max-streams 0",
        "--max-connections 0",
        "--max-connections-per-client -1",
        "--max-requests many",
        "--max-requests-per-client many",
        "--client-shares equal",
        "--idle-timeout soon",
        "--memory-budget 1023K",
        "--trust-x-priority maybe",
        "--notsent-lowat some",
        "--listen everywhere",
        "--cert only.pem",
        "--key only.pem",
        "--log loud",
        "--route status",
        "--preload /style.css",
        "--preload /=style.css",
        "--preload =/style.css",
        "--early-hints maybe",
        "--push sometimes",
        "--route /=http://",
        "--websocket socket",
        "--drop-field Host",
        "--drop-field x_forwarded_for",
        "--drop-field content-length",
        "--proxy-protocol-from 127.0.0.1",
        "--proxy-protocol --proxy-protocol-from everywhere",
        "--upstream-cert only.pem",
        "--upstream-key only.pem",
        "--upstream-host other",
        "--upstream-proxy-protocol v3",
        "--trust-forwarded-from 10.0.0.0/33",
        "surplus",
    ] {
        let error = typed(line).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{line}");
        assert!(error.use_stderr(), "{line}");
    }
    assert_eq!(typed("--help").unwrap_err().exit_code(), 0);
    assert_eq!(typed("--version").unwrap_err().exit_code(), 0);
}

#[test]
fn preloads() {
    let flags = typed("--preload /=/a.css --preload /=/b?c=d --early-hints off --push on").unwrap();
    let list = [
        Preload::new("/a.css").page("/"),
        Preload::new("/b?c=d").page("/"),
    ];
    assert_eq!(flags.preload, list);
    assert_eq!(
        (flags.early_hints, flags.push),
        (Some(Switch::Off), Mode::On)
    );
}

#[test]
fn log_filters() {
    for right in [
        "off",
        "info",
        "warn,tidegate::access=info",
        "tidegate=debug",
    ] {
        assert_eq!(log_filter(right).as_deref(), Ok(right));
    }
    for wrong in ["loud", "tidegate", "tidegate=loud", "info,wran"] {
        assert!(log_filter(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_port_says_what_it_speaks() {
    for (typed, protocols) in [
        ("8443,h2", Protocols::Http2),
        ("8443,http/1.1", Protocols::Http1),
        ("8443,h2,http/1.1", Protocols::Both),
        (":8443,http/1.1,h2", Protocols::Both),
    ] {
        assert_eq!(
            listen(typed),
            Ok(Listen::Everywhere(8443, protocols)),
            "{typed}"
        );
    }
    let at = Listen::At("[::1]:80".parse().unwrap(), Protocols::Http2);
    assert_eq!(listen("[::1]:80,h2"), Ok(at));
    for typed in ["80,", "80,h3", "80,h2,h2", "none,h2", "80 h2"] {
        assert!(listen(typed).is_err(), "{typed}");
    }
}

#[test]
fn errors_list_the_suites_and_groups_that_there_are() {
    assert!(
        tls_suite("RC4")
            .unwrap_err()
            .contains("TLS_AES_128_GCM_SHA256")
    );
    assert!(
        tls_group("secp521r1")
            .unwrap_err()
            .contains("X25519MLKEM768")
    );
}

#[test]
fn fields_about_certificates_have_a_name_and_a_fact() {
    let field = cert_field("X-Client-DN=subject").unwrap();
    assert_eq!(
        (&*field.name, field.fact),
        ("x-client-dn", CertFact::Subject)
    );
    for typed in [
        "x-a",
        "x-a=issuer",
        "=subject",
        "x_a=subject",
        "host=subject",
        "cookie=subject",
        "x-forwarded-for=subject",
    ] {
        assert!(cert_field(typed).is_err(), "{typed}");
    }
}
