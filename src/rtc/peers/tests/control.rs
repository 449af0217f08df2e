//! Tests of the data channel `control`.

use super::*;

#[test]
fn messages_of_one_client_do_not_fill_the_event_queue() {
    let (mut world, control) = world_with_control();
    let now = world.now;
    let mut channel = world.client.data_channel(control);
    for _ in 0..300 {
        let channel = channel.as_mut().expect("it is open");
        channel.send_text(now, "hello").expect("sent");
    }
    for _ in 0..50 {
        world.step();
    }
    let events = std::mem::take(&mut world.peers.out.events);
    let texts = events.iter().filter(|it| matches!(it, RtcEvent::Text(..)));
    // The texts allowed at once, and a few more that the rate allows while the texts arrive.
    assert!((40..=50).contains(&texts.count()));
    assert!(world.peers.metrics.dropped_total(Dropped::Message) >= 250);
}
