//! A join causes no page fault on the mixer thread: the thread that builds a participant touches
//! the memory that the mixer thread writes first.
#![cfg(target_os = "linux")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::{Packet, ParticipantId, Payload, RoomId, RtpTime, Seq};
use mixminus::audio::{self, AudioConfig, MixerControl, Wakes};
use mixminus::clock;
use mixminus::queues::{self, Inbound, NetworkEnds};
use rustix::event::{EventfdFlags, eventfd};

/// The allocator that the server uses too.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const ROOM: RoomId = RoomId(1);

/// The number of participants that join before page faults are counted, so that code and tables
/// have been touched.
const BEFORE: u32 = 4;
const JOINS: u32 = 40;

/// The number of packets that each talker sends.
const PACKETS: u16 = 40;

#[test]
fn join_causes_no_page_fault_on_the_mixer_thread() {
    let (mut network, ends) = queues::media(1);
    let wake = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("an eventfd");
    let wakes = Wakes {
        network: wake(),
        conference: wake(),
    };
    let (audio, mut controls) = audio::start(AudioConfig::default(), ends, wakes).expect("threads");
    let control = &mut controls[0];
    let room = Room::new(ROOM, RoomSettings::default(), 64);
    send(control, Command::AddRoom(Box::new(room)));
    let voice = voice();
    for id in 1..=BEFORE {
        join(control, id);
    }
    talk(&mut network, control, &voice, 1..=BEFORE);
    let before = faults();
    for id in BEFORE + 1..=BEFORE + JOINS {
        join(control, id);
        if id % 4 == 0 {
            talk(&mut network, control, &voice, id - 3..=id);
        }
    }
    let faults = faults() - before;
    println!("{faults} page faults of the mixer in {JOINS} joins");
    let told = control
        .handle()
        .metrics()
        .packets_in_dropped
        .load(Ordering::Relaxed);
    assert_eq!(told, 0, "everybody was in");
    // A few pages of stack or tables are touched late. The memory of the participants themselves is
    // ten times as many pages.
    assert!(faults <= u64::from(JOINS) / 4, "{faults} in {JOINS} joins");
    audio.stop().expect("the mixer ends well");
}

fn send(control: &mut MixerControl, command: Command) {
    assert!(control.send(command).is_ok(), "the ring has room");
}

fn join(control: &mut MixerControl, id: u32) {
    let config = ParticipantConfig {
        id: ParticipantId(id),
        talks: true,
        listens: Some(encoding()),
        layout: Layout::Mono,
        tick: TickLength::Ms20,
    };
    let participant = Box::new(Participant::new(config, Arc::new(Shared::default())));
    send(
        control,
        Command::AddParticipant {
            room: ROOM,
            participant,
        },
    );
    let patience = Instant::now() + Duration::from_secs(60);
    let count = || {
        control
            .handle()
            .metrics()
            .participants
            .load(Ordering::Relaxed)
    };
    while count() < id.into() {
        assert!(Instant::now() < patience, "it is in within seconds");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Lets the participants `talkers` talk for `PACKETS` packets each, in real time.
fn talk(
    network: &mut NetworkEnds,
    control: &MixerControl,
    voice: &[Payload],
    talkers: std::ops::RangeInclusive<u32>,
) {
    let ticks = || {
        control
            .handle()
            .metrics()
            .room_ticks
            .load(Ordering::Relaxed)
    };
    for n in 0..PACKETS {
        for id in talkers.clone() {
            let inbound = Inbound {
                from: ParticipantId(id),
                arrival: clock::now(),
                packet: Packet {
                    seq: Seq(n),
                    time: RtpTime(u32::from(n) * 960),
                    ssrc: id,
                    marker: n == 0,
                    level: None,
                    payload: voice[usize::from(n)],
                },
            };
            assert!(
                network.to_mixers[0].push(inbound).is_ok(),
                "the ring has room"
            );
        }
        // The loop follows the room's own ticks, however slow the machine is.
        let (before, patience) = (ticks(), Instant::now() + Duration::from_secs(60));
        while ticks() == before {
            assert!(Instant::now() < patience, "the room ticks");
            std::thread::sleep(Duration::from_millis(1));
        }
        while network.from_mixers[0].pop().is_ok() {}
    }
}

/// Returns the number of page faults of the mixer thread so far (proc(5), `minflt` and `majflt`).
fn faults() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("Linux");
    let stats =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok());
    let stat = stats
        .into_iter()
        .find(|stat| stat.contains("(mixer-0)"))
        .expect("the mixer runs");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [7, 9]
        .map(|at| fields[at].parse::<u64>().expect("a number"))
        .iter()
        .sum()
}

fn encoding() -> Encoding {
    Encoding::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20)
}

/// Returns a tone as Opus packets.
fn voice() -> Vec<Payload> {
    let mut encoder = OpusEncoder::new(&encoding());
    let packets = (0..u32::from(PACKETS)).map(|packet| {
        let samples = packet * 960..(packet + 1) * 960;
        let pcm: Vec<f32> = samples
            .map(|at| 0.3 * (f64::from(at) * 0.0709).sin() as f32)
            .collect();
        let mut payload = Payload::EMPTY;
        encoder.encode(&pcm, &mut payload).expect("20 ms");
        payload
    });
    packets.collect()
}
