//! Upstreams as a user types them.

use tidegate::path::RequestPath;
use tidegate::proxy::target::UpstreamTarget;
use tidegate_http::is_authority;

/// Fuzzes the upstream in a `--route`, which is the input.
///
/// - An upstream, written and read again, is the same one.
/// - Its authority is valid in a request, and its base is a path.
pub fn upstream_target(input: &[u8]) {
    let Ok(typed) = std::str::from_utf8(input) else {
        return;
    };
    let Ok(target) = UpstreamTarget::parse(typed) else {
        return;
    };
    assert!(UpstreamTarget::is_meant(typed) && !target.hosts.is_empty());
    let written = target.to_string();
    let base = target.base.as_deref().unwrap_or_default();
    // Either all addresses begin with a scheme or none does, so a base that looks like a scheme or
    // a list of addresses can't be read again.
    if !base.contains("://") && !base.contains(',') {
        let again = UpstreamTarget::parse(&written).expect("a written upstream can be read");
        assert_eq!(
            (again.scheme, &again.hosts, &again.base),
            (target.scheme, &target.hosts, &target.base)
        );
        assert_eq!(again.to_string(), written);
    }
    for (host, port) in &target.hosts {
        assert!(!host.is_empty() && *port > 0, "{written}");
    }
    assert!(is_authority(target.authority.as_bytes()), "{typed}");
    if let Some(base) = &target.base {
        let path = RequestPath::read(base.as_bytes()).expect("a base is a path");
        assert!(base.is_ascii() && path.raw() == base.as_bytes());
    }
}
