//! Warnings of certificates that are about to expire, once a day.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Before the end of a certificate's validity there is a warning for this long.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);

/// The certificates in use: what to call them, and when they are valid.
#[derive(Clone, Debug, Default)]
pub struct Expiry {
    all: Vec<(String, RangeInclusive<SystemTime>)>,
    /// When to look again.
    due: Option<SystemTime>,
}

impl Expiry {
    /// Takes the certificates. The first warnings are due at once.
    pub fn new(all: Vec<(String, RangeInclusive<SystemTime>)>) -> Self {
        Self { all, due: None }
    }

    /// Returns warnings, if a day has passed since the last time.
    pub fn warnings(&mut self, now: SystemTime) -> Vec<String> {
        if self.due.is_some_and(|due| now < due) {
            return Vec::new();
        }
        self.due = Some(now + DAY);
        let warning = |(name, validity): &(String, RangeInclusive<SystemTime>)| {
            let problem = out_of_date(validity, now)?;
            Some(format!("the certificate {name} {problem}"))
        };
        self.all.iter().filter_map(warning).collect()
    }
}

/// Returns what is wrong with a certificate's dates, if anything is.
fn out_of_date(validity: &RangeInclusive<SystemTime>, now: SystemTime) -> Option<String> {
    let date = |time: &SystemTime| httpdate::fmt_http_date(*time);
    if now > *validity.end() {
        let date = date(validity.end());
        return Some(format!(
            "expired on {date}: clients refuse it until it is renewed"
        ));
    }
    if now + SOON > *validity.end() {
        let date = date(validity.end());
        return Some(format!("expires on {date}: renew it"));
    }
    (now < *validity.start()).then(|| {
        let date = date(validity.start());
        format!("isn't valid before {date}: clients refuse it until then, or the clock is wrong")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_certificates() {
        let now = SystemTime::now();
        assert_eq!(out_of_date(&(now - DAY..=now + 15 * DAY), now), None);
        let soon = out_of_date(&(now - DAY..=now + 13 * DAY), now).unwrap();
        assert!(soon.starts_with("expires on "), "{soon}");
        let past = out_of_date(&(now - 2 * DAY..=now - DAY), now).unwrap();
        assert!(past.starts_with("expired on "), "{past}");
        let future = out_of_date(&(now + DAY..=now + 20 * DAY), now).unwrap();
        assert!(future.starts_with("isn't valid before "), "{future}");
    }

    #[test]
    fn there_is_a_warning_each_day_from_two_weeks_before_the_end() {
        let start = SystemTime::UNIX_EPOCH + 20_000 * DAY;
        let certificate = |days| ("a.pem".to_owned(), start - DAY..=start + days * DAY);
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
