//! Which peer a datagram belongs to.
//!
//! Three ways in, each with its own proof: a check names our user fragment, an answer names a transaction of ours and
//! comes from where that went (or else a client could answer in a stranger's name, and have him sent what it is sent),
//! everything else must come from an address that an authenticated check or answer came from. A spoofed address
//! therefore reaches no peer.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The table of one socket.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_address: HashMap<SocketAddr, usize>,
    by_ufrag: HashMap<Vec<u8>, usize>,
    by_check: HashMap<[u8; 12], Asked>,
    checks: VecDeque<(Instant, [u8; 12])>,
}

/// Who was asked by a check of ours, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// The peer.
    pub(super) key: usize,
    /// Where the check went.
    pub(super) to: SocketAddr,
}

impl Routes {
    /// The peer that a validated address belongs to.
    pub(super) fn peer_at(&self, address: SocketAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// The peer whose user fragment a check names.
    pub(super) fn peer_of_ufrag(&self, ufrag: &[u8]) -> Option<usize> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// The peer whose check an answer from there answers; there is only one answer to a check.
    pub(super) fn take_check(&mut self, transaction: &[u8; 12], from: SocketAddr) -> Option<usize> {
        let asked = self.by_check.get(transaction)?;
        if asked.to != from {
            return None;
        }
        self.by_check.remove(transaction).map(|asked| asked.key)
    }

    /// Lets checks that name `ufrag` through to `key`.
    pub(super) fn add_ufrag(&mut self, ufrag: &str, key: usize) {
        self.by_ufrag.insert(ufrag.as_bytes().to_vec(), key);
    }

    /// Forgets a user fragment.
    pub(super) fn remove_ufrag(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag.as_bytes());
    }

    /// Validates `address` for `key`; the last peer to authenticate from an address has it.
    pub(super) fn add_address(&mut self, address: SocketAddr, key: usize) {
        self.by_address.insert(address, key);
    }

    /// Forgets an address, unless another peer has authenticated from it since.
    pub(super) fn remove_address(&mut self, address: SocketAddr, key: usize) {
        if self.by_address.get(&address) == Some(&key) {
            self.by_address.remove(&address);
        }
    }

    /// Lets the answer to a check through, for as long as the core waits for it.
    pub(super) fn add_check(&mut self, transaction: [u8; 12], asked: Asked, now: Instant) {
        while let Some(&(sent, oldest)) = self.checks.front() {
            if now.saturating_duration_since(sent) < CHECK_LIFETIME
                && self.checks.len() < MAX_CHECKS
            {
                break;
            }
            self.checks.pop_front();
            self.by_check.remove(&oldest);
        }
        self.checks.push_back((now, transaction));
        self.by_check.insert(transaction, asked);
    }
}

/// Longer than the core waits for an answer (4 s).
const CHECK_LIFETIME: Duration = Duration::from_secs(5);

/// Checks in flight at once: five seconds of 10,000 settled peers, or a burst of joins with many candidates.
const MAX_CHECKS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn an_address_follows_who_authenticated_last() {
        let mut routes = Routes::default();
        routes.add_address(address(1), 10);
        routes.add_address(address(1), 20);
        routes.remove_address(address(1), 10);
        assert_eq!(routes.peer_at(address(1)), Some(20));
        routes.remove_address(address(1), 20);
        assert_eq!(routes.peer_at(address(1)), None);
    }

    #[test]
    fn checks_age_and_are_bounded() {
        let start = Instant::now();
        let mut routes = Routes::default();
        let id = |n: u32| {
            let mut id = [0; 12];
            id[..4].copy_from_slice(&n.to_be_bytes());
            id
        };
        let to = address(1);
        routes.add_check(id(0), Asked { key: 1, to }, start);
        routes.add_check(id(1), Asked { key: 2, to }, start + CHECK_LIFETIME);
        assert_eq!(routes.take_check(&id(0), to), None);
        assert_eq!(routes.take_check(&id(1), address(2)), None, "not there");
        assert_eq!(routes.take_check(&id(1), to), Some(2));
        assert_eq!(routes.take_check(&id(1), to), None);
        for n in 2..100_000 {
            routes.add_check(id(n), Asked { key: 3, to }, start + CHECK_LIFETIME);
        }
        assert!(routes.by_check.len() <= MAX_CHECKS);
        assert!(routes.by_check.len() <= routes.checks.len());
    }
}
