//! Session tickets (RFC 8446 §4.6.1, RFC 5077): keys that several servers share, and what a ticket
//! is good for.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use aws_lc_rs::rand;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::ProducesTickets;

use crate::TlsError;

/// Seconds for which a ticket is good.
const LIFETIME: u32 = 12 * 60 * 60;

/// Seconds by which the clocks of servers that share keys may differ.
const SKEW: u64 = 60;

/// Bytes of a key's name, which begins each ticket (RFC 5077 §4).
const NAME: usize = 16;

/// Bytes of what a ticket's session was established under.
const CONTEXT: usize = 16;

/// The keys of session tickets, which all listeners may share.
#[derive(Clone, Debug)]
pub struct Tickets(Arc<dyn ProducesTickets>);

impl Tickets {
    /// Makes keys that only this process has, and that it replaces every 6 hours.
    ///
    /// # Errors
    /// Returns an error if the system provides no random numbers.
    pub fn random() -> Result<Self, TlsError> {
        Ticketer::new().map(Self).map_err(TlsError::Setup)
    }

    /// Takes keys that other servers may have too. The first encrypts tickets, all decrypt them.
    ///
    /// # Errors
    /// Returns an error if there are none.
    pub fn from_keys(keys: Vec<TicketKey>) -> Result<Self, TlsError> {
        if keys.is_empty() {
            return Err(TlsError::TicketKey);
        }
        Ok(Self(Arc::new(Shared(keys))))
    }

    /// Returns these keys for sessions that are established under this context alone.
    pub(crate) fn bound_to(&self, context: [u8; CONTEXT]) -> Arc<dyn ProducesTickets> {
        Arc::new(Bound {
            keys: Arc::clone(&self.0),
            context,
        })
    }
}

/// A key of session tickets.
pub struct TicketKey {
    name: [u8; NAME],
    key: LessSafeKey,
}

impl fmt::Debug for TicketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKey").finish_non_exhaustive()
    }
}

/// The length of a key that HKDF makes.
struct Bytes32;

impl KeyType for Bytes32 {
    fn len(&self) -> usize {
        32
    }
}

impl TicketKey {
    /// Makes a key of 48 or 80 random bytes, as `openssl rand` writes them into files for nginx.
    ///
    /// # Errors
    /// Returns an error for any other number of bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TlsError> {
        let (name, secret) = match bytes.len() {
            48 | 80 => bytes.split_first_chunk(),
            _ => None,
        }
        .ok_or(TlsError::TicketKey)?;
        // One key comes of the secret, whatever its length.
        let fail = |_| TlsError::TicketKey;
        let secret = Salt::new(HKDF_SHA256, b"tidegate session tickets").extract(secret);
        let mut key = [0; 32];
        let info = [&name[..]];
        let expanded = secret.expand(&info, Bytes32).map_err(fail)?;
        expanded.fill(&mut key).map_err(fail)?;
        let key = UnboundKey::new(&AES_256_GCM_SIV, &key).map_err(fail)?;
        Ok(Self {
            name: *name,
            key: LessSafeKey::new(key),
        })
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        // Servers that share a key don't know each other's nonces. RFC 8452 §1: if a nonce repeats,
        // this only shows whether two plaintexts are the same.
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = plain.to_vec();
        let aad = Aad::from(self.name);
        let at = Nonce::assume_unique_for_key(nonce);
        self.key
            .seal_in_place_append_tag(at, aad, &mut sealed)
            .ok()?;
        Some([&self.name[..], &nonce, &sealed].concat())
    }

    /// Opens a ticket without its name.
    fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.split_first_chunk()?;
        let mut plain = sealed.to_vec();
        let at = Nonce::assume_unique_for_key(*nonce);
        let opened = self.key.open_in_place(at, Aad::from(self.name), &mut plain);
        let len = opened.ok()?.len();
        plain.truncate(len);
        Some(plain)
    }
}

/// Keys that several servers share.
#[derive(Debug)]
struct Shared(Vec<TicketKey>);

impl ProducesTickets for Shared {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.0.first()?.seal(plain)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, sealed) = ticket.split_first_chunk()?;
        let mut keys = self.0.iter().filter(|key| key.name == *name);
        keys.find_map(|key| key.open(sealed))
    }
}

/// Keys whose tickets are good for one context and one lifetime. A ticket of another site, which
/// wants other certificates of its clients, brings a full handshake.
#[derive(Debug)]
struct Bound {
    keys: Arc<dyn ProducesTickets>,
    context: [u8; CONTEXT],
}

impl Bound {
    fn encrypt_at(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let bound = [&self.context[..], &now.to_be_bytes(), plain].concat();
        self.keys.encrypt(&bound)
    }

    fn decrypt_at(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let bound = self.keys.decrypt(ticket)?;
        let (context, rest) = bound.split_first_chunk::<CONTEXT>()?;
        let (issued, plain) = rest.split_first_chunk()?;
        let issued = u64::from_be_bytes(*issued);
        let is_fresh = issued <= now + SKEW && now <= issued + u64::from(LIFETIME);
        (*context == self.context && is_fresh).then(|| plain.to_vec())
    }
}

fn now() -> Option<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

impl ProducesTickets for Bound {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.encrypt_at(plain, now()?)
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        self.decrypt_at(ticket, now()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8, len: usize) -> TicketKey {
        let bytes: Vec<u8> = (0..len).map(|at| seed.wrapping_add(at as u8)).collect();
        TicketKey::from_bytes(&bytes).unwrap()
    }

    fn shared(keys: Vec<TicketKey>) -> Arc<dyn ProducesTickets> {
        Tickets::from_keys(keys).unwrap().0
    }

    #[test]
    fn the_first_key_encrypts_and_all_decrypt() {
        let old = shared(vec![key(1, 48)]);
        let both = shared(vec![key(2, 80), key(1, 48)]);
        let new = shared(vec![key(2, 80)]);
        let (of_old, of_both) = (old.encrypt(b"a").unwrap(), both.encrypt(b"b").unwrap());
        assert_eq!(both.decrypt(&of_old).as_deref(), Some(&b"a"[..]));
        assert_eq!(new.decrypt(&of_both).as_deref(), Some(&b"b"[..]));
        assert_eq!(old.decrypt(&of_both), None);
        assert_eq!(new.decrypt(&of_old), None);
        assert_ne!(old.encrypt(b"a"), old.encrypt(b"a"));
    }

    #[test]
    fn a_ticket_that_was_changed_is_none() {
        let keys = shared(vec![key(1, 80)]);
        let ticket = keys.encrypt(b"session").unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(keys.decrypt(&changed), None, "{at}");
            assert_eq!(keys.decrypt(&ticket[..at]), None, "{at}");
        }
    }

    #[test]
    fn keys_have_the_sizes_of_other_servers_files() {
        for len in [0, 16, 47, 49, 64, 79, 81, 96] {
            assert!(TicketKey::from_bytes(&vec![1; len]).is_err(), "{len}");
        }
        assert!(Tickets::from_keys(Vec::new()).is_err());
    }

    #[test]
    fn a_ticket_is_good_for_its_context_and_its_time() {
        for tickets in [
            Tickets::random().unwrap(),
            Tickets::from_keys(vec![key(1, 48)]).unwrap(),
        ] {
            let bound = |context| Bound {
                keys: Arc::clone(&tickets.0),
                context,
            };
            let (one, other) = (bound([1; CONTEXT]), bound([2; CONTEXT]));
            let ticket = one.encrypt_at(b"session", 100_000).unwrap();
            for (now, is_good) in [
                (100_000, true),
                (100_000 - SKEW, true),
                (100_000 - SKEW - 1, false),
                (100_000 + u64::from(LIFETIME), true),
                (100_001 + u64::from(LIFETIME), false),
            ] {
                assert_eq!(one.decrypt_at(&ticket, now).is_some(), is_good, "{now}");
            }
            assert_eq!(one.decrypt_at(&ticket, 100_000).unwrap(), b"session");
            assert_eq!(other.decrypt_at(&ticket, 100_000), None);
        }
    }
}
