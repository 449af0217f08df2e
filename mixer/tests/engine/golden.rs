//! Golden mix: three fixed voices with jitter, loss and gains, compared as PCM before one
//! listener's encoder.
//!
//! The input is stored as Opus packets rather than PCM, so that no encoder takes part: where two
//! processors differ in the last bit of a float, an encoder may choose other bits, while a decoder
//! only passes the difference on. `fixtures/README.md` says how and when to regenerate both files.
#![allow(
    clippy::disallowed_macros,
    reason = "a test prints what it measured; the engine may not"
)]

use std::path::Path;
use std::sync::Arc;

use crate::recordings::{fixture, read_wav};
use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Decode, DecodeError, Encode, Encoding, Profile, ReceiverLimits};
use mixer::engine::{Command, Engine, EngineLimits};
use mixer::format::{Layout, SLOT, TickLength};
use mixer::packet::{Packet, Payload};
use mixer::room::{Participant, ParticipantConfig, Room, RoomSettings, Shared};
use mixer::units::{Decibels, Gain, ParticipantId, RoomId, RtpTime, Seq, Time};

/// One talker: the voice, its network trace, its gain in the mix and its start time.
struct Part {
    voice: &'static str,
    trace: &'static str,
    gain_db: f32,
    begins_us: u64,
}

/// Covers bursts, 10 % loss and jitter: FEC, concealment, time stretching, gains and, at +9 dB, the
/// limiter.
const PARTS: [Part; 3] = [
    Part {
        voice: "human-en-female",
        trace: "wlan",
        gain_db: 0.0,
        begins_us: 0,
    },
    Part {
        voice: "human-it-male",
        trace: "loss-10",
        gain_db: -4.0,
        begins_us: 307_000,
    },
    Part {
        voice: "synthetic-de-male",
        trace: "jitter-30ms",
        gain_db: 9.0,
        begins_us: 613_000,
    },
];

/// Packets per talker: three seconds of packets of 20 ms.
const PACKETS: usize = 150;

/// Ticks to run: enough for the last packet to be played.
const TICKS: usize = 200;

/// RTP time of the first tick.
const FIRST_TICK: RtpTime = RtpTime(0);

/// Smallest accepted ratio, in dB, of the golden mix to its difference from the computed mix.
///
/// The golden mix is stored in 16 bits, which limits the ratio to 83 dB. Decoders that differ by
/// half a 16-bit step, a hundred times more than libopus' variants for several processors do, give
/// 74 dB. One percent of gain gives 40 dB, a shift by one sample 16 dB.
const LIKE_DB: f64 = 50.0;

#[test]
fn mix_matches_the_golden_mix() {
    let golden = read_wav(&fixture("golden/mix.wav"));
    let like_db = likeness_db(&golden, &mix(0.0));
    println!("golden_like_db,{like_db:.1}");
    assert!(like_db >= LIKE_DB, "only {like_db:.1} dB alike");
}

/// The tolerance accepts another processor's rounding and rejects small changes of the mix.
#[test]
fn golden_tolerance_accepts_rounding_and_rejects_changes() {
    let golden = read_wav(&fixture("golden/mix.wav"));
    let rounding_db = likeness_db(&golden, &mix(1.0 / (1 << 16) as f32));
    println!("rounding_like_db,{rounding_db:.1}");
    assert!(rounding_db >= LIKE_DB, "{rounding_db:.1} dB");
    let mut late = mix(0.0);
    late.rotate_right(1);
    let late_db = likeness_db(&golden, &late);
    let quieter: Vec<f32> = golden.iter().map(|sample| 0.99 * sample).collect();
    let quieter_db = likeness_db(&golden, &quieter);
    println!("one_sample_late_like_db,{late_db:.1}");
    println!("one_percent_quieter_like_db,{quieter_db:.1}");
    assert!(late_db < LIKE_DB && quieter_db < LIKE_DB);
}

#[test]
#[ignore = "writes fixtures/golden/mix.wav: when the mix is meant to have changed, and somebody has listened"]
fn make_the_mix() {
    write_wav(&fixture("golden/mix.wav"), &mix(0.0));
}

#[test]
#[ignore = "writes fixtures/golden/voices.packets: when other voices are wanted; the mix has to be made anew as well"]
fn make_the_packets() {
    let limits = ReceiverLimits {
        fec: true,
        ..ReceiverLimits::default()
    };
    let encoding = Encoding::new(Profile::Voice, &limits, TickLength::Ms20);
    let mut file = Vec::new();
    for part in &PARTS {
        let voice = read_wav(&fixture(&format!("voices/{}.wav", part.voice)));
        let mut encoder = OpusEncoder::new(&encoding);
        encoder.configure(&encoding.settings(10));
        for pcm in voice.chunks_exact(960).take(PACKETS) {
            let mut payload = Payload::EMPTY;
            encoder.encode(pcm, &mut payload).expect("20 ms encode");
            let payload = payload.as_slice();
            file.extend((payload.len() as u16).to_le_bytes());
            file.extend(payload);
        }
    }
    std::fs::write(fixture("golden/voices.packets"), file).expect("the fixtures can be written");
}

/// The whole mix, with noise of amplitude `rounding` added to all decoded PCM.
fn mix(rounding: f32) -> Vec<f32> {
    let settings = RoomSettings::default();
    let mut engine = Engine::new(EngineLimits {
        rooms: 1,
        participants: PARTS.len() + 1,
    });
    let mut sink = crate::stage::Collector::default();
    let room = Box::new(Room::new(RoomId(1), settings, PARTS.len() + 1));
    engine.apply(Command::AddRoom(room), &mut sink);
    let ear = crate::stage::Log::default();
    for id in 0..=PARTS.len() {
        let shared = Arc::<Shared>::default();
        if let Some(part) = PARTS.get(id) {
            shared.settings.amplify(Gain::from(Decibels(part.gain_db)));
        }
        let talks = id < PARTS.len();
        let config = ParticipantConfig {
            id: ParticipantId(1 + id as u32),
            talks,
            listens: (!talks).then(|| crate::stage::encoding(Profile::Voice)),
            layout: settings.layout,
            tick: settings.tick,
        };
        let decoder = Box::new(Rounding::new(rounding)) as Box<dyn Decode>;
        let encoder = Box::new(crate::stage::Tap(ear.clone())) as Box<dyn Encode>;
        let participant = Participant::with_codec(config, shared, Some(decoder), Some(encoder));
        let command = Command::AddParticipant {
            room: RoomId(1),
            participant: Box::new(participant),
        };
        engine.apply(command, &mut sink);
    }
    let mut arrivals = arrivals().into_iter().peekable();
    for slot in 0..8 * TICKS as u64 {
        let now = Time::from_us(slot * SLOT.as_micros() as u64);
        while let Some((at, from, packet)) = arrivals.next_if(|(at, ..)| *at <= now) {
            engine.push(from, &packet, at);
        }
        engine.run_slot(slot, now, &mut sink);
    }
    // One extra tick, since a room may move its phase by up to a tick.
    let mut mix = vec![0.0; 960 * (TICKS + 1)];
    for (_, packet) in &sink.packets {
        let pcm = ear.pcm(packet);
        let at = packet.time.distance_from(FIRST_TICK) as usize;
        mix[at..at + pcm.len()].copy_from_slice(&pcm);
    }
    assert!(arrivals.next().is_none(), "all have arrived");
    mix
}

/// All packets that arrive, sorted by arrival time.
fn arrivals() -> Vec<(Time, ParticipantId, Packet)> {
    let file = std::fs::read(fixture("golden/voices.packets")).expect("it is in the repository");
    let mut rest = file.as_slice();
    let mut arrivals = Vec::new();
    for (id, part) in (1..).zip(&PARTS) {
        let trace = std::fs::read_to_string(fixture(&format!("traces/{}.csv", part.trace)))
            .expect("it is in the repository");
        for (number, line) in trace.lines().skip(1).take(PACKETS).enumerate() {
            let (length, tail) = rest.split_first_chunk::<2>().expect("a length");
            let (payload, tail) = tail.split_at(usize::from(u16::from_le_bytes(*length)));
            rest = tail;
            let arrival = line
                .rsplit(',')
                .next()
                .and_then(|word| word.parse::<u64>().ok());
            let Some(arrival_us) = arrival else {
                continue;
            };
            let packet = Packet {
                seq: Seq(number as u16),
                time: RtpTime(960 * number as u32),
                ssrc: id,
                marker: number == 0,
                level: None,
                payload: Payload::copy_from(payload).expect("it was one"),
            };
            let at = Time::from_us(arrival_us + part.begins_us);
            arrivals.push((at, ParticipantId(id), packet));
        }
    }
    arrivals.sort_by_key(|(at, ..)| *at);
    arrivals
}

/// An Opus decoder that adds noise of amplitude `most`, to imitate another processor's rounding.
struct Rounding {
    decoder: OpusDecoder,
    most: f32,
    chance: u32,
}

impl Rounding {
    fn new(most: f32) -> Rounding {
        Rounding {
            decoder: OpusDecoder::new(Layout::Mono),
            most,
            chance: 1,
        }
    }

    fn disturb(&mut self, pcm: &mut [f32]) {
        for sample in pcm {
            self.chance = self
                .chance
                .wrapping_mul(1_664_525)
                .wrapping_add(1_013_904_223);
            *sample += self.most * ((self.chance >> 8) as f32 / (1 << 23) as f32 - 1.0);
        }
    }
}

impl Decode for Rounding {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let samples = self.decoder.decode(payload, pcm)?;
        self.disturb(&mut pcm[..samples]);
        Ok(samples)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.decoder.recover(next_payload, pcm)?;
        self.disturb(pcm);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.decoder.conceal(pcm);
        self.disturb(pcm);
    }

    fn reset(&mut self) {
        self.decoder.reset();
    }
}

/// Ratio of the golden mix's energy to the energy of its difference from `mix`, in dB.
fn likeness_db(golden: &[f32], mix: &[f32]) -> f64 {
    assert_eq!(golden.len(), mix.len());
    let energy = |samples: &mut dyn Iterator<Item = f32>| -> f64 {
        samples.map(|sample| f64::from(sample).powi(2)).sum()
    };
    let signal = energy(&mut golden.iter().copied());
    let difference = energy(&mut golden.iter().zip(mix).map(|(golden, mix)| golden - mix));
    10.0 * (signal / difference.max(1e-12)).log10()
}

fn write_wav(path: &Path, samples: &[f32]) {
    let spec = hound::WavSpec {
        channels: 1,
        sample_rate: 48_000,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut wav = hound::WavWriter::create(path, spec).expect("the fixtures can be written");
    for sample in samples {
        let rounded = (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16;
        wav.write_sample(rounded)
            .expect("the fixtures can be written");
    }
    wav.finalize().expect("the fixtures can be written");
}
