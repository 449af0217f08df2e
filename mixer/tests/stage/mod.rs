//! Shared test support for the engine: voices, a sink that stores all output, an encoder that logs
//! its input, and a room of talkers in virtual time.
#![allow(dead_code, unused_imports, reason = "no test uses all of it")]
#![allow(
    clippy::disallowed_types,
    reason = "a tap may hold a channel; the engine may not"
)]

pub mod field;
pub mod floor;
pub mod hands;
mod voices;

use std::any::Any;
use std::sync::{Arc, Mutex};

use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{
    Decode, DecodeError, Encode, EncodeError, EncoderSettings, Encoding, Profile, ReceiverLimits,
};
use mixer::engine::{Command, Engine, EngineLimits, Sink};
use mixer::format::{SLOT, TickLength};
use mixer::output::{Destination, Event, Retired};
use mixer::packet::{OutPacket, Packet, Payload};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::schedule::WorkPool;
use mixer::source::Source;
use mixer::units::{ParticipantId, RoomId, RtpTime, Seq, Time};

pub use self::voices::{amplitude_of, db, human, tone};

/// A sink that stores all packets, events and retired boxes.
#[derive(Default)]
pub struct Collector {
    pub packets: Vec<(ParticipantId, OutPacket)>,
    pub recorded: Vec<(ParticipantId, OutPacket)>,
    pub events: Vec<Event>,
    pub retired: Vec<Retired>,
}

impl WorkPool for Collector {}

impl Sink for Collector {
    fn packet(&mut self, destination: Destination, to: &[ParticipantId], packet: &OutPacket) {
        assert!(!to.is_empty(), "a packet for nobody");
        if destination == Destination::Recorder {
            self.recorded.extend(to.iter().map(|to| (*to, *packet)));
            return;
        }
        self.packets.extend(to.iter().map(|to| (*to, *packet)));
    }

    fn event(&mut self, event: Event) {
        self.events.push(event);
    }

    fn retired(&mut self, retired: Retired) {
        self.retired.push(retired);
    }
}

/// All PCM that taps were given to encode; the payload of a tap's packet is an index into the log.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Vec<f32>>>>);

impl Log {
    /// The PCM that a tap encoded as `packet`.
    pub fn pcm(&self, packet: &OutPacket) -> Vec<f32> {
        self.0.lock().expect("no panic")[self.made(packet) as usize].clone()
    }

    /// Number of frames that taps logged before the one of `packet`.
    pub fn made(&self, packet: &OutPacket) -> u64 {
        let at = packet.payload.as_slice()[1..].try_into().expect("a tap's");
        u64::from_le_bytes(at)
    }

    /// All logged frames, in the order of encoding.
    pub fn all(&self) -> Vec<Vec<f32>> {
        self.0.lock().expect("no panic").clone()
    }
}

/// An encoder that logs its PCM and encodes each frame as its index in the log.
pub struct Tap(pub Log);

impl Encode for Tap {
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError> {
        let mut log = self.0.0.lock().expect("no panic");
        *payload = Exact::payload(log.len() as u64);
        log.push(pcm.to_vec());
        Ok(())
    }

    fn configure(&mut self, _: &EncoderSettings) {}

    fn reset(&mut self) {}

    fn follow(&mut self, other: &dyn Encode) -> bool {
        other.as_any().is::<Tap>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A lossless decoder: the payload is the number of the first sample, and decoding evaluates the
/// voice from that sample on.
struct Exact<F>(F);

impl Exact<fn(u64) -> f32> {
    fn payload(sample: u64) -> Payload {
        // As a TOC byte, 0xf8 means one frame of 20 ms of CELT.
        let mut bytes = [0xf8; 9];
        bytes[1..].copy_from_slice(&sample.to_le_bytes());
        Payload::copy_from(&bytes).expect("fits")
    }
}

impl<F: FnMut(u64) -> f32 + Send> Decode for Exact<F> {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let sample = payload[1..]
            .try_into()
            .map_err(|_| DecodeError::Malformed)?;
        let from = u64::from_le_bytes(sample);
        for (sample, out) in (from..).zip(&mut pcm[..960]) {
            *out = self.0(sample);
        }
        Ok(960)
    }

    fn recover(&mut self, _: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        pcm.fill(0.0);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        pcm.fill(0.0);
    }

    fn reset(&mut self) {}
}

/// Returns a lossless decoder that plays `voice` for the payloads of [`Talker::exact`].
pub fn exact(voice: impl FnMut(u64) -> f32 + Send + 'static) -> Box<dyn Decode> {
    Box::new(Exact(voice))
}

/// The encoding of a profile without stream hangover, so that streams stop with the sound;
/// hangovers are tested in `hangover.rs`.
pub fn encoding(profile: Profile) -> Encoding {
    Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20).with_hangover(0)
}

/// A simulated sender: an encoder, a voice and an RTP clock.
pub struct Talker {
    pub id: ParticipantId,
    pub shared: Arc<Shared>,
    encoder: Option<OpusEncoder>,
    voice: Box<dyn FnMut(u64) -> f32>,
    sample: u64,
    sent: u16,
}

impl Talker {
    /// A talker without an encoder, whose payloads are decoded by [`exact`].
    pub fn exact(id: ParticipantId, shared: Arc<Shared>) -> Talker {
        Talker {
            id,
            shared,
            encoder: None,
            voice: Box::new(|_| 0.0),
            sample: 0,
            sent: 0,
        }
    }

    /// Encodes further packets with the encoding `encoding`.
    pub fn send_as(&mut self, encoding: &Encoding) {
        self.encoder = Some(OpusEncoder::new(encoding));
    }

    /// Continues at another sample of the voice and sets the RTP clock to it.
    pub fn speak_from(&mut self, sample: u64) {
        self.sample = sample;
    }

    /// Treats the last packet as never sent: RTP time has advanced, the sequence number has not.
    pub fn unsend(&mut self) {
        self.sent = self.sent.wrapping_sub(1);
    }

    /// Skips one sequence number, as if a packet had been lost, without advancing RTP time.
    pub fn skip_number(&mut self) {
        self.sent = self.sent.wrapping_add(1);
    }

    /// Encodes the next 20 ms as a packet.
    pub fn packet(&mut self) -> Packet {
        let payload = match &mut self.encoder {
            Some(encoder) => {
                let samples = self.sample..self.sample + 960;
                let pcm: Vec<f32> = samples.map(&mut self.voice).collect();
                let mut payload = Payload::EMPTY;
                encoder.encode(&pcm, &mut payload).expect("20 ms encode");
                payload
            }
            None => Exact::payload(self.sample),
        };
        let packet = Packet {
            seq: Seq(self.sent),
            time: RtpTime(self.sample as u32),
            ssrc: self.id.0,
            marker: self.sent == 0,
            level: None,
            payload,
        };
        self.sent = self.sent.wrapping_add(1);
        self.sample += 960;
        packet
    }
}

/// One engine with one room, in virtual time.
pub struct Stage {
    pub engine: Engine,
    pub sink: Collector,
    pub talkers: Vec<Talker>,
    pub slot: u64,
    pub log: Log,
    settings: RoomSettings,
}

pub const ROOM: RoomId = RoomId(1);

impl Stage {
    pub fn new(settings: RoomSettings) -> Stage {
        Stage::for_many(64, settings)
    }

    /// Builds a stage with space for `places` participants.
    pub fn for_many(places: usize, settings: RoomSettings) -> Stage {
        let mut engine = Engine::new(EngineLimits {
            rooms: 16,
            participants: places,
        });
        let mut sink = Collector::default();
        let room = Box::new(Room::new(ROOM, settings, places));
        engine.apply(Command::AddRoom(room), &mut sink);
        Stage {
            engine,
            sink,
            talkers: Vec::new(),
            slot: 400,
            log: Log::default(),
            settings,
        }
    }

    /// Adds a participant that is heard through Opus and hears through a tap.
    pub fn join_tapped(&mut self, id: u32, voice: impl FnMut(u64) -> f32 + 'static) {
        let tap = Box::new(Tap(self.log.clone()));
        self.join(id, voice, Some(tap));
    }

    /// Adds a participant that is heard losslessly and hears through a tap.
    pub fn join_exact(&mut self, id: u32, voice: impl FnMut(u64) -> f32 + Send + 'static) {
        let decoder = Box::new(Exact(voice));
        let tap = Box::new(Tap(self.log.clone()));
        self.seat(id, decoder, tap);
    }

    /// Adds a participant that is heard losslessly and hears through Opus.
    pub fn join_clear(&mut self, id: u32, voice: impl FnMut(u64) -> f32 + Send + 'static) {
        let encoder = Box::new(OpusEncoder::new(&encoding(Profile::Voice)));
        self.seat(id, Box::new(Exact(voice)), encoder);
    }

    /// Adds a listen-only participant that hears through Opus.
    pub fn join_ear(&mut self, id: u32) -> Arc<Shared> {
        self.join_ear_of(id, encoding(Profile::Voice))
    }

    /// Adds a listen-only participant whose stream has the given encoding.
    pub fn join_ear_of(&mut self, id: u32, encoding: Encoding) -> Arc<Shared> {
        self.join_listener(id, encoding, Destination::Peer)
    }

    /// Adds a listen-only participant whose packets go to `destination`.
    pub fn join_listener(
        &mut self,
        id: u32,
        encoding: Encoding,
        destination: Destination,
    ) -> Arc<Shared> {
        let id = ParticipantId(id);
        let config = ParticipantConfig {
            id,
            talks: false,
            listens: Some(encoding),
            layout: self.settings.layout,
            tick: self.settings.tick,
        };
        let shared = Arc::new(Shared::default());
        let participant = Participant::new(config, shared.clone()).with_destination(destination);
        let command = Command::AddParticipant {
            room: ROOM,
            participant: Box::new(participant),
        };
        self.engine.apply(command, &mut self.sink);
        shared
    }

    /// Adds a participant that plays `source` and hears nothing.
    pub fn join_source(&mut self, id: u32, source: Box<dyn Source>) -> Arc<Shared> {
        let config = ParticipantConfig {
            id: ParticipantId(id),
            talks: true,
            listens: None,
            layout: self.settings.layout,
            tick: self.settings.tick,
        };
        let shared = Arc::new(Shared::default());
        let participant = Participant::with_source(config, shared.clone(), Some(source), None);
        let command = Command::AddParticipant {
            room: ROOM,
            participant: Box::new(participant),
        };
        self.engine.apply(command, &mut self.sink);
        shared
    }

    /// Adds a participant that is heard through Opus, and hears through `encoder` (`None`: Opus).
    pub fn join(
        &mut self,
        id: u32,
        voice: impl FnMut(u64) -> f32 + 'static,
        encoder: Option<Box<dyn Encode>>,
    ) {
        let decoder = Box::new(OpusDecoder::new(self.settings.layout));
        let encoder =
            encoder.unwrap_or_else(|| Box::new(OpusEncoder::new(&encoding(Profile::Voice))));
        self.seat(id, decoder, encoder);
        let mut up = encoding(Profile::Music);
        up.bitrate_bps = 128_000;
        let talker = self.talkers.last_mut().expect("just joined");
        talker.encoder = Some(OpusEncoder::new(&up));
        talker.voice = Box::new(voice);
    }

    fn seat(&mut self, id: u32, decoder: Box<dyn Decode>, encoder: Box<dyn Encode>) {
        let id = ParticipantId(id);
        let shared = Arc::new(Shared::default());
        // Participants with equal encodings share an encoder, and Opus cannot continue the state of
        // a tap.
        let mut listens = encoding(Profile::Voice);
        if encoder.as_any().is::<Tap>() {
            listens.bitrate_bps = 96_000;
        }
        let config = ParticipantConfig {
            id,
            talks: true,
            listens: Some(listens),
            layout: self.settings.layout,
            tick: self.settings.tick,
        };
        let participant =
            Participant::with_codec(config, shared.clone(), Some(decoder), Some(encoder));
        let command = Command::AddParticipant {
            room: ROOM,
            participant: Box::new(participant),
        };
        self.engine.apply(command, &mut self.sink);
        assert!(self.sink.retired.is_empty(), "there is a place");
        self.talkers.push(Talker::exact(id, shared));
    }

    pub fn now(&self) -> Time {
        Time::from_us(self.slot * SLOT.as_micros() as u64)
    }

    /// Runs 20 ms: every talker's packet arrives, then the slots of one tick run.
    pub fn turn(&mut self) {
        self.arrive();
        self.pass();
    }

    /// Delivers one packet of every talker.
    pub fn arrive(&mut self) {
        let now = self.now();
        for talker in &mut self.talkers {
            self.engine.push(talker.id, &talker.packet(), now);
        }
    }

    /// Runs 20 ms in which no packet arrives.
    pub fn pass(&mut self) {
        for _ in 0..8 {
            self.slot += 1;
            let now = self.now();
            self.engine.run_slot(self.slot, now, &mut self.sink);
        }
    }

    /// All PCM that a tapped talker has heard so far, contiguous.
    pub fn heard(&self, talker: usize) -> Vec<f32> {
        let id = self.talkers[talker].id;
        let packets = self.sink.packets.iter().filter(|(to, _)| *to == id);
        packets
            .flat_map(|(_, packet)| self.log.pcm(packet))
            .collect()
    }
}

/// Packet `n` of a sender whose packets all hold `samples` samples.
pub fn nth_packet(n: u64, samples: usize, payload: Payload) -> Packet {
    Packet {
        seq: Seq(n as u16),
        time: RtpTime((n * samples as u64) as u32),
        ssrc: 2,
        marker: false,
        level: None,
        payload,
    }
}
