//! Which connections are traced.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use ipnet::IpNet;

/// One connection of how many is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample(pub u32);

/// Which connections are traced: those that match each condition.
#[derive(Debug)]
pub struct Filter {
    /// The clients. Empty: all.
    clients: Vec<IpNet>,
    /// The sites, by the name that the client requests in TLS. Empty: all.
    sites: Vec<String>,
    sample: Sample,
    /// The number of connections that matched the other conditions.
    matched: AtomicU32,
}

impl Filter {
    /// Returns a filter. A site that begins with `*.` stands for all names below it.
    pub fn new(clients: Vec<IpNet>, sites: &[String], sample: Sample) -> Self {
        Self {
            clients,
            sites: sites.iter().map(|site| site.to_ascii_lowercase()).collect(),
            sample,
            matched: AtomicU32::new(0),
        }
    }

    /// Whether a connection of this client, which requested this name, is traced.
    pub fn admits(&self, client: IpAddr, sni: Option<&str>) -> bool {
        let client = client.to_canonical();
        let mut clients = self.clients.iter();
        if !self.clients.is_empty() && !clients.any(|net| net.contains(&client)) {
            return false;
        }
        if !self.sites.is_empty() && !sni.is_some_and(|sni| self.has_site(sni)) {
            return false;
        }
        let number = self.matched.fetch_add(1, Ordering::Relaxed);
        number.is_multiple_of(self.sample.0.max(1))
    }

    fn has_site(&self, sni: &str) -> bool {
        let sni = sni.to_ascii_lowercase();
        self.sites.iter().any(|site| match site.strip_prefix('*') {
            Some(suffix) => sni.len() > suffix.len() && sni.ends_with(suffix),
            None => *site == sni,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(clients: &[&str], sites: &[&str], sample: u32) -> Filter {
        let clients = clients.iter().map(|net| net.parse().unwrap()).collect();
        let sites: Vec<String> = sites.iter().map(|site| (*site).to_owned()).collect();
        Filter::new(clients, &sites, Sample(sample))
    }

    #[test]
    fn each_condition_counts() {
        let client = "::ffff:192.0.2.7".parse().unwrap();
        let here = |filter: Filter| filter.admits(client, Some("WWW.example.com"));
        assert!(here(filter(&[], &[], 1)));
        assert!(here(filter(&["192.0.2.0/24"], &["*.example.com"], 1)));
        assert!(here(filter(
            &["::1/128", "192.0.2.7/32"],
            &["www.Example.com"],
            1
        )));
        assert!(!here(filter(&["198.51.100.0/24"], &[], 1)));
        assert!(!here(filter(&[], &["example.com"], 1)));
        assert!(!filter(&[], &["*.example.com"], 1).admits(client, None));
        assert!(!filter(&[], &["*.example.com"], 1).admits(client, Some(".example.com")));
    }

    #[test]
    fn a_sample_has_one_of_so_many() {
        let filter = filter(&[], &[], 10);
        let client = "192.0.2.7".parse().unwrap();
        let traced = (0..100).filter(|_| filter.admits(client, None));
        assert_eq!(traced.count(), 10);
    }
}
