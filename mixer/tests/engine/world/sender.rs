//! A simulated sender of Opus or G.711 over a network with jitter, loss, duplicates and broken
//! packets.

use mixer::codec::Encode;
use mixer::codec::g711::{G711Encoder, Law};
use mixer::format::MAX_PAYLOAD_BYTES;
use mixer::packet::{Packet, Payload};
use mixer::units::{Decibels, Level, RtpTime, Seq};
use opus::{Application, Bandwidth, Bitrate, Channels};

use crate::common::Chance;

/// The level hint (RFC 6464) that a sender gives its packets.
#[derive(Clone, Copy)]
pub enum Hint {
    Nothing,
    Truth,
    /// One constant level for every packet.
    Always(u8),
}

/// Impairments of a network; percentages are of all packets.
#[derive(Clone, Copy, Default)]
pub struct Network {
    pub jitter_us: f64,
    pub loss_percent: f64,
    pub twice_percent: f64,
    /// Packets delayed by up to 20 ms more than the others.
    pub late_percent: f64,
    /// Packets with a payload that the sender's codec cannot decode.
    pub broken_percent: f64,
}

enum Coder {
    Opus(opus::Encoder, usize),
    G711(Box<G711Encoder>),
    /// The payload names its first sample, for lossless decoders.
    Exact,
    /// Sends only the packets that are in flight already.
    Silent,
}

pub struct Sender {
    coder: Coder,
    voice: Box<dyn FnMut(u64) -> f32>,
    /// Possible packet lengths in samples; each packet has one of them.
    pub lengths: &'static [u64],
    pub hint: Hint,
    pub network: Network,
    /// Whether the sender is silent while its media clock advances.
    pub is_paused: bool,
    begin_us: u64,
    sample: u64,
    sent: u16,
    pub ssrc: u32,
    pub in_flight: Vec<(u64, Packet)>,
}

/// The packet length of browsers: 20 ms.
pub const MS_20: &[u64] = &[960];

/// Opus packet lengths from 2.5 to 120 ms, in samples.
pub const ANY: &[u64] = &[120, 240, 480, 960, 1_920, 2_880, 3_840, 4_800, 5_760];

impl Sender {
    fn new(coder: Coder, begin_us: u64, voice: impl FnMut(u64) -> f32 + 'static) -> Sender {
        Sender {
            coder,
            voice: Box::new(voice),
            lengths: MS_20,
            hint: Hint::Nothing,
            network: Network::default(),
            is_paused: false,
            begin_us,
            sample: 0,
            sent: 0,
            ssrc: 7,
            in_flight: Vec::new(),
        }
    }

    /// A sender that encodes SILK, hybrid or CELT, mono or stereo, with or without FEC and DTX.
    pub fn opus(which: usize, begin_us: u64, voice: impl FnMut(u64) -> f32 + 'static) -> Sender {
        let (application, bandwidth, bps) = [
            (Application::Voip, Bandwidth::Fullband, 32_000),
            (Application::Voip, Bandwidth::Wideband, 16_000),
            (Application::LowDelay, Bandwidth::Fullband, 64_000),
            (Application::Audio, Bandwidth::Fullband, 96_000),
        ][which % 4];
        let channels = [Channels::Mono, Channels::Stereo][which / 4 % 2];
        let encoder = opus::Encoder::new(48_000, channels, application);
        let mut encoder = encoder.expect("libopus makes an encoder");
        let bitrate = Bitrate::Bits(bps);
        encoder.set_bitrate(bitrate).expect("in range");
        encoder.set_max_bandwidth(bandwidth).expect("in range");
        encoder
            .set_inband_fec(!which.is_multiple_of(3))
            .expect("in range");
        encoder.set_packet_loss_perc(10).expect("in range");
        encoder.set_dtx(which % 5 == 1).expect("in range");
        Sender::new(Coder::Opus(encoder, channels as usize), begin_us, voice)
    }

    pub fn g711(law: Law, begin_us: u64, voice: impl FnMut(u64) -> f32 + 'static) -> Sender {
        Sender::new(
            Coder::G711(Box::new(G711Encoder::new(law))),
            begin_us,
            voice,
        )
    }

    pub fn exact(begin_us: u64) -> Sender {
        Sender::new(Coder::Exact, begin_us, |_| 0.0)
    }

    pub fn of(in_flight: Vec<(u64, Packet)>) -> Sender {
        let mut sender = Sender::new(Coder::Silent, 0, |_| 0.0);
        sender.in_flight = in_flight;
        sender
    }

    /// Changes SSRC and sequence number, like a client that replaced its encoder.
    pub fn restart(&mut self, ssrc: u32) {
        self.ssrc = ssrc;
        self.sent = self.sent.wrapping_add(1_000);
    }

    /// Packets that have arrived by `now_us`, in the order of arrival.
    pub fn arrived(&mut self, now_us: u64, chance: &mut Chance) -> Vec<(u64, Packet)> {
        while !matches!(self.coder, Coder::Silent) {
            let at = (chance.next() * self.lengths.len() as f64) as usize;
            let samples = self.lengths[at];
            let sent_us = self.begin_us + (self.sample + samples) * 1_000 / 48;
            if sent_us > now_us {
                break;
            }
            self.send(sent_us, samples, chance);
        }
        let mut arrived: Vec<_> = (self.in_flight)
            .extract_if(.., |(at_us, _)| *at_us <= now_us)
            .collect();
        arrived.sort_by_key(|(at_us, _)| *at_us);
        arrived
    }

    fn send(&mut self, sent_us: u64, samples: u64, chance: &mut Chance) {
        let mut packet = self.packet(samples);
        self.sample += samples;
        let mut percent = || chance.next() * 100.0;
        let [lost, twice, late, broken] = [percent(), percent(), percent(), percent()];
        if broken < self.network.broken_percent {
            packet.payload = Payload::copy_from(&[0xff; 7]).expect("it fits");
        }
        let late_us = match late < self.network.late_percent {
            true => 20_000.0,
            false => 0.0,
        };
        let mut delay_us = |of: f64| 300 + (chance.next() * of) as u64;
        let first = sent_us + delay_us(self.network.jitter_us + late_us);
        let second = sent_us + delay_us(self.network.jitter_us);
        if self.is_paused {
            return;
        }
        self.sent = self.sent.wrapping_add(1);
        if lost >= self.network.loss_percent {
            self.in_flight.push((first, packet));
        }
        if twice < self.network.twice_percent {
            self.in_flight.push((second, packet));
        }
    }

    fn packet(&mut self, samples: u64) -> Packet {
        let said = self.sample..self.sample + samples;
        let pcm: Vec<f32> = said.map(&mut self.voice).collect();
        let mut payload = Payload::EMPTY;
        match &mut self.coder {
            Coder::Opus(encoder, channels) => {
                let wide = pcm
                    .iter()
                    .flat_map(|it| std::iter::repeat_n(*it, *channels));
                let mut bytes = [0; MAX_PAYLOAD_BYTES];
                let length = encoder.encode_float(&wide.collect::<Vec<_>>(), &mut bytes);
                let length = length.expect("a length that Opus has");
                payload = Payload::copy_from(&bytes[..length]).expect("it fits");
            }
            Coder::G711(encoder) => encoder
                .encode(&pcm, &mut payload)
                .expect("a fitting length"),
            Coder::Exact => {
                let mut bytes = [0xf8; 9];
                bytes[1..].copy_from_slice(&self.sample.to_le_bytes());
                payload = Payload::copy_from(&bytes).expect("it fits");
            }
            Coder::Silent => {}
        }
        let power = pcm.iter().map(|it| it * it).sum::<f32>() / pcm.len() as f32;
        let loud = Decibels::from_factor(power.sqrt()).0;
        Packet {
            seq: Seq(self.sent),
            time: RtpTime(self.sample as u32),
            ssrc: self.ssrc,
            marker: self.sent == 0,
            level: match self.hint {
                Hint::Nothing => None,
                Hint::Truth => Some(Level::from_wire((-loud).clamp(0.0, 127.0) as u8)),
                Hint::Always(level) => Some(Level::from_wire(level)),
            },
            payload,
        }
    }
}
