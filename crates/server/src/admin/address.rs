//! The address of the admin listener, as typed.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// The address of the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdminAddress {
    /// There is no admin listener.
    None,
    /// A port of an IP address.
    Tcp(SocketAddr),
    /// A Unix socket at this absolute path.
    Unix(PathBuf),
}

impl AdminAddress {
    /// Reads `ADDR:PORT`, `:PORT` or `PORT` (of 127.0.0.1), `unix:/PATH` or `none`.
    ///
    /// # Errors
    /// A sentence about what was expected.
    pub fn parse(typed: &str) -> Result<Self, String> {
        if typed == "none" {
            return Ok(Self::None);
        }
        if let Some(path) = typed.strip_prefix("unix:") {
            return if Path::new(path).is_absolute() {
                Ok(Self::Unix(path.into()))
            } else {
                Err(
                    "the path of the socket must begin with /, as in unix:/run/tidegate.sock"
                        .into(),
                )
            };
        }
        let port = typed.strip_prefix(':').unwrap_or(typed);
        if let Ok(port) = port.parse() {
            return Ok(Self::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, port))));
        }
        if let Ok(addr) = typed.parse() {
            return Ok(Self::Tcp(addr));
        }
        if typed.parse::<IpAddr>().is_ok() {
            return Err("the port is missing: write 127.0.0.1:9090 or [::1]:9090".into());
        }
        Err("expected ADDR:PORT (such as 127.0.0.1:9090), PORT, unix:/PATH or none".into())
    }

    /// Whether programs of other machines may reach the address.
    pub fn is_public(&self) -> bool {
        match self {
            Self::None | Self::Unix(_) => false,
            Self::Tcp(addr) => !addr.ip().to_canonical().is_loopback(),
        }
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_alike() {
        for (typed, written) in [
            ("none", "none"),
            ("9090", "127.0.0.1:9090"),
            (":0", "127.0.0.1:0"),
            ("[::1]:9090", "[::1]:9090"),
            ("unix:/run/tidegate.sock", "unix:/run/tidegate.sock"),
        ] {
            let address = AdminAddress::parse(typed).unwrap();
            assert_eq!(address.to_string(), written);
            assert_eq!(AdminAddress::parse(written).unwrap(), address);
        }
        for (typed, says) in [
            ("127.0.0.1", "the port is missing"),
            ("unix:admin.sock", "must begin with /"),
            ("localhost:9090", "expected ADDR:PORT"),
        ] {
            assert!(AdminAddress::parse(typed).unwrap_err().contains(says));
        }
    }

    #[test]
    fn only_loopback_is_not_public() {
        for (typed, is_public) in [
            ("none", false),
            ("unix:/run/tidegate.sock", false),
            ("127.0.0.2:1", false),
            ("[::1]:1", false),
            ("[::ffff:127.0.0.1]:1", false),
            ("0.0.0.0:1", true),
            ("[::]:1", true),
            ("10.0.0.1:1", true),
        ] {
            let address = AdminAddress::parse(typed).unwrap();
            assert_eq!(address.is_public(), is_public, "{typed}");
        }
    }
}
