//! Tests of the mixer threads through their rings, with real time, real codecs and no network.

use std::collections::BTreeMap;
use std::time::Instant;

use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::Command;
use mixer::format::{Layout, SLOT, TickLength};
use mixer::output::Event;
use mixer::packet::{Packet, Payload};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared, Weakness};
use mixer::{ParticipantId, RoomId, RtpTime, Seq};
use rustix::event::{EventfdFlags, eventfd};

use super::*;
use crate::queues::{self, Inbound, NetworkEnds, Outbound, Recipients};

const ROOM: RoomId = RoomId(7);
const TONES_HZ: [f64; 2] = [541.9, 823.7];

struct Network {
    audio: Audio,
    controls: Vec<MixerControl>,
    ends: NetworkEnds,
    woken: OwnedFd,
    told: OwnedFd,
}

impl Network {
    fn new() -> Network {
        Network::with(1)
    }

    fn with(mixers: usize) -> Network {
        let (ends, mixer_ends) = queues::media(mixers);
        let woken = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let config = AudioConfig {
            fifo: false,
            ..AudioConfig::default()
        };
        let told = eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap();
        let wakes = Wakes {
            network: woken.try_clone().unwrap(),
            conference: told.try_clone().unwrap(),
        };
        let (audio, controls) = start(config, mixer_ends, wakes).unwrap();
        Network {
            audio,
            controls,
            ends,
            woken,
            told,
        }
    }

    fn mixer(&self) -> MixerHandle {
        self.controls[0].handle().clone()
    }

    fn send(&mut self, command: Command) {
        assert!(self.controls[0].send(command).is_ok());
    }

    /// Returns the events of the first mixer since the last call.
    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.controls[0].next_event()).collect()
    }

    /// Returns the packets that the first mixer has sent since the last call.
    fn sent(&mut self) -> Vec<Outbound> {
        let from_mixer = &mut self.ends.from_mixers[0];
        std::iter::from_fn(|| from_mixer.pop().ok()).collect()
    }

    /// Sends one packet of each voice to the first mixer.
    fn talk(&mut self, voices: &mut [Voice]) {
        for (id, voice) in (1..).zip(voices) {
            let inbound = Inbound {
                from: ParticipantId(id),
                arrival: crate::clock::now(),
                packet: voice.packet(),
            };
            assert!(self.ends.to_mixers[0].push(inbound).is_ok());
        }
    }

    fn add_room(&mut self, id: RoomId) {
        let room = Room::new(id, RoomSettings::default(), 20);
        self.send(Command::AddRoom(Box::new(room)));
    }

    fn join(&mut self, room: RoomId, id: u32) {
        let limits = ReceiverLimits::default();
        let encoding = Encoding::new(Profile::Voice, &limits, TickLength::Ms20);
        let config = ParticipantConfig {
            id: ParticipantId(id),
            talks: true,
            listens: Some(encoding),
            layout: Layout::Mono,
            tick: TickLength::Ms20,
        };
        let participant = Participant::new(config, Arc::new(Shared::default()));
        self.send(Command::AddParticipant {
            room,
            participant: Box::new(participant),
        });
    }
}

struct Voice {
    hz: f64,
    encoder: OpusEncoder,
    sent: u16,
}

impl Voice {
    fn new(hz: f64) -> Voice {
        let limits = ReceiverLimits::default();
        let encoding = Encoding::new(Profile::LowDelay, &limits, TickLength::Ms20);
        Voice {
            hz,
            encoder: OpusEncoder::new(&encoding),
            sent: 0,
        }
    }

    fn packet(&mut self) -> Packet {
        let from = u32::from(self.sent) * 960;
        let pcm: Vec<f32> = (from..from + 960)
            .map(|at| {
                let turns = self.hz * f64::from(at) / 48_000.0;
                0.3 * (turns * std::f64::consts::TAU).sin() as f32
            })
            .collect();
        let mut payload = Payload::EMPTY;
        self.encoder.encode(&pcm, &mut payload).unwrap();
        self.sent += 1;
        Packet {
            seq: Seq(self.sent),
            time: RtpTime(from),
            ssrc: 1,
            marker: self.sent == 1,
            level: None,
            payload,
        }
    }
}

/// Returns the amplitude of one frequency, by projection with a Hann window.
fn amplitude_of(samples: &[f32], hz: f64) -> f64 {
    let (mut re, mut im, mut weight) = (0.0, 0.0, 0.0);
    for (at, &sample) in samples.iter().enumerate() {
        let x = at as f64 / samples.len() as f64;
        let window = 0.5 - 0.5 * (std::f64::consts::TAU * x).cos();
        let (sin, cos) = (std::f64::consts::TAU * hz * at as f64 / 48_000.0).sin_cos();
        re += f64::from(sample) * window * cos;
        im += f64::from(sample) * window * sin;
        weight += window;
    }
    2.0 * re.hypot(im) / weight
}

/// Checks that the other participant is heard, that the own voice is not, and that the packets are
/// 20 ms apart.
fn check_sound(packets: &[Outbound], own_hz: f64, other_hz: f64) {
    // A busy machine may skip a tick, which shows as a gap.
    let off_beat =
        |pair: &&[Outbound]| pair[1].packet.time.distance_from(pair[0].packet.time) % 960 != 0;
    assert_eq!(packets.windows(2).filter(off_beat).count(), 0);

    let mut decoder = OpusDecoder::new(Layout::Mono);
    let mut pcm = [0.0; 960];
    let mut sound = Vec::new();
    for outbound in packets {
        let payload = outbound.packet.payload.as_slice();
        let samples = decoder.decode(payload, &mut pcm).unwrap();
        sound.extend_from_slice(&pcm[..samples]);
    }
    let sound = &sound[sound.len() - 960 * 25..];
    let own = amplitude_of(sound, own_hz);
    let other = amplitude_of(sound, other_hz);
    assert!(other > 0.2, "hears the other at {other}");
    assert!(own < other / 100.0, "hears itself at {own}");
}

#[test]
fn two_participants_of_a_running_mixer_hear_each_other_but_not_themselves() {
    let mut network = Network::new();
    network.add_room(ROOM);
    network.join(ROOM, 1);
    network.join(ROOM, 2);
    let mut voices = TONES_HZ.map(Voice::new);
    let mut heard: BTreeMap<u32, Vec<Outbound>> = BTreeMap::new();
    let began = Instant::now();
    for turn in 0..60u32 {
        let due = began + Duration::from_millis(20) * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        network.talk(&mut voices);
        for outbound in network.sent() {
            let [to] = outbound.to.as_slice() else {
                panic!("each hears another mix");
            };
            heard.entry(to.0).or_default().push(outbound);
        }
    }
    rustix::io::read(&network.told, &mut [0; 8]).expect("the conference is woken");
    let mut woken = [0; 8];
    rustix::io::read(&network.woken, &mut woken).unwrap();
    assert!(
        u64::from_ne_bytes(woken) > 30,
        "one wake-up per slot with output"
    );

    for (id, own, other) in [(1, 0, 1), (2, 1, 0)] {
        let packets = &heard[&id];
        assert!(packets.len() > 40, "{} packets", packets.len());
        check_sound(packets, TONES_HZ[own], TONES_HZ[other]);
    }
    let mixer = network.mixer();
    assert!(mixer.metrics().busy_ns.load(Ordering::Relaxed) > 0);
    let events = network.events();
    for participant in [1, 2].map(ParticipantId) {
        let talking = Event::Talking {
            room: ROOM,
            participant,
        };
        assert!(events.contains(&talking));
    }
    network.audio.stop().unwrap();
    let control = &mut network.controls[0];
    assert!(
        control.send(Command::RemoveRoom(ROOM)).is_err(),
        "the mixer is gone"
    );
    assert!(control.has_ended());
}

#[test]
fn removed_participants_are_freed_and_a_stopped_mixer_frees_the_remaining_participants() {
    let mut network = Network::new();
    network.add_room(ROOM);
    let shared: Vec<Arc<Shared>> = (1..=4)
        .map(|id| {
            let shared = Arc::new(Shared::default());
            let config = ParticipantConfig {
                id: ParticipantId(id),
                talks: true,
                listens: None,
                layout: Layout::Mono,
                tick: TickLength::Ms20,
            };
            let participant = Participant::new(config, shared.clone());
            network.send(Command::AddParticipant {
                room: ROOM,
                participant: Box::new(participant),
            });
            shared
        })
        .collect();
    for id in [1, 2] {
        network.send(Command::RemoveParticipant(ParticipantId(id)));
    }
    let patience = Instant::now() + Duration::from_secs(5);
    while shared[..2]
        .iter()
        .any(|shared| Arc::strong_count(shared) > 1)
    {
        assert!(Instant::now() < patience, "freed within seconds");
        std::thread::sleep(SLOT);
    }
    network.audio.stop().unwrap();
    assert!(shared.iter().all(|shared| Arc::strong_count(shared) == 1));
}

#[test]
fn room_fault_is_reported_and_affects_no_other_room() {
    const OTHER: RoomId = RoomId(8);
    let mut network = Network::new();
    for (room, id) in [(ROOM, 1), (OTHER, 2)] {
        network.add_room(room);
        network.join(room, id);
    }
    network.send(Command::Break(ROOM, Weakness::Tick));
    let mixer = network.mixer();
    let patience = Instant::now() + Duration::from_secs(5);
    while mixer.metrics().faults.load(Ordering::Relaxed) == 0 {
        assert!(Instant::now() < patience, "told within seconds");
        std::thread::sleep(SLOT);
    }
    let ticks = || mixer.metrics().room_ticks.load(Ordering::Relaxed);
    let before = ticks();
    while ticks() < before + 5 {
        assert!(Instant::now() < patience, "the other room goes on");
        std::thread::sleep(SLOT);
    }
    let events = network.events();
    assert_eq!(events, [Event::RoomFault { room: ROOM }]);
    network.audio.stop().unwrap();
}

/// One mixer has a room with more talkers than it can encode alone; the other mixer is idle.
#[test]
fn idle_mixer_helps_a_busy_mixer_and_packets_stay_in_order_at_multiples_of_20_ms() {
    const TALKERS: u32 = 16;
    let mut network = Network::with(2);
    network.add_room(ROOM);
    for id in 1..=TALKERS {
        network.join(ROOM, id);
    }
    let mut voices: Vec<Voice> = (0..TALKERS)
        .map(|talker| Voice::new(300.0 + 40.0 * f64::from(talker)))
        .collect();
    let mut heard: BTreeMap<u32, Vec<Outbound>> = BTreeMap::new();
    let began = Instant::now();
    for turn in 0..75u32 {
        let due = began + Duration::from_millis(20) * turn;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        network.talk(&mut voices);
        for outbound in network.sent() {
            for to in outbound.to.as_slice() {
                let packets = heard.entry(to.0).or_default();
                let to = Recipients::one(*to);
                packets.push(Outbound { to, ..outbound });
            }
        }
    }
    assert_eq!(heard.len(), TALKERS as usize);
    for packets in heard.values() {
        assert!(packets.len() > 40, "{} packets", packets.len());
        // Packets are neither repeated nor reordered, and their times are multiples of a tick
        // apart; a busy machine may skip a tick.
        for pair in packets.windows(2) {
            let step = pair[1].packet.time.distance_from(pair[0].packet.time);
            assert!(step > 0 && step % 960 == 0, "{step} samples");
        }
    }
    let handle = network.audio.handle();
    let [owner, other] = [0, 1].map(|at| handle.mixers()[at].clone());
    let of = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let encodes = of(&owner.metrics().encodes);
    // An encode finished by another mixer is collected in the owner's next slot at the latest.
    let patience = Instant::now() + Duration::from_secs(60);
    while of(&owner.metrics().was_helped) != of(&other.metrics().helped) {
        assert!(Instant::now() < patience, "nothing is lost on the way");
        std::thread::sleep(SLOT);
    }
    let helped = of(&owner.metrics().was_helped);
    println!("{encodes} encodes, {helped} of them by the other mixer");
    assert!(helped > 0, "it was helped");
    assert_eq!(of(&other.metrics().rooms), 0);
    assert!(of(&other.metrics().helping_ns) > 0);
    network.audio.stop().unwrap();
}

#[test]
fn mixers_without_participants_sleep_but_still_apply_commands() {
    let mut network = Network::with(2);
    network.add_room(ROOM);
    let slots = |network: &Network| {
        let handle = network.audio.handle();
        let slots = handle
            .mixers()
            .iter()
            .map(|it| it.metrics().slots.load(Ordering::Relaxed));
        slots.sum::<u64>()
    };
    std::thread::sleep(SLOT * 20);
    let (before, began) = (slots(&network), Instant::now());
    std::thread::sleep(SLOT * 200);
    let awake = slots(&network) - before;
    // Without resting, each mixer would run one slot every 2.5 ms.
    let most = 2 * began.elapsed().as_micros() / SLOT.as_micros();
    assert!(u128::from(awake) < most / 10, "{awake} of {most}");

    network.join(ROOM, 1);
    let patience = Instant::now() + Duration::from_secs(5);
    while network
        .mixer()
        .metrics()
        .participants
        .load(Ordering::Relaxed)
        == 0
    {
        assert!(Instant::now() < patience, "applied at once");
        std::thread::yield_now();
    }
    network.audio.stop().unwrap();
}
