use std::sync::Arc;

use super::*;
use crate::engine::Command;
use crate::format::{Layout, SLOT, TickLength};
use crate::output::Destination;
use crate::output::Refused;
use crate::packet::OutPacket;
use crate::room::Members;
use crate::room::RoomSettings;
use crate::room::{Participant, ParticipantConfig};
use crate::room::{Shared, Weakness};
use crate::schedule::{Job, WorkPool};

#[derive(Default)]
struct Log {
    packets: Vec<(ParticipantId, RtpTime)>,
    events: Vec<Event>,
    retired: Vec<Retired>,
}

impl WorkPool for Log {}

impl Sink for Log {
    fn packet(&mut self, _: Destination, to: &[ParticipantId], packet: &OutPacket) {
        self.packets.extend(to.iter().map(|to| (*to, packet.time)));
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn retired(&mut self, retired: Retired) {
        self.retired.push(retired);
    }
}

struct Bench {
    engine: Engine,
    log: Log,
}

impl Bench {
    fn new(rooms: usize, participants: usize) -> Bench {
        let limits = EngineLimits {
            rooms,
            participants,
        };
        Bench {
            engine: Engine::new(limits),
            log: Log::default(),
        }
    }

    fn apply(&mut self, command: Command) {
        self.engine.apply(command, &mut self.log);
    }

    fn add_room(&mut self, id: u32, tick: TickLength, capacity: usize) {
        let settings = RoomSettings {
            tick,
            ..RoomSettings::default()
        };
        self.apply(Command::AddRoom(Box::new(Room::new(
            RoomId(id),
            settings,
            capacity,
        ))));
    }

    fn join(&mut self, room: u32, id: u32, tick: TickLength) {
        use crate::codec::{Encoding, Profile, ReceiverLimits};
        let config = ParticipantConfig {
            id: ParticipantId(id),
            talks: true,
            listens: Some(Encoding::new(
                Profile::LowDelay,
                &ReceiverLimits::default(),
                tick,
            )),
            layout: Layout::Mono,
            tick,
        };
        self.apply(Command::AddParticipant {
            room: RoomId(room),
            participant: Box::new(Participant::new(config, Arc::new(Shared::default()))),
        });
    }

    fn run(&mut self, slots: core::ops::Range<u64>) {
        for slot in slots {
            let now = Time::from_us(slot * SLOT.as_micros() as u64);
            self.engine.run_slot(slot, now, &mut self.log);
        }
    }
}

#[test]
fn engine_spreads_rooms_evenly_over_the_slots() {
    let mut bench = Bench::new(16, 16);
    for room in 0..8 {
        bench.add_room(room, TickLength::Ms20, 2);
        bench.join(room, room + 1, TickLength::Ms20);
    }
    let loads = |bench: &Bench| -> Vec<usize> {
        let phases = 0..8;
        phases
            .map(|phase| bench.engine.loads.of(phase, TickLength::Ms20))
            .collect()
    };
    assert_eq!(loads(&bench), [2; 8]);
    bench.add_room(8, TickLength::Ms10, 2);
    assert_eq!(loads(&bench).iter().sum::<usize>(), 18);
    bench.apply(Command::RemoveRoom(RoomId(3)));
    bench.apply(Command::RemoveRoom(RoomId(8)));
    let emptied = loads(&bench).iter().position(|&load| load == 0).unwrap();
    bench.add_room(9, TickLength::Ms20, 2);
    assert_eq!(loads(&bench)[emptied], 1);
}

#[test]
fn room_ticks_once_per_tick_length_and_rtp_time_follows_the_slots() {
    for tick in [TickLength::Ms10, TickLength::Ms20] {
        let mut bench = Bench::new(1, 1);
        bench.add_room(1, tick, 1);
        bench.join(1, 5, tick);
        bench.run(800..1_120);
        assert_eq!(bench.engine.stats().ticks_total, 320 / tick.slots() as u64);
        // Silence is sent, from half a second after the participant has joined.
        let times: Vec<u32> = bench.log.packets.iter().map(|(_, time)| time.0).collect();
        assert_eq!(times[0] % 120, 0);
        assert_eq!(times[1] - times[0], tick.samples() as u32);
        // 80 slots are skipped: media time includes them.
        bench.run(1_200..1_280);
        let last = bench.log.packets.last().unwrap().1;
        assert!(last.0 >= 1_200 * 120);
    }
}

#[test]
fn empty_room_does_not_tick() {
    let mut bench = Bench::new(1, 1);
    bench.add_room(1, TickLength::Ms20, 1);
    bench.run(0..80);
    assert_eq!(bench.engine.stats().ticks_total, 0);
}

#[test]
fn engine_retires_only_the_room_that_panics_in_its_tick() {
    let mut bench = Bench::new(4, 8);
    for room in 1..=3 {
        bench.add_room(room, TickLength::Ms20, 2);
        bench.join(room, room * 10, TickLength::Ms20);
    }
    bench.apply(Command::Break(RoomId(2), Weakness::Tick));
    bench.run(0..80);
    assert_eq!(bench.log.events, [Event::RoomFault { room: RoomId(2) }]);
    assert!(
        matches!(&bench.log.retired[..], [room] if room.get::<Room>().map(Room::id) == Some(RoomId(2)))
    );
    assert_eq!(bench.engine.stats().rooms, 2);
    assert_eq!(bench.engine.stats().participants, 2);
    assert_eq!(bench.engine.stats().ticks_total, 20);
    // The id is free again.
    bench.add_room(2, TickLength::Ms20, 2);
    bench.join(2, 20, TickLength::Ms20);
    assert_eq!(bench.engine.stats().participants, 3);
}

/// Makes room 2 panic in the operation that `weakness` names.
fn strain(bench: &mut Bench, weakness: Weakness) {
    bench.apply(Command::Break(RoomId(2), weakness));
    let index = bench.engine.entry_of[&RoomId(2)];
    match weakness {
        Weakness::Tick => {}
        Weakness::Packet => {
            let packet = Packet {
                seq: crate::Seq(1),
                time: RtpTime(0),
                ssrc: 1,
                marker: true,
                level: None,
                payload: crate::Payload::copy_from(&[0xf8, 0xff, 0xfe]).unwrap(),
            };
            let pushed = bench
                .engine
                .push(ParticipantId(20), &packet, Time::from_us(0));
            assert_eq!(pushed, None);
        }
        Weakness::Command => {
            bench.apply(Command::ConfigureRoom(RoomId(2), RoomSettings::default()));
        }
        Weakness::Job => {
            let mut job = Job::empty();
            (job.label.participant, job.label.room) = (ParticipantId(20), RoomId(2));
            bench.engine.jobs_out += 1;
            bench.engine.take_back(job, &mut bench.log);
        }
        Weakness::Call => {
            let entry = bench.engine.entries[index].as_mut().unwrap();
            (entry.asleep, entry.dozes) = (Some(0), true);
        }
    }
}

#[test]
fn engine_retires_only_the_room_that_panics_in_any_operation() {
    for weakness in [
        Weakness::Tick,
        Weakness::Packet,
        Weakness::Command,
        Weakness::Job,
        Weakness::Call,
    ] {
        let mut bench = Bench::new(4, 8);
        for room in 1..=3 {
            bench.add_room(room, TickLength::Ms20, 2);
            bench.join(room, room * 10, TickLength::Ms20);
        }
        let index = bench.engine.entry_of[&RoomId(2)];
        let telemetry = |entry: &mut RoomEntry| entry.enter(|room| room.telemetry().clone());
        let telemetry = telemetry(bench.engine.entries[index].as_mut().unwrap()).unwrap();
        strain(&mut bench, weakness);
        assert!(!telemetry.has_failed());
        bench.run(0..80);
        assert!(telemetry.has_failed(), "{weakness:?}");
        assert_eq!(
            bench.log.events,
            [Event::RoomFault { room: RoomId(2) }],
            "{weakness:?}"
        );
        let stats = bench.engine.stats();
        assert_eq!((stats.rooms, stats.participants), (2, 2), "{weakness:?}");
        assert_eq!(stats.ticks_total, 20, "{weakness:?}: the others go on");
        let loads = (0..8).map(|phase| bench.engine.loads.of(phase, TickLength::Ms20));
        assert_eq!(loads.sum::<usize>(), 4, "{weakness:?}");
        bench.add_room(2, TickLength::Ms20, 2);
        bench.join(2, 20, TickLength::Ms20);
        assert_eq!(bench.engine.stats().participants, 3, "{weakness:?}");
    }
}

#[test]
fn engine_reports_refused_additions_as_events_and_in_telemetry() {
    let mut bench = Bench::new(1, 2);
    bench.join(1, 5, TickLength::Ms20);
    let refused = Event::Refused(Refused::Participant(ParticipantId(5)));
    assert_eq!(bench.log.events, [refused]);
    let retired = bench.log.retired.pop().expect("it comes back");
    let participant = retired.get::<Participant>().expect("the participant");
    assert!(participant.shared.telemetry.was_refused());
    bench.log.events.clear();
    bench.add_room(1, TickLength::Ms20, 1);
    bench.add_room(2, TickLength::Ms20, 1);
    assert_eq!(bench.log.events, [Event::Refused(Refused::Room(RoomId(2)))]);
    let retired = bench.log.retired.pop().expect("it comes back");
    let room = retired.get::<Room>().expect("the room");
    assert!(room.telemetry().has_failed());
    bench.log.events.clear();
    // Commands that take something away report no refusal.
    bench.apply(Command::RemoveRoom(RoomId(2)));
    bench.apply(Command::RemoveParticipant(ParticipantId(5)));
    bench.apply(Command::Attend(ParticipantId(5)));
    assert_eq!(bench.log.events, []);
    assert_eq!(bench.engine.stats().refused_total, 5);
}

#[test]
fn engine_returns_every_box_it_has_no_place_for() {
    let mut bench = Bench::new(1, 2);
    bench.add_room(1, TickLength::Ms20, 1);
    bench.add_room(1, TickLength::Ms20, 1);
    bench.add_room(2, TickLength::Ms20, 1);
    assert_eq!(bench.log.retired.len(), 2, "one twice, one too many");
    bench.join(1, 5, TickLength::Ms10);
    assert_eq!(bench.log.retired.len(), 3, "built for another tick");
    bench.join(1, 5, TickLength::Ms20);
    bench.join(1, 6, TickLength::Ms20);
    assert_eq!(bench.log.retired.len(), 4, "no place");
    bench.apply(Command::Reserve {
        room: RoomId(1),
        members: Box::new(Members::with_capacity(4)),
    });
    bench.join(1, 5, TickLength::Ms20);
    assert_eq!(bench.log.retired.len(), 6, "the old list, and an id twice");
    bench.join(1, 6, TickLength::Ms20);
    bench.join(1, 7, TickLength::Ms20);
    assert_eq!(bench.log.retired.len(), 7, "one too many for the engine");
    bench.join(9, 8, TickLength::Ms20);
    bench.apply(Command::RemoveParticipant(ParticipantId(99)));
    bench.apply(Command::RemoveRoom(RoomId(99)));
    assert_eq!(bench.log.retired.len(), 8, "no such room");
    assert_eq!(bench.engine.stats().refused_total, 9);
}

#[test]
fn engine_finds_the_remaining_members_after_others_leave() {
    let mut bench = Bench::new(1, 4);
    bench.add_room(1, TickLength::Ms20, 4);
    for id in 1..=4 {
        bench.join(1, id, TickLength::Ms20);
    }
    for id in [1, 3] {
        bench.apply(Command::RemoveParticipant(ParticipantId(id)));
    }
    for id in [2, 4] {
        let location = bench.engine.location_of[&ParticipantId(id)];
        let entry = bench.engine.entries[location.entry].as_mut().unwrap();
        let at = entry.enter(|room| room.members().at(location.member));
        assert_eq!(at, Ok(Some(ParticipantId(id))));
    }
    assert_eq!(bench.engine.loads.of(0, TickLength::Ms20), 3);
}
