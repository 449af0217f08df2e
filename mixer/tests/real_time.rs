//! After set-up, a tick neither allocates nor frees memory, in Rust or in libopus.
//!
//! The test binary defines its own `malloc` and `free`, which count calls and forward them to
//! glibc; both Rust's allocator and libopus link to them.
#![cfg(all(feature = "opus", target_os = "linux", target_env = "gnu"))]

mod counting;
mod stage;

use std::sync::Arc;

use mixer::codec::g711::{G711Decoder, G711Encoder, Law};
use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Codec, Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::{Command, Engine, EngineLimits, Sink};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::mix::Tone;
use mixer::mix::gains::{GainChange, PersonalGains};
use mixer::mix::links::LinkChange;
use mixer::monitor::Feed;
use mixer::monitor::{MonitorChange, MonitorLevel, MonitorMix, MonitoredRoom};
use mixer::output::{Destination, Event, OutputStream, Retired};
use mixer::packet::{OutPacket, Packet, Payload};
use mixer::permit::Permit;
use mixer::room::{Members, Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::schedule::WorkPool;
use mixer::source::{PcmReader, PcmSource};
use mixer::units::{Decibels, Gain, ParticipantId, RoomId, RtpTime, Seq, Time};

use counting::calls_of;

/// Counts packets and events, and stores retired boxes in a preallocated list.
struct Outlet {
    packets: u64,
    events: u64,
    retired: Vec<Retired>,
}

impl WorkPool for Outlet {}

impl Sink for Outlet {
    fn packet(&mut self, _: Destination, _: &[ParticipantId], _: &OutPacket) {
        self.packets += 1;
    }

    fn event(&mut self, _: Event) {
        self.events += 1;
    }

    fn retired(&mut self, retired: Retired) {
        assert!(self.retired.len() < self.retired.capacity());
        self.retired.push(retired);
    }
}

/// Five seconds of speech and pauses, encoded once and sent by every participant.
fn speech() -> Vec<Payload> {
    let encoding = stage::encoding(Profile::Voice);
    let mut encoder = OpusEncoder::new(&encoding);
    encoder.configure(&encoding.settings(10));
    let mut voice = stage::tone(337.7, 0.7);
    (0..250u64)
        .map(|packet| {
            let pcm: Vec<f32> = (packet * 960..(packet + 1) * 960)
                .map(|sample| {
                    if packet % 100 < 70 {
                        voice(sample)
                    } else {
                        0.0
                    }
                })
                .collect();
            let mut payload = Payload::EMPTY;
            encoder.encode(&pcm, &mut payload).expect("20 ms encode");
            payload
        })
        .collect()
}

fn encoding(id: u32, tick: TickLength) -> Encoding {
    let limits = ReceiverLimits {
        fec: true,
        dtx: id.is_multiple_of(2),
        stereo: true,
        codec: match id % 6 {
            4 => Codec::Pcma,
            _ => Codec::Opus,
        },
        ..ReceiverLimits::default()
    };
    Encoding::new(Profile::ALL[id as usize % 4], &limits, tick)
}

struct Crowd {
    engine: Engine,
    outlet: Outlet,
    calls: u64,
    random: u32,
}

impl Crowd {
    fn new(rooms: usize, participants: usize, random: u32) -> Crowd {
        Crowd {
            engine: Engine::new(EngineLimits {
                rooms,
                participants,
            }),
            outlet: Outlet {
                packets: 0,
                events: 0,
                retired: Vec::with_capacity(64),
            },
            calls: 0,
            random,
        }
    }

    fn apply(&mut self, command: Command) {
        let ((), calls) = calls_of(|| self.engine.apply(command, &mut self.outlet));
        self.calls += calls;
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random = self
            .random
            .wrapping_mul(1_664_525)
            .wrapping_add(1_013_904_223);
        (self.random >> 10).is_multiple_of(one_in)
    }

    fn join(&mut self, room: u32, id: u32, tick: TickLength) -> Arc<Shared> {
        let shared = Arc::new(Shared::default());
        let config = ParticipantConfig {
            id: ParticipantId(id),
            talks: !id.is_multiple_of(5),
            listens: (!id.is_multiple_of(7)).then(|| encoding(id, tick)),
            layout: Layout::Mono,
            tick,
        };
        let participant = Box::new(Participant::new(config, shared.clone()));
        self.apply(Command::AddParticipant {
            room: RoomId(room),
            participant,
        });
        shared
    }
}

#[test]
fn allocation_counter_sees_rust_and_libopus() {
    let (_, rust) = calls_of(|| drop(std::hint::black_box(vec![0u8; 100])));
    assert!(rust >= 2, "{rust}");
    let encoding = stage::encoding(Profile::Voice);
    let (_, own) = calls_of(|| drop(OpusEncoder::new(&encoding)));
    assert!(own >= 2, "{own}");
    // Our codecs live in memory that Rust allocates; the wrapper's decoder in memory that libopus
    // allocates.
    let (_, libopus) = calls_of(|| drop(opus::Decoder::new(48_000, opus::Channels::Mono)));
    assert!(libopus >= 2, "{libopus}");
}

#[test]
fn ten_thousand_ticks_with_joins_and_leaves_allocate_nothing() {
    const TICKS: u64 = 10_000;
    const PLACES: usize = 12;
    let speech = speech();
    let mut crowd = Crowd::new(2, 2 * PLACES, 1);
    let ticks = [TickLength::Ms20, TickLength::Ms10];
    for (room, tick) in (1..).zip(ticks) {
        let settings = RoomSettings {
            tick,
            max_contributors: Some(3),
            ..RoomSettings::default()
        };
        let room = Box::new(Room::new(RoomId(room), settings, PLACES / 2));
        crowd.apply(Command::AddRoom(room));
    }

    let mut present: Vec<Present> = Vec::new();
    let mut next_id = 1;
    for turn in 0..TICKS {
        if turn == TICKS / 2 {
            for room in [1, 2] {
                crowd.apply(Command::Reserve {
                    room: RoomId(room),
                    members: Box::new(Members::with_capacity(PLACES)),
                });
            }
        }
        let places = if turn < TICKS / 2 { PLACES / 2 } else { PLACES };
        if crowd.chance(8) && present.len() < places {
            let room = next_id % 2 + 1;
            let in_room = present.iter().filter(|member| member.0 == room).count();
            if in_room < places / 2 {
                let shared = crowd.join(room, next_id, ticks[room as usize - 1]);
                present.push((room, next_id, shared, 0));
            }
            next_id += 1;
        }
        if crowd.chance(10) && present.len() > 2 {
            let (_, id, _, _) = present.remove(crowd.random as usize % present.len());
            leave(&mut crowd, id, turn);
        }
        if crowd.chance(20) && !present.is_empty() {
            change_settings(&mut crowd, &present, turn);
        }
        if crowd.chance(12) && !present.is_empty() {
            change_gains(&mut crowd, &present, turn);
        }
        send_and_run(&mut crowd, &mut present, &speech, turn);
        crowd.outlet.retired.clear();
    }
    let stats = crowd.engine.stats();
    assert!(next_id > 300, "many came and went: {next_id}");
    assert!(stats.ticks_total > TICKS && crowd.outlet.packets > TICKS);
    assert!(crowd.outlet.events > 100);
    assert_eq!(stats.refused_total, 0);
    assert_eq!(
        crowd.calls, 0,
        "calls of malloc or free on the ticking thread"
    );
}

/// A participant's room, id, shared settings and telemetry, and number of packets sent.
type Present = (u32, u32, Arc<Shared>, u16);

/// Removes or detaches a participant; detaching one without its own stream would need a spare
/// stream.
fn leave(crowd: &mut Crowd, id: u32, turn: u64) {
    let participant = ParticipantId(id);
    crowd.apply(match turn.is_multiple_of(3) && has_own_stream(id) {
        true => Command::Detach {
            participant,
            stream: None,
        },
        false => Command::RemoveParticipant(participant),
    });
}

/// Whether the participant with this id both talks and listens.
fn has_own_stream(id: u32) -> bool {
    !id.is_multiple_of(5) && !id.is_multiple_of(7)
}

/// Changes mute, gain, loss report and permit, plays a tone, and replaces the stream of a random
/// participant.
fn change_settings(crowd: &mut Crowd, present: &[Present], turn: u64) {
    let (room, id, shared, _) = &present[crowd.random as usize % present.len()];
    let settings = &shared.settings;
    settings.mute(id.is_multiple_of(3) && turn.is_multiple_of(2));
    settings.amplify(Gain::from(Decibels(-6.0)));
    settings.report_loss(crowd.random as u8 % 30);
    settings.set_permit(Permit::from_wire((crowd.random >> 24) as u8 % 6));
    let tones = [Tone::Grant, Tone::Deny, Tone::End];
    settings.play(tones[id.wrapping_add(turn as u32) as usize % 3]);
    let id = ParticipantId(*id);
    if turn.is_multiple_of(2) {
        crowd.apply(Command::Attend(id));
    }
    let tick = [TickLength::Ms20, TickLength::Ms10][*room as usize - 1];
    let listener = Box::new(OutputStream::new(encoding(crowd.random >> 20, tick), tick));
    crowd.apply(Command::SetStream(id, listener));
}

/// Sets or clears a random participant's personal gains; a member without its own stream would need
/// a spare stream and is skipped.
fn change_gains(crowd: &mut Crowd, present: &[Present], turn: u64) {
    let (_, id, _, _) = present[crowd.random as usize % present.len()];
    let others = present.iter().map(|(_, other, _, _)| ParticipantId(*other));
    let wish = Gain::linear((id.wrapping_add(turn as u32) % 4) as f32 / 2.0);
    let gains = PersonalGains::new(others.map(|other| (other, wish)));
    let change = GainChange {
        gains: (!gains.is_empty()).then(|| Box::new(gains)),
        stream: None,
    };
    if has_own_stream(id) {
        crowd.apply(Command::SetGains(ParticipantId(id), Box::new(change)));
    }
}

/// A PCM reader that yields a constant value for a fixed number of samples.
struct Steady(usize);

impl PcmReader for Steady {
    fn read(&mut self, pcm: &mut [f32]) -> usize {
        let count = pcm.len().min(self.0);
        pcm[..count].fill(0.1);
        self.0 -= count;
        count
    }

    fn available(&self) -> usize {
        self.0
    }

    fn is_finished(&self) -> bool {
        true
    }
}

#[test]
fn announcements_allocate_nothing() {
    let speech = speech();
    let tick = TickLength::Ms20;
    let mut crowd = Crowd::new(1, 8, 7);
    crowd.apply(Command::AddRoom(Box::new(Room::new(
        RoomId(1),
        RoomSettings::default(),
        8,
    ))));
    let mut present = Vec::new();
    for id in [1, 2, 3] {
        let shared = crowd.join(1, id, tick);
        present.push((1, id, shared, 0));
    }
    for turn in 0..500 {
        if turn % 120 == 0 {
            let config = ParticipantConfig {
                id: ParticipantId(100),
                talks: true,
                listens: None,
                layout: Layout::Mono,
                tick,
            };
            let source = PcmSource::new(Layout::Mono, Box::new(Steady(96_000)));
            let shared = Arc::new(Shared::default());
            let participant =
                Participant::with_source(config, shared, Some(Box::new(source)), None);
            crowd.apply(Command::AddParticipant {
                room: RoomId(1),
                participant: Box::new(participant),
            });
        }
        if turn % 120 == 110 {
            crowd.apply(Command::RemoveParticipant(ParticipantId(100)));
        }
        send_and_run(&mut crowd, &mut present, &speech, turn);
        crowd.outlet.retired.clear();
    }
    assert_eq!(crowd.engine.stats().refused_total, 0);
    assert!(crowd.outlet.packets > 1_000);
    assert_eq!(
        crowd.calls, 0,
        "calls of malloc or free on the ticking thread"
    );
}

#[test]
fn monitors_and_links_allocate_nothing() {
    const TICKS: u64 = 2_000;
    let speech = speech();
    let mut crowd = Crowd::new(3, 24, 5);
    let ticks = [TickLength::Ms20, TickLength::Ms10, TickLength::Ms20];
    let feeds = rooms_with_feeds(&mut crowd, ticks);
    let mut present: Vec<Present> = Vec::new();
    for turn in 0..TICKS {
        let id = turn as u32 + 1;
        if present.len() < 18 && crowd.chance(6) {
            let room = id % 3 + 1;
            if present.iter().filter(|member| member.0 == room).count() < 6 {
                let shared = crowd.join(room, id, ticks[room as usize - 1]);
                present.push((room, id, shared, 0));
            }
        }
        if present.len() > 12 && crowd.chance(12) {
            let (_, id, _, _) = present.remove(crowd.random as usize % present.len());
            crowd.apply(Command::RemoveParticipant(ParticipantId(id)));
        }
        if crowd.chance(5) && !present.is_empty() {
            let (room, id, _, _) = present[crowd.random as usize % present.len()];
            let monitor_change = monitor_change(&feeds, room, crowd.random, id);
            crowd.apply(Command::SetMonitors(ParticipantId(id), monitor_change));
        }
        if crowd.chance(40) {
            let room = crowd.random % 3 + 1;
            let monitor_change = monitor_change(&feeds, room, crowd.random, 1);
            let links = Box::new(LinkChange::new(monitor_change.monitors));
            crowd.apply(Command::SetLinks(RoomId(room), links));
        }
        send_and_run(&mut crowd, &mut present, &speech, turn);
        crowd.outlet.retired.clear();
    }
    assert!(crowd.outlet.packets > TICKS);
    assert_eq!(
        crowd.calls, 0,
        "calls of malloc or free on the ticking thread"
    );
}

/// Adds rooms, ids from 1 on, each with a feed that other rooms can monitor.
fn rooms_with_feeds(crowd: &mut Crowd, ticks: [TickLength; 3]) -> Vec<Arc<Feed>> {
    let mut feeds = Vec::new();
    for (room, tick) in (1..).zip(ticks) {
        let settings = RoomSettings {
            tick,
            ..RoomSettings::default()
        };
        let feed = Arc::new(Feed::new(Layout::Mono, tick));
        let room = RoomId(room);
        crowd.apply(Command::AddRoom(Box::new(Room::new(room, settings, 8))));
        crowd.apply(Command::SetFeed(room, Some(feed.clone())));
        feeds.push(feed);
    }
    feeds
}

/// A random choice of other rooms to monitor for a member of `room`, with that room's tick length.
fn monitor_change(feeds: &[Arc<Feed>], room: u32, chance: u32, id: u32) -> Box<MonitorChange> {
    let tick = match room {
        2 => TickLength::Ms10,
        _ => TickLength::Ms20,
    };
    let others = (1..).zip(feeds).filter(|(other, _)| *other != room);
    let some = others.filter(|(other, _)| (chance >> other).is_multiple_of(2));
    let channels = some.map(|(other, feed)| MonitoredRoom {
        feed: feed.clone(),
        level: MonitorLevel {
            gain: Gain::UNITY,
            priority: other as u8,
        },
    });
    let scan = MonitorMix::new(MonitorLevel::default(), channels, Layout::Mono, tick);
    Box::new(MonitorChange {
        monitors: (!chance.is_multiple_of(5)).then(|| Box::new(scan)),
        stream: Some(Box::new(OutputStream::new(encoding(id, tick), tick))),
    })
}

/// Sends one packet of 20 ms from each participant, with some loss, reordering and jitter, then
/// runs one tick's slots.
fn send_and_run(crowd: &mut Crowd, present: &mut [Present], speech: &[Payload], turn: u64) {
    let slot_us = SLOT.as_micros() as u64;
    let now_us = 1_000_000 + turn * 8 * slot_us;
    for (_, id, _, sent) in present {
        let seq = if crowd.chance(30) {
            sent.wrapping_sub(2)
        } else {
            *sent
        };
        let packet = Packet {
            seq: Seq(seq),
            time: RtpTime(u32::from(seq).wrapping_mul(960)),
            ssrc: *id,
            marker: seq == 0,
            level: None,
            payload: speech[usize::from(seq) % speech.len()],
        };
        *sent = sent.wrapping_add(1);
        if crowd.chance(20) {
            continue;
        }
        let jitter_us = u64::from(crowd.random % 9_000);
        let arrival = Time::from_us(now_us - jitter_us);
        let (_, calls) = calls_of(|| crowd.engine.push(ParticipantId(*id), &packet, arrival));
        crowd.calls += calls;
    }
    for slot in 0..8 {
        let slot = now_us / slot_us + slot;
        let now = Time::from_us(slot * slot_us);
        let ((), calls) = calls_of(|| crowd.engine.run_slot(slot, now, &mut crowd.outlet));
        crowd.calls += calls;
    }
}

#[test]
fn g711_codecs_allocate_nothing_after_construction() {
    let (mut encoder, mut other) = (G711Encoder::new(Law::Mu), G711Encoder::new(Law::Mu));
    let mut decoder = G711Decoder::new(Law::Mu, Layout::Stereo);
    let (mut payload, mut pcm) = (Payload::EMPTY, [0.0; 1_920]);
    let ((), calls) = calls_of(|| {
        for _ in 0..20 {
            encoder.encode(&[0.1; 960], &mut payload).expect("20 ms");
            assert!(other.follow(&encoder));
            let samples = decoder.decode(payload.as_slice(), &mut pcm);
            assert_eq!(samples, Ok(960));
            decoder.conceal(&mut pcm);
            decoder.sketch(payload.as_slice(), &mut pcm);
        }
        encoder.reset();
        decoder.reset();
    });
    assert_eq!(calls, 0);
}
