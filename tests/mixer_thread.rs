//! The mixer threads neither allocate nor free memory, including their rings, clock, wake-ups and
//! the encodes that they do for each other: calls of `malloc` and `free` are counted over ten
//! thousand ticks while participants join and leave.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

#[path = "../mixer/tests/counting/mod.rs"]
mod counting;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::room::{Members, Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::{Packet, ParticipantId, Payload, RoomId, RtpTime, Seq};
use mixminus::audio::{self, Audio, AudioConfig, MixerControl, MixerMetrics, Wakes};
use mixminus::clock;
use mixminus::queues::{self, Inbound, NetworkEnds, RETIRED};
use rustix::event::{EventfdFlags, eventfd};

/// Twenty-five rooms with 50 ticks a second, alternately on the two mixers: ten thousand ticks in
/// eight seconds.
const ROOMS: u32 = 25;
const TICKS: u64 = 10_000;
const MIXERS: u32 = 2;

/// The number of boxes that are retired at one go: ten times what the retired ring holds.
const FLOOD: usize = 10 * RETIRED;

/// The id of one more room, with so many talkers that its mixer asks the other mixer to encode for
/// it.
const CROWD: RoomId = RoomId(1_000);
const CROWD_SIZE: u32 = 12;

#[test]
fn mixer_threads_neither_allocate_nor_free_in_ten_thousand_ticks() {
    counter_notices_an_allocating_thread();
    let mut house = MixerHarness::new();
    let voice = voice();
    for room in 0..ROOMS {
        house.add_room(mixer_of(room), RoomId(room), 8);
        house.join(room, 0);
        house.join(room, 1);
    }
    house.add_room(0, CROWD, CROWD_SIZE as usize);
    for talker in 0..CROWD_SIZE {
        house.enter(0, CROWD, in_crowd(talker));
    }
    // Everything that the mixers allocate once is allocated before counting begins.
    house.talk(&voice, 0..25);
    let threads = [0, 1].map(|mixer| thread(&format!("mixer-{mixer}")));
    counting::watch(&threads);
    let helped_before = house.helped();
    let before = house.ticks();
    let mut packet = 25;
    let mut changes = 0u32;
    while house.ticks() - before < TICKS {
        house.talk(&voice, packet..packet + 5);
        packet += 5;
        // In each of five rooms a participant joins, and the participant that joined there last
        // leaves.
        for room in 0..5 {
            let room = (changes + room) % ROOMS;
            house.join(room, 10 + changes);
            if changes >= ROOMS {
                let gone = id(room, 10 + changes - ROOMS);
                house.send(mixer_of(room), Command::RemoveParticipant(gone));
            }
        }
        changes += 5;
    }
    house.flood();
    let calls = counting::watched();
    let ticks = house.ticks() - before;
    let helped = house.helped() - helped_before;
    println!(
        "{ticks} ticks, {changes} joins, {helped} encodes for the other, {calls} calls of malloc or free"
    );
    assert_eq!(calls, 0, "in {ticks} ticks with {changes} joins");
    assert!(house.discard() > 0, "they were at work");
    assert!(helped > 0, "one helped the other");
    house.audio.stop().expect("the mixer ends well");
}

/// Checks that the allocation counter works: a thread that allocates is noticed.
fn counter_notices_an_allocating_thread() {
    let (tell, told) = mpsc::channel();
    let (go, gone) = mpsc::channel::<()>();
    let thread = std::thread::spawn(move || {
        tell.send(rustix::thread::gettid().as_raw_nonzero().get())
            .expect("somebody listens");
        gone.recv().expect("somebody speaks");
        drop(std::hint::black_box(vec![1u8; 4_096]));
    });
    counting::watch(&[told.recv().expect("it tells")]);
    go.send(()).expect("it listens");
    thread.join().expect("it does not panic");
    assert!(counting::watched() >= 2);
}

/// Two running mixers; the test plays the network thread.
struct MixerHarness {
    audio: Audio,
    controls: Vec<MixerControl>,
    ends: NetworkEnds,
}

impl MixerHarness {
    fn new() -> MixerHarness {
        let (ends, mixer_ends) = queues::media(MIXERS as usize);
        let wake =
            || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
        let wakes = Wakes {
            network: wake(),
            conference: wake(),
        };
        let started = audio::start(AudioConfig::default(), mixer_ends, wakes);
        let (audio, controls) = started.expect("threads");
        MixerHarness {
            audio,
            controls,
            ends,
        }
    }

    fn send(&mut self, mixer: u32, command: Command) {
        let sent = self.controls[mixer as usize].send(command);
        assert!(sent.is_ok(), "the ring has room");
    }

    /// Discards the packets that the mixers have sent; returns their number.
    fn discard(&mut self) -> usize {
        let rings = self.ends.from_mixers.iter_mut();
        let counts = rings.map(|ring| std::iter::from_fn(|| ring.pop().ok()).count());
        counts.sum()
    }

    fn sum(&self, of: fn(&MixerMetrics) -> &AtomicU64) -> u64 {
        let handle = self.audio.handle();
        let mixers = handle.mixers().iter();
        mixers
            .map(|mixer| of(mixer.metrics()).load(Ordering::Relaxed))
            .sum()
    }

    fn ticks(&self) -> u64 {
        self.sum(|metrics| &metrics.room_ticks)
    }

    /// Returns the number of frames that one mixer encoded for the other.
    fn helped(&self) -> u64 {
        self.sum(|metrics| &metrics.helped)
    }

    fn add_room(&mut self, mixer: u32, id: RoomId, capacity: usize) {
        let room = Room::new(id, RoomSettings::default(), capacity);
        self.send(mixer, Command::AddRoom(Box::new(room)));
    }

    fn join(&mut self, room: u32, seat: u32) {
        self.enter(mixer_of(room), RoomId(room), id(room, seat));
    }

    fn enter(&mut self, mixer: u32, room: RoomId, id: ParticipantId) {
        let config = ParticipantConfig {
            id,
            talks: true,
            listens: Some(encoding()),
            layout: Layout::Mono,
            tick: TickLength::Ms20,
        };
        let participant = Box::new(Participant::new(config, Arc::new(Shared::default())));
        self.send(mixer, Command::AddParticipant { room, participant });
    }

    /// Makes a mixer retire, within a few slots, more boxes than the ring to the reaper holds.
    fn flood(&mut self) {
        let mixer = &mut self.controls[0];
        for _ in 0..FLOOD {
            let mut command = Command::Reserve {
                room: RoomId(u32::MAX),
                members: Box::new(Members::with_capacity(1)),
            };
            while let Err(refused) = mixer.send(command) {
                command = refused;
                std::thread::yield_now();
            }
        }
        let refused = || mixer.handle().metrics().refused.load(Ordering::Relaxed);
        let patience = Instant::now() + Duration::from_secs(10);
        while refused() < FLOOD as u64 {
            assert!(Instant::now() < patience, "{} taken in", refused());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets two participants in every room and all participants of the crowd talk, in real time.
    fn talk(&mut self, voice: &[Payload], packets: std::ops::Range<u64>) {
        for n in packets {
            let began = Instant::now();
            let pairs = (0..ROOMS).flat_map(|room| {
                let mixer = mixer_of(room);
                [(mixer, id(room, 0)), (mixer, id(room, 1))]
            });
            let crowd = (0..CROWD_SIZE).map(|talker| (0, in_crowd(talker)));
            for (mixer, talker) in pairs.chain(crowd) {
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
                let mut inbound = inbound;
                let ring = &mut self.ends.to_mixers[mixer as usize];
                while let Err(rtrb::PushError::Full(refused)) = ring.push(inbound) {
                    inbound = refused;
                    std::thread::yield_now();
                }
            }
            self.discard();
            std::thread::sleep(Duration::from_millis(20).saturating_sub(began.elapsed()));
        }
    }
}

/// Returns the id of the thread with this name.
fn thread(name: &str) -> i32 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let is_called = |task: &str| {
        let comm = format!("/proc/self/task/{task}/comm");
        std::fs::read_to_string(comm).is_ok_and(|comm| comm.trim() == name)
    };
    tasks
        .filter_map(|task| task.ok()?.file_name().into_string().ok())
        .find(|task| is_called(task))
        .and_then(|task| task.parse().ok())
        .expect("a thread of that name")
}

fn mixer_of(room: u32) -> u32 {
    room % MIXERS
}

fn in_crowd(talker: u32) -> ParticipantId {
    ParticipantId(1_000_000 + talker)
}

fn id(room: u32, seat: u32) -> ParticipantId {
    ParticipantId(1 + room + seat * ROOMS)
}

fn encoding() -> Encoding {
    Encoding::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20)
}

/// Returns one second of a tone that comes and goes, so that gates and encoders have work.
fn voice() -> Vec<Payload> {
    let mut encoder = OpusEncoder::new(&encoding());
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
