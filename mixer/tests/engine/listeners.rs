//! Listener groups: which listeners share one encode, and that splits and merges are inaudible.
#![allow(clippy::disallowed_macros, reason = "a test may say what it measured")]

use std::collections::BTreeMap;

use crate::common::Chance;
use crate::stage::{Stage, amplitude_of, db, encoding, human, tone};
use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Codec, Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::output::{Event, OutputStream};
use mixer::packet::OutPacket;
use mixer::room::RoomSettings;
use mixer::{ParticipantId, Payload};

/// Samples between role changes in the test scene: 2 s.
const TURN: u64 = 96_000;

/// The scene's ids: a permanent talker, a talker in every other turn, and two silent listeners.
const TALKS: u32 = 1;
const SWITCHES: u32 = 2;
const LISTENS: [u32; 2] = [3, 4];

/// Runs the scene for `ticks` ticks, with taps in place of encoders or with Opus.
fn scene(tapped: bool, ticks: usize) -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    let mut join = |id, voice: Box<dyn FnMut(u64) -> f32 + Send>| match tapped {
        true => stage.join_exact(id, voice),
        false => stage.join_clear(id, voice),
    };
    let (mut first, mut second) = (human("human-en-female"), human("human-it-male"));
    // The group's leader is a participant whose role never changes.
    join(LISTENS[0], Box::new(|_| 0.0));
    join(
        TALKS,
        Box::new(move |sample| after(TURN / 2, sample, &mut first)),
    );
    join(
        SWITCHES,
        Box::new(move |sample| match sample / TURN % 2 {
            1 => second(sample),
            _ => 0.0,
        }),
    );
    join(LISTENS[1], Box::new(|_| 0.0));
    for _ in 0..ticks {
        stage.turn();
    }
    stage
}

fn after(start: u64, sample: u64, voice: &mut impl FnMut(u64) -> f32) -> f32 {
    if sample < start { 0.0 } else { voice(sample) }
}

/// Packets sent to one listener, by media time.
fn sent_to(stage: &Stage, id: u32) -> BTreeMap<u32, OutPacket> {
    let packets = stage.sink.packets.iter();
    packets
        .filter(|(to, _)| *to == ParticipantId(id))
        .map(|(_, packet)| (packet.time.0, *packet))
        .collect()
}

/// Whether both talkers contribute; the switching talker then has a stream of its own.
fn packet_is_of_both(packet: &OutPacket) -> bool {
    packet.sources.ids().len() == 2
}

fn decode(decoder: &mut OpusDecoder, payload: &Payload) -> Vec<f32> {
    let mut pcm = [0.0; 960];
    let samples = decoder.decode(payload.as_slice(), &mut pcm);
    assert_eq!(samples, Ok(960));
    pcm.to_vec()
}

fn snr_db(reference: &[f32], other: &[f32]) -> f64 {
    let energy: f64 = reference.iter().map(|a| f64::from(a * a)).sum();
    let pairs = reference.iter().zip(other);
    let noise: f64 = pairs.map(|(a, b)| f64::from((a - b) * (a - b))).sum();
    db((energy / noise.max(1e-30)).sqrt())
}

fn level_db(pcm: &[f32]) -> f64 {
    let energy: f64 = pcm.iter().map(|sample| f64::from(sample * sample)).sum();
    db((energy / pcm.len() as f64).sqrt())
}

/// Level above which a frame counts as speech; the talker speaks at about -25 dBFS.
const SPEECH_DB: f64 = -40.0;

#[test]
fn group_split_is_exact_for_the_listeners_decoder() {
    let ticks = 100 * 2 + 90;
    let (tapped, coded) = (scene(true, ticks), scene(false, ticks));
    // Encode the group's stream, and from the split on the private mix of the talker that left the
    // group.
    let group = sent_to(&tapped, LISTENS[0]);
    let own = sent_to(&tapped, SWITCHES);
    let split = *own
        .iter()
        .find(|(time, packet)| {
            packet.sources.ids() == [TALKS] && group[time].sources.ids().len() == 2
        })
        .expect("he begins to talk")
        .0;
    let mut continuous = OpusEncoder::new(&encoding(Profile::Voice));
    let (mut reference, mut real) = (
        OpusDecoder::new(Layout::Mono),
        OpusDecoder::new(Layout::Mono),
    );
    let received = sent_to(&coded, SWITCHES);
    let mut payload = Payload::EMPTY;
    let (mut expected, mut heard, mut compared) = (Vec::new(), Vec::new(), 0);
    for (time, packet) in &group {
        let packet = if *time < split { packet } else { &own[time] };
        let pcm = tapped.log.pcm(packet);
        continuous.encode(&pcm, &mut payload).expect("20 ms encode");
        if packet.sources.ids().is_empty() {
            continue;
        }
        let before = decode(&mut reference, &payload);
        let after = decode(&mut real, &received[time].payload);
        if *time >= split && packet_is_of_both(&group[time]) {
            expected.extend(before);
            heard.extend(after);
            compared += 1;
        }
    }
    assert!(compared >= 80, "{compared} packets after the split");
    let snr_db = snr_db(&expected, &heard);
    println!("split: {snr_db:.0} dB over {compared} packets");
    assert!(snr_db >= 100.0, "{snr_db:.1} dB");
}

#[test]
fn group_merge_stays_below_the_codecs_own_distortion() {
    let stage = scene(false, 100 * 60);
    let (group, own) = (sent_to(&stage, LISTENS[0]), sent_to(&stage, SWITCHES));
    let (mut always, mut merging) = (
        OpusDecoder::new(Layout::Mono),
        OpusDecoder::new(Layout::Mono),
    );
    let (mut apart, mut since, mut candidate_db) = (true, 0, None);
    let (mut first, mut tenth) = (Vec::new(), Vec::new());
    for (time, packet) in &group {
        let reference = decode(&mut always, &packet.payload);
        let Some(theirs) = own.get(time) else {
            continue;
        };
        let heard = decode(&mut merging, &theirs.payload);
        if theirs.payload.as_slice() != packet.payload.as_slice() {
            (apart, since) = (true, 0);
            continue;
        }
        // Between words the codec's own distortion is as loud as the signal, so judge spoken frames
        // only.
        let spoken = level_db(&reference) > SPEECH_DB;
        let judged = spoken.then(|| snr_db(&reference, &heard));
        // Two encoders with equal input may agree for a packet or two before the merge.
        since += 1;
        if since == 1 {
            candidate_db = judged;
        } else if since == 10 && std::mem::take(&mut apart) {
            first.extend(candidate_db);
            tenth.extend(judged);
        }
    }
    println!("merges: first frames {first:.1?} dB, tenth {tenth:.1?} dB");
    assert!(
        first.len() >= 15,
        "{} merges while another talks",
        first.len()
    );
    assert!(first.iter().all(|snr_db| *snr_db >= 12.0));
    assert!(tenth.iter().all(|snr_db| *snr_db >= 25.0));
}

#[test]
fn listener_group_is_served_by_one_encode() {
    let mut stage = Stage::new(RoomSettings::default());
    for id in 1..=3 {
        stage.join_clear(id, tone(300.0 + 97.3 * f64::from(id), 0.2));
    }
    for id in 4..=60 {
        stage.join_clear(id, |_| 0.0);
    }
    (0..50).for_each(|_| stage.turn());
    let before = stage.engine.stats();
    (0..100).for_each(|_| stage.turn());
    let after = stage.engine.stats();
    // One encode for each talker, and one for the other 57 together.
    assert_eq!(after.encodes_total - before.encodes_total, 100 * 4);
    assert_eq!(after.packets_total - before.packets_total, 100 * 60);
    let (ears, sources) = (sent_to(&stage, 60), sent_to(&stage, 4));
    for (time, packet) in ears.iter().rev().take(100) {
        assert_eq!(packet.payload.as_slice(), sources[time].payload.as_slice());
        assert_eq!(packet.sources.ids().len(), 3);
    }
}

#[test]
fn listener_group_survives_the_removal_of_its_leader() {
    let mut stage = Stage::new(RoomSettings::default());
    for id in 1..=4 {
        stage.join_clear(id, |_| 0.0);
    }
    stage.join_clear(5, tone(441.7, 0.3));
    // The talker hears nobody and is sent silence for two seconds.
    (0..120).for_each(|_| stage.turn());
    for leaver in [1, 4, 2] {
        let leaves = Command::RemoveParticipant(ParticipantId(leaver));
        stage.engine.apply(leaves, &mut stage.sink);
        stage.talkers.retain(|talker| talker.id.0 != leaver);
        let before = stage.engine.stats().encodes_total;
        (0..20).for_each(|_| stage.turn());
        assert_eq!(stage.engine.stats().encodes_total - before, 20);
    }
    // The last listener received one continuous stream, whichever member's encoder produced it.
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let heard: Vec<f32> = sent_to(&stage, 3)
        .values()
        .flat_map(|packet| decode(&mut decoder, &packet.payload))
        .collect();
    let settled = &heard[heard.len() - 960 * 60..];
    let level = amplitude_of(settled, 441.7);
    assert!((level - 0.3).abs() < 0.02, "{level}");
    // Away from the tone's frequency only codec noise remains.
    let rest_db = db(amplitude_of(settled, 620.3) / level);
    assert!(rest_db < -50.0, "{rest_db:.1} dB");
}

#[test]
fn listeners_of_different_encodings_form_separate_groups() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_clear(1, tone(441.7, 0.3));
    for id in 2..=7 {
        stage.join_clear(id, |_| 0.0);
    }
    for (id, profile) in (8..).zip([Profile::LowDelay, Profile::LowDelay, Profile::Thin]) {
        stage.join_clear(id, |_| 0.0);
        let listener = Box::new(OutputStream::new(encoding(profile), TickLength::Ms20));
        let command = Command::SetStream(ParticipantId(id), listener);
        stage.engine.apply(command, &mut stage.sink);
        stage.sink.retired.clear();
    }
    // Opus streams are encoded for the reported loss, so a listener that reports 5 % leaves the
    // group.
    let lossy = stage.talkers[6].shared.clone();
    lossy.settings.report_loss(5);
    (0..180).for_each(|_| stage.turn());
    let before = stage.engine.stats();
    (0..60).for_each(|_| stage.turn());
    let after = stage.engine.stats();
    // Voice, voice with loss, low-delay; thin sends every third tick. The talker hears nothing.
    assert_eq!(after.encodes_total - before.encodes_total, 60 * 3 + 20);
    assert_eq!(
        after.packets_total - before.packets_total,
        60 * (5 + 1 + 2) + 20
    );
}

#[test]
fn reported_loss_splits_groups_only_for_codecs_that_can_use_it() {
    for (codec, groups) in [(Codec::Opus, 5), (Codec::Pcmu, 1), (Codec::Pcma, 1)] {
        let mut stage = Stage::new(RoomSettings::default());
        stage.join_clear(1, tone(441.7, 0.3));
        let limits = ReceiverLimits {
            codec,
            ..ReceiverLimits::default()
        };
        let encoding = Encoding::new(Profile::Voice, &limits, TickLength::Ms20).with_hangover(0);
        for id in 2..=21 {
            let shared = stage.join_ear_of(id, encoding);
            let loss_percent = [0, 2, 5, 10, 20][id as usize % 5];
            shared.settings.report_loss(loss_percent);
        }
        (0..100).for_each(|_| stage.turn());
        let before = stage.engine.stats();
        (0..50).for_each(|_| stage.turn());
        let after = stage.engine.stats();
        assert_eq!(after.encodes_total - before.encodes_total, 50 * groups);
        assert_eq!(after.packets_total - before.packets_total, 50 * 20);
    }
}

#[test]
fn crowd_joining_during_speech_does_not_cost_one_encode_per_member() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_clear(1, tone(441.7, 0.3));
    (0..50).for_each(|_| stage.turn());
    for id in 2..=60 {
        stage.join_ear(id);
    }
    let before = stage.engine.stats();
    stage.turn();
    let after = stage.engine.stats();
    let encodes = after.encodes_total - before.encodes_total;
    assert!(encodes <= 20, "{encodes}");
    assert_eq!(after.packets_total - before.packets_total, 59);
    (0..50).for_each(|_| stage.turn());
    let before = stage.engine.stats();
    (0..50).for_each(|_| stage.turn());
    assert_eq!(
        stage.engine.stats().encodes_total - before.encodes_total,
        50
    );
}

#[test]
fn stream_begins_once_its_listener_is_reachable() {
    for others in [0, 3] {
        let mut stage = Stage::new(RoomSettings::default());
        stage.join(1, tone(331.7, 0.3), None);
        for id in 3..3 + others {
            stage.join(id, |_| 0.0, None);
        }
        stage.join(2, |_| 0.0, None);
        let settings = &stage.talkers[1 + others as usize].shared.clone().settings;
        settings.set_reachable(false);
        (0..50).for_each(|_| stage.turn());
        assert!(sent_to(&stage, 2).is_empty(), "{others} others");
        settings.set_reachable(true);
        (0..25).for_each(|_| stage.turn());
        // A decoder that received every packet reproduces the tone at its full level.
        let mut decoder = OpusDecoder::new(Layout::Mono);
        let packets = sent_to(&stage, 2);
        assert!(packets.len() >= 24, "{others} others");
        let pcm: Vec<f32> = packets
            .values()
            .flat_map(|packet| decode(&mut decoder, &packet.payload))
            .collect();
        let loud_db = db(amplitude_of(&pcm[10 * 960..], 331.7) / 0.3);
        assert!(loud_db.abs() < 1.0, "{loud_db} dB off, {others} others");
    }
}

/// Recipients of the next tick's packets, and all participants present, each without participant 1.
fn sent_and_here(
    stage: &mut Stage,
    ears: impl Iterator<Item = ParticipantId>,
) -> (Vec<ParticipantId>, Vec<ParticipantId>) {
    stage.sink.packets.clear();
    stage.turn();
    stage.sink.retired.clear();
    let talkers = stage.talkers.iter().skip(1).map(|talker| talker.id);
    let mut here: Vec<_> = talkers.chain(ears).collect();
    let sent = stage.sink.packets.iter().map(|(to, _)| *to);
    let mut sent: Vec<_> = sent.filter(|to| to.0 != 1).collect();
    here.sort();
    sent.sort();
    (sent, here)
}

/// Random joins, leaves, mutes, new streams and loss reports: each participant gets every packet
/// once.
#[test]
fn each_member_is_sent_every_packet_once_through_random_changes() {
    for seed in 1..=4 {
        let mut chance = Chance(seed);
        let mut pick = move |of: usize| (chance.next() * of as f64) as usize;
        let mut stage = Stage::new(RoomSettings::default());
        stage.join_clear(1, tone(441.7, 0.1));
        let encodings = [encoding(Profile::Voice), encoding(Profile::LowDelay)];
        let (mut next, mut ears) = (2, Vec::new());
        for _ in 0..400 {
            match pick(8) {
                0 if stage.talkers.len() + ears.len() < 30 => {
                    stage.join_clear(next, tone(200.0 + f64::from(next), 0.1));
                    next += 1;
                }
                1 | 2 if stage.talkers.len() + ears.len() < 30 => {
                    let shared = stage.join_ear_of(next, encodings[pick(2)]);
                    ears.push((ParticipantId(next), shared));
                    next += 1;
                }
                3 if stage.talkers.len() > 1 => {
                    let at = 1 + pick(stage.talkers.len() - 1);
                    let leaves = Command::RemoveParticipant(stage.talkers.remove(at).id);
                    stage.engine.apply(leaves, &mut stage.sink);
                }
                4 if !ears.is_empty() => {
                    let (id, _) = ears.remove(pick(ears.len()));
                    let leaves = Command::RemoveParticipant(id);
                    stage.engine.apply(leaves, &mut stage.sink);
                }
                5 if stage.talkers.len() > 1 => {
                    let at = 1 + pick(stage.talkers.len() - 1);
                    let settings = &stage.talkers[at].shared.settings;
                    settings.mute(!settings.muted());
                }
                6 if !ears.is_empty() => {
                    let id = ears[pick(ears.len())].0;
                    let listener =
                        Box::new(OutputStream::new(encodings[pick(2)], TickLength::Ms20));
                    let command = Command::SetStream(id, listener);
                    stage.engine.apply(command, &mut stage.sink);
                }
                _ if pick(2) == 0 => {
                    let at = pick(stage.talkers.len());
                    let settings = &stage.talkers[at].shared.settings;
                    settings.report_loss([0, 5][pick(2)]);
                }
                _ => (0..pick(30)).for_each(|_| stage.turn()),
            }
            let ears = ears.iter().map(|ear| ear.0);
            let (sent, here) = sent_and_here(&mut stage, ears);
            assert_eq!(sent, here, "seed {seed}");
        }
        assert!(
            stage
                .sink
                .events
                .iter()
                .all(|it| !matches!(it, Event::RoomFault { .. }))
        );
    }
}

#[test]
fn room_without_activity_runs_no_ticks() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_clear(1, |sample| match sample {
        48_000..96_000 => tone(441.7, 0.3)(sample),
        _ => 0.0,
    });
    stage.join_clear(2, |_| 0.0);
    (0..110).for_each(|_| stage.turn());
    assert!(!stage.engine.is_idle(), "somebody talked a moment ago");
    // From now on nobody sends; the streams run through hangover and refreshes until they end.
    (0..150).for_each(|_| stage.pass());
    assert!(stage.engine.is_idle());
    let ticks = stage.engine.stats().ticks_total;
    (0..1_000).for_each(|_| stage.pass());
    assert_eq!(stage.engine.stats().ticks_total, ticks);
    // The first packet wakes the room, and the media clock has advanced meanwhile.
    let last = *sent_to(&stage, 2).keys().last().expect("heard something");
    stage.talkers[0].speak_from(48_000);
    (0..20).for_each(|_| stage.turn());
    let heard = sent_to(&stage, 2);
    let (time, packet) = heard.range(last + 1..).next().expect("heard again");
    assert!(packet.marker);
    assert!(time - last > 1_000 * 960, "{} samples later", time - last);
    assert!(stage.engine.stats().ticks_total > ticks);
}

#[test]
fn listen_only_member_keeps_no_stream_and_receives_the_group_stream() {
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_clear(1, tone(441.7, 0.3));
    stage.join_clear(2, |_| 0.0);
    for id in 3..=6 {
        stage.join_ear(id);
    }
    (0..120).for_each(|_| stage.turn());
    let freed = |stage: &Stage| {
        let retired = stage.sink.retired.iter();
        retired.filter(|it| it.is::<OutputStream>()).count()
    };
    assert_eq!(freed(&stage), 3, "all but the leader's");
    // Members leave in turn, the leader among them; the remaining members must not hear that.
    for leaver in [4, 3, 6] {
        let before = stage.engine.stats().encodes_total;
        let leaves = Command::RemoveParticipant(ParticipantId(leaver));
        stage.engine.apply(leaves, &mut stage.sink);
        (0..20).for_each(|_| stage.turn());
        assert_eq!(stage.engine.stats().encodes_total - before, 20);
    }
    // A listener that reports loss gets a new stream and leaves the group's stream to the other
    // members.
    let listener = Box::new(OutputStream::new(
        encoding(Profile::Voice),
        TickLength::Ms20,
    ));
    let command = Command::SetStream(ParticipantId(5), listener);
    stage.engine.apply(command, &mut stage.sink);
    (0..40).for_each(|_| stage.turn());
    let (ear, other) = (sent_to(&stage, 5), sent_to(&stage, 2));
    for (time, packet) in other.iter().rev().take(10) {
        assert_eq!(packet.payload.as_slice(), ear[time].payload.as_slice());
    }
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let heard: Vec<f32> = ear
        .values()
        .flat_map(|packet| decode(&mut decoder, &packet.payload))
        .collect();
    // The samples before the listener got its new stream.
    let settled = &heard[heard.len() - 960 * 100..heard.len() - 960 * 41];
    let level = amplitude_of(settled, 441.7);
    assert!((level - 0.3).abs() < 0.02, "{level}");
    let rest_db = db(amplitude_of(settled, 620.3) / level);
    assert!(rest_db < -50.0, "{rest_db:.1} dB");
}
