//! Times as certificates and OCSP responses have them (RFC 5280 §4.1.2.5).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use x509_parser::time::ASN1Time;

/// Returns a time as the system's clock has it, or nothing if it is before 1970.
pub(crate) fn instant(time: ASN1Time) -> Option<SystemTime> {
    let seconds = u64::try_from(time.timestamp()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}
