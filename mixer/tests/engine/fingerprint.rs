//! Prints one hash per scene over everything the engine outputs, to tell whether a code change
//! altered its behaviour.
//!
//! The hashes are compared between two builds on one machine, so none is stored here: Opus output
//! differs in the last bit between processors and between versions of libopus. Each scene prints
//! one hash of all output, then separate hashes of packets (destinations, sources, markers, media
//! times, every bit of the PCM), events, kinds of retired boxes, and measurements (telemetry and
//! statistics, sampled every 100 ms). If the first hash differs, the others tell where to look.
//!
//! ```sh
//! cargo test -q -p mixer --test engine fingerprint -- --ignored --nocapture | grep -o 'scene .*' | sort
//! ```
//!
//! A change that is meant to be audible alters the hashes too; the other tests then say what must
//! hold.
#![allow(
    clippy::disallowed_macros,
    reason = "a test prints what it measured; the engine may not"
)]

mod gains;

use crate::common::{Chance, Flight, play, wild_flights};
use crate::recordings::fixture;
use crate::stage::hands::{Hands, LateHelpers};
use crate::stage::{Stage, encoding, exact, tone};
use crate::world::chances::{noise, talker};
use crate::world::print::Print;
use crate::world::sender::{ANY, Hint, MS_20, Sender};
use crate::world::{TICKS, World};
use mixer::codec::g711::Law;
use mixer::codec::{self, Codec, Encoding, Profile, ReceiverLimits};
use mixer::engine::Command;
use mixer::format::{Layout, TickLength};
use mixer::mix::Tone;
use mixer::packet::{Packet, Payload};
use mixer::permit::Permit;
use mixer::room::RoomSettings;
use mixer::units::{Decibels, Gain, RoomId, RtpTime, Seq};

fn show(scene: &str, print: &Print) {
    println!("scene {scene} {print}");
}

/// Plays a recorded call to listeners of every profile.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn a_recorded_call_in_every_profile() {
    const PACKETS: usize = 150;
    let file = std::fs::read(fixture("golden/voices.packets")).expect("it is in the repository");
    let mut rest = file.as_slice();
    let mut world = World::new(1, 1);
    let room = world.lone_room(RoomSettings::default());
    for profile in Profile::ALL {
        let limits = ReceiverLimits::default();
        let listens = Encoding::new(profile, &limits, TickLength::Ms20);
        world.join(room, listens, None);
        world.join(room, listens, None);
    }
    world.join_tapped(room, None);
    for (trace, gain_db) in [("wlan", 0.0), ("loss-10", -4.0), ("jitter-30ms", 9.0)] {
        let path = fixture(&format!("traces/{trace}.csv"));
        let trace = std::fs::read_to_string(path).expect("it is in the repository");
        let mut in_flight = Vec::new();
        for (number, line) in trace.lines().skip(1).take(PACKETS).enumerate() {
            let (length, tail) = rest.split_first_chunk::<2>().expect("a length");
            let (payload, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)));
            rest = tail;
            let arrival = line.rsplit(',').next().and_then(|word| word.parse().ok());
            let Some(arrival_us) = arrival else { continue };
            let packet = Packet {
                seq: Seq(number as u16),
                time: RtpTime(960 * number as u32),
                ssrc: 3,
                marker: number == 0,
                level: None,
                payload: Payload::copy_from(payload).expect("it was one"),
            };
            let arrival_us: u64 = arrival_us;
            in_flight.push((world.now_us() + 307_000 + arrival_us, packet));
        }
        let decoder = codec::decoder(Codec::Opus, Layout::Mono);
        let at = world.join_tapped(room, Some((decoder, Sender::of(in_flight))));
        let gain = Gain::from(Decibels(gain_db));
        world.people[at].shared.settings.amplify(gain);
    }
    world.pass_ms(6_000);
    show("A golden call", &world.finish());
}

/// About twelve people in one room, each doing random permitted actions.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn b_random_actions_in_one_room() {
    for (seed, tick) in (2..).zip(TICKS) {
        for layout in [Layout::Mono, Layout::Stereo] {
            let settings = RoomSettings {
                tick,
                layout,
                ..RoomSettings::default()
            };
            let print = anything(seed, settings);
            show(&format!("B anything {} ms {layout:?}", tick.ms()), &print);
        }
    }
}

fn anything(seed: u64, settings: RoomSettings) -> Print {
    let mut world = World::new(1, seed);
    let room = world.lone_room(settings);
    for _ in 0..12 {
        world.join_any(room);
    }
    for _ in 0..220 {
        let at = world.pick(world.people.len());
        let shared = world.people[at].shared.clone();
        match world.pick(16) {
            0 | 1 if world.people.len() < 14 => drop(world.join_any(room)),
            2 | 3 if world.people.len() > 10 => world.leave(at),
            4 => shared.settings.mute(!shared.settings.muted()),
            5 => {
                let permit = world.one_of(&[Permit::Free, Permit::Closed, Permit::Held]);
                shared.settings.set_permit(permit);
                world.attend(at);
            }
            6 => shared.settings.set_permit(Permit::Free),
            7 => {
                let tone = world.one_of(&[Tone::Grant, Tone::Deny, Tone::End]);
                shared.settings.play(tone);
                world.attend(at);
            }
            8 => {
                let gain = world.one_of(&[-60.0, -12.0, 0.0, 3.0, 12.0]);
                shared.settings.amplify(Gain::from(Decibels(gain)));
            }
            9 | 10 => {
                let listens = world.any_encoding(room);
                world.set_stream(at, listens);
            }
            11 => {
                let percent = world.one_of(&[0, 0, 3, 8, 25]);
                shared.settings.report_loss(percent);
            }
            12 => {
                shared
                    .settings
                    .set_reachable(!shared.settings.is_reachable());
                world.attend(at);
            }
            13 => {
                let settings = RoomSettings {
                    gate_db: world.one_of(&[None, Some(Decibels(-50.0)), Some(Decibels(-30.0))]),
                    max_contributors: world.one_of(&[None, None, Some(1), Some(3)]),
                    ..settings
                };
                world.tell(at, Command::ConfigureRoom(RoomId(1), settings));
            }
            14 => world.do_what_is_rare(at),
            _ => {
                let ms = world.pick(1_500) as u64;
                world.pass_ms(ms);
            }
        }
        let ms = world.pick(120) as u64;
        world.pass_ms(ms);
    }
    end(&mut world);
    world.finish()
}

/// Ends a scene: all senders pause until the room sleeps, the call resumes, and the room is
/// removed.
fn end(world: &mut World) {
    for person in &mut world.people {
        person.sender.iter_mut().for_each(|it| it.is_paused = true);
    }
    world.pass_ms(3_000);
    for person in &mut world.people {
        person.sender.iter_mut().for_each(|it| it.is_paused = false);
    }
    world.pass_ms(1_000);
    world.tell(0, Command::RemoveRoom(RoomId(1)));
    world.pass_ms(100);
}

/// Rooms of every tick and layout on two mixers, whose participants monitor the other rooms.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn c_rooms_that_hear_each_other() {
    let mut world = World::new(2, 5);
    for (mixer, tick, layout) in [
        (0, TickLength::Ms20, Layout::Mono),
        (1, TickLength::Ms20, Layout::Mono),
        (0, TickLength::Ms10, Layout::Mono),
        (1, TickLength::Ms20, Layout::Stereo),
    ] {
        let settings = RoomSettings {
            tick,
            layout,
            ..RoomSettings::default()
        };
        let room = world.field.room(mixer, settings);
        for _ in 0..5 {
            world.join_any(room);
        }
    }
    for _ in 0..160 {
        let (at, other) = (world.pick(world.people.len()), world.pick(4));
        let room = world.people[at].room;
        match world.pick(9) {
            0..4 => {
                let mut others = Vec::new();
                for other in (0..4).filter(|other| *other != room) {
                    if world.pick(2) == 0 {
                        others.push((other, world.any_level()));
                    }
                }
                let home = world.any_level();
                world.monitor(at, home, &others);
            }
            4 if other != room => world.field.link(room, other),
            5 => {
                let id = world.field.rooms[room].id;
                world.tell(at, Command::SetLinks(id, Box::default()));
            }
            6 => {
                let settings = world.people[at].shared.clone();
                settings.settings.mute(!settings.settings.muted());
            }
            7 => {
                world.leave(at);
                world.join_any(room);
            }
            _ => world.field.mixers[1].late = world.pick(8) as u64,
        }
        let ms = world.pick(400) as u64;
        world.pass_ms(ms);
    }
    let feed = world.field.rooms[0].id;
    world.field.apply(0, Command::SetFeed(feed, None));
    world.pass_ms(500);
    show("C rooms that hear each other", &world.finish());
}

/// Playout alone, on every recorded network trace and on 40 random networks.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn d_playout_on_any_network() {
    let mut print = Print::default();
    let mut names: Vec<_> = std::fs::read_dir(fixture("traces"))
        .expect("it is in the repository")
        .map(|entry| entry.expect("it can be read").path())
        .collect();
    names.sort();
    for path in names {
        let trace = std::fs::read_to_string(path).expect("it can be read");
        let mut flights = Vec::new();
        for (n, line) in (0..).zip(trace.lines().skip(1)) {
            let mut fields = line.split(',').skip(1).map(|field| field.parse().ok());
            let mut field = || fields.next().flatten().map(|us: u64| us + 1_000_000);
            let sent_us = field().expect("a time");
            flights.push(Flight {
                sent_us,
                arrival_us: field(),
                packet: crate::common::packet(n, n * 960, 20.0),
            });
        }
        replay(&mut print, &flights);
    }
    for seed in 1..=40 {
        let flights = wild_flights(seed);
        replay(&mut print, &flights);
    }
    show("D playout", &print);
}

fn replay(print: &mut Print, flights: &[Flight]) {
    for tick in TICKS {
        let (ticks, sound, playout) = play(flights, tick);
        for tick in ticks {
            print.measured([
                tick.pulled as u64,
                tick.delay_ms.to_bits(),
                tick.target_ms.to_bits(),
                tick.concealed_samples,
            ]);
        }
        print.pcm(&sound);
        print.playout(&playout.stats());
    }
}

/// Floors: requests, grants, releases and refusals, with speech held until the answer.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn e_permits_and_held_speech() {
    for (seed, tick) in (6..).zip(TICKS) {
        let mut world = World::new(1, seed);
        let settings = RoomSettings {
            tick,
            ..RoomSettings::default()
        };
        let room = world.lone_room(settings);
        for _ in 0..9 {
            let at = world.join_any(room);
            world.people[at].shared.settings.set_permit(Permit::Closed);
        }
        world.join_tapped(room, None);
        for _ in 0..400 {
            let at = world.pick(9);
            let shared = world.people[at].shared.clone();
            let settings = &shared.settings;
            match (settings.permit(), world.pick(5)) {
                (Permit::Closed, 0..3) => settings.set_permit(Permit::Asked),
                (Permit::Asked, 0..4) => settings.set_permit(Permit::Held),
                (Permit::Held, 0..3) => settings.set_permit(Permit::Draining),
                (_, 3) => settings.set_permit(Permit::Closed),
                (_, 4) => settings.set_permit(Permit::Held),
                _ => settings.set_permit(Permit::Asked),
            }
            if world.pick(2) == 0 {
                world.attend(at);
            }
            if world.pick(6) == 0 {
                let sender = world.people[at].sender.as_mut();
                sender.into_iter().for_each(|it| it.is_paused ^= true);
            }
            if world.pick(4) == 0 {
                settings.play(Tone::Grant);
            }
            let ms = world.pick(250) as u64;
            world.pass_ms(ms);
        }
        show(&format!("E permits {} ms", tick.ms()), &world.finish());
    }
}

/// Senders of every kind: noise below the gate, true and false level hints, G.711, packets of any
/// length.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn f_senders_of_every_kind() {
    for (seed, tick) in (8..).zip(TICKS) {
        let mut world = World::new(1, seed);
        let settings = RoomSettings {
            tick,
            ..RoomSettings::default()
        };
        let room = world.lone_room(settings);
        let hints = [
            Hint::Nothing,
            Hint::Truth,
            Hint::Always(127),
            Hint::Always(20),
        ];
        for which in 0..24 {
            let begin_us = world.soon_us();
            let voice: Box<dyn FnMut(u64) -> f32> = match which % 4 {
                0 => Box::new(noise(which as u64, 0.001_7)),
                1 => Box::new(noise(which as u64, 0.02)),
                _ => Box::new(talker(which)),
            };
            let (codec, mut sender) = match which % 6 {
                4 => (Codec::Pcmu, Sender::g711(Law::Mu, begin_us, voice)),
                5 => (Codec::Pcma, Sender::g711(Law::A, begin_us, voice)),
                _ => (Codec::Opus, Sender::opus(which, begin_us, voice)),
            };
            sender.hint = hints[which / 4 % 4];
            sender.lengths = match (codec, which % 3) {
                (Codec::Opus, 0) => ANY,
                (_, 1) => &[480, 960, 1_920, 2_880],
                _ => MS_20,
            };
            sender.network.loss_percent = [0.0, 3.0][which % 2];
            sender.network.jitter_us = [300.0, 10_000.0][which / 2 % 2];
            let listens = world.any_encoding(room);
            let decoder = codec::decoder(codec, Layout::Mono);
            world.join(room, listens, Some((decoder, sender)));
        }
        world.join_tapped(room, None);
        for _ in 0..60 {
            let at = world.pick(24);
            let settings = RoomSettings {
                gate_db: world.one_of(&[Some(Decibels(-50.0)), Some(Decibels(-60.0)), None]),
                ..settings
            };
            match world.pick(3) {
                0 => world.tell(at, Command::ConfigureRoom(RoomId(1), settings)),
                1 => {
                    let shared = world.people[at].shared.clone();
                    shared.settings.mute(!shared.settings.muted());
                }
                _ => {
                    let sender = world.people[at].sender.as_mut().expect("all send");
                    sender.is_paused = !sender.is_paused;
                }
            }
            world.pass_ms(200);
        }
        show(&format!("F senders {} ms", tick.ms()), &world.finish());
    }
}

/// Encodes that simulated helper threads finish in time, late or never.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn g_encodes_on_helper_threads() {
    let mut print = Print::default();
    let mut chance = Chance(10);
    let mut pick = move |of: usize| (chance.next() * of as f64) as usize;
    let mut stage = Stage::new(RoomSettings::default());
    let mut hands = Hands::default();
    stage.engine.reserve_jobs(64);
    for id in 1..=16 {
        stage.join_clear(id, tone(200.0 + 61.7 * f64::from(id), 0.03));
    }
    for id in 50..58 {
        let mut alone = encoding(Profile::Voice);
        alone.bitrate_bps = 1_000 * id;
        stage.join_ear_of(id, alone);
    }
    let mut helpers = LateHelpers::default();
    for number in 0..500 {
        if number % 10 == 0 {
            hands.begin = [0, 3, 64][pick(3)];
            hands.slow = pick(3) == 0;
        }
        if number % 50 == 49 && stage.talkers.len() > 6 {
            let leaver = stage.talkers.remove(pick(6)).id;
            let leaves = Command::RemoveParticipant(leaver);
            stage.engine.apply(leaves, &mut hands);
        }
        helpers.tick(&mut stage, &mut hands, || pick(12) as u64);
        for (to, packet) in hands.inner.packets.drain(..) {
            print.packet(to, &packet);
        }
        hands.inner.events.drain(..).for_each(|it| print.event(it));
        let retired = hands.inner.retired.drain(..);
        retired.for_each(|it| print.retired(&it));
        print.engine(&stage.engine.stats());
        print.measured([hands.rounds as u64, hands.waits.take() as u64]);
    }
    show("G encodes done by others", &print);
}

/// Small rooms whose ticks wait for a packet that arrives slightly late.
#[test]
#[ignore = "prints numbers to be compared with those of another build"]
fn h_ticks_that_wait_for_a_late_packet() {
    let mut world = World::new(1, 11);
    for _ in 0..4 {
        let room = world.lone_room(RoomSettings::default());
        world.join_tapped(room, None);
        for which in 0..=room {
            let begin_us = world.soon_us();
            let mut sender = Sender::exact(begin_us);
            sender.network.late_percent = 1.5;
            let clear = exact(tone(200.0 + 61.7 * which as f64, 0.1));
            world.join_tapped(room, Some((clear, sender)));
        }
    }
    for _ in 0..60 {
        let at = world.pick(world.people.len());
        let person = &mut world.people[at];
        if let Some(sender) = &mut person.sender {
            sender.is_paused = !sender.is_paused;
        }
        let ms = world.pick(1_000) as u64;
        world.pass_ms(ms);
    }
    let stats = world.field.mixers[0].engine.stats();
    assert!(stats.ticks_held_total > 20, "{stats:?}");
    show("H ticks that wait", &world.finish());
}
