//! Routes datagrams to peers by ICE user fragment, transaction id or source address.
//!
//! A datagram can name its peer in three ways, each with its own proof: a check names our user
//! fragment; an answer names a transaction of ours and comes from the address that was checked
//! (otherwise a client could answer in a stranger's name and have media sent to the stranger); any
//! other datagram must come from an address that an authenticated check or answer came from. So a
//! datagram with a spoofed address reaches no peer.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// The routes of one media socket, from what a datagram contains to the key of a peer in the table.
#[derive(Debug, Default)]
pub(super) struct Routes {
    by_address: HashMap<SocketAddr, usize>,
    by_ufrag: HashMap<Vec<u8>, usize>,
    by_check: HashMap<[u8; 12], Asked>,
    checks: VecDeque<(Instant, [u8; 12])>,
}

/// A connectivity check that was sent: by which peer, and where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// Key of the peer that sent the check.
    pub(super) key: usize,
    /// Address that the check was sent to.
    pub(super) to: SocketAddr,
}

impl Routes {
    /// The key of the peer that a validated address belongs to.
    pub(super) fn peer_at(&self, address: SocketAddr) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// The key of the peer whose user fragment is `ufrag`.
    pub(super) fn peer_of_ufrag(&self, ufrag: &[u8]) -> Option<usize> {
        self.by_ufrag.get(ufrag).copied()
    }

    /// Takes the key of the peer whose check an answer from `from` belongs to; each check has only
    /// one answer.
    pub(super) fn take_check(&mut self, transaction: &[u8; 12], from: SocketAddr) -> Option<usize> {
        let asked = self.by_check.get(transaction)?;
        if asked.to != from {
            return None;
        }
        self.by_check.remove(transaction).map(|asked| asked.key)
    }

    /// Routes checks that name `ufrag` to peer `key`.
    pub(super) fn add_ufrag(&mut self, ufrag: &str, key: usize) {
        self.by_ufrag.insert(ufrag.as_bytes().to_vec(), key);
    }

    /// Removes a user fragment, so that checks that name it reach no peer.
    pub(super) fn remove_ufrag(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag.as_bytes());
    }

    /// Adds `address` as validated for peer `key`; the last peer to authenticate from an address
    /// owns it.
    pub(super) fn add_address(&mut self, address: SocketAddr, key: usize) {
        self.by_address.insert(address, key);
    }

    /// Removes an address of peer `key`, unless another peer has authenticated from it since.
    pub(super) fn remove_address(&mut self, address: SocketAddr, key: usize) {
        if self.by_address.get(&address) == Some(&key) {
            self.by_address.remove(&address);
        }
    }

    /// Registers a sent check, so that its answer is accepted for as long as the core waits for it.
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

/// Time that a check waits for its answer; longer than the core waits (4 s).
const CHECK_LIFETIME: Duration = Duration::from_secs(5);

/// Most checks in flight: five seconds of checks by 10,000 settled peers, or a burst of joins with
/// many candidates.
const MAX_CHECKS: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    #[test]
    fn route_of_an_address_leads_to_the_peer_that_authenticated_last() {
        let mut routes = Routes::default();
        routes.add_address(address(1), 10);
        routes.add_address(address(1), 20);
        routes.remove_address(address(1), 10);
        assert_eq!(routes.peer_at(address(1)), Some(20));
        routes.remove_address(address(1), 20);
        assert_eq!(routes.peer_at(address(1)), None);
    }

    #[test]
    fn routes_of_connectivity_checks_expire_and_are_bounded() {
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
