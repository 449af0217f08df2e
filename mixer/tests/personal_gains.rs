//! A listener can hear certain talkers louder, quieter or not at all, and costs one encode more
//! only while they talk.
#![cfg(feature = "opus")]

mod stage;

use std::collections::BTreeMap;

use mixer::codec::Decode;
use mixer::codec::opus::OpusDecoder;
use mixer::command::{Command, Event, Refused};
use mixer::format::{Layout, TickLength};
use mixer::listener::Listener;
use mixer::members::Members;
use mixer::mix::gains::{GainChange, PersonalGains};
use mixer::packet::OutPacket;
use mixer::profile::Profile;
use mixer::room::RoomSettings;
use mixer::{Decibels, Gain, ParticipantId};
use proptest::prelude::*;
use stage::{ROOM, Stage, amplitude_of, db, recipe, tone};

/// Off any common grid: distortion of one does not fall on another.
const TONES_HZ: [f64; 6] = [317.3, 541.9, 823.7, 1_201.1, 1_733.9, 2_357.7];
/// Six of these at +12 dB stay under the limiter.
const LOUD: f32 = 0.03;

/// A talker of these for each tone, by the ids from 1 on.
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

/// Gives a participant these personal gains, and a stream to go on with.
fn set_gains(stage: &mut Stage, listener: u32, gains: &[(u32, Gain)]) {
    let gains = gains.iter().map(|&(id, gain)| (ParticipantId(id), gain));
    let gains = PersonalGains::new(gains);
    let change = GainChange {
        gains: (!gains.is_empty()).then(|| Box::new(gains)),
        listener: Some(Box::new(Listener::new(
            recipe(Profile::Voice),
            TickLength::Ms20,
        ))),
    };
    let command = Command::SetGains(ParticipantId(listener), Box::new(change));
    stage.engine.apply(command, &mut stage.sink);
}

/// How loud a participant, by its place among those who can talk, has heard each tone in the last
/// second, relative to how loud it was sent.
fn levels_db(stage: &Stage, listener: usize) -> Vec<f64> {
    let heard = stage.heard(listener);
    let second = &heard[heard.len() - 48_000..];
    let levels = TONES_HZ.map(|hz| db(amplitude_of(second, hz) / f64::from(LOUD)));
    levels.to_vec()
}

fn turns(stage: &mut Stage, ticks: usize) {
    (0..ticks).for_each(|_| stage.turn());
}

/// Encodes of the next tick.
fn encodes(stage: &mut Stage) -> u64 {
    let before = stage.engine.stats().encodes_total;
    stage.turn();
    stage.engine.stats().encodes_total - before
}

#[test]
fn personal_gains_change_the_named_talkers_for_one_listener_only() {
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

    // Names go by what is heard: a talker who is left out is not among them.
    let last = stage.sink.packets.iter().rev().find(|(to, _)| to.0 == 5);
    let (_, packet) = last.expect("is sent something");
    let mut named = packet.sources.ids().to_vec();
    named.sort();
    assert_eq!(named, [1, 3, 4]);
    let level_of = |id| {
        let at = packet.sources.ids().iter().position(|it| *it == id);
        packet.sources.levels()[at.expect("is named")]
    };
    // Levels are rounded to whole decibels, those of the talkers too.
    assert!(level_of(1).abs_diff(level_of(4) + 12) <= 1);
    assert!(level_of(3).abs_diff(level_of(4) - 6) <= 1);

    set_gains(&mut stage, 5, &[]);
    turns(&mut stage, 60);
    let own = levels_db(&stage, 4);
    assert!(own[..4].iter().all(|db| db.abs() < 0.01), "{own:?}");
}

#[test]
fn personal_gain_of_the_only_talker_to_nothing_is_silence() {
    let mut stage = talkers(1);
    stage.join_exact(2, |_| 0.0);
    set_gains(&mut stage, 2, &[(1, Gain::MUTE)]);
    turns(&mut stage, 60);
    assert!(stage.heard(1).iter().all(|&sample| sample == 0.0));
    let mut named = stage.sink.packets.iter().filter(|(to, _)| to.0 == 2);
    assert!(named.all(|(_, it)| it.sources.ids().is_empty()));
    // Somebody else talks, and is heard.
    stage.sink.retired.clear();
    stage.join_exact(3, tone(TONES_HZ[1], LOUD));
    turns(&mut stage, 60);
    let own = levels_db(&stage, 1);
    assert!(own[0] < -90.0 && own[1].abs() < 0.01, "{own:?}");
}

#[test]
fn personal_gain_cannot_undo_a_mute_and_names_nobody_who_is_not_there() {
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
fn personal_gain_ramps_when_it_changes_while_the_talker_talks() {
    let mut stage = talkers(1);
    stage.join_exact(2, |_| 0.0);
    turns(&mut stage, 10);
    for gains in [[(1, Gain::MUTE)], [(1, db_gain(12.0))], [(1, Gain::UNITY)]] {
        set_gains(&mut stage, 2, &gains);
        turns(&mut stage, 5);
    }
    let heard = stage.heard(1);
    // A sine moves by at most so much from one sample to the next, at its loudest here, and the
    // ramp adds a little.
    let slope = std::f64::consts::TAU * TONES_HZ[0] / 48_000.0;
    let most = 4.0 * f64::from(LOUD) * (slope + 4.0 / 960.0);
    let steps = heard.windows(2).skip(960);
    let largest = steps.map(|it| (it[1] - it[0]).abs()).fold(0.0, f32::max);
    assert!(f64::from(largest) < most, "{largest} of {most}");
    let silence = heard.windows(960).filter(|it| it.iter().all(|x| *x == 0.0));
    assert!(silence.count() > 960, "was silent in between");
}

#[test]
fn personal_gains_need_a_stream_where_the_listener_has_none() {
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
    // The first of them leads the group, the others have no stream.
    for id in 12..=13 {
        let change = GainChange {
            gains: gains(),
            listener: None,
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

/// What an Opus receiver makes of everything that was sent to a participant.
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

/// Three who talk, the first by turns of two seconds, and twenty who listen.
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

/// Encodes at the end of each of six turns of two seconds, beginning with one in which the first
/// talker talks.
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
fn personal_gains_cost_an_encode_for_each_distinct_list_while_a_named_talker_is_heard() {
    // The three talkers each have a stream of their own, and the listeners share one; while the
    // first pauses, it hears what all the others hear.
    let bare = encodes_by_turn(&mut meeting());
    assert_eq!(bare, [4, 3, 4, 3, 4, 3]);

    // Five turn the first talker down alike: one stream more.
    let mut stage = meeting();
    for id in 11..=15 {
        set_gains(&mut stage, id, &[(1, db_gain(-12.0))]);
    }
    assert_eq!(encodes_by_turn(&mut stage), [5, 3, 5, 3, 5, 3]);

    // Ten in ten ways, each of which also names somebody who is not there: ten streams more.
    let mut stage = meeting();
    for id in 11..=20 {
        let gains = [(1, db_gain(-(id as f32))), (90 + id, Gain::MUTE)];
        set_gains(&mut stage, id, &gains);
    }
    assert_eq!(encodes_by_turn(&mut stage), [14, 3, 14, 3, 14, 3]);

    // Lists that differ only in talkers who are not there do the same, and share.
    let mut stage = meeting();
    for id in 11..=20 {
        let gains = [(1, db_gain(-12.0)), (90 + id, Gain::MUTE)];
        set_gains(&mut stage, id, &gains);
    }
    assert_eq!(encodes_by_turn(&mut stage), [5, 3, 5, 3, 5, 3]);
}

#[test]
fn listeners_who_part_together_share_a_stream_from_the_first_tick() {
    let mut stage = meeting();
    for id in 11..=15 {
        set_gains(&mut stage, id, &[(1, db_gain(-12.0))]);
    }
    // Into the turn in which the first talker pauses: all listeners are one group.
    turns(&mut stage, 180);
    assert_eq!(encodes(&mut stage), 3);
    let mut most = 0;
    for _ in 0..60 {
        most = most.max(encodes(&mut stage));
    }
    assert_eq!(most, 5);
}

/// Whatever people do, in whatever order: everybody is sent each packet once.
#[test]
fn everybody_is_sent_each_tick_once_while_gains_and_members_come_and_go() {
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
            // Somebody always talks, or the room might rest.
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
fn personal_gains_that_end_as_the_room_grows_end_with_a_ramp_and_cost_nothing_more() {
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

    /// The own tone stays out and every other tone comes at the gain asked for, whatever everybody
    /// asks for.
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
