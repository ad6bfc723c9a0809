//! Certificates that are chosen by the name that a client asks for (SNI, RFC 6066 §3).

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// A resolver that chooses by name.
#[derive(Debug)]
pub(crate) struct ByName {
    /// Names without a wildcard, in lower case.
    exact: HashMap<String, Arc<dyn ResolvesServerCert>>,
    /// Names with a wildcard, without `*.` in front.
    wildcards: HashMap<String, Arc<dyn ResolvesServerCert>>,
    /// For all other names.
    default: Arc<dyn ResolvesServerCert>,
}

impl ByName {
    pub(crate) fn new<'a>(
        default: Arc<dyn ResolvesServerCert>,
        named: impl IntoIterator<Item = (&'a str, Arc<dyn ResolvesServerCert>)>,
    ) -> Self {
        let mut by_name = Self {
            exact: HashMap::new(),
            wildcards: HashMap::new(),
            default,
        };
        for (name, certificates) in named {
            let (names, name) = match name.strip_prefix("*.") {
                Some(parent) => (&mut by_name.wildcards, parent),
                None => (&mut by_name.exact, name),
            };
            names.insert(name.to_ascii_lowercase(), certificates);
        }
        by_name
    }

    fn find(&self, name: Option<&str>) -> &Arc<dyn ResolvesServerCert> {
        // rustls has made the name lower case.
        let named = name.and_then(|name| {
            let parent = || self.wildcards.get(name.split_once('.')?.1);
            self.exact.get(name).or_else(parent)
        });
        named.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).resolve(hello)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsAcceptorConfig;

    fn config(name: &str) -> TlsAcceptorConfig {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        TlsAcceptorConfig::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap()
    }

    #[test]
    fn an_exact_name_comes_before_a_wildcard_and_that_before_the_default() {
        let [default, exact, wildcard] = ["a", "b", "c"].map(config);
        let named = [
            ("Example.com", exact.certificates()),
            ("www.example.com", exact.certificates()),
            ("*.example.com", wildcard.certificates()),
        ];
        let by_name = ByName::new(default.certificates(), named);
        for (name, expected) in [
            (None, &default),
            (Some("example.com"), &exact),
            (Some("www.example.com"), &exact),
            (Some("a.example.com"), &wildcard),
            (Some("a.b.example.com"), &default),
            (Some("example.org"), &default),
            (Some("localhost"), &default),
        ] {
            let found = by_name.find(name);
            assert!(Arc::ptr_eq(found, &expected.certificates()), "{name:?}");
        }
    }
}
