//! A recorder is a listener whose packets go to a file; it adds no encode.

use crate::stage::{Stage, encoding, tone};
use mixer::ParticipantId;
use mixer::codec::Profile;
use mixer::output::Destination;
use mixer::room::RoomSettings;

const RECORDER: u32 = 50;

/// Runs two seconds of two talkers and three listeners, the third with the given destination.
fn two_seconds(destination: Destination) -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_exact(1, tone(317.3, 0.1));
    stage.join_exact(2, tone(541.9, 0.1));
    for id in [10, 11] {
        stage.join_ear(id);
    }
    stage.join_listener(RECORDER, encoding(Profile::Voice), destination);
    (0..100).for_each(|_| stage.turn());
    stage
}

#[test]
fn recorder_shares_the_encodes_of_listeners_with_its_profile() {
    let with_peer = two_seconds(Destination::Peer).engine.stats();
    let with_recorder = two_seconds(Destination::Recorder).engine.stats();
    assert_eq!(with_recorder.encodes_total, with_peer.encodes_total);
    assert_eq!(with_recorder.packets_total, with_peer.packets_total);
}

#[test]
fn recorder_and_peers_each_receive_every_packet_once() {
    let stage = two_seconds(Destination::Recorder);
    let times = |id: u32, of: &[(ParticipantId, mixer::OutPacket)]| {
        let packets = of.iter().filter(|(to, _)| *to == ParticipantId(id));
        packets.map(|(_, packet)| packet.time.0).collect::<Vec<_>>()
    };
    let recorded = times(RECORDER, &stage.sink.recorded);
    assert!(recorded.len() > 90, "{}", recorded.len());
    assert!(recorded.windows(2).all(|pair| pair[1] == pair[0] + 960));
    assert_eq!(
        recorded.len(),
        stage.sink.recorded.len(),
        "nobody else is recorded"
    );
    for listener in [10, 11] {
        let sent = times(listener, &stage.sink.packets);
        assert_eq!(sent[sent.len() - 50..], recorded[recorded.len() - 50..]);
    }
    assert!(times(RECORDER, &stage.sink.packets).is_empty());
}

#[test]
fn removed_recorder_receives_no_more_packets() {
    let mut stage = two_seconds(Destination::Recorder);
    let leave = mixer::engine::Command::RemoveParticipant(ParticipantId(RECORDER));
    stage.engine.apply(leave, &mut stage.sink);
    let (recorded, sent) = (stage.sink.recorded.len(), stage.sink.packets.len());
    (0..50).for_each(|_| stage.turn());
    assert_eq!(stage.sink.recorded.len(), recorded);
    assert!(stage.sink.packets.len() >= sent + 4 * 45);
}
