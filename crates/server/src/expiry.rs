//! Warnings of certificates and revocation lists that are about to expire, once a day.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Before the end of a certificate's validity there is a warning for this long.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// Something with an end: what to call it, when it is valid, and what happens after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dated {
    name: String,
    path: String,
    validity: RangeInclusive<SystemTime>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Certificate,
    RevocationList,
}

impl Dated {
    /// Returns a certificate.
    pub fn certificate(path: impl Display, validity: RangeInclusive<SystemTime>) -> Self {
        Self {
            name: format!("the certificate {path}"),
            path: path.to_string(),
            validity,
            kind: Kind::Certificate,
        }
    }

    /// Returns a revocation list of an authority of clients' certificates.
    pub fn revocation_list(path: impl Display, validity: RangeInclusive<SystemTime>) -> Self {
        Self {
            name: format!("the revocation list {path}"),
            path: path.to_string(),
            validity,
            kind: Kind::RevocationList,
        }
    }

    /// Returns how long before the end there are warnings.
    fn soon(&self) -> Duration {
        match self.kind {
            Kind::Certificate => SOON,
            // Many are made anew each week or each day.
            Kind::RevocationList => {
                let whole = self.validity.end().duration_since(*self.validity.start());
                whole.map_or(SOON, |whole| SOON.min(whole / 4))
            }
        }
    }

    /// Returns what is wrong with the dates, if anything is.
    fn out_of_date(&self, now: SystemTime) -> Option<String> {
        let date = |time: &SystemTime| httpdate::fmt_http_date(*time);
        let refused = match self.kind {
            Kind::Certificate => "clients refuse it",
            Kind::RevocationList => "the certificates of clients are refused",
        };
        let (start, end) = (self.validity.start(), self.validity.end());
        if now > *end {
            let date = date(end);
            return Some(format!("expired on {date}: {refused} until it is renewed"));
        }
        if now + self.soon() > *end {
            return Some(format!("expires on {}: renew it", date(end)));
        }
        (now < *start && self.kind == Kind::Certificate).then(|| {
            let date = date(start);
            format!(
                "isn't valid before {date}: clients refuse it until then, or the clock is wrong"
            )
        })
    }
}

/// The certificates and revocation lists in use.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    all: Vec<Dated>,
    /// When to look again.
    due: Option<SystemTime>,
}

impl Expiry {
    /// Takes what has an end. The first warnings are due at once.
    pub fn new(all: Vec<Dated>) -> Self {
        Self { all, due: None }
    }

    /// Returns the paths of all, and when each expires.
    pub fn ends(&self) -> impl Iterator<Item = (&str, SystemTime)> {
        let all = self.all.iter();
        all.map(|dated| (&*dated.path, *dated.validity.end()))
    }

    /// Returns warnings, if a day has passed since the last time.
    pub fn warnings(&mut self, now: SystemTime) -> Vec<String> {
        if self.due.is_some_and(|due| now < due) {
            return Vec::new();
        }
        self.due = Some(now + DAY);
        let warning = |dated: &Dated| {
            let problem = dated.out_of_date(now)?;
            Some(format!("{} {problem}", dated.name))
        };
        self.all.iter().filter_map(warning).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_certificates() {
        let now = SystemTime::now();
        let out_of_date = |validity: &RangeInclusive<SystemTime>, now| {
            Dated::certificate("a.pem", validity.clone()).out_of_date(now)
        };
        assert_eq!(out_of_date(&(now - DAY..=now + 15 * DAY), now), None);
        let soon = out_of_date(&(now - DAY..=now + 13 * DAY), now).unwrap();
        assert!(soon.starts_with("expires on "), "{soon}");
        let past = out_of_date(&(now - 2 * DAY..=now - DAY), now).unwrap();
        assert!(past.starts_with("expired on "), "{past}");
        let future = out_of_date(&(now + DAY..=now + 20 * DAY), now).unwrap();
        assert!(future.starts_with("isn't valid before "), "{future}");
    }

    #[test]
    fn a_revocation_list_is_due_in_the_last_quarter_of_its_time() {
        let now = SystemTime::now();
        let list = |days: u32| {
            let list = Dated::revocation_list("a.crl", now - days * DAY..=now + (7 - days) * DAY);
            list.out_of_date(now)
        };
        assert_eq!(list(5), None);
        assert!(list(6).unwrap().starts_with("expires on "));
        let validity = now - 8 * DAY..=now - DAY;
        let past = Dated::revocation_list("a.crl", validity).out_of_date(now);
        assert!(
            past.unwrap()
                .contains("the certificates of clients are refused")
        );
    }

    #[test]
    fn there_is_a_warning_each_day_from_two_weeks_before_the_end() {
        let start = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let certificate = |days| Dated::certificate("a.pem", start - DAY..=start + days * DAY);
        let mut expiry = Expiry::new(vec![certificate(16), certificate(400)]);
        let mut warned = Vec::new();
        // The server looks every 8 hours.
        for look in 0..3 * 18 {
            let now = start + look * DAY / 3;
            for warning in expiry.warnings(now) {
                assert!(
                    warning.starts_with("the certificate a.pem expire"),
                    "{warning}"
                );
                warned.push(look);
            }
        }
        let days: Vec<u32> = (3..18).map(|day| 3 * day).collect();
        assert_eq!(warned, days);
    }
}
