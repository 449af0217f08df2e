//! Listener groups with monitors: listeners with equal monitors share one encode, and listeners
//! with unique monitors do not disturb the groups.

use crate::stage::field::{Field, LOUD, TONES_HZ, at, level_db, steepest};
use crate::stage::tone;
use mixer::engine::Command;
use mixer::format::TickLength;
use mixer::monitor::{MonitorChange, MonitorLevel};
use mixer::output::{Event, OutputStream};
use mixer::room::RoomSettings;
use mixer::units::ParticipantId;

#[test]
fn hundred_listeners_with_equal_monitors_share_one_encode() {
    let mut field = Field::new(1);
    for (room, hz) in TONES_HZ.into_iter().take(3).enumerate() {
        field.room(0, RoomSettings::default());
        if room > 0 {
            field.join(room, room as u32 + 1, tone(hz, LOUD));
        }
    }
    for id in 100..200 {
        field.join_ear(0, id);
        let mut monitor_change = field.monitor_change(
            0,
            MonitorLevel::default(),
            &[(1, at(0.0, 0)), (2, at(-6.0, 1))],
        );
        // Before grouping each member has its own stream; once grouped, it needs a new stream to
        // change monitors.
        monitor_change.stream = Some(Box::new(OutputStream::new(
            field.encoding(0, false),
            TickLength::Ms20,
        )));
        field.apply(0, Command::SetMonitors(ParticipantId(id), monitor_change));
    }
    field.turns(100);
    // Each talker is alone in its room, so nothing is encoded for the talkers.
    let before = field.encodes();
    field.turns(50);
    assert_eq!(field.encodes() - before, 50, "one encode a tick");
    assert_eq!(field.named(150), [2, 3]);
    let sent = field.mixers[0].engine.stats().packets_total;
    field.turns(10);
    assert_eq!(field.mixers[0].engine.stats().packets_total - sent, 1_000);

    // Half of the listeners change their monitors while both talkers talk: two groups.
    for id in 100..150 {
        let mut monitor_change =
            field.monitor_change(0, MonitorLevel::default(), &[(2, at(0.0, 0))]);
        monitor_change.stream = Some(Box::new(OutputStream::new(
            field.encoding(0, false),
            TickLength::Ms20,
        )));
        field.apply(0, Command::SetMonitors(ParticipantId(id), monitor_change));
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

/// Adds listeners to room 0 that each monitor room 1 at a unique gain.
fn join_loners(field: &mut Field, ids: std::ops::Range<u32>) {
    for id in ids {
        field.join_ear(0, id);
        field.monitor(0, id, &[(1, at(-0.1 * id as f32, 0))]);
    }
}

#[test]
fn listeners_with_unique_monitors_do_not_break_up_listener_groups() {
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
    // Each talker is alone in its room, so nothing is encoded for the talkers.
    let encodes = (field.encodes() - before) / 50;
    assert_eq!(
        encodes,
        40 + 1,
        "one for each who is alone, one for the rest"
    );
    // A listener with equal monitors shares the stream; once it leaves, the first continues alone.
    field.join_ear(0, 9);
    field.monitor(0, 9, &[(1, at(-1.0, 0))]);
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
fn pausing_talker_keeps_its_stream_among_many_listeners_with_unique_monitors() {
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
        assert!(!field.named(4).contains(&2), "the talker pauses");
        mute(&field, false);
        // Three talkers, two silent members, and one stream for each listener with unique monitors.
        assert_eq!((field.encodes() - before) / 6, 3 + 1 + 60);
        field.turns(30);
        assert!(field.named(4).contains(&2));
    }
}

#[test]
fn monitors_of_a_listen_only_member_without_a_stream_are_refused() {
    let mut field = Field::new(1);
    field.room(0, RoomSettings::default());
    field.room(0, RoomSettings::default());
    field.join(1, 1, tone(541.9, LOUD));
    field.join(0, 2, tone(823.7, LOUD));
    for id in [10, 11] {
        field.join_ear(0, id);
    }
    field.turns(100);
    field.monitor(0, 11, &[(1, at(0.0, 0))]);
    assert_eq!(field.refused(), 1);
    let retired = field.mixers[0].sink.retired.last();
    let monitor_change = retired.as_ref().and_then(|it| it.get::<MonitorChange>());
    assert!(monitor_change.is_some_and(|monitor_change| monitor_change.monitors.is_some()));
    field.turns(50);
    assert_eq!(field.named(11), [2]);
}

#[test]
fn listener_group_with_monitors_goes_on_when_its_leader_leaves() {
    let hz = 925.0;
    let mut field = Field::new(1);
    let home = field.room(0, RoomSettings::default());
    let other = field.room(0, RoomSettings::default());
    field.join(other, 50, tone(hz, LOUD));
    for id in 1..=4 {
        field.join(home, id, |_| 0.0);
        field.monitor(home, id, &[(other, at(-6.0, 0))]);
    }
    field.turns(50);
    for id in 1..=3 {
        field.apply(0, Command::RemoveParticipant(ParticipantId(id)));
        field.turns(20);
    }
    let heard = field.heard_lately(4, 80);
    assert!((level_db(&heard[..76_800], hz) + 6.0).abs() < 0.05);
    assert!(steepest(&heard, hz, 0.5 * LOUD) < 1.05);
    field.monitor(home, 4, &[]);
    field.turns(150);
    assert!(field.heard_lately(4, 1).iter().all(|&sample| sample == 0.0));
    let events = &field.mixers[0].sink.events;
    assert!(
        !events
            .iter()
            .any(|it| matches!(it, Event::RoomFault { .. }))
    );
}
