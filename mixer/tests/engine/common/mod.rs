//! A sender and a network in virtual time, with a codec that does not need Opus: a payload names
//! its first sample and decodes to a tone that is a function of the sample number, so that each
//! sample can be identified.

#![allow(dead_code, reason = "each test binary uses its own part")]

use mixer::codec::{Decode, DecodeError};
use mixer::format::{Layout, TickLength};
use mixer::source::{Playout, Pulled};
use mixer::{Frame, Packet, Payload, RtpTime, Seq, Time};

/// Frequency of the tone; a repeated 20 ms of 1,000 Hz would go unnoticed.
pub const TONE_HZ: f64 = 925.0;

/// Decodes the tone, and conceals by continuing it at a lower amplitude.
pub struct ToneDecoder {
    next: u64,
}

impl ToneDecoder {
    pub fn boxed() -> Box<dyn Decode> {
        Box::new(ToneDecoder { next: 0 })
    }

    fn fill(&mut self, from: u64, amplitude: f32, pcm: &mut [f32]) {
        for (n, sample) in pcm.iter_mut().enumerate() {
            let phase = std::f64::consts::TAU * TONE_HZ * (from + n as u64) as f64 / 48_000.0;
            *sample = amplitude * phase.sin() as f32;
        }
        self.next = from + pcm.len() as u64;
    }
}

impl Decode for ToneDecoder {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let samples = mixer::codec::opus_toc::shape(payload)
            .map_err(|_| DecodeError::Malformed)?
            .samples;
        let at = payload.len() - 8;
        let from = u64::from_le_bytes(
            payload[at..]
                .try_into()
                .map_err(|_| DecodeError::Malformed)?,
        );
        self.fill(from, 0.5, &mut pcm[..samples]);
        Ok(samples)
    }

    fn recover(&mut self, _next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.conceal(pcm);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.fill(self.next, 0.4, pcm);
    }

    fn reset(&mut self) {}
}

/// A packet of `ms` milliseconds (2.5 to 120) that starts with sample `from` of the tone.
pub fn packet(seq: u64, from: u64, ms: f64) -> Packet {
    let mut bytes = match ms {
        2.5 => vec![28 << 3],
        5.0 => vec![29 << 3],
        10.0 => vec![30 << 3],
        20.0 => vec![31 << 3],
        _ => vec![31 << 3 | 3, (ms / 20.0) as u8],
    };
    bytes.extend_from_slice(&from.to_le_bytes());
    Packet {
        seq: Seq(seq as u16),
        time: RtpTime(from as u32),
        ssrc: 1,
        marker: false,
        level: None,
        payload: Payload::copy_from(&bytes).expect("short"),
    }
}

/// A small deterministic random number generator.
pub struct Chance(pub u64);

impl Chance {
    /// Uniform in `0.0..1.0`.
    pub fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// One packet in flight.
#[derive(Clone, Copy)]
pub struct Flight {
    pub sent_us: u64,
    /// Arrival time in microseconds; `None` if the packet is lost.
    pub arrival_us: Option<u64>,
    pub packet: Packet,
}

/// Packets of 20 ms sent for `seconds` by a clock that runs `ppm` fast, `phase_us` after the ticks.
pub fn flights(
    seconds: f64,
    ppm: f64,
    phase_us: u64,
    mut delay_us: impl FnMut(u64, f64) -> Option<u64>,
) -> Vec<Flight> {
    let interval_us = 20_000.0 / (1.0 + ppm * 1e-6);
    (0..(seconds * 50.0) as u64)
        .map(|n| {
            let sent_us = phase_us + (n as f64 * interval_us) as u64 + 1_000_000;
            let arrival_us = delay_us(n, sent_us as f64 / 1e6).map(|delay| sent_us + delay);
            Flight {
                sent_us,
                arrival_us,
                packet: packet(n, n * 960, 20.0),
            }
        })
        .collect()
}

/// Packets of any length through networks with jitter, stalls and loss, with pauses in which the
/// media clock continues or stops, skipped sequence numbers and encoder restarts.
pub fn wild_flights(seed: u64) -> Vec<Flight> {
    let mut chance = Chance(seed);
    let mut pick = move |of: u64| (chance.next() * of as f64) as u64;
    let lengths: &[f64] = [
        &[20.0][..],
        &[10.0],
        &[60.0],
        &[2.5, 5.0, 10.0, 20.0, 120.0],
    ][pick(4) as usize];
    let (jitter_us, loss) = ([1, 2_000, 20_000, 80_000][pick(4) as usize], pick(8));
    let (mut at_us, mut seq, mut media, mut ssrc) = (1_000_000 + pick(20_000), pick(70_000), 0, 1);
    let (mut stalled_to, mut flights) = (0, Vec::new());
    while at_us < 21_000_000 {
        let ms = lengths[pick(lengths.len() as u64) as usize];
        let samples = (ms * 48.0) as u64;
        let mut packet = packet(seq, media, ms);
        (packet.ssrc, packet.time) = (ssrc, RtpTime(media as u32));
        at_us += samples * 1_000 / 48;
        let arrival_us = (at_us + 300 + pick(jitter_us)).max(stalled_to + pick(100));
        let flight = Flight {
            sent_us: at_us,
            arrival_us: (pick(100) >= loss).then_some(arrival_us),
            packet,
        };
        flights.push(flight);
        (seq, media) = (seq + 1, media + samples);
        match pick(400) {
            0 => stalled_to = at_us + pick(700_000),
            1 | 2 => {
                let pause_us = pick(1_200) * 1_000;
                at_us += pause_us;
                media += pause_us * 48 / 1_000;
            }
            3 => at_us += pick(1_200) * 1_000,
            4 => seq += pick(300),
            5 => (ssrc, seq, media) = (ssrc + 1, pick(60_000), pick(1 << 40)),
            6 | 7 => flights.push(flight),
            _ => {}
        }
    }
    flights
}

/// The result of one tick of a playout.
pub struct Heard {
    pub seconds: f64,
    pub pulled: Pulled,
    pub delay_ms: f64,
    pub target_ms: f64,
    pub concealed_samples: u64,
}

/// Plays flights through a playout in virtual time; returns every tick, the PCM and the playout.
pub fn play(flights: &[Flight], tick: TickLength) -> (Vec<Heard>, Vec<f32>, Playout) {
    let mut arrivals: Vec<(u64, Packet)> = flights
        .iter()
        .filter_map(|flight| Some((flight.arrival_us?, flight.packet)))
        .collect();
    arrivals.sort_by_key(|(arrival, _)| *arrival);
    let end_us = flights.last().map_or(0, |flight| flight.sent_us) + 200_000;
    let mut playout = Playout::new(Layout::Mono, tick, ToneDecoder::boxed());
    let mut frame = Frame::new(Layout::Mono, tick);
    let (mut ticks, mut sound) = (Vec::new(), Vec::new());
    let mut waiting = arrivals.into_iter().peekable();
    let mut now_us = 0;
    while now_us < end_us {
        while let Some((arrival, packet)) = waiting.next_if(|(arrival, _)| *arrival <= now_us) {
            playout.push(&packet, Time::from_us(arrival));
        }
        let pulled = playout.pull(Time::from_us(now_us), &mut frame);
        let stats = playout.stats();
        ticks.push(Heard {
            seconds: now_us as f64 / 1e6,
            pulled,
            delay_ms: stats.delay.as_secs_f64() * 1e3,
            target_ms: stats.target.as_secs_f64() * 1e3,
            concealed_samples: stats.concealed_samples,
        });
        sound.extend_from_slice(frame.samples());
        now_us += u64::from(tick.ms()) * 1_000;
    }
    (ticks, sound, playout)
}

/// Playout delay of each tick with sound between two instants in seconds, in milliseconds.
pub fn delays(ticks: &[Heard], from: f64, to: f64) -> Vec<f64> {
    ticks
        .iter()
        .filter(|t| (from..to).contains(&t.seconds) && t.pulled == Pulled::Audio)
        .map(|t| t.delay_ms)
        .collect()
}

pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Smallest and largest of `values`.
pub fn spread(values: &[f64]) -> (f64, f64) {
    values.iter().fold((f64::MAX, f64::MIN), |(low, high), v| {
        (low.min(*v), high.max(*v))
    })
}

/// Number of samples at which the second difference exceeds that of the tone.
pub fn clicks(sound: &[f32]) -> usize {
    let natural = 0.5 * (std::f64::consts::TAU * TONE_HZ / 48_000.0).powi(2) as f32;
    sound
        .windows(3)
        .filter(|w| (w[0] - 2.0 * w[1] + w[2]).abs() > natural * 1.5 + 0.004)
        .count()
}
