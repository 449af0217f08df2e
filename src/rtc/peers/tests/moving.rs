//! Tests of path migration: clients whose address changes.

use super::*;

#[test]
fn media_follows_a_client_to_a_new_address_and_back() {
    for nominates in [false, true] {
        let mut world = World::connected_and_cut();
        world.pass(8 * SECOND, None);
        world.ask(elsewhere(), nominates);
        let checks = world.asked();
        assert!(!checks.is_empty() && checks.iter().all(|(to, _)| *to == elsewhere()));
        world.answer(elsewhere(), checks[0].1);
        assert_eq!(world.media_to(), [elsewhere()]);
        world.pass(12 * SECOND, Some(elsewhere()));

        // Checks from the old address are answered and checked back, but media stays at the new
        // address while that one answers.
        let transaction = world.ask(client(), nominates);
        let answer = (client(), StunClass::Success, transaction);
        assert!(world.stun.contains(&answer), "{:?}", world.stun);
        let checks = world.asked();
        assert!(
            matches!(checks[..], [(to, _)] if to == client()),
            "{checks:?}"
        );
        world.answer(client(), checks[0].1);
        assert_eq!(world.media_to(), [elsewhere()]);
        world.pass(6 * SECOND, Some(elsewhere()));

        world.pass(8 * SECOND, None);
        world.ask(client(), nominates);
        let checks = world.asked();
        world.answer(client(), checks[0].1);
        assert_eq!(world.media_to(), [client()]);
        // The old address is selected again and stays so: its answers keep the peer connected.
        world.pass(40 * SECOND, Some(client()));
        assert_eq!(world.media_to(), [client()]);
    }
}

#[test]
fn client_that_changes_networks_can_always_add_another_address() {
    let mut world = World::new();
    world
        .until(&RtcEvent::Connected(ID), SECOND)
        .expect("connected");
    let mut now = world.now;
    let peer = &mut world.peers.entries[0].peer;
    let address = |port| SocketAddr::from(([198, 51, 100, 7], port));
    let at_once = (1..=100).filter(|&port| peer.add_address(address(port), now));
    assert_eq!(at_once.count(), 31, "beside the one it came from");
    assert_eq!(peer.drop_oldest_address(), None);
    for port in 1_001..=1_100 {
        now += 11 * SECOND;
        assert!(peer.add_address(address(port), now));
        let dropped = peer.drop_oldest_address().expect("there is one too many");
        assert_ne!(dropped, client(), "media goes there");
        assert_eq!(peer.addresses().len(), 32);
    }
    assert!(peer.addresses().contains(&client()));
    assert!(peer.addresses().contains(&address(1_100)));
}
