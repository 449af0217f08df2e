//! Contributors: the engine decides once per tick, for all listeners, which participants are heard.

use crate::stage::{ROOM, Stage, amplitude_of, tone};
use mixer::codec::Decode;
use mixer::codec::opus::OpusDecoder;
use mixer::engine::Command;
use mixer::format::Layout;
use mixer::output::Event;
use mixer::room::RoomSettings;
use mixer::units::{Decibels, Gain, ParticipantId};

fn turns(stage: &mut Stage, count: usize) {
    (0..count).for_each(|_| stage.turn());
}

fn begun_and_ended(stage: &Stage) -> (Vec<u32>, Vec<u32>) {
    let (mut begun, mut ended) = (Vec::new(), Vec::new());
    for event in &stage.sink.events {
        match event {
            Event::Talking { participant, .. } => begun.push(participant.0),
            Event::Stopped { participant, .. } => ended.push(participant.0),
            Event::RoomFault { .. } | Event::Refused(_) => panic!("no fault"),
        }
    }
    (begun, ended)
}

#[test]
fn contributor_list_is_sorted_by_level_and_leaves_out_the_listener() {
    let mut stage = Stage::new(RoomSettings::default());
    for (id, amplitude) in [(1, 0.05), (2, 0.4), (3, 0.15)] {
        stage.join(id, tone(300.0 + 100.7 * f64::from(id), amplitude), None);
    }
    turns(&mut stage, 50);
    for (listener, expected) in [(1, [2, 3]), (2, [3, 1]), (3, [2, 1])] {
        let packets = stage.sink.packets.iter().rev();
        let mut heard = packets.filter(|(to, _)| to.0 == listener);
        let (_, last) = heard.next().expect("it hears");
        assert_eq!(last.sources.ids(), expected, "for {listener}");
        assert!(last.sources.levels().is_sorted(), "loudest first");
    }
}

#[test]
fn contributor_cap_keeps_the_loudest_until_a_clearly_louder_talker_joins() {
    let mut stage = Stage::new(RoomSettings {
        max_contributors: Some(2),
        ..RoomSettings::default()
    });
    stage.join(1, tone(317.3, 0.2), None);
    stage.join(2, tone(541.9, 0.2), None);
    turns(&mut stage, 20);
    // Louder by 3 dB: not enough to displace a contributor.
    stage.join(3, tone(823.7, 0.28), None);
    turns(&mut stage, 50);
    assert_eq!(begun_and_ended(&stage), (vec![1, 2], vec![]));
    // Louder by 9.5 dB: displaces a contributor.
    stage.join(4, tone(1_201.1, 0.6), None);
    turns(&mut stage, 50);
    let (begun, ended) = begun_and_ended(&stage);
    assert_eq!(begun, [1, 2, 4]);
    assert_eq!(ended.len(), 1);
    // Without the cap all four are heard.
    let command = Command::ConfigureRoom(ROOM, RoomSettings::default());
    stage.engine.apply(command, &mut stage.sink);
    turns(&mut stage, 50);
    assert_eq!(begun_and_ended(&stage).0.len(), 5);
}

#[test]
fn participant_below_the_gate_or_muted_is_not_heard() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, |_| 0.0);
    // A level of -57 dBFS RMS, below the gate.
    stage.join(2, tone(541.9, 0.002), None);
    stage.join(3, tone(823.7, 0.2), None);
    stage.talkers[2].shared.settings.mute(true);
    turns(&mut stage, 100);
    assert!(stage.heard(0).iter().all(|&sample| sample == 0.0));
    assert!(stage.sink.events.is_empty());

    stage.talkers[2].shared.settings.mute(false);
    let settings = RoomSettings {
        gate_db: None,
        ..RoomSettings::default()
    };
    let command = Command::ConfigureRoom(ROOM, settings);
    stage.engine.apply(command, &mut stage.sink);
    turns(&mut stage, 50);
    let mut begun = begun_and_ended(&stage).0;
    begun.sort_unstable();
    assert_eq!(begun, [2, 3]);
}

#[test]
fn gain_scales_the_mix_and_the_subtracted_own_frame_alike() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, tone(317.3, 0.1));
    stage.join_tapped(2, tone(823.7, 0.1));
    turns(&mut stage, 50);
    let settings = &stage.talkers[1].shared.settings;
    settings.amplify(Gain::from(Decibels(6.0206)));
    turns(&mut stage, 100);
    let first = stage.heard(0);
    let second = stage.heard(1);
    let louder = amplitude_of(&first[first.len() - 48_000..], 823.7);
    assert!((louder - 0.2).abs() < 0.01, "{louder}");
    // The amplified talker hears the other participant unchanged, and no own signal.
    let other = amplitude_of(&second[second.len() - 48_000..], 317.3);
    assert!((other - 0.1).abs() < 0.005, "{other}");
    let own = amplitude_of(&second[second.len() - 48_000..], 823.7);
    assert!(own < 0.1 / 1_000.0, "{own}");
}

#[test]
fn participant_leaving_while_talking_fades_out_and_is_retired() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, |_| 0.0);
    stage.join(2, tone(200.3, 0.5), None);
    turns(&mut stage, 50);
    let leaves = Command::RemoveParticipant(ParticipantId(2));
    stage.engine.apply(leaves, &mut stage.sink);
    stage.talkers.truncate(1);
    turns(&mut stage, 50);
    assert_eq!(stage.sink.retired.len(), 1);
    assert_eq!(begun_and_ended(&stage), (vec![2], vec![2]));
    let heard = stage.heard(0);
    let spoken = &heard[960 * 10..];
    let steepest = spoken
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .fold(0.0, f32::max);
    // A 200 Hz sine of amplitude 0.5 changes by at most 0.0131 per sample, and codec noise is
    // small.
    assert!(steepest < 0.02, "{steepest}");
}

#[test]
fn new_listener_hears_the_mix_from_its_first_tick() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join(1, tone(441.7, 0.3), None);
    turns(&mut stage, 50);
    stage.join(2, |_| 0.0, None);
    turns(&mut stage, 10);
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let mut pcm = [0.0; 960];
    let for_the_new = stage.sink.packets.iter().filter(|(to, _)| to.0 == 2);
    let mut loud = 0;
    for (at, (_, packet)) in for_the_new.enumerate() {
        assert_eq!(packet.marker, at == 0);
        let samples = decoder.decode(packet.payload.as_slice(), &mut pcm);
        let samples = samples.expect("what we send is Opus");
        let peak = pcm[..samples]
            .iter()
            .fold(0.0f32, |peak, s| peak.max(s.abs()));
        loud += usize::from(peak > 0.2);
    }
    assert!(loud >= 9, "{loud} of 10");
}
