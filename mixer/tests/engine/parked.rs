//! Parked senders: packets marked silent (RFC 6464) are not decoded, and speech after them sounds
//! as if they had been.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Decode, DecodeError, Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::{Layout, TickLength};
use mixer::source::{Strip, TickRules};
use mixer::{Level, Packet, Payload, RtpTime, Seq, Time};

/// An Opus decoder that counts its calls of `decode` and `conceal`.
struct Counted(OpusDecoder, Arc<AtomicU64>);

impl Decode for Counted {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        self.1.fetch_add(1, Relaxed);
        self.0.decode(payload, pcm)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.0.recover(next_payload, pcm)
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.1.fetch_add(1, Relaxed);
        self.0.conceal(pcm);
    }

    fn reset(&mut self) {
        self.0.reset();
    }

    fn sketch(&mut self, payload: &[u8], pcm: &mut [f32]) -> Option<usize> {
        self.0.sketch(payload, pcm)
    }
}

struct Run {
    heard: Vec<Vec<f32>>,
    decodes_while_quiet: u64,
    lost: u64,
}

/// Sends 1 s of sound, 3 s of silent packets and 2 s of sound. With `levels` the packets carry
/// level hints; without, the gate is off, so that all packets are decoded.
fn run(levels: bool) -> Run {
    let encoding = Encoding::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20);
    let mut encoder = OpusEncoder::new(&encoding);
    let decodes = Arc::new(AtomicU64::new(0));
    let decoder = Counted(OpusDecoder::new(Layout::Mono), decodes.clone());
    let mut strip = Strip::new(Layout::Mono, TickLength::Ms20, Box::new(decoder));
    let mut out = Run {
        heard: Vec::new(),
        decodes_while_quiet: 0,
        lost: 0,
    };
    for number in 0..300u32 {
        let speaks = !(50..200).contains(&number);
        let pcm: Vec<f32> = (number * 960..(number + 1) * 960)
            .map(|at| {
                let turns =
                    |hz: f64| (hz * f64::from(at) / 48_000.0).fract() * std::f64::consts::TAU;
                let voice = (turns(197.3).sin() + 0.5 * turns(631.1).sin()) as f32;
                if speaks { 0.2 * voice } else { 0.0 }
            })
            .collect();
        let mut payload = Payload::EMPTY;
        encoder.encode(&pcm, &mut payload).unwrap();
        let packet = Packet {
            seq: Seq(number as u16),
            time: RtpTime(number * 960),
            ssrc: 1,
            marker: number == 0,
            level: levels.then_some(match speaks {
                true => Level::from_wire(15),
                false => Level::SILENCE,
            }),
            payload,
        };
        let arrival = Time::from_us(1_000_000 + u64::from(number) * 20_000);
        strip.push(&packet, arrival);
        let rules = TickRules {
            now: arrival + std::time::Duration::from_millis(4),
            gate_db: levels.then_some(mixer::source::gate::DEFAULT_THRESHOLD),
            leeway_samples: 0,
        };
        let before = decodes.load(Relaxed);
        let heard = strip.listen(&rules);
        let in_mix = strip.contribute(heard);
        out.heard.push(match in_mix {
            true => strip.frame().samples().to_vec(),
            false => vec![0.0; 960],
        });
        if (100..200).contains(&number) {
            out.decodes_while_quiet += decodes.load(Relaxed) - before;
            assert_eq!(strip.is_parked(), levels, "packet {number}");
        }
    }
    out.lost = strip.stats().lost;
    out
}

#[test]
fn packets_marked_silent_are_not_decoded_and_later_speech_is_unimpaired() {
    let (decoded, parked) = (run(false), run(true));
    assert_eq!(decoded.decodes_while_quiet, 100);
    assert_eq!(parked.decodes_while_quiet, 0);
    assert_eq!(parked.lost, 0, "nothing that was passed was lost");
    // The first word is at most a tick late, because a new talk-spurt starts. All its frames are
    // present and close to the output of a decoder that received every packet.
    let spoken = |run: &Run| {
        let after = run.heard.iter().skip(199);
        let first = after
            .clone()
            .position(|pcm| pcm.iter().any(|s| s.abs() > 0.01));
        after
            .skip(first.expect("heard again"))
            .flatten()
            .copied()
            .collect::<Vec<f32>>()
    };
    let (reference, heard) = (spoken(&decoded), spoken(&parked));
    let compared = reference.len().min(heard.len());
    assert!(compared > 95 * 960, "{compared} samples");
    let energy: f32 = reference[..compared].iter().map(|a| a * a).sum();
    let pairs = reference[..compared].iter().zip(&heard);
    let noise: f32 = pairs.map(|(a, b)| (a - b) * (a - b)).sum();
    let snr_db = 10.0 * (energy / noise.max(1e-12)).log10();
    assert!(snr_db > 25.0, "{snr_db:.1} dB");
}

/// The counts and the sound of a strip whose sender sends constant noise with a voice in between:
/// full decodes, ticks in which the strip was parked, and frames that it added to the mix.
struct NoisyRun {
    decodes: u64,
    parked: usize,
    heard: Vec<Vec<f32>>,
}

fn noisy(levels: Option<u8>, profile: Profile, to_tick_us: u64) -> NoisyRun {
    let mut encoding = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
    encoding.packet_ms = 20;
    let mut encoder = OpusEncoder::new(&encoding);
    let decodes = Arc::new(AtomicU64::new(0));
    let decoder = Counted(OpusDecoder::new(Layout::Mono), decodes.clone());
    let mut strip = Strip::new(Layout::Mono, TickLength::Ms20, Box::new(decoder));
    let mut out = NoisyRun {
        decodes: 0,
        parked: 0,
        heard: Vec::new(),
    };
    let mut random = 1u32;
    for number in 0..500u32 {
        let speaks = (300..350).contains(&number);
        let pcm: Vec<f32> = (number * 960..(number + 1) * 960)
            .map(|at| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                // Noise at -60 dBFS.
                let noise = 0.001_7 * ((random >> 8) as f32 / (1 << 23) as f32 - 1.0);
                let turns = (217.3 * f64::from(at) / 48_000.0).fract() * std::f64::consts::TAU;
                noise
                    + if speaks {
                        0.2 * turns.sin() as f32
                    } else {
                        0.0
                    }
            })
            .collect();
        let mut payload = Payload::EMPTY;
        encoder.encode(&pcm, &mut payload).unwrap();
        let level = levels.map(|quiet| Level::from_wire(if speaks { 17 } else { quiet }));
        let packet = Packet {
            seq: Seq(number as u16),
            time: RtpTime(number * 960),
            ssrc: 1,
            marker: number == 0,
            level,
            payload,
        };
        let arrival = Time::from_us(1_000_000 + u64::from(number) * 20_000);
        let before = decodes.load(Relaxed);
        strip.push(&packet, arrival);
        let rules = TickRules {
            now: arrival + std::time::Duration::from_micros(to_tick_us),
            gate_db: Some(mixer::source::gate::DEFAULT_THRESHOLD),
            leeway_samples: 0,
        };
        let heard = strip.listen(&rules);
        if strip.contribute(heard) {
            out.heard.push(strip.frame().samples().to_vec());
        }
        if (100..300).contains(&number) {
            out.parked += usize::from(strip.is_parked());
            out.decodes += decodes.load(Relaxed) - before;
        }
    }
    out
}

#[test]
fn noise_below_the_gate_is_only_decoded_roughly_and_a_voice_is_heard_whole() {
    // With 500 us the last packet arrives too close to its tick to be played in it; it waits and is
    // not taken for silence.
    let cases = [Profile::Voice, Profile::LowDelay, Profile::Music]
        .into_iter()
        .flat_map(|profile| [4_000, 19_000, 500].map(|to_tick_us| (profile, to_tick_us)));
    for (profile, to_tick_us) in cases {
        for levels in [None, Some(60), Some(80)] {
            let listener = noisy(levels, profile, to_tick_us);
            assert_eq!(listener.parked, 200, "{profile}, {levels:?}");
            assert_eq!(listener.decodes, 0, "{profile}, {levels:?}");
            // One second of voice, plus the gate's hangover.
            let spoken = listener.heard.len();
            assert!(
                (50..=64).contains(&spoken),
                "{profile}, {levels:?}: {spoken}"
            );
            let energy = |pcm: &Vec<f32>| pcm.iter().map(|s| s * s).sum::<f32>() / 960.0;
            let full = listener.heard[..50].iter().filter(|pcm| energy(pcm) > 0.01);
            assert!(full.count() >= 49, "{profile}, {levels:?}: no word is lost");
            let loudest = listener
                .heard
                .iter()
                .flatten()
                .fold(0.0f32, |m, s| m.max(s.abs()));
            assert!(loudest < 0.3, "{profile}, {levels:?}: {loudest}");
        }
    }
}
