//! Path migration: follows a client whose address changes within one ICE session.
//!
//! The core selects a pair once per ICE session. A client whose address changes under it (a NAT that forgets, a modem
//! that dials again) may never notice, and the smallest ones do not restart ICE at all: what they do is go on checking.
//! So when the selected address no longer answers and another one does, media goes there, and the core is told that
//! all is as it was: what comes from the new address is shown to it as coming from the old.

use std::net::SocketAddr;
use std::time::Duration;

/// The addresses of one client between which its path may migrate.
#[derive(Debug, Default)]
pub(super) struct PathMigration {
    /// What the core has selected.
    selected: Option<SocketAddr>,
    /// Where media went when ICE was restarted, until the core has selected anew.
    former: Option<SocketAddr>,
    /// Where the client is instead.
    moved: Option<SocketAddr>,
    /// It has just sent a check from where it was before; the next check goes there, and not to where it is now.
    calls_back: bool,
}

impl PathMigration {
    /// Where media goes.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.moved.or(self.selected).or(self.former)
    }

    /// ICE has restarted: media goes where it went, and the core will select another pair.
    pub(super) fn restart(&mut self) {
        *self = PathMigration {
            former: self.address(),
            ..PathMigration::default()
        };
    }

    /// Whether that is what the core has selected.
    pub(super) fn is_selected(&self, address: SocketAddr) -> bool {
        self.selected == Some(address)
    }

    /// Takes note of what the core has selected; another choice of its is better than ours.
    pub(super) fn select(&mut self, address: SocketAddr) {
        if self.selected != Some(address) {
            *self = PathMigration {
                selected: Some(address),
                ..PathMigration::default()
            };
        }
    }

    /// An address has answered a check, while the last answer from where media goes is as old as `silent`; says whether
    /// the client has moved there.
    ///
    /// Only who answers from an address with the client's password, and was asked there, can be sent anything there.
    pub(super) fn answered(&mut self, from: SocketAddr, silent: Duration) -> bool {
        let moves = self.selected.is_some() && self.address() != Some(from) && silent >= MOVE_AFTER;
        if moves {
            self.moved = Some(from).filter(|from| Some(*from) != self.selected);
        }
        moves
    }

    /// A check has come from there; says whether the client had moved away. Then one check of ours may go there: the
    /// core's go to where it is now, and so it could never answer from where it was.
    pub(super) fn asked_from(&mut self, from: SocketAddr) -> bool {
        self.calls_back = self.moved.is_some() && self.is_selected(from);
        self.calls_back
    }

    /// The core's work on that check is done.
    pub(super) fn was_called_back(&mut self) {
        self.calls_back = false;
    }

    /// Whether a check of the core goes to where it is addressed, although the client has moved away.
    pub(super) fn calls_back(&mut self, to: SocketAddr) -> bool {
        self.is_selected(to) && std::mem::take(&mut self.calls_back)
    }

    /// What the core is to be told of where a datagram came from.
    pub(super) fn inward(&self, from: SocketAddr) -> SocketAddr {
        match (self.moved, self.selected) {
            (Some(moved), Some(selected)) if moved == from => selected,
            _ => from,
        }
    }

    /// Where a datagram goes that the core wants sent, unless it answers one: answers go where that came from.
    pub(super) fn outward(&self, to: SocketAddr) -> SocketAddr {
        match (self.moved, self.selected) {
            (Some(moved), Some(selected)) if selected == to => moved,
            _ => to,
        }
    }
}

/// Longer than it takes from one check of the path to the answer of the next: at least one was lost.
const MOVE_AFTER: Duration = Duration::from_secs(7);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn who_answers_elsewhere_has_moved_once_the_path_is_silent() {
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
    fn media_goes_where_it_went_until_the_new_session_has_a_pair() {
        let mut path = PathMigration::default();
        path.restart();
        assert_eq!(path.address(), None, "it went nowhere");
        path.select(at(1));
        assert!(path.answered(at(2), MOVE_AFTER));
        path.restart();
        path.restart();
        assert_eq!(path.address(), Some(at(2)));
        // The new session's checks go where they are addressed.
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
