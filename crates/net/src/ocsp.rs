//! OCSP responses (RFC 6960), as far as a server must know them to send the right one.

use std::time::SystemTime;

use x509_parser::der_parser::asn1_rs::{FromDer as _, GeneralizedTime};
use x509_parser::time::ASN1Time;

use crate::TlsError;
use crate::asn1_time::instant;

/// The part of a response that is about one certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status<'a> {
    /// The certificate's serial number, as DER has it.
    pub(crate) serial: &'a [u8],
    is_good: bool,
    /// When a newer response will be there at the latest.
    pub(crate) next_update: Option<SystemTime>,
}

impl Status<'_> {
    /// Checks that clients would believe the response.
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), TlsError> {
        if !self.is_good {
            return Err(TlsError::Ocsp(
                "it doesn't say that the certificate is good",
            ));
        }
        // RFC 6960 §4.2.2.1: "Responses whose nextUpdate value is earlier than the local system
        // time value SHOULD be considered unreliable."
        match self.next_update {
            Some(until) if until < now => Err(TlsError::OcspOutdated),
            _ => Ok(()),
        }
    }
}

const SEQUENCE: u8 = 0x30;
const STRING: u8 = 0x04;
const INTEGER: u8 = 0x02;
const ENUMERATED: u8 = 0x0a;
const GENERALIZED_TIME: u8 = 0x18;
const CONTEXT_0: u8 = 0xa0;

/// Elements of DER, one after the other.
struct Elements<'a>(&'a [u8]);

impl<'a> Elements<'a> {
    /// Takes the next element. Returns its tag and its content.
    fn any(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (len, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            // RFC 6960's structures are far smaller than three bytes of length allow.
            let digits = usize::from(first & 0x7f);
            let bytes = rest.get(..digits).filter(|_| (1..=3).contains(&digits))?;
            let len = bytes
                .iter()
                .fold(0, |len, &byte| len << 8 | usize::from(byte));
            (len, &rest[digits..])
        };
        let content = rest.get(..len)?;
        self.0 = &rest[len..];
        Some((tag, content))
    }

    /// Takes the next element if it has this tag. Returns its content.
    fn of(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let is_next = self.0.first() == Some(&wanted);
        is_next.then(|| self.any())?.map(|(_, content)| content)
    }
}

/// Reads a response about one certificate.
///
/// # Errors
/// Returns why the response can't be used.
pub(crate) fn read(response: &[u8]) -> Result<Status<'_>, &'static str> {
    let mut response = Elements(response);
    let mut response = Elements(
        response
            .of(SEQUENCE)
            .ok_or("it isn't an OCSP response in DER")?,
    );
    // RFC 6960 §4.2.1: `successful (0)` has bytes, the others are errors.
    match response.of(ENUMERATED) {
        Some([0]) => {}
        Some(_) => return Err("it is an error of the responder"),
        None => return Err("it isn't an OCSP response in DER"),
    }
    single(response).ok_or("it isn't a basic OCSP response about one certificate")
}

/// Reads `responseBytes`, down to the only `SingleResponse`.
fn single(mut response: Elements<'_>) -> Option<Status<'_>> {
    let mut bytes = Elements(Elements(response.of(CONTEXT_0)?).of(SEQUENCE)?);
    let (_kind, _) = bytes.any()?;
    let mut basic = Elements(Elements(bytes.of(STRING)?).of(SEQUENCE)?);
    let mut data = Elements(basic.of(SEQUENCE)?);
    // The version is the only element with this tag, and has a default.
    let _ = data.of(CONTEXT_0);
    let (_responder, _) = data.any()?;
    data.of(GENERALIZED_TIME)?;
    let mut all = Elements(data.of(SEQUENCE)?);
    let mut one = Elements(all.of(SEQUENCE)?);
    if !all.0.is_empty() {
        return None;
    }
    let mut certificate = Elements(one.of(SEQUENCE)?);
    certificate.of(SEQUENCE)?;
    certificate.of(STRING)?;
    certificate.of(STRING)?;
    let serial = certificate.of(INTEGER)?;
    // RFC 6960 §4.2.1: `good [0] IMPLICIT NULL`.
    let (status, _) = one.any()?;
    one.of(GENERALIZED_TIME)?;
    let next_update = match one.of(CONTEXT_0) {
        Some(time) => Some(time_of(time)?),
        None => None,
    };
    Some(Status {
        serial,
        is_good: status == 0x80,
        next_update,
    })
}

fn time_of(der: &[u8]) -> Option<SystemTime> {
    let (_, time) = GeneralizedTime::from_der(der).ok()?;
    instant(ASN1Time::new(time.utc_datetime().ok()?))
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let len = u16::try_from(content.len()).unwrap();
        let mut bytes = match len {
            0..0x80 => vec![tag, len as u8],
            _ => vec![tag, 0x82, (len >> 8) as u8, len as u8],
        };
        bytes.extend_from_slice(content);
        bytes
    }

    /// Returns a response about a certificate, with a signature that nobody checks here.
    pub(crate) fn response(serial: &[u8], status: u8, next_update: &str) -> Vec<u8> {
        let sequence = |parts: &[Vec<u8>]| element(SEQUENCE, &parts.concat());
        let time = |time: &str| element(GENERALIZED_TIME, time.as_bytes());
        let algorithm = sequence(&[element(6, &[0x2b, 14, 3, 2, 26])]);
        let hash = element(STRING, &[7; 20]);
        let certificate = sequence(&[
            algorithm.clone(),
            hash.clone(),
            hash.clone(),
            element(INTEGER, serial),
        ]);
        let this_update = time("20250101000000Z");
        let next_update = element(CONTEXT_0, &time(next_update));
        let single = sequence(&[
            certificate,
            vec![status, 0],
            this_update.clone(),
            next_update,
        ]);
        let responder = element(0xa2, &hash);
        let data = sequence(&[responder, this_update, sequence(&[single])]);
        let basic = sequence(&[data, algorithm, element(3, &[0, 1, 2])]);
        let kind = element(6, &[0x2b, 6, 1, 5, 5, 7, 48, 1, 1]);
        let bytes = sequence(&[kind, element(STRING, &basic)]);
        sequence(&[element(ENUMERATED, &[0]), element(CONTEXT_0, &bytes)])
    }

    #[test]
    fn a_response_names_its_certificate_and_how_long_it_holds() {
        let now = UNIX_EPOCH + Duration::from_secs(1_767_225_600); // 2026-01-01
        for (status, next_update, fine) in [
            (0x80, "20260102000000Z", true),
            (0x80, "20251231235959Z", false),
            // RFC 6960 §4.2.1: revoked [1], unknown [2].
            (0xa1, "20260102000000Z", false),
            (0x82, "20260102000000Z", false),
        ] {
            let der = response(&[1, 2, 3], status, next_update);
            let read = read(&der).unwrap();
            assert_eq!(read.serial, [1, 2, 3]);
            assert_eq!(read.check(now).is_ok(), fine, "{status:x} {next_update}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let whole = response(&[1], 0x80, "20260102000000Z");
        for end in 0..whole.len() {
            assert!(read(&whole[..end]).is_err(), "{end}");
        }
        // RFC 6960 §4.2.1: tryLater (3).
        let later = element(SEQUENCE, &element(ENUMERATED, &[3]));
        assert_eq!(read(&later), Err("it is an error of the responder"));
        assert!(read(b"-----BEGIN").is_err());
    }
}
