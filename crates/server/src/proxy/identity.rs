//! Names of request fields that only a trusted client may send on to an upstream.
//!
//! Applications believe these fields, which name the client, the way it came, or the request before
//! something rewrote it. A trusted proxy sets them; from any other client they are forgeries.

use std::borrow::Cow;

use tidegate_http::KnownName;

/// Names of one field each, sorted.
const NAMES: &[&[u8]] = &[
    b"akamai-client-ip",
    b"ali-cdn-real-ip",
    b"cdn-real-ip",
    b"cdn-src-ip",
    b"cf-visitor",
    // RFC 9440 §2.4: a proxy that terminates TLS "MUST sanitize" these two in what clients send.
    b"client-cert",
    b"client-cert-chain",
    b"client-dn",
    b"client-ip",
    b"client-verify",
    b"cloudfront-viewer-address",
    b"fastly-client-ip",
    b"fastly-ssl",
    b"fly-client-ip",
    b"forwarded-for",
    b"forwarded-for-ip",
    b"forwarded-host",
    b"forwarded-proto",
    b"front-end-https",
    b"http-client-ip",
    b"http-x-forwarded-for",
    // Chrome 44 sent it to all servers, and PHP sites took it for TLS.
    b"https",
    b"incap-client-ip",
    b"l5d-client-id",
    b"l5d-remote-ip",
    b"oam-remote-user",
    b"oidc-access-token",
    b"proxy-client-ip",
    b"proxy-user",
    b"real-ip",
    b"true-client-ip",
    b"wl-proxy-client-ip",
    b"wl-proxy-ssl",
    b"x-anonymous-consumer",
    b"x-apigateway-api-userinfo",
    b"x-arr-clientcert",
    b"x-arr-ssl",
    b"x-cdn-src-ip",
    b"x-cf-connecting-ip",
    b"x-client-cn",
    b"x-client-dn",
    b"x-client-host",
    b"x-client-i-dn",
    b"x-client-ip",
    b"x-client-port",
    b"x-client-real-ip",
    b"x-client-s-dn",
    b"x-client-verified",
    b"x-client-verify",
    b"x-clientip",
    b"x-cluster-client-ip",
    b"x-coming-from",
    b"x-credential-identifier",
    b"x-custom-ip-authorization",
    b"x-endpoint-api-userinfo",
    b"x-fastly-client-ip",
    b"x-fd-clientip",
    b"x-forwarded",
    b"x-goog-iap-jwt-assertion",
    b"x-host",
    b"x-http-destinationurl",
    b"x-http-host-override",
    b"x-https",
    b"x-jwt-assertion",
    // Next.js skipped what a middleware guards for it (CVE-2025-29927).
    b"x-middleware-subrequest",
    b"x-nf-client-connection-ip",
    b"x-originating-ip",
    b"x-override-url",
    b"x-proxy-client-ip",
    b"x-proxy-user",
    b"x-proxyuser-ip",
    b"x-rewrite-url",
    b"x-scheme",
    // Rack's X-Sendfile middleware maps paths by these (CVE-2025-61780).
    b"x-sendfile-type",
    b"x-server-addr",
    b"x-source-ip",
    b"x-ssl",
    b"x-sucuri-clientip",
    b"x-token-subject",
    b"x-true-client-ip",
    b"x-url-scheme",
    b"x-user-dn",
    b"x-user-ip",
    b"x-userinfo",
    b"x-vercel-forwarded-for",
    b"x-vercel-proxied-for",
    b"x-wap-profile-ip",
    b"x-zscaler-client-ip",
];

/// Prefixes of the names of further such fields.
const FAMILIES: &[&[u8]] = &[
    b"cf-access-",
    b"cf-connecting-",
    b"cf-pseudo-",
    b"iv-",
    b"oidc-claim-",
    b"remote-",
    b"shib-",
    b"sm-user",
    b"ssl-client-",
    b"tailscale-user-",
    b"x-accel-",
    b"x-amzn-mtls-",
    b"x-amzn-oidc-",
    b"x-appengine-",
    b"x-auth-request-",
    b"x-authenticated-",
    b"x-authentik-",
    b"x-azure-",
    b"x-client-cert",
    b"x-consumer-",
    b"x-envoy-",
    b"x-forward-",
    b"x-forwarded-",
    b"x-goog-authenticated-user-",
    b"x-ms-client-principal",
    b"x-ms-token-",
    // `x-original-url`: a path other than the one by which the route was found (CVE-2018-14773).
    b"x-original-",
    b"x-pomerium-",
    b"x-real-",
    b"x-remote-",
    b"x-ssl-",
    b"x-tls-client-",
    b"x-token-user-",
    b"x-vouch-",
    b"x-webauth-",
];

/// Returns the name that CGI programs take `name` for. RFC 3875 §4.1.18: a field becomes a
/// variable, in which "-" is "_". Servers turn every other character that variables don't have into
/// "_" too, so `x!real!ip` becomes the variable of `x-real-ip`.
pub(super) fn taken_for(name: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
    if name.iter().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let plain = |byte: &u8| if is_plain(byte) { *byte } else { b'-' };
    Cow::Owned(name.iter().map(plain).collect())
}

/// Whether a field without a known name goes on to the upstream.
pub(crate) fn goes_on(name: &[u8], is_trusted: bool) -> bool {
    match taken_for(name) {
        Cow::Borrowed(name) => is_fit(name, is_trusted),
        // A field that could be taken for a known one never goes on.
        Cow::Owned(name) => KnownName::of(&name).is_none() && is_fit(&name, is_trusted),
    }
}

fn is_fit(name: &[u8], is_trusted: bool) -> bool {
    match name {
        // A CGI program would take "Proxy" for the variable HTTP_PROXY (CVE-2016-5385).
        b"proxy" => false,
        // RFC 8441 §5: "not used" in HTTP/2. In HTTP/1.1 it concerns a single connection.
        b"sec-websocket-key" => false,
        _ => is_trusted || !asserts_identity(name),
    }
}

fn asserts_identity(name: &[u8]) -> bool {
    NAMES.binary_search(&name).is_ok() || FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_sorted_and_in_lower_case() {
        assert!(NAMES.is_sorted());
        for name in NAMES.iter().chain(FAMILIES) {
            assert_eq!(taken_for(name), Cow::Borrowed(*name));
            assert!(!name.iter().any(u8::is_ascii_uppercase));
            assert_eq!(KnownName::of(name), None, "{}", name.escape_ascii());
        }
    }

    #[test]
    fn whatever_stands_for_the_hyphens() {
        // RFC 9110 §5.6.2: the characters of tokens that aren't letters or digits.
        for separator in b"!#$%&'*+-.^_`|~" {
            for name in [
                "x-client-ip",
                "x-forwarded-prefix",
                "x-auth-request-email",
                "x-remote-user",
                "x-remote-uid",
                "remote-sub",
                "x-client-cert-dn",
                "x-consumer-username",
                "sm-user",
                "x-original-client-ip",
            ] {
                let spelled = name.replace('-', &char::from(*separator).to_string());
                assert!(!goes_on(spelled.as_bytes(), false), "{spelled}");
                assert!(goes_on(spelled.as_bytes(), true), "{spelled}");
            }
            // A known field in another spelling goes on from no client.
            for name in [
                "x-real-ip",
                "transfer-encoding",
                "content-length",
                "x-forwarded-for",
            ] {
                let spelled = name.replace('-', &char::from(*separator).to_string());
                if *separator != b'-' {
                    assert!(!goes_on(spelled.as_bytes(), true), "{spelled}");
                }
            }
        }
    }

    #[test]
    fn other_fields_go_on() {
        for name in [
            "x-own",
            "my_field",
            "x.y",
            "proxy_",
            "forwarded-to",
            "sec-ch-ua-model",
            "x-http-method-override",
        ] {
            assert!(goes_on(name.as_bytes(), false), "{name}");
        }
        assert!(!goes_on(b"proxy", true) && !goes_on(b"sec-websocket-key", true));
    }
}
