//! The mixer thread itself, links, clock and wake-up included, neither allocates nor frees: counted
//! in `malloc` and `free`, over ten thousand ticks with people coming and going.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

#[path = "../mixer/tests/counting/mod.rs"]
mod counting;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use mixer::codec::Encode;
use mixer::codec::opus::OpusEncoder;
use mixer::command::{Command, Shared};
use mixer::format::{Layout, TickLength};
use mixer::participant::{Participant, ParticipantConfig};
use mixer::profile::{Profile, ReceiverLimits, Recipe};
use mixer::room::{Room, RoomSettings};
use mixer::{Packet, ParticipantId, Payload, RoomId, RtpTime, Seq};
use mixminus::audio::{self, Audio, AudioConfig};
use mixminus::clock;
use mixminus::links::{Inbound, Outbound, PACKETS_IN, PACKETS_OUT};
use rustix::event::{EventfdFlags, eventfd};

/// Twenty-five rooms of 50 ticks a second: ten thousand ticks in eight seconds.
const ROOMS: u32 = 25;
const TICKS: u64 = 10_000;

#[test]
fn ten_thousand_ticks_of_the_mixer_thread_neither_allocate_nor_free() {
    watch_an_allocating_thread();
    let house = House::new();
    let voice = voice();
    for room in 0..ROOMS {
        house.send(Command::AddRoom(Box::new(Room::new(
            RoomId(room),
            RoomSettings::default(),
            8,
        ))));
        house.join(room, 0);
        house.join(room, 1);
    }
    // Everything is where it belongs before counting begins.
    house.talk(&voice, 0..25);
    let thread = house.thread();
    counting::watch(thread);
    let before = house.ticks();
    let mut packet = 25;
    let mut changes = 0u32;
    while house.ticks() - before < TICKS {
        house.talk(&voice, packet..packet + 5);
        packet += 5;
        // Somebody comes to each of a few rooms, and whoever came before leaves.
        for room in 0..5 {
            let room = (changes + room) % ROOMS;
            house.join(room, 10 + changes);
            if changes >= 10 {
                house.send(Command::RemoveParticipant(id(room, 10 + changes - 5)));
            }
        }
        changes += 5;
    }
    let calls = counting::watched();
    let ticks = house.ticks() - before;
    println!("{ticks} ticks, {changes} joins, {calls} calls of malloc or free");
    assert_eq!(calls, 0, "in {ticks} ticks with {changes} joins");
    assert!(house.sent.try_iter().count() > 0, "it was at work");
    house.audio.stop().expect("the mixer ends well");
}

/// The watch works: a thread that allocates is noticed.
fn watch_an_allocating_thread() {
    let (tell, told) = bounded(1);
    let (go, gone) = bounded::<()>(1);
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get())
            .expect("somebody listens");
        gone.recv().expect("somebody speaks");
        drop(std::hint::black_box(vec![1u8; 4_096]));
    });
    counting::watch(told.recv().expect("it tells"));
    go.send(()).expect("it listens");
    thread.join().expect("it does not panic");
    assert!(counting::watched() >= 2);
}

/// A running mixer with a network that is this test.
struct House {
    audio: Audio,
    to_mixer: Sender<Inbound>,
    sent: Receiver<Outbound>,
}

impl House {
    fn new() -> House {
        let (to_mixer, from_net) = bounded(PACKETS_IN);
        let (to_net, sent) = bounded(PACKETS_OUT);
        let wake = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
        let audio = audio::start(AudioConfig::default(), to_net, from_net, wake).expect("threads");
        House {
            audio,
            to_mixer,
            sent,
        }
    }

    fn send(&self, command: Command) {
        assert!(
            self.audio.handle().send(command).is_ok(),
            "the link has room"
        );
    }

    fn ticks(&self) -> u64 {
        self.audio
            .handle()
            .metrics()
            .room_ticks
            .load(Ordering::Relaxed)
    }

    fn join(&self, room: u32, seat: u32) {
        let config = ParticipantConfig {
            id: id(room, seat),
            talks: true,
            listens: Some(recipe()),
            layout: Layout::Mono,
            tick: TickLength::Ms20,
        };
        let participant = Box::new(Participant::new(config, Arc::new(Shared::default())));
        self.send(Command::AddParticipant {
            room: RoomId(room),
            participant,
        });
    }

    /// Two talkers in every room, in real time.
    fn talk(&self, voice: &[Payload], packets: std::ops::Range<u64>) {
        for n in packets {
            let began = Instant::now();
            for talker in (0..ROOMS).flat_map(|room| [id(room, 0), id(room, 1)]) {
                let packet = Packet {
                    seq: Seq(n as u16),
                    time: RtpTime((n * 960) as u32),
                    ssrc: 1,
                    marker: n == 0,
                    level: None,
                    payload: voice[n as usize % voice.len()],
                };
                let inbound = Inbound {
                    from: talker,
                    arrival: clock::now(),
                    packet,
                };
                self.to_mixer.send(inbound).expect("the mixer runs");
            }
            while self.sent.try_recv().is_ok() {}
            std::thread::sleep(Duration::from_millis(20).saturating_sub(began.elapsed()));
        }
    }

    /// The mixer thread's number in the system.
    fn thread(&self) -> i32 {
        let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
        let named = |name: &str| {
            let comm = format!("/proc/self/task/{name}/comm");
            std::fs::read_to_string(comm).is_ok_and(|comm| comm.trim() == "mixer")
        };
        tasks
            .filter_map(|task| task.ok()?.file_name().into_string().ok())
            .find(|name| named(name))
            .and_then(|name| name.parse().ok())
            .expect("a thread of that name")
    }
}

fn id(room: u32, seat: u32) -> ParticipantId {
    ParticipantId(1 + room + seat * ROOMS)
}

fn recipe() -> Recipe {
    Recipe::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20)
}

/// A second of a tone that comes and goes, so that gates and encoders are at work.
fn voice() -> Vec<Payload> {
    let mut encoder = OpusEncoder::new(&recipe());
    (0..50u32)
        .map(|packet| {
            let pcm: Vec<f32> = (packet * 960..(packet + 1) * 960)
                .map(|at| {
                    let loud = if packet % 25 < 15 { 0.3 } else { 0.0 };
                    loud * (f64::from(at) * 0.0709).sin() as f32
                })
                .collect();
            let mut payload = Payload::EMPTY;
            encoder.encode(&pcm, &mut payload).expect("20 ms");
            payload
        })
        .collect()
}
