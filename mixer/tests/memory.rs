//! What a participant costs in memory: everything that the engine, the room, libopus and the atomics
//! hold for one more of them.
#![cfg(all(feature = "opus", target_os = "linux", target_env = "gnu"))]
#![allow(clippy::disallowed_macros, reason = "a test may say what it measured")]

mod counting;
mod stage;

use std::sync::Arc;

use counting::bytes_kept_by;
use mixer::command::{Command, Event, Retired, Shared};
use mixer::engine::{Engine, EngineLimits, Sink};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::output::Destination;
use mixer::packet::OutPacket;
use mixer::participant::{Participant, ParticipantConfig};
use mixer::profile::Profile;
use mixer::room::{Room, RoomSettings};
use mixer::schedule::WorkPool;
use mixer::units::{ParticipantId, Time};
use stage::{ROOM, recipe};

/// Frees what is no longer needed, as the control side does.
struct Free;

impl WorkPool for Free {}

impl Sink for Free {
    fn packet(&mut self, _: Destination, _: &[ParticipantId], _: &OutPacket) {}

    fn event(&mut self, _: Event) {}

    fn retired(&mut self, retired: Retired) {
        drop(retired);
    }
}

/// Bytes of an engine with one room of the usual kind and so many in it, once all of them share one
/// stream.
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
                listens: Some(recipe(Profile::Voice)),
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

/// kB for one more.
fn each_kb(talks: bool, layout: Layout) -> f64 {
    let more = bytes_of(192, talks, layout) - bytes_of(64, talks, layout);
    more as f64 / 128.0 / 1e3
}

#[test]
fn who_only_listens_costs_little_and_who_talks_two_codecs_and_their_stores() {
    // Listen-only participants need no encoder of their own. An encoder is 32 kB, a decoder 18 and
    // the copy of it that guesses another 18, and what it decodes to 39. What the network's peer takes
    // comes on top.
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
fn what_is_given_back_is_not_counted() {
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
