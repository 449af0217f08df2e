//! Moves: a participant changes rooms, even across mixers, and its client notices only that it
//! hears other participants.
#![allow(
    clippy::disallowed_types,
    reason = "a tap may hold a channel; the engine may not"
)]

use crate::stage::field::{Field, LOUD, TONES_HZ, level_db};
use crate::stage::tone;
use mixer::ParticipantId;
use mixer::engine::Command;
use mixer::output::{Event, OutputStream};
use mixer::room::{Participant, RoomSettings};

/// Builds two rooms on two mixers: participants 1 and 2 talk in the first, participant 3 in the
/// second. All codecs are lossless.
fn two_rooms() -> Field {
    let mut field = Field::new(2);
    for mixer in 0..2 {
        field.room(mixer, RoomSettings::default());
    }
    field.join(0, 1, tone(TONES_HZ[0], LOUD));
    field.join(0, 2, tone(TONES_HZ[1], LOUD));
    field.join(1, 3, tone(TONES_HZ[2], LOUD));
    field.turns(100);
    field
}

/// Detaches a participant and returns its box.
fn detach(
    field: &mut Field,
    room: usize,
    id: u32,
    stream: Option<Box<OutputStream>>,
) -> Box<Participant> {
    let mixer = field.rooms[room].mixer;
    let participant = ParticipantId(id);
    field.apply(
        mixer,
        Command::Detach {
            participant,
            stream,
        },
    );
    for _ in 0..24 {
        let retired = &mut field.mixers[mixer].sink.retired;
        if let Some(at) = retired.iter().position(|it| it.is_moving()) {
            let mut participant = retired
                .remove(at)
                .into_box::<Participant>()
                .expect("a participant");
            participant.leave_room();
            return participant;
        }
        field.step();
    }
    panic!("it does not come back");
}

/// Adds a detached participant to another room and routes its client's packets to that room's
/// mixer.
fn attach(field: &mut Field, room: usize, participant: Box<Participant>) {
    let (mixer, id) = (field.rooms[room].mixer, participant.id());
    let room = field.rooms[room].id;
    field.apply(mixer, Command::AddParticipant { room, participant });
    for (at, talker) in &mut field.talkers {
        if talker.id == id {
            *at = mixer;
        }
    }
}

#[test]
fn moved_participant_is_heard_in_its_new_room_and_not_in_the_old_one() {
    let mut field = two_rooms();
    let mover = detach(&mut field, 0, 1, None);
    attach(&mut field, 1, mover);
    field.turns(100);
    assert_eq!(field.refused(), 0);
    let levels = |field: &Field, id: u32| {
        TONES_HZ[..3]
            .iter()
            .map(|hz| level_db(&field.heard_lately(id, 40), *hz).round())
            .collect::<Vec<_>>()
    };
    assert_eq!(levels(&field, 3)[0], 0.0, "heard where it is now");
    assert_eq!(levels(&field, 1)[2], 0.0, "hears who is there");
    assert!(levels(&field, 1)[1] < -90.0, "and nobody else");
    // Participant 2 is alone now, so its stream has ended.
    let at_move = field.heard(2).len();
    field.turns(50);
    assert_eq!(field.heard(2).len(), at_move);
}

#[test]
fn moves_never_set_media_time_back_or_skip_more_than_two_ticks() {
    let mut field = two_rooms();
    for turn in 0..6 {
        let (from, to) = (turn % 2, (turn + 1) % 2);
        let mover = detach(&mut field, from, 1, None);
        attach(&mut field, to, mover);
        field.turns(17 + turn);
    }
    let mut packets: Vec<(u64, u32)> = Vec::new();
    for mixer in &field.mixers {
        let own = mixer.sink.packets.iter().filter(|(to, _)| to.0 == 1);
        packets.extend(own.map(|(_, packet)| (field.log.made(packet), packet.time.0)));
    }
    // Sort by the order of encoding.
    packets.sort_unstable();
    assert!(packets.len() > 150, "{} packets", packets.len());
    let steps = packets
        .windows(2)
        .map(|pair| pair[1].1.wrapping_sub(pair[0].1));
    assert!(
        steps.clone().all(|step| (960..=3 * 960).contains(&step)),
        "{:?}",
        steps.collect::<Vec<_>>()
    );
}

#[test]
fn talk_spurt_of_a_participant_continues_in_the_room_it_moves_to() {
    let mut field = two_rooms();
    let before = field.heard(3).len();
    let mover = detach(&mut field, 0, 1, None);
    attach(&mut field, 1, mover);
    field.turns(20);
    let events = &field.mixers[1].sink.events;
    let talks = events
        .iter()
        .any(|event| matches!(event, Event::Talking { participant, .. } if participant.0 == 1));
    assert!(talks, "{events:?}");
    // Participant 3 hears the moved participant within three ticks.
    let heard = field.heard(3)[before..].to_vec();
    assert!(level_db(&heard[heard.len() - 12 * 960..], TONES_HZ[0]).abs() < 0.1);
}

#[test]
fn listen_only_group_member_moves_with_a_spare_stream() {
    let mut field = two_rooms();
    for id in [10, 11, 12] {
        field.join_ear(0, id);
    }
    field.turns(60);
    let participant = ParticipantId(11);
    let refused = field.refused();
    field.apply(
        0,
        Command::Detach {
            participant,
            stream: None,
        },
    );
    assert_eq!(
        field.refused(),
        refused + 1,
        "it has no stream of its own to take along"
    );
    let encoding = field.encoding(0, false);
    let spare = Box::new(OutputStream::new(encoding, field.rooms[0].settings.tick));
    let mover = detach(&mut field, 0, 11, Some(spare));
    attach(&mut field, 1, mover);
    field.turns(50);
    assert_eq!(field.named(11), [3]);
    assert_eq!(field.named(10), [1, 2]);
    assert_eq!(field.refused(), refused + 1);
}

#[test]
fn participant_is_refused_by_a_room_of_another_tick_length() {
    let mut field = two_rooms();
    let settings = RoomSettings {
        tick: mixer::format::TickLength::Ms10,
        ..RoomSettings::default()
    };
    let other = field.room(1, settings);
    let mover = detach(&mut field, 0, 1, None);
    assert!(!mover.fits(settings.layout, settings.tick));
    attach(&mut field, other, mover);
    assert_eq!(field.refused(), 1);
    assert!(
        field.mixers[1]
            .sink
            .retired
            .iter()
            .any(|it| it.is::<Participant>())
    );
}
