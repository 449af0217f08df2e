//! Personal gains: a listener hears chosen talkers louder, quieter or not at all, at the cost of
//! one more encode while those talkers talk.

use std::collections::BTreeMap;

use crate::stage::{ROOM, Stage, amplitude_of, db, encoding, tone};
use mixer::codec::opus::OpusDecoder;
use mixer::codec::{Decode, Profile};
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::mix::gains::{GainChange, PersonalGains};
use mixer::output::{Event, OutputStream, Refused};
use mixer::packet::OutPacket;
use mixer::room::{Members, RoomSettings};
use mixer::{Decibels, Gain, ParticipantId};
use proptest::prelude::*;

/// Frequencies off any common grid, so that distortion of one tone does not fall on another.
const TONES_HZ: [f64; 6] = [317.3, 541.9, 823.7, 1_201.1, 1_733.9, 2_357.7];
/// Amplitude of each tone; six of them at +12 dB stay below the limiter's ceiling.
const LOUD: f32 = 0.03;

/// Builds a room of `count` talkers, ids from 1 on, each with its own tone.
fn talkers(count: usize) -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    for (id, hz) in (1..).zip(&TONES_HZ[..count]) {
        stage.join_exact(id, tone(*hz, LOUD));
    }
    stage
}

fn db_gain(db: f32) -> Gain {
    Gain::from(Decibels(db))
}

/// Sets a listener's personal gains and supplies a spare stream.
fn set_gains(stage: &mut Stage, listener: u32, gains: &[(u32, Gain)]) {
    let gains = gains.iter().map(|&(id, gain)| (ParticipantId(id), gain));
    let gains = PersonalGains::new(gains);
    let change = GainChange {
        gains: (!gains.is_empty()).then(|| Box::new(gains)),
        stream: Some(Box::new(OutputStream::new(
            encoding(Profile::Voice),
            TickLength::Ms20,
        ))),
    };
    let command = Command::SetGains(ParticipantId(listener), Box::new(change));
    stage.engine.apply(command, &mut stage.sink);
}

/// Level in dB of each tone in the listener's last second, relative to its sent level; `listener`
/// is an index into the stage's talkers.
fn levels_db(stage: &Stage, listener: usize) -> Vec<f64> {
    let heard = stage.heard(listener);
    let second = &heard[heard.len() - 48_000..];
    let levels = TONES_HZ.map(|hz| db(amplitude_of(second, hz) / f64::from(LOUD)));
    levels.to_vec()
}

fn turns(stage: &mut Stage, ticks: usize) {
    (0..ticks).for_each(|_| stage.turn());
}

/// Number of encodes in the next tick.
fn encodes(stage: &mut Stage) -> u64 {
    let before = stage.engine.stats().encodes_total;
    stage.turn();
    stage.engine.stats().encodes_total - before
}

#[test]
fn personal_gains_change_named_talkers_for_one_listener_only() {
    let mut stage = talkers(4);
    stage.join_exact(5, |_| 0.0);
    stage.join_exact(6, |_| 0.0);
    turns(&mut stage, 20);
    let gains = [(1, db_gain(-12.0)), (2, Gain::MUTE), (3, db_gain(6.0))];
    set_gains(&mut stage, 5, &gains);
    turns(&mut stage, 60);
    let own = levels_db(&stage, 4);
    for (level_db, expected_db) in own.iter().zip([-12.0, -90.0, 6.0, 0.0]) {
        match expected_db <= -90.0 {
            true => assert!(*level_db < -90.0, "{own:?}"),
            false => assert!((level_db - expected_db).abs() < 0.01, "{own:?}"),
        }
    }
    let other = levels_db(&stage, 5);
    assert!(other[..4].iter().all(|db| db.abs() < 0.01), "{other:?}");

    // Contributors are listed as heard: a talker with zero gain is not among them.
    let last = stage.sink.packets.iter().rev().find(|(to, _)| to.0 == 5);
    let (_, packet) = last.expect("is sent something");
    let mut named = packet.sources.ids().to_vec();
    named.sort();
    assert_eq!(named, [1, 3, 4]);
    let level_of = |id| {
        let at = packet.sources.ids().iter().position(|it| *it == id);
        packet.sources.levels()[at.expect("is named")]
    };
    // Levels are rounded to whole decibels, for the talkers too.
    assert!(level_of(1).abs_diff(level_of(4) + 12) <= 1);
    assert!(level_of(3).abs_diff(level_of(4) - 6) <= 1);

    set_gains(&mut stage, 5, &[]);
    turns(&mut stage, 60);
    let own = levels_db(&stage, 4);
    assert!(own[..4].iter().all(|db| db.abs() < 0.01), "{own:?}");
}

#[test]
fn personal_gain_of_zero_for_the_only_talker_gives_silence() {
    let mut stage = talkers(1);
    stage.join_exact(2, |_| 0.0);
    set_gains(&mut stage, 2, &[(1, Gain::MUTE)]);
    turns(&mut stage, 60);
    assert!(stage.heard(1).iter().all(|&sample| sample == 0.0));
    let mut named = stage.sink.packets.iter().filter(|(to, _)| to.0 == 2);
    assert!(named.all(|(_, it)| it.sources.ids().is_empty()));
    // A second talker starts and is heard.
    stage.sink.retired.clear();
    stage.join_exact(3, tone(TONES_HZ[1], LOUD));
    turns(&mut stage, 60);
    let own = levels_db(&stage, 1);
    assert!(own[0] < -90.0 && own[1].abs() < 0.01, "{own:?}");
}

#[test]
fn personal_gain_does_not_undo_a_mute_and_ignores_absent_talkers() {
    let mut stage = talkers(2);
    stage.join_exact(3, |_| 0.0);
    let gains = [
        (1, db_gain(12.0)),
        (3, db_gain(12.0)),
        (77, db_gain(12.0)),
        (2, db_gain(-6.0)),
    ];
    set_gains(&mut stage, 3, &gains);
    stage.talkers[0].shared.settings.mute(true);
    turns(&mut stage, 60);
    let own = levels_db(&stage, 2);
    assert!(own[0] < -90.0, "{own:?}");
    assert!((own[1] + 6.0).abs() < 0.01, "{own:?}");
}

#[test]
fn personal_gain_ramps_when_it_changes_during_speech() {
    let mut stage = talkers(1);
    stage.join_exact(2, |_| 0.0);
    turns(&mut stage, 10);
    for gains in [[(1, Gain::MUTE)], [(1, db_gain(12.0))], [(1, Gain::UNITY)]] {
        set_gains(&mut stage, 2, &gains);
        turns(&mut stage, 5);
    }
    let heard = stage.heard(1);
    // Largest sample difference of the sine at its highest gain, plus the slope of the ramp.
    let slope = std::f64::consts::TAU * TONES_HZ[0] / 48_000.0;
    let most = 4.0 * f64::from(LOUD) * (slope + 4.0 / 960.0);
    let steps = heard.windows(2).skip(960);
    let largest = steps.map(|it| (it[1] - it[0]).abs()).fold(0.0, f32::max);
    assert!(f64::from(largest) < most, "{largest} of {most}");
    let silence = heard.windows(960).filter(|it| it.iter().all(|x| *x == 0.0));
    assert!(silence.count() > 960, "was silent in between");
}

#[test]
fn personal_gains_are_refused_for_a_grouped_listener_without_a_stream() {
    let mut stage = talkers(2);
    for id in 11..=14 {
        stage.join_ear(id);
    }
    turns(&mut stage, 60);
    stage.sink.retired.clear();
    let gains = || {
        let gains = PersonalGains::new([(ParticipantId(1), Gain::MUTE)]);
        Some(Box::new(gains))
    };
    // Listener 11 leads the group; the others have no stream of their own.
    for id in 12..=13 {
        let change = GainChange {
            gains: gains(),
            stream: None,
        };
        let command = Command::SetGains(ParticipantId(id), Box::new(change));
        stage.engine.apply(command, &mut stage.sink);
        let refused = Event::Refused(Refused::Participant(ParticipantId(id)));
        assert_eq!(stage.sink.events.pop(), Some(refused));
    }
    for id in 11..=13 {
        set_gains(&mut stage, id, &[(1, Gain::MUTE)]);
    }
    assert!(!matches!(stage.sink.events.last(), Some(Event::Refused(_))));
    turns(&mut stage, 100);
    for (id, hears_first) in [(11, false), (12, false), (13, false), (14, true)] {
        let pcm = decoded(&stage, id);
        let second = &pcm[pcm.len() - 48_000..];
        let [first_db, second_db] =
            [TONES_HZ[0], TONES_HZ[1]].map(|hz| db(amplitude_of(second, hz) / f64::from(LOUD)));
        assert!(second_db.abs() < 1.5, "{id}: {second_db:.1} dB");
        match hears_first {
            true => assert!(first_db.abs() < 1.5, "{id}: {first_db:.1} dB"),
            false => assert!(first_db < -25.0, "{id}: {first_db:.1} dB"),
        }
    }
}

/// PCM that an Opus decoder produces from all packets sent to a participant.
fn decoded(stage: &Stage, id: u32) -> Vec<f32> {
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let sent = stage.sink.packets.iter().filter(|(to, _)| to.0 == id);
    let sent: BTreeMap<u32, &OutPacket> = sent.map(|(_, it)| (it.time.0, it)).collect();
    let mut pcm = Vec::new();
    for packet in sent.values() {
        let mut frame = [0.0; 960];
        let decoded = decoder.decode(packet.payload.as_slice(), &mut frame);
        pcm.extend_from_slice(&frame[..decoded.expect("an Opus packet")]);
    }
    pcm
}

/// Builds a room of three talkers, the first with turns of two seconds, and twenty listeners.
fn meeting() -> Stage {
    let mut stage = Stage::new(RoomSettings::default());
    for (id, hz) in (1..).zip(&TONES_HZ[..3]) {
        let mut voice = tone(*hz, LOUD);
        stage.join_clear(id, move |sample| match (id, sample / 96_000 % 2) {
            (1, 1) => 0.0,
            _ => voice(sample),
        });
    }
    for id in 11..=30 {
        stage.join_clear(id, |_| 0.0);
    }
    stage
}

/// Encodes per tick at the end of six turns of two seconds; the first talker talks in the first
/// turn.
fn encodes_by_turn(stage: &mut Stage) -> Vec<u64> {
    let mut at_the_end = Vec::new();
    for _ in 0..6 {
        turns(stage, 98);
        at_the_end.push(encodes(stage));
        turns(stage, 1);
    }
    at_the_end
}

#[test]
fn personal_gains_cost_one_encode_per_list_whose_talkers_are_heard() {
    // Each talker has a private stream, and the listeners share one; while the first talker pauses,
    // it hears the listeners' mix.
    let bare = encodes_by_turn(&mut meeting());
    assert_eq!(bare, [4, 3, 4, 3, 4, 3]);

    // Five listeners attenuate the first talker equally: one more stream.
    let mut stage = meeting();
    for id in 11..=15 {
        set_gains(&mut stage, id, &[(1, db_gain(-12.0))]);
    }
    assert_eq!(encodes_by_turn(&mut stage), [5, 3, 5, 3, 5, 3]);

    // Ten listeners have ten different gains, each list also naming an absent talker: ten more
    // streams.
    let mut stage = meeting();
    for id in 11..=20 {
        let gains = [(1, db_gain(-(id as f32))), (90 + id, Gain::MUTE)];
        set_gains(&mut stage, id, &gains);
    }
    assert_eq!(encodes_by_turn(&mut stage), [14, 3, 14, 3, 14, 3]);

    // Lists that differ only in absent talkers give the same mix and share a stream.
    let mut stage = meeting();
    for id in 11..=20 {
        let gains = [(1, db_gain(-12.0)), (90 + id, Gain::MUTE)];
        set_gains(&mut stage, id, &gains);
    }
    assert_eq!(encodes_by_turn(&mut stage), [5, 3, 5, 3, 5, 3]);
}

#[test]
fn listeners_leaving_a_group_together_share_a_stream_at_once() {
    let mut stage = meeting();
    for id in 11..=15 {
        set_gains(&mut stage, id, &[(1, db_gain(-12.0))]);
    }
    // The first talker pauses: all listeners are in one group.
    turns(&mut stage, 180);
    assert_eq!(encodes(&mut stage), 3);
    let mut most = 0;
    for _ in 0..60 {
        most = most.max(encodes(&mut stage));
    }
    assert_eq!(most, 5);
}

/// Random gains, mutes, joins and leaves: each participant gets every packet once.
#[test]
fn each_member_is_sent_every_packet_once_through_random_gain_changes() {
    for seed in 1..=4u64 {
        let mut stage = meeting();
        let mut random = seed;
        let mut pick = |of: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % of
        };
        let mut listeners: Vec<u32> = (11..=30).collect();
        for id in 31..=40 {
            stage.join_ear(id);
            listeners.push(id);
        }
        turns(&mut stage, 20);
        for step in 0..300 {
            let listener = listeners[pick(listeners.len() as u64) as usize];
            match pick(6) {
                0 => set_gains(&mut stage, listener, &[]),
                1 | 2 => {
                    let gains = [(1 + pick(3) as u32, db_gain(-6.0 * pick(3) as f32))];
                    set_gains(&mut stage, listener, &gains);
                }
                3 => {
                    let settings = &stage.talkers[pick(3) as usize].shared.settings;
                    settings.mute(!settings.muted());
                }
                4 if listeners.len() > 10 => {
                    listeners.retain(|id| *id != listener);
                    stage.talkers.retain(|talker| talker.id.0 != listener);
                    let leaves = Command::RemoveParticipant(ParticipantId(listener));
                    stage.engine.apply(leaves, &mut stage.sink);
                }
                4 => {
                    let id = 100 + step;
                    stage.join_ear(id);
                    listeners.push(id);
                }
                _ => turns(&mut stage, pick(12) as usize),
            }
            // Keep one talker unmuted, since the room might rest otherwise.
            stage.talkers[1].shared.settings.mute(false);
            stage.sink.packets.clear();
            stage.turn();
            stage.sink.retired.clear();
            let to = stage.sink.packets.iter().map(|(to, _)| to.0);
            let mut to: Vec<u32> = to.filter(|id| *id != 2).collect();
            to.sort();
            let mut everybody: Vec<u32> = [1, 3].into_iter().chain(listeners.clone()).collect();
            everybody.sort();
            assert_eq!(to, everybody, "seed {seed}, step {step}");
        }
        let events = &stage.sink.events;
        assert!(
            !events
                .iter()
                .any(|it| matches!(it, Event::RoomFault { .. } | Event::Refused(_)))
        );
    }
}

#[test]
fn removing_personal_gains_while_the_room_grows_makes_no_click() {
    let mut stage = talkers(1);
    stage.join_exact(2, |_| 0.0);
    stage.join_exact(3, |_| 0.0);
    turns(&mut stage, 20);
    set_gains(&mut stage, 2, &[(1, Gain::MUTE)]);
    turns(&mut stage, 60);
    set_gains(&mut stage, 2, &[]);
    let members = Box::new(Members::with_capacity(100));
    stage.engine.apply(
        Command::Reserve {
            room: ROOM,
            members,
        },
        &mut stage.sink,
    );
    turns(&mut stage, 60);
    assert_eq!(encodes(&mut stage), 1, "both hear the same");
    let heard = stage.heard(1);
    let slope = std::f64::consts::TAU * TONES_HZ[0] / 48_000.0;
    let most = f64::from(LOUD) * (slope + 1.0 / 960.0);
    let steps = heard.windows(2).skip(960);
    let largest = steps.map(|it| (it[1] - it[0]).abs()).fold(0.0, f32::max);
    assert!(f64::from(largest) < most, "{largest} of {most}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// The own tone stays out, and every other tone is heard at the requested gain.
    #[test]
    fn mix_minus_stays_exact_whatever_personal_gains_there_are(
        wishes in prop::collection::vec(
            prop::collection::vec((1u32..=7, prop_oneof![Just(-127.0f32), -20.0f32..=12.0]), 0..5), 6),
    ) {
        let mut stage = talkers(6);
        turns(&mut stage, 10);
        let gain_of = |db: f32| if db < -100.0 { Gain::MUTE } else { db_gain(db) };
        for (id, wish) in (1..).zip(&wishes) {
            let gains: Vec<_> = wish.iter().map(|&(of, db)| (of, gain_of(db))).collect();
            set_gains(&mut stage, id, &gains);
        }
        turns(&mut stage, 60);
        for (listener, wish) in wishes.iter().enumerate() {
            let levels = levels_db(&stage, listener);
            for (talker, level_db) in levels.iter().enumerate() {
                let asked = wish.iter().rev().find(|(of, _)| *of as usize == talker + 1);
                let asked_db = asked.map_or(0.0, |(_, db)| f64::from(*db));
                if talker == listener || asked_db < -100.0 {
                    prop_assert!(*level_db < -90.0, "{listener} hears {talker} at {level_db:.1} dB");
                } else {
                    prop_assert!((level_db - asked_db).abs() < 0.05, "{listener} hears {talker} at {level_db:.2} dB");
                }
            }
        }
    }
}
