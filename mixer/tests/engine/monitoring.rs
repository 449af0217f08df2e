//! Monitors and links: a listener hears other rooms at the requested gains, never its own voice,
//! and without clicks.

use crate::common::Chance;
use crate::stage::field::{Field, LOUD, TONES_HZ, at, level_db, steepest};
use crate::stage::{Tap, tone};
use mixer::codec::opus::OpusEncoder;
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::mix::bus::Base;
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::ParticipantId;

#[test]
fn monitor_hears_another_room_at_its_gain_and_never_its_own_voice() {
    let mut field = Field::new(1);
    for (room, hz) in TONES_HZ.into_iter().enumerate() {
        field.room(0, RoomSettings::default());
        field.join(room, room as u32 + 1, tone(hz, LOUD));
        field.join(room, room as u32 + 11, |_| 0.0);
    }
    field.monitor(0, 1, &[(1, at(0.0, 0)), (2, at(-6.0, 0))]);
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
    // The mixes of all other participants are unchanged.
    assert_eq!(field.named(11), [1]);
    assert_eq!(field.named(12), [2]);
    assert!(level_db(&field.heard_lately(12, 100), TONES_HZ[0]) < -90.0);
    assert_eq!(field.refused(), 0);
}

#[test]
fn linked_rooms_hear_each_other_and_no_talker_hears_itself() {
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
fn listener_of_the_local_bus_never_hears_linked_rooms() {
    let mut field = Field::new(1);
    for (room, hz) in TONES_HZ.into_iter().enumerate().take(2) {
        field.room(0, RoomSettings::default());
        field.join(room, room as u32 + 1, tone(hz, LOUD));
    }
    for (id, base) in [(10, Base::Local), (11, Base::Total)] {
        let tap = Box::new(Tap(field.log.clone()));
        field.join_base(0, id, base, tap);
    }
    let hears = |field: &Field, id: u32, linked: bool| {
        let heard = field.heard_lately(id, 50);
        let own_db = level_db(&heard, TONES_HZ[0]);
        assert!(own_db.abs() < 0.01, "own room at {own_db:.2} dB");
        let linked_db = level_db(&heard, TONES_HZ[1]);
        match linked {
            true => assert!(linked_db.abs() < 0.01, "linked room at {linked_db:.2} dB"),
            false => assert!(linked_db < -90.0, "linked room at {linked_db:.1} dB"),
        }
        let named: &[u32] = if linked { &[1, 2] } else { &[1] };
        assert_eq!(field.named(id), named);
    };
    field.set_links(0, &[1]);
    field.turns(100);
    hears(&field, 10, false);
    hears(&field, 11, true);
    field.set_links(0, &[]);
    field.turns(100);
    hears(&field, 10, false);
    hears(&field, 11, false);
    field.set_links(0, &[1]);
    field.turns(100);
    hears(&field, 10, false);
    hears(&field, 11, true);
    assert_eq!(field.refused(), 0);
}

#[test]
fn listeners_of_different_buses_share_no_stream() {
    let encodes = |bases: [Base; 2]| {
        let mut field = Field::new(1);
        let room = field.room(0, RoomSettings::default());
        field.join(room, 1, tone(TONES_HZ[0], LOUD));
        for (id, base) in (10..).zip(bases) {
            let encoder = Box::new(OpusEncoder::new(&field.encoding(room, false)));
            field.join_base(room, id, base, encoder);
        }
        field.turns(100);
        let before = field.mixers[0].engine.stats().encodes_total;
        field.turns(50);
        // The talker's own stream is silent, so it takes no encode.
        field.mixers[0].engine.stats().encodes_total - before
    };
    assert_eq!(encodes([Base::Total, Base::Total]), 50);
    assert_eq!(encodes([Base::Local, Base::Local]), 50);
    assert_eq!(encodes([Base::Local, Base::Total]), 100);
}

#[test]
fn monitor_of_higher_priority_ducks_a_lower_one_without_a_click() {
    let hz = 925.0;
    let mut field = Field::new(1);
    for _ in 0..3 {
        field.room(0, RoomSettings::default());
    }
    field.join(0, 1, |_| 0.0);
    field.join(1, 2, tone(hz, LOUD));
    // A tone too low for its steps to count as clicks.
    let mut murmur = tone(40.0, 0.02);
    field.join(2, 3, move |sample| match sample / 48_000 % 2 {
        1 => murmur(sample),
        _ => 0.0,
    });
    field.monitor(0, 1, &[(1, at(0.0, 0)), (2, at(0.0, 5))]);
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
fn ducking_ends_while_the_room_sleeps() {
    let mut field = Field::new(1);
    field.room(0, RoomSettings::default());
    field.room(0, RoomSettings::default());
    // The only member of its room, which sleeps as soon as the member stops talking.
    field.join(0, 1, tone(541.9, LOUD));
    let shared = field.talkers[0].1.shared.clone();
    shared.settings.set_permit(Permit::Held);
    let monitor_change = field.monitor_change(0, at(0.0, 5), &[(1, at(0.0, 0))]);
    field.apply(0, Command::SetMonitors(ParticipantId(1), monitor_change));
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
fn changing_monitors_and_links_makes_no_click() {
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
            field.monitor(0, 1, &others);
        }
        if turn % 50 == 20 {
            field.link(0, 1 + turn / 50 % 2);
        }
    }
    // Four tones at most: the home room's, two monitored, and a link that repeats one of them.
    let steepest = steepest(&field.heard(1), hz, 4.0 * LOUD);
    assert!(steepest < 1.1, "{steepest}");
    assert_eq!(field.refused(), 0);
}

#[test]
fn monitor_hears_every_sample_once_at_any_tick_and_phase_and_on_any_mixer() {
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
        // Rooms created before these two shift their phases.
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
            // The home room moves its phase to the packets of this talker.
            field.join(home, 3, tone(40.0, 0.01));
        }
        field.monitor(home, 1, &[(other, at(0.0, 0))]);
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
fn monitor_hears_no_click_when_the_other_mixer_falls_behind() {
    // This frequency crosses zero at no tick boundary.
    let hz = 931.7;
    let mut field = Field::new(2);
    let home = field.room(0, RoomSettings::default());
    let other = field.room(1, RoomSettings::default());
    field.join(home, 1, |_| 0.0);
    field.join(other, 2, tone(hz, LOUD));
    field.monitor(home, 1, &[(other, at(0.0, 0))]);
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
fn sleeping_room_wakes_for_a_monitored_room_and_sleeps_again() {
    let mut field = Field::new(1);
    let home = field.room(0, RoomSettings::default());
    let other = field.room(0, RoomSettings::default());
    field.join(home, 1, |_| 0.0);
    field.monitor(home, 1, &[(other, at(0.0, 0))]);
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
    // All of the tone except the ramps at its ends.
    assert!((47_800..=48_000).contains(&sounding), "{sounding}");

    field.turns(200);
    let ticks = field.mixers[0].engine.stats().ticks_total;
    field.talkers.clear();
    field.turns(200);
    let ticks_more = field.mixers[0].engine.stats().ticks_total - ticks;
    assert!(ticks_more < 100, "{ticks_more}");
}

#[test]
fn monitor_hears_a_stereo_room_in_mono_and_a_mono_room_in_stereo() {
    let mut field = Field::new(1);
    let stereo = RoomSettings {
        layout: Layout::Stereo,
        ..RoomSettings::default()
    };
    let speech = field.room(0, RoomSettings::default());
    let music = field.room(0, stereo);
    field.join(speech, 1, tone(541.9, LOUD));
    // The source yields interleaved samples, so each channel carries the tone at a different pitch.
    field.join(music, 2, tone(823.7, LOUD));
    field.monitor(speech, 1, &[(music, at(0.0, 0))]);
    field.monitor(music, 2, &[(speech, at(0.0, 0))]);
    field.turns(100);
    assert_eq!(field.named(1), [2]);
    assert_eq!(field.named(2), [1]);
    let heard = field.heard_lately(2, 100);
    let left: Vec<f32> = heard.iter().step_by(2).copied().collect();
    assert!(level_db(&left, 541.9).abs() < 0.1);
    assert_eq!(field.refused(), 0);
}
