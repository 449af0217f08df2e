//! Tests of an address that two clients claim: which of them owns it.

use super::*;

const MALLORY: ParticipantId = ParticipantId(666);

impl World {
    /// Adds a peer for a second client, which sends only checks and answers; returns the
    /// credentials of both sides, the client's first.
    fn another(&mut self) -> [Credentials; 2] {
        let offer = include_str!("../../../../tests/offers/chrome.sdp");
        let accepted = self
            .acceptor
            .accept(offer, MALLORY, AcceptOptions::default())
            .expect("accepted");
        let ours = credentials(&accepted.answer).expect("they are there");
        let theirs = credentials(offer).expect("they are there");
        let now = self.now;
        self.peers.start(accepted.peer, now);
        self.deliver();
        [theirs, ours]
    }

    /// Runs `act` with `who` as the credentials that sign checks.
    fn as_another<R>(&mut self, who: &[Credentials; 2], act: impl FnOnce(&mut World) -> R) -> R {
        let own = std::mem::replace(&mut self.credentials, who.clone());
        self.stun.clear();
        let result = act(self);
        self.credentials = own;
        result
    }

    fn owner(&self, address: SocketAddr) -> Option<ParticipantId> {
        let key = self.peers.routes.peer_at(address)?;
        Some(self.peers.entries[key].peer.participant())
    }
}

#[test]
fn check_with_a_forged_source_does_not_take_a_connected_clients_address() {
    let mut world = World::connected_and_cut();
    let mallory = world.another();
    for nominates in [false, true, false, true] {
        world.as_another(&mallory, |world| world.ask(client(), nominates));
        assert_eq!(world.owner(client()), Some(ID));
        let peer = &world.peers.entries[0].peer;
        assert_eq!(peer.addresses(), [client()], "nor does the client lose it");
    }
    assert_eq!(world.media_to(), [client()]);
    // An address that no client's media goes to still belongs to the last client that
    // authenticates.
    world.as_another(&mallory, |world| world.ask(elsewhere(), false));
    assert_eq!(world.owner(elsewhere()), Some(MALLORY));
    world.ask(elsewhere(), false);
    assert_eq!(
        world.owner(elsewhere()),
        Some(ID),
        "nobody is connected there"
    );
}

/// A client restarts at once with the same port, while the server takes its predecessor for
/// connected.
#[test]
fn address_of_a_connected_client_passes_to_a_client_that_answers_a_check_sent_to_it() {
    let mut world = World::connected_and_cut();
    let again = world.another();
    world.as_another(&again, |world| {
        let transaction = world.ask(client(), false);
        let answer = (client(), StunClass::Success, transaction);
        assert!(world.stun.contains(&answer), "it is answered");
        let (to, transaction) = *world.asked().last().expect("and checked back");
        assert_eq!(to, client());
        world.answer(client(), transaction);
    });
    assert_eq!(world.owner(client()), Some(MALLORY));
}

#[test]
fn address_of_a_silent_client_can_be_taken_by_another_client() {
    let mut world = World::connected_and_cut();
    for (silent, owner) in [(6 * SECOND, ID), (12 * SECOND, MALLORY)] {
        world.pass(6 * SECOND, None);
        let another = world.another();
        world.as_another(&another, |world| world.ask(client(), false));
        assert_eq!(world.owner(client()), Some(owner), "{silent:?}");
    }
}

#[test]
fn address_claims_of_a_client_are_bounded() {
    let mut world = World::connected_and_cut();
    let mut now = world.now;
    let peer = &mut world.peers.entries[0].peer;
    let address = |port| SocketAddr::from(([198, 51, 100, 7], port));
    let at_once = (1..=100).filter(|&port| peer.claim(address(port), now));
    assert_eq!(at_once.count(), 31, "beside the one it came from");
    assert!(peer.claim(address(31), now), "known");
    for port in 1_001..=1_100 {
        now += 10 * SECOND;
        assert!(peer.claim(address(port), now));
    }
    assert!(!peer.claim(address(31), now + SECOND), "forgotten");
}
