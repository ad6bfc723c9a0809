//! The hosts that requests to the admin listener may name.
//!
//! A page of a stranger can make a browser send requests to a loopback address under the stranger's
//! own name, once its name resolves to that address (DNS rebinding), and read the answers. It can't
//! make the browser send another name.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Whether a request that names this host, perhaps with a port, is answered: if it is an IP
/// address, `localhost` or one of `names`.
pub(super) fn is_known(authority: &[u8], names: &[String]) -> bool {
    let Ok(authority) = str::from_utf8(authority) else {
        return false;
    };
    let host = without_port(authority);
    if let Some(v6) = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
    {
        return v6.parse::<Ipv6Addr>().is_ok();
    }
    let host = host.strip_suffix('.').unwrap_or(host);
    host.parse::<Ipv4Addr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || names.iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_names_are_refused() {
        let names = ["tidegate.example".to_owned()];
        for (host, expected) in [
            ("127.0.0.1:9090", true),
            ("10.0.0.1", true),
            ("[::1]:9090", true),
            ("[::1]", true),
            ("localhost", true),
            ("LocalHost.:9090", true),
            ("Tidegate.Example:9090", true),
            ("", false),
            ("evil.example", false),
            ("localhost.evil.example:9090", false),
            ("127.0.0.1.evil.example", false),
            ("[evil.example]", false),
            ("::1", false),
            ("2130706433", false),
        ] {
            assert_eq!(is_known(host.as_bytes(), &names), expected, "{host}");
        }
    }
}
