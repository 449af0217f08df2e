//! Many channels on one connection: who listens to several rooms hears them all as he asked for, never
//! himself, and shares his encode with those who listen to the same.
#![cfg(feature = "opus")]

mod common;
mod stage;

use common::Chance;
use mixer::command::{Command, Event, Retired};
use mixer::format::{Layout, TickLength};
use mixer::listener::Listener;
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::scan::Strength;
use mixer::units::{Decibels, Gain, ParticipantId};
use stage::field::Field;
use stage::{amplitude_of, db, tone};

fn at(gain_db: f32, priority: u8) -> Strength {
    Strength {
        gain: Gain::from(Decibels(gain_db)),
        priority,
    }
}

fn level_db(heard: &[f32], hz: f64) -> f64 {
    db(amplitude_of(heard, hz) / f64::from(LOUD))
}

/// The steepest step between two samples, of the tone's own steepest.
fn steepest(heard: &[f32], hz: f64, amplitude: f32) -> f32 {
    let own = amplitude * (std::f64::consts::TAU * hz / 48_000.0) as f32;
    let steps = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f32::max) / own
}

const LOUD: f32 = 0.1;

/// Off any common grid: distortion of one does not fall on another.
const TONES_HZ: [f64; 4] = [317.3, 541.9, 823.7, 1_201.1];

#[test]
fn each_room_is_heard_as_loud_as_asked_for_and_oneself_never() {
    let mut field = Field::new(1);
    for (room, hz) in TONES_HZ.into_iter().enumerate() {
        field.room(0, RoomSettings::default());
        field.join(room, room as u32 + 1, tone(hz, LOUD));
        field.join(room, room as u32 + 11, |_| 0.0);
    }
    field.scan(0, 1, &[(1, at(0.0, 0)), (2, at(-6.0, 0))]);
    field.turns(150);
    let heard = field.heard_lately(1, 100);
    for (hz, expected_db) in TONES_HZ
        .into_iter()
        .zip([None, Some(0.0), Some(-6.0), None])
    {
        let level_db = level_db(&heard, hz);
        match expected_db {
            Some(expected_db) => assert!((level_db - expected_db).abs() < 0.01, "{level_db:.2}"),
            None => assert!(level_db < -90.0, "{hz} Hz at {level_db:.1} dB"),
        }
    }
    assert_eq!(field.named(1), [2, 3]);
    // Nobody else hears anything new.
    assert_eq!(field.named(11), [1]);
    assert_eq!(field.named(12), [2]);
    assert!(level_db(&field.heard_lately(12, 100), TONES_HZ[0]) < -90.0);
    assert_eq!(field.refused(), 0);
}

#[test]
fn a_hundred_who_listen_to_the_same_share_one_encode() {
    let mut field = Field::new(1);
    for (room, hz) in TONES_HZ.into_iter().take(3).enumerate() {
        field.room(0, RoomSettings::default());
        if room > 0 {
            field.join(room, room as u32 + 1, tone(hz, LOUD));
        }
    }
    for id in 100..200 {
        field.join_ear(0, id);
        let mut rescan = field.rescan(0, Strength::default(), &[(1, at(0.0, 0)), (2, at(-6.0, 1))]);
        // Before anybody has been grouped he has a stream of his own, and after that he needs one.
        rescan.listener = Some(Box::new(Listener::new(
            field.recipe(0, false),
            TickLength::Ms20,
        )));
        field.apply(0, Command::SetScan(ParticipantId(id), rescan));
    }
    field.turns(100);
    // Each talker is alone in his room: nothing is encoded for him.
    let before = field.encodes();
    field.turns(50);
    assert_eq!(field.encodes() - before, 50, "one encode a tick");
    assert_eq!(field.named(150), [2, 3]);
    let sent = field.mixers[0].engine.stats().packets_total;
    field.turns(10);
    assert_eq!(field.mixers[0].engine.stats().packets_total - sent, 1_000);

    // Half of them change over while both talk: two groups.
    for id in 100..150 {
        let mut rescan = field.rescan(0, Strength::default(), &[(2, at(0.0, 0))]);
        rescan.listener = Some(Box::new(Listener::new(
            field.recipe(0, false),
            TickLength::Ms20,
        )));
        field.apply(0, Command::SetScan(ParticipantId(id), rescan));
    }
    let before = field.encodes();
    field.turn();
    let at_once = field.encodes() - before;
    assert!(at_once <= 20, "{at_once} encodes as they change over");
    field.turns(50);
    let before = field.encodes();
    field.turns(50);
    assert_eq!(field.encodes() - before, 100, "two encodes a tick");
    assert_eq!(field.named(120), [3]);
    assert_eq!(field.named(170), [2, 3]);
    assert_eq!(field.refused(), 0);
}

/// So many in room 0 each hear room 1 as loud as nobody else does.
fn join_loners(field: &mut Field, ids: std::ops::Range<u32>) {
    for id in ids {
        field.join_ear(0, id);
        field.scan(0, id, &[(1, at(-0.1 * id as f32, 0))]);
    }
}

#[test]
fn who_listens_as_nobody_else_does_takes_no_place_from_those_who_share() {
    let mut field = Field::new(1);
    for (room, hz) in TONES_HZ.into_iter().take(2).enumerate() {
        field.room(0, RoomSettings::default());
        field.join(room, room as u32 + 1, tone(hz, LOUD));
    }
    join_loners(&mut field, 10..50);
    field.turns(50);
    for id in 60..120 {
        field.join_ear(0, id);
    }
    field.turns(50);
    let before = field.encodes();
    field.turns(50);
    // Each talker is alone in his room: nothing is encoded for him.
    let encodes = (field.encodes() - before) / 50;
    assert_eq!(
        encodes,
        40 + 1,
        "one for each who is alone, one for the rest"
    );
    // A second one who hears the same shares, and when he is gone the first goes on by himself.
    field.join_ear(0, 9);
    field.scan(0, 9, &[(1, at(-1.0, 0))]);
    field.turns(50);
    let before = field.encodes();
    field.turns(10);
    assert_eq!((field.encodes() - before) / 10, 40 + 1);
    field.apply(0, Command::RemoveParticipant(ParticipantId(9)));
    field.turns(10);
    let before = field.encodes();
    field.turns(10);
    assert_eq!((field.encodes() - before) / 10, 40 + 1);
    assert_eq!(field.named(10), [1, 2]);
    assert_eq!(field.refused(), 0);
}

#[test]
fn who_pauses_between_words_changes_streams_no_sooner_among_many_who_are_alone() {
    let mut field = Field::new(1);
    field.room(0, RoomSettings::default());
    field.room(0, RoomSettings::default());
    field.join(0, 4, |_| 0.0);
    field.join(0, 5, |_| 0.0);
    join_loners(&mut field, 10..70);
    for (id, hz) in (1..=3).zip(TONES_HZ) {
        field.join(0, id, tone(hz, LOUD));
    }
    field.join(1, 6, tone(TONES_HZ[3], LOUD));
    field.turns(100);
    let mute = |field: &Field, muted| field.talkers[3].1.shared.settings.mute(muted);
    for _ in 0..5 {
        let before = field.encodes();
        mute(&field, true);
        field.turns(6);
        assert!(!field.named(4).contains(&2), "he pauses");
        mute(&field, false);
        // The three who talk, those two who do not, and each who is alone.
        assert_eq!((field.encodes() - before) / 6, 3 + 1 + 60);
        field.turns(30);
        assert!(field.named(4).contains(&2));
    }
}

#[test]
fn who_cannot_talk_and_is_given_no_stream_stays_where_he_is() {
    let mut field = Field::new(1);
    field.room(0, RoomSettings::default());
    field.room(0, RoomSettings::default());
    field.join(1, 1, tone(541.9, LOUD));
    field.join(0, 2, tone(823.7, LOUD));
    for id in [10, 11] {
        field.join_ear(0, id);
    }
    field.turns(100);
    field.scan(0, 11, &[(1, at(0.0, 0))]);
    assert_eq!(field.refused(), 1);
    let retired = field.mixers[0].sink.retired.last();
    assert!(matches!(retired, Some(Retired::Rescan(rescan)) if rescan.scan.is_some()));
    field.turns(50);
    assert_eq!(field.named(11), [2]);
}

#[test]
fn linked_rooms_hear_each_other_and_nobody_himself() {
    for mixers in [1, 2] {
        let mut field = Field::new(mixers);
        for room in 0..2 {
            field.room(room % mixers, RoomSettings::default());
        }
        for (id, hz) in (1..).zip(TONES_HZ) {
            field.join(id as usize % 2, id, tone(hz, LOUD));
        }
        field.join(0, 9, |_| 0.0);
        field.link(0, 1);
        field.turns(150);
        for (id, own_hz) in (1..).zip(TONES_HZ) {
            let heard = field.heard_lately(id, 100);
            for hz in TONES_HZ {
                let level_db = level_db(&heard, hz);
                if hz == own_hz {
                    assert!(level_db < -90.0, "own at {level_db:.1} dB");
                } else {
                    assert!(level_db.abs() < 0.01, "{hz} Hz at {level_db:.2} dB");
                }
            }
            let others: Vec<u32> = (1..=4).filter(|other| *other != id).collect();
            assert_eq!(field.named(id), others);
        }
        assert_eq!(field.named(9), [1, 2, 3, 4]);
        assert_eq!(field.refused(), 0);
    }
}

#[test]
fn a_higher_channel_ducks_a_lower_one_without_a_click() {
    let hz = 925.0;
    let mut field = Field::new(1);
    for _ in 0..3 {
        field.room(0, RoomSettings::default());
    }
    field.join(0, 1, |_| 0.0);
    field.join(1, 2, tone(hz, LOUD));
    // Too low to be heard as steps.
    let mut murmur = tone(40.0, 0.02);
    field.join(2, 3, move |sample| match sample / 48_000 % 2 {
        1 => murmur(sample),
        _ => 0.0,
    });
    field.scan(0, 1, &[(1, at(0.0, 0)), (2, at(0.0, 5))]);
    field.turns(45);
    assert!(level_db(&field.heard_lately(1, 10), hz).abs() < 0.1);
    field.turns(40);
    let ducked_db = level_db(&field.heard_lately(1, 10), hz);
    assert!((ducked_db + 12.0).abs() < 0.1, "{ducked_db:.2} dB");
    field.turns(60);
    assert!(level_db(&field.heard_lately(1, 10), hz).abs() < 0.1);
    let steepest = steepest(&field.heard(1), hz, LOUD);
    assert!(steepest < 1.1, "{steepest}");
}

#[test]
fn who_talked_long_ago_hears_a_lower_channel_as_loud_as_it_is() {
    let mut field = Field::new(1);
    field.room(0, RoomSettings::default());
    field.room(0, RoomSettings::default());
    // He is alone in his room, which sleeps as soon as he has talked.
    field.join(0, 1, tone(541.9, LOUD));
    let shared = field.talkers[0].1.shared.clone();
    shared.settings.set_permit(Permit::Held);
    let rescan = field.rescan(0, at(0.0, 5), &[(1, at(0.0, 0))]);
    field.apply(0, Command::SetScan(ParticipantId(1), rescan));
    field.turns(150);
    shared.settings.set_permit(Permit::Draining);
    field.talkers.clear();
    field.turns(20);
    let before = field.mixers[0].engine.stats().ticks_total;
    field.turns(50);
    let ticks = field.mixers[0].engine.stats().ticks_total - before;
    assert_eq!(ticks, 0, "it sleeps");
    field.join(1, 2, |_| LOUD);
    field.turns(100);
    let heard = field.heard(1);
    let first = heard.iter().position(|&sample| sample > 0.0);
    let first = first.expect("the other answers") + 480;
    let quietest = heard[first..first + 24_000].iter().copied();
    let quietest = quietest.fold(1.0f32, f32::min);
    assert!(quietest > 0.99 * LOUD, "{quietest}");
}

#[test]
fn changing_what_one_listens_to_makes_no_click() {
    let hz = 925.0;
    let mut field = Field::new(1);
    for _ in 0..3 {
        field.room(0, RoomSettings::default());
    }
    field.join(0, 1, |_| 0.0);
    field.join(0, 4, tone(hz, LOUD));
    field.join(1, 2, tone(hz, LOUD));
    field.join(2, 3, tone(hz, LOUD));
    let mut chance = Chance(7);
    for turn in 0..300 {
        field.turn();
        if turn % 7 == 3 {
            let gains_db = [1, 2].map(|room| (room, -6.0 * (chance.next() * 3.0).floor() as f32));
            let channels = gains_db.map(|(room, gain_db)| (room, at(gain_db, 0)));
            let others: Vec<_> = channels
                .into_iter()
                .filter(|_| chance.next() < 0.6)
                .collect();
            field.scan(0, 1, &others);
        }
        if turn % 50 == 20 {
            field.link(0, 1 + turn / 50 % 2);
        }
    }
    // Four tones at most: the home room's, two scanned, and a link that brings one of them again.
    let steepest = steepest(&field.heard(1), hz, 4.0 * LOUD);
    assert!(steepest < 1.1, "{steepest}");
    assert_eq!(field.refused(), 0);
}

#[test]
fn any_ticks_phases_and_mixers_give_every_sample_once() {
    let hz = 925.0;
    let mut chance = Chance(11);
    for round in 0..24 {
        let mut field = Field::new(2);
        let settings = |chance: &mut Chance| RoomSettings {
            tick: match chance.next() < 0.5 {
                true => TickLength::Ms10,
                false => TickLength::Ms20,
            },
            ..RoomSettings::default()
        };
        // As many rooms before them as it takes to have any phase.
        let (home, other) = (settings(&mut chance), settings(&mut chance));
        for _ in 0..(chance.next() * 8.0) as usize {
            field.room((chance.next() * 2.0) as usize, RoomSettings::default());
        }
        let home = field.room((chance.next() * 2.0) as usize, home);
        for _ in 0..(chance.next() * 8.0) as usize {
            field.room((chance.next() * 2.0) as usize, RoomSettings::default());
        }
        let other = field.room((chance.next() * 2.0) as usize, other);
        field.join(home, 1, |_| 0.0);
        field.join(other, 2, tone(hz, LOUD));
        if chance.next() < 0.5 {
            // The home room moves to where this one's packets come.
            field.join(home, 3, tone(40.0, 0.01));
        }
        field.scan(home, 1, &[(other, at(0.0, 0))]);
        // One mixer may be ahead of the other within a slot.
        if chance.next() < 0.5 {
            field.mixers.rotate_left(1);
            for room in &mut field.rooms {
                room.mixer = 1 - room.mixer;
            }
            for (mixer, _) in &mut field.talkers {
                *mixer = 1 - *mixer;
            }
        }
        field.turns(150);
        let heard = field.heard(1);
        let steepest = steepest(&heard, hz, LOUD);
        assert!(steepest < 1.05, "round {round}: {steepest}");
        let level_db = level_db(&heard[heard.len() - 96_000..], hz);
        assert!(level_db.abs() < 0.01, "round {round}: {level_db:.3} dB");
    }
}

#[test]
fn a_mixer_that_falls_behind_makes_no_click() {
    // At no tick does it cross zero.
    let hz = 931.7;
    let mut field = Field::new(2);
    let home = field.room(0, RoomSettings::default());
    let other = field.room(1, RoomSettings::default());
    field.join(home, 1, |_| 0.0);
    field.join(other, 2, tone(hz, LOUD));
    field.scan(home, 1, &[(other, at(0.0, 0))]);
    let mut chance = Chance(3);
    for turn in 0..600 {
        if turn % 40 == 20 {
            field.mixers[1].late = (chance.next() * 8.0) as u64;
        }
        field.turn();
    }
    let heard = field.heard(1);
    let steepest = steepest(&heard, hz, LOUD);
    assert!(steepest < 1.3, "{steepest}");
    let sounding = heard.chunks(960).filter(|tick| {
        let peak = tick
            .iter()
            .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
        peak > 0.9 * LOUD
    });
    let sounding = sounding.count();
    assert!(sounding > 560, "{sounding} of 600 ticks");
}

#[test]
fn a_sleeping_room_wakes_for_what_it_listens_to_and_sleeps_again() {
    let mut field = Field::new(1);
    let home = field.room(0, RoomSettings::default());
    let other = field.room(0, RoomSettings::default());
    field.join(home, 1, |_| 0.0);
    field.scan(home, 1, &[(other, at(0.0, 0))]);
    field.talkers.clear();
    field.turns(300);
    let ticks = field.mixers[0].engine.stats().ticks_total;
    field.turns(50);
    assert_eq!(
        field.mixers[0].engine.stats().ticks_total,
        ticks,
        "it sleeps"
    );
    let before = field.heard(1).len();

    field.join(
        other,
        2,
        move |sample| {
            if sample < 48_000 { 0.5 } else { 0.0 }
        },
    );
    field.turns(60);
    let heard = field.heard(1);
    let sounding = heard[before..].iter().filter(|&&it| it > 0.4).count();
    // All of it but the ramps at its ends.
    assert!((47_800..=48_000).contains(&sounding), "{sounding}");

    field.turns(200);
    let ticks = field.mixers[0].engine.stats().ticks_total;
    field.talkers.clear();
    field.turns(200);
    let ticks_more = field.mixers[0].engine.stats().ticks_total - ticks;
    assert!(ticks_more < 100, "{ticks_more}");
}

#[test]
fn stereo_music_is_heard_in_a_mono_room_and_speech_in_a_stereo_one() {
    let mut field = Field::new(1);
    let stereo = RoomSettings {
        layout: Layout::Stereo,
        ..RoomSettings::default()
    };
    let speech = field.room(0, RoomSettings::default());
    let music = field.room(0, stereo);
    field.join(speech, 1, tone(541.9, LOUD));
    // Spoken as interleaved samples: half the pitch on both channels.
    field.join(music, 2, tone(823.7, LOUD));
    field.scan(speech, 1, &[(music, at(0.0, 0))]);
    field.scan(music, 2, &[(speech, at(0.0, 0))]);
    field.turns(100);
    assert_eq!(field.named(1), [2]);
    assert_eq!(field.named(2), [1]);
    let heard = field.heard_lately(2, 100);
    let left: Vec<f32> = heard.iter().step_by(2).copied().collect();
    assert!(level_db(&left, 541.9).abs() < 0.1);
    assert_eq!(field.refused(), 0);
}

#[test]
fn whoever_leads_may_leave_and_what_he_led_goes_on() {
    let hz = 925.0;
    let mut field = Field::new(1);
    let home = field.room(0, RoomSettings::default());
    let other = field.room(0, RoomSettings::default());
    field.join(other, 50, tone(hz, LOUD));
    for id in 1..=4 {
        field.join(home, id, |_| 0.0);
        field.scan(home, id, &[(other, at(-6.0, 0))]);
    }
    field.turns(50);
    for id in 1..=3 {
        field.apply(0, Command::RemoveParticipant(ParticipantId(id)));
        field.turns(20);
    }
    let heard = field.heard_lately(4, 80);
    assert!((level_db(&heard[..76_800], hz) + 6.0).abs() < 0.05);
    assert!(steepest(&heard, hz, 0.5 * LOUD) < 1.05);
    field.scan(home, 4, &[]);
    field.turns(150);
    assert!(field.heard_lately(4, 1).iter().all(|&sample| sample == 0.0));
    let events = &field.mixers[0].sink.events;
    assert!(
        !events
            .iter()
            .any(|it| matches!(it, Event::RoomFault { .. }))
    );
}
