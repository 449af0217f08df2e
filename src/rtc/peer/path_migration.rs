//! Path migration: follows a client whose address changes within one ICE session.
//!
//! The core selects a pair once per ICE session. A client whose address changes (a NAT mapping
//! expires, a modem reconnects) may not notice, and the smallest clients never restart ICE: they
//! only keep checking. So when the selected address no longer answers and another one does, media
//! goes to the new address, and the core is shown datagrams from the new address as if they came
//! from the old one.

use std::net::SocketAddr;
use std::time::Duration;

/// The addresses of one client between which its path may migrate.
#[derive(Debug, Default)]
pub(super) struct PathMigration {
    /// The address that the core has selected.
    selected: Option<SocketAddr>,
    /// The address that media went to when ICE was restarted, until the core selects a new pair.
    former: Option<SocketAddr>,
    /// The address that the client has moved to.
    moved: Option<SocketAddr>,
    /// Whether the client has just sent a check from the selected address; the core's next check
    /// goes there, and not to the address that the client moved to.
    calls_back: bool,
}

impl PathMigration {
    /// The address that media goes to.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.moved.or(self.selected).or(self.former)
    }

    /// Notes an ICE restart: media keeps its address until the core selects a new pair.
    pub(super) fn restart(&mut self) {
        *self = PathMigration {
            former: self.address(),
            ..PathMigration::default()
        };
    }

    /// Whether the core has selected `address`.
    pub(super) fn is_selected(&self, address: SocketAddr) -> bool {
        self.selected == Some(address)
    }

    /// Notes the core's selection; a new selection replaces a migration.
    pub(super) fn select(&mut self, address: SocketAddr) {
        if self.selected != Some(address) {
            *self = PathMigration {
                selected: Some(address),
                ..PathMigration::default()
            };
        }
    }

    /// Notes that `from` has answered a check, `silent` after the last answer from the address that
    /// media goes to; returns whether the client has moved to `from`.
    ///
    /// Only an address that was checked and answered with the client's password can get media.
    pub(super) fn answered(&mut self, from: SocketAddr, silent: Duration) -> bool {
        let moves = self.selected.is_some() && self.address() != Some(from) && silent >= MOVE_AFTER;
        if moves {
            self.moved = Some(from).filter(|from| Some(*from) != self.selected);
        }
        moves
    }

    /// Notes a check from `from`; returns whether the client had moved away from there. Then one
    /// check of ours may go to `from`: the core's checks go to the client's new address, so `from`
    /// could never answer otherwise.
    pub(super) fn asked_from(&mut self, from: SocketAddr) -> bool {
        self.calls_back = self.moved.is_some() && self.is_selected(from);
        self.calls_back
    }

    /// Notes that the core has processed that check.
    pub(super) fn was_called_back(&mut self) {
        self.calls_back = false;
    }

    /// Whether a check of the core goes to the selected address, although the client has moved
    /// away.
    pub(super) fn calls_back(&mut self, to: SocketAddr) -> bool {
        self.is_selected(to) && std::mem::take(&mut self.calls_back)
    }

    /// The address to show the core as the source of a datagram.
    pub(super) fn inward(&self, from: SocketAddr) -> SocketAddr {
        match (self.moved, self.selected) {
            (Some(moved), Some(selected)) if moved == from => selected,
            _ => from,
        }
    }

    /// The destination of a datagram that the core sends, unless it answers one: answers go to
    /// their request's source.
    pub(super) fn outward(&self, to: SocketAddr) -> SocketAddr {
        match (self.moved, self.selected) {
            (Some(moved), Some(selected)) if selected == to => moved,
            _ => to,
        }
    }
}

/// Silence after which a path may migrate: longer than from one path check to the answer of the
/// next, so at least one was lost.
const MOVE_AFTER: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn path_migrates_to_an_answering_address_once_the_old_address_is_silent() {
        let mut path = PathMigration::default();
        assert!(!path.answered(at(2), MOVE_AFTER), "nothing is selected");
        path.select(at(1));
        assert!(!path.answered(at(2), Duration::from_secs(5)));
        assert!(!path.answered(at(1), MOVE_AFTER));
        assert!(path.answered(at(2), MOVE_AFTER));
        assert_eq!(path.address(), Some(at(2)));
        assert_eq!((path.inward(at(2)), path.outward(at(1))), (at(1), at(2)));
        assert_eq!((path.inward(at(3)), path.outward(at(3))), (at(3), at(3)));
        path.select(at(1));
        assert_eq!(path.address(), Some(at(2)), "the core knows of nothing");
        assert!(path.answered(at(1), MOVE_AFTER), "and back");
        assert_eq!((path.inward(at(2)), path.outward(at(1))), (at(2), at(1)));
        path.answered(at(3), MOVE_AFTER);
        path.select(at(4));
        assert_eq!(path.address(), Some(at(4)), "ICE has restarted");
        assert_eq!(path.inward(at(3)), at(3));
    }

    #[test]
    fn path_keeps_its_media_address_until_the_restarted_ice_session_has_a_candidate_pair() {
        let mut path = PathMigration::default();
        path.restart();
        assert_eq!(path.address(), None, "it went nowhere");
        path.select(at(1));
        assert!(path.answered(at(2), MOVE_AFTER));
        path.restart();
        path.restart();
        assert_eq!(path.address(), Some(at(2)));
        // The new session's checks are not redirected.
        assert_eq!((path.inward(at(2)), path.outward(at(1))), (at(2), at(1)));
        assert!(
            !path.answered(at(3), MOVE_AFTER),
            "that is the core's to say"
        );
        path.select(at(3));
        assert_eq!(path.address(), Some(at(3)));
        path.restart();
        path.select(at(3));
        assert!(path.is_selected(at(3)), "the same pair again");
    }
}
