//! The time of day for header fields.

use std::time::{SystemTime, UNIX_EPOCH};

use tidegate_http::WallClock;

/// The time of day when the service last looked, with the value of the `date` field (RFC 9110
/// §6.6.1), which is formatted once a second.
#[derive(Debug)]
pub struct Clock {
    second: u64,
    date: String,
    /// Milliseconds of the second.
    millis: u32,
    /// The same second as ISO 8601 has it, without a zone.
    iso8601: String,
    /// The clock that dates the engines' own answers.
    engines: WallClock,
}

impl Clock {
    /// Returns a clock that shows this time.
    pub fn new(now: SystemTime) -> Self {
        Self::with_engines(now, WallClock::new())
    }

    /// Returns a clock that shows this time and keeps the engines' clock set to the same time.
    pub fn with_engines(now: SystemTime, engines: WallClock) -> Self {
        let second = seconds(now);
        engines.set(second);
        Self {
            second,
            date: http_date(second),
            millis: millis(now),
            iso8601: iso8601(second),
            engines,
        }
    }

    /// Sets the clock, and that of the engines.
    pub fn set(&mut self, now: SystemTime) {
        let second = seconds(now);
        self.millis = millis(now);
        if second != self.second {
            self.second = second;
            self.iso8601 = iso8601(second);
            self.date = http_date(second);
            self.engines.set(second);
        }
    }

    /// Returns the seconds since 1970.
    pub fn second(&self) -> u64 {
        self.second
    }

    /// Appends the time as ISO 8601 has it, such as `1994-11-06T08:49:37.250Z`.
    pub fn write_iso8601(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.iso8601.as_bytes());
        out.push(b'.');
        let millis = self.millis;
        out.extend([millis / 100, millis / 10 % 10, millis % 10].map(|digit| b'0' + digit as u8));
        out.push(b'Z');
    }

    /// Returns the value of the `date` field.
    pub fn date(&self) -> &str {
        &self.date
    }
}

/// Returns whole seconds since 1970, 0 for an earlier time.
pub fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// Returns the milliseconds of a time's second.
fn millis(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.subsec_millis())
}

/// Formats seconds since 1970 as ISO 8601, without a zone: `1994-11-06T08:49:37`.
fn iso8601(second: u64) -> String {
    // `Timestamp` ends with the year 9999.
    let second = i64::try_from(second).unwrap_or(i64::MAX);
    let time = jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX);
    let mut text = format!("{time:.0}");
    text.truncate("1994-11-06T08:49:37".len());
    text
}

/// Formats seconds since 1970 as an IMF-fixdate, such as `Sun, 06 Nov 1994 08:49:37 GMT`
/// (RFC 9110 §5.6.7).
pub fn http_date(second: u64) -> String {
    // The format has four digits for the year; a broken clock or file must not make it panic.
    let last = 253_402_300_799;
    let time = UNIX_EPOCH + std::time::Duration::from_secs(second.min(last));
    httpdate::fmt_http_date(time)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_date_follows_the_second() {
        let time = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let mut clock = Clock::new(time);
        // RFC 9110 §5.6.7 has this example.
        assert_eq!(clock.date(), "Sun, 06 Nov 1994 08:49:37 GMT");
        clock.set(time + Duration::from_millis(999));
        assert_eq!(clock.date(), "Sun, 06 Nov 1994 08:49:37 GMT");
        clock.set(time + Duration::from_secs(1));
        assert_eq!(clock.date(), "Sun, 06 Nov 1994 08:49:38 GMT");
        let mut iso8601 = Vec::new();
        clock.set(time + Duration::from_millis(1042));
        clock.write_iso8601(&mut iso8601);
        assert_eq!(iso8601, b"1994-11-06T08:49:38.042Z");
        assert_eq!(clock.second(), 784_111_778);
        assert_eq!(clock.engines.date().as_deref(), Some(clock.date()));
    }

    #[test]
    fn absurd_times_have_a_date_too() {
        assert_eq!(seconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
        assert_eq!(http_date(u64::MAX), "Fri, 31 Dec 9999 23:59:59 GMT");
        assert!(iso8601(u64::MAX).starts_with("9999-12-"));
    }
}
