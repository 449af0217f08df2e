//! Path migration: follows a client whose address changes within one ICE session.
//!
//! The WebRTC core selects a pair once per ICE session. A client whose address changes (a NAT
//! mapping expires, a modem reconnects) may not notice, and the smallest clients never restart ICE:
//! they only keep sending checks. So when the selected address no longer answers and another one
//! does, media goes to that other address. The core still believes in the selected address: it is
//! shown datagrams from the new address as if they came from the selected one.

use std::net::SocketAddr;
use std::time::Duration;

/// The addresses of one client between which its path may migrate.
#[derive(Debug, Default)]
pub(super) struct PathMigration {
    /// The client's address in the pair that the core has selected.
    selected: Option<SocketAddr>,
    /// The address that media went to when ICE was restarted; used until the core selects a new
    /// pair.
    former: Option<SocketAddr>,
    /// The address that the client has moved to, if it no longer uses the selected one.
    moved: Option<SocketAddr>,
    /// Whether the client has just sent a check from the selected address after it moved away. The
    /// core's next check then goes to the selected address, not to the one that the client moved
    /// to.
    calls_back: bool,
}

impl PathMigration {
    /// The address that media goes to.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.moved.or(self.selected).or(self.former)
    }

    /// Notes an ICE restart: media keeps its address until the core selects a pair of the new
    /// session.
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

    /// Notes the address that the core has selected; a newly selected address ends a migration.
    pub(super) fn select(&mut self, address: SocketAddr) {
        if self.selected != Some(address) {
            *self = PathMigration {
                selected: Some(address),
                ..PathMigration::default()
            };
        }
    }

    /// Notes that the client has answered a check from `from`; returns whether media moves to
    /// `from`.
    ///
    /// Media moves if the address that it goes to has not answered for [`MOVE_AFTER`]. Only an
    /// address from which a check of ours was answered with the client's password can get media.
    ///
    /// - `silent`: time since the last answer from the address that media goes to.
    pub(super) fn answered(&mut self, from: SocketAddr, silent: Duration) -> bool {
        let moves = self.selected.is_some() && self.address() != Some(from) && silent >= MOVE_AFTER;
        if moves {
            self.moved = Some(from).filter(|from| Some(*from) != self.selected);
        }
        moves
    }

    /// Notes a check of the client from `from`; returns whether `from` is the selected address,
    /// from which the client had moved away.
    ///
    /// Then one check of the core may go to `from`. Otherwise `from` could never answer, because
    /// the core's checks are redirected to the address that the client moved to.
    pub(super) fn asked_from(&mut self, from: SocketAddr) -> bool {
        self.calls_back = self.moved.is_some() && self.is_selected(from);
        self.calls_back
    }

    /// Notes that the core has processed the client's check, so that later checks are redirected
    /// again.
    pub(super) fn was_called_back(&mut self) {
        self.calls_back = false;
    }

    /// Whether a check of the core to `to` must not be redirected, because the client has just sent
    /// a check from the selected address; true for one check only.
    pub(super) fn calls_back(&mut self, to: SocketAddr) -> bool {
        self.is_selected(to) && std::mem::take(&mut self.calls_back)
    }

    /// Returns the source address that the core is shown for a datagram from `from`.
    pub(super) fn inward(&self, from: SocketAddr) -> SocketAddr {
        match (self.moved, self.selected) {
            (Some(moved), Some(selected)) if moved == from => selected,
            _ => from,
        }
    }

    /// Returns where a datagram goes that the core sends to `to`. Not for answers to checks, which
    /// go to the source of the check.
    pub(super) fn outward(&self, to: SocketAddr) -> SocketAddr {
        match (self.moved, self.selected) {
            (Some(moved), Some(selected)) if selected == to => moved,
            _ => to,
        }
    }
}

/// Time without an answer after which media may move to another address: longer than from one path
/// check to the answer of the next, so that at least one check or answer was lost.
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
        // The core's checks of the new session are not redirected.
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
