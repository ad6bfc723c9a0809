//! Which requests have lines, by status and rate.

/// The part of requests that have lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The part, from 0 to 1.
    part: f64,
    /// The same as a part of 2^64; `None` for all.
    threshold: Option<u64>,
}

impl Rate {
    const ALL: Self = Self {
        part: 1.0,
        threshold: None,
    };

    /// Returns the part, from 0 to 1.
    pub fn part(self) -> f64 {
        self.part
    }
}

/// Statuses that a rule is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Statuses {
    /// All.
    All,
    /// Those that begin with this digit.
    Class(u16),
    /// This one; 0 for a stream that was reset without one.
    One(u16),
}

/// The rates of all statuses.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampling {
    /// The nearest rule first.
    rules: Vec<(Statuses, Rate)>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            rules: vec![(Statuses::All, Rate::ALL)],
        }
    }
}

impl Sampling {
    /// Reads `1%,5xx=100%,404=10%,reset=100%`.
    ///
    /// # Errors
    /// A sentence about the first mistake.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let mut rules = Vec::new();
        for part in typed.split(',').map(str::trim) {
            let (statuses, rate) = match part.split_once('=') {
                None => (Statuses::All, part),
                Some((statuses, rate)) => (parse_statuses(statuses)?, rate),
            };
            if rules.iter().any(|(other, _)| *other == statuses) {
                return Err(format!("{part}: there is a rate for these already"));
            }
            rules.push((statuses, parse_rate(rate)?));
        }
        if !rules.iter().any(|(statuses, _)| *statuses == Statuses::All) {
            rules.push((Statuses::All, Rate::ALL));
        }
        rules.sort_by_key(|(statuses, _)| match statuses {
            Statuses::One(_) => 0,
            Statuses::Class(_) => 1,
            Statuses::All => 2,
        });
        Ok(Self { rules })
    }

    /// Whether every request has a line.
    pub fn is_all(&self) -> bool {
        self.rules.iter().all(|(_, rate)| rate.threshold.is_none())
    }

    fn rule(&self, status: u16) -> usize {
        let is_for = |(statuses, _): &(Statuses, Rate)| match *statuses {
            Statuses::All => true,
            Statuses::Class(class) => status / 100 == class,
            Statuses::One(one) => status == one,
        };
        self.rules.iter().position(is_for).unwrap_or_default()
    }
}

fn parse_statuses(typed: &str) -> Result<Statuses, String> {
    let digits = typed.strip_suffix("xx").unwrap_or(typed);
    let is_class = digits.len() < typed.len();
    match digits.parse::<u16>() {
        Ok(class @ 1..=5) if is_class => Ok(Statuses::Class(class)),
        Ok(status @ 100..=599) if !is_class => Ok(Statuses::One(status)),
        _ if typed == "reset" => Ok(Statuses::One(0)),
        _ => Err(format!(
            "{typed}=: expected a status such as 404, a class such as 5xx, or reset"
        )),
    }
}

fn parse_rate(typed: &str) -> Result<Rate, String> {
    let wrong = || format!("{typed}: expected a rate from 0% to 100%, such as 1% or 0.5%");
    let percent = typed.strip_suffix('%').ok_or_else(wrong)?;
    let is_number = percent
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let percent: f64 = percent.parse().map_err(|_| wrong())?;
    if !is_number || !(0.0..=100.0).contains(&percent) {
        return Err(wrong());
    }
    let part = percent / 100.0;
    Ok(Rate {
        part,
        threshold: (part < 1.0).then_some((part * 2_f64.powi(64)) as u64),
    })
}

/// The choice of one worker.
#[derive(Clone, Debug)]
pub(super) struct Sampler {
    sampling: Sampling,
    /// A position for each rule.
    positions: Vec<u64>,
}

/// The golden ratio's part of 2^64. Multiples of it are spread evenly at every length, so a rate
/// holds over few requests, and requests that alternate have equal chances.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Sampler {
    pub(super) fn new(sampling: Sampling) -> Self {
        Self {
            positions: vec![0; sampling.rules.len()],
            sampling,
        }
    }

    /// Decides on the next request of this status. Returns the rate if the request has a line.
    pub(super) fn next(&mut self, status: u16) -> Option<Rate> {
        let rule = self.sampling.rule(status);
        let (_, rate) = self.sampling.rules[rule];
        let Some(threshold) = rate.threshold else {
            return Some(rate);
        };
        let position = &mut self.positions[rule];
        *position = position.wrapping_add(STEP);
        (*position < threshold).then_some(rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(sampler: &mut Sampler, status: u16, requests: usize) -> usize {
        (0..requests)
            .filter(|_| sampler.next(status).is_some())
            .count()
    }

    #[test]
    fn rates_hold_for_each_status() {
        let sampling = Sampling::parse("1%, 5xx=100%,404=10%,reset=50%").unwrap();
        assert!(!sampling.is_all());
        let mut sampler = Sampler::new(sampling);
        for (status, requests, expected) in [
            (200, 10_000, 100),
            (403, 1000, 10),
            (404, 1000, 100),
            (503, 100, 100),
            (0, 100, 50),
        ] {
            let written = lines(&mut sampler, status, requests);
            assert!(written.abs_diff(expected) <= 1, "{status}: {written}");
        }
        assert_eq!(sampler.next(500).map(Rate::part), Some(1.0));
        assert!(Sampling::default().is_all());
        assert_eq!(Sampling::parse("4xx=1%").unwrap().rule(200), 1);
    }

    #[test]
    fn requests_that_alternate_have_equal_chances() {
        let mut sampler = Sampler::new(Sampling::parse("50%").unwrap());
        let mut written = [0, 0];
        for request in 0..1000 {
            written[request % 2] += usize::from(sampler.next(200).is_some());
        }
        assert!(written[0].abs_diff(written[1]) <= 20, "{written:?}");
    }

    #[test]
    fn mistakes_are_sentences() {
        for typed in [
            "", "1", "101%", "-1%", "nan%", "1e1%", "6xx=1%", "99=1%", "x=1%", "1%,2%",
        ] {
            assert!(Sampling::parse(typed).is_err(), "{typed}");
        }
    }
}
