//! Memory per participant: all bytes that the engine, the room, libopus and the atomics hold for
//! one more participant.
#![cfg(all(feature = "opus", target_os = "linux", target_env = "gnu"))]
#![allow(clippy::disallowed_macros, reason = "a test may say what it measured")]

mod counting;
mod stage;

use std::sync::Arc;

use counting::bytes_kept_by;
use mixer::codec::Profile;
use mixer::engine::{Command, Engine, EngineLimits, Sink};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::output::{Destination, Event, Retired};
use mixer::packet::OutPacket;
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::schedule::WorkPool;
use mixer::units::{ParticipantId, Time};
use stage::{ROOM, encoding};

/// A sink that frees retired boxes at once, as the control side does.
struct Free;

impl WorkPool for Free {}

impl Sink for Free {
    fn packet(&mut self, _: Destination, _: &[ParticipantId], _: &OutPacket) {}

    fn event(&mut self, _: Event) {}

    fn retired(&mut self, retired: Retired) {
        drop(retired);
    }
}

/// Bytes of an engine with one default room of `count` participants, once all share one stream.
fn bytes_of(count: u32, talks: bool, layout: Layout) -> i64 {
    let mut sink = Free;
    let participants = count as usize;
    let build = || {
        let mut engine = Engine::new(EngineLimits {
            rooms: 1,
            participants,
        });
        let settings = RoomSettings {
            layout,
            ..RoomSettings::default()
        };
        let room = Box::new(Room::new(ROOM, settings, participants));
        engine.apply(Command::AddRoom(room), &mut sink);
        for id in 1..=count {
            let config = ParticipantConfig {
                id: ParticipantId(id),
                talks,
                listens: Some(encoding(Profile::Voice)),
                layout,
                tick: TickLength::Ms20,
            };
            let participant = Participant::new(config, Arc::new(Shared::default()));
            let command = Command::AddParticipant {
                room: ROOM,
                participant: Box::new(participant),
            };
            engine.apply(command, &mut sink);
        }
        for slot in 400..800 {
            let now = Time::from_us(slot * SLOT.as_micros() as u64);
            engine.run_slot(slot, now, &mut sink);
        }
        engine
    };
    let (engine, bytes) = bytes_kept_by(build);
    assert_eq!(engine.stats().participants, participants);
    bytes
}

/// Kilobytes that each further participant costs.
fn each_kb(talks: bool, layout: Layout) -> f64 {
    let more = bytes_of(192, talks, layout) - bytes_of(64, talks, layout);
    more as f64 / 128.0 / 1e3
}

#[test]
fn listen_only_member_needs_at_most_2_kb_and_a_mono_talker_165_kb() {
    // Listen-only participants need no encoder. An encoder takes 32 kB, a decoder 18 kB, the
    // decoder's copy for predictions another 18 kB, and the queue of decoded PCM 39 kB. The network
    // peer's memory is not included.
    for (layout, talks, at_most_kb) in [
        (Layout::Mono, false, 2.0),
        (Layout::Mono, true, 165.0),
        (Layout::Stereo, true, 225.0),
    ] {
        let kb = each_kb(talks, layout);
        let role = if talks { "talks" } else { "only listens" };
        println!("{layout:?}, who {role}: {kb:.1} kB");
        assert!(kb <= at_most_kb, "{kb:.1} kB for one who {role}");
    }
}

#[test]
fn allocation_counter_excludes_freed_bytes() {
    let (kept, bytes) = bytes_kept_by(|| {
        drop(std::hint::black_box(vec![0u8; 50_000]));
        let mut grown = Vec::<u8>::with_capacity(10);
        grown.reserve_exact(10_000);
        grown
    });
    assert!((10_000..10_100).contains(&bytes), "{bytes}");
    let ((), bytes) = bytes_kept_by(|| drop(kept));
    assert!((-10_100..=-10_000).contains(&bytes), "{bytes}");
}
