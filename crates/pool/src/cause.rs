//! Why a connection failed or ended.

use std::fmt;
use std::io;

use tidegate_http::CloseReason;
use tidegate_net::End;

/// Why a connection failed or ended, in a form that can be cloned and compared.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Cause {
    /// The system reported an error.
    System {
        /// The kind of the error.
        kind: io::ErrorKind,
        /// The system's number of the error, if it has one.
        errno: Option<i32>,
    },
    /// TLS failed.
    Tls(rustls::Error),
    /// The HTTP engine closed the connection.
    Closed(CloseReason),
    /// The loop ended the connection for another reason, which this sentence says.
    Other(String),
}

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        Self::System {
            kind: error.kind(),
            errno: error.raw_os_error(),
        }
    }
}

impl From<&End> for Cause {
    fn from(end: &End) -> Self {
        match end {
            End::Closed(reason) => Self::Closed(reason.clone()),
            End::TlsFailed(error) => Self::Tls(error.clone()),
            End::ConnectFailed(error) | End::Io(error) => Self::from(error),
            end => Self::Other(end.to_string()),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System {
                errno: Some(errno), ..
            } => write!(f, "{}", io::Error::from_raw_os_error(*errno)),
            Self::System { kind, errno: None } => write!(f, "{kind}"),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Closed(reason) => write!(f, "{reason}"),
            Self::Other(why) => f.write_str(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_says_what_the_error_said() {
        let error = io::Error::from_raw_os_error(nix::errno::Errno::ECONNRESET as i32);
        let cause = Cause::from(&error);
        assert_eq!(cause.to_string(), error.to_string());
        assert!(matches!(cause, Cause::System { kind, .. } if kind == error.kind()));
        let cause = Cause::from(&End::Closed(CloseReason::Eof));
        assert_eq!(cause, Cause::Closed(CloseReason::Eof));
        let end = End::NotHttp2;
        assert_eq!(Cause::from(&end).to_string(), end.to_string());
    }
}
