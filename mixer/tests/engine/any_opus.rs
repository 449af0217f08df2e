//! Playout of any Opus packet: every duration, mono and stereo, SILK, hybrid and CELT, changing
//! with every packet. Every sample is accounted for, and the mix stays within bounds.

use mixer::codec::opus::OpusDecoder;
use mixer::format::{Layout, TickLength};
use mixer::ingest::Pushed;
use mixer::meter::SANE_PEAK;
use mixer::packet::{Packet, Payload};
use mixer::source::{PlayoutStats, Strip, TickRules};
use mixer::units::{RtpTime, Seq, Time};
use opus::{Application, Bandwidth, Channels};

/// Opus packet durations in microseconds; packets over 20 ms hold several Opus frames.
const DURATIONS_US: [u32; 9] = [
    2_500, 5_000, 10_000, 20_000, 40_000, 60_000, 80_000, 100_000, 120_000,
];

/// One Opus encoder for each combination of coding mode and channel count.
struct Encoders(Vec<(opus::Encoder, usize)>);

impl Encoders {
    fn new() -> Encoders {
        let mut encoders = Vec::new();
        for channels in [Channels::Mono, Channels::Stereo] {
            for (application, bandwidth, bps) in [
                // VOIP at these bandwidths and bitrates gives SILK, hybrid, hybrid; LowDelay gives
                // CELT.
                (Application::Voip, Bandwidth::Wideband, 16_000),
                (Application::Voip, Bandwidth::Superwideband, 24_000),
                (Application::Voip, Bandwidth::Fullband, 32_000),
                (Application::LowDelay, Bandwidth::Fullband, 64_000),
            ] {
                let mut encoder = opus::Encoder::new(48_000, channels, application)
                    .expect("libopus makes an encoder");
                encoder
                    .set_bitrate(opus::Bitrate::Bits(bps))
                    .expect("in range");
                encoder.set_max_bandwidth(bandwidth).expect("in range");
                encoders.push((encoder, channels as usize));
            }
        }
        Encoders(encoders)
    }

    fn encode(&mut self, which: usize, from: u64, samples: u64) -> Payload {
        let count = self.0.len();
        let (encoder, channels) = &mut self.0[which % count];
        let pcm: Vec<f32> = (from..from + samples)
            .flat_map(|sample| {
                let turns = 331.3 * sample as f64 / 48_000.0;
                let value = 0.25 * (turns.fract() * std::f64::consts::TAU).sin() as f32;
                std::iter::repeat_n(value, *channels)
            })
            .collect();
        let mut bytes = [0; mixer::format::MAX_PAYLOAD_BYTES];
        let len = encoder
            .encode_float(&pcm, &mut bytes)
            .expect("a length Opus has");
        Payload::copy_from(&bytes[..len]).expect("fits")
    }
}

#[test]
fn playout_decodes_opus_durations_and_modes_that_change_with_every_packet() {
    for layout in [Layout::Mono, Layout::Stereo] {
        for tick in [TickLength::Ms10, TickLength::Ms20] {
            play_everything(layout, tick);
        }
    }
}

fn play_everything(layout: Layout, tick: TickLength) {
    const PACKETS: usize = 600;
    let mut encoders = Encoders::new();
    let mut strip = Strip::new(layout, tick, Box::new(OpusDecoder::new(layout)));
    let mut random = 12_345u32;
    let mut sent_samples = 0u64;
    let (mut packets, mut heard_ticks, mut peak) = (0usize, 0usize, 0.0f32);
    let mut now = Time::from_us(1_000_000);
    let began = now;
    let mut idle_ticks = 0;
    while idle_ticks < 100 {
        // A packet is sent once its last sample has been captured.
        while packets < PACKETS {
            let duration_us = DURATIONS_US[(random >> 8) as usize % DURATIONS_US.len()];
            let samples = u64::from(duration_us) * 48 / 1_000;
            let arrival = Time::from_us(began.us() + (sent_samples + samples) * 1_000 / 48);
            if arrival > now {
                break;
            }
            let packet = Packet {
                seq: Seq(packets as u16),
                time: RtpTime(sent_samples as u32),
                ssrc: 9,
                marker: packets == 0,
                level: None,
                payload: encoders.encode((random >> 20) as usize, sent_samples, samples),
            };
            assert_eq!(strip.push(&packet, arrival), Pushed::Stored);
            sent_samples += samples;
            packets += 1;
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        }
        now = now + tick.duration();
        let rules = TickRules {
            now,
            gate_db: None,
            leeway_samples: 0,
        };
        let heard = strip.listen(&rules);
        idle_ticks = if heard { 0 } else { idle_ticks + 1 };
        if strip.contribute(heard) {
            heard_ticks += 1;
            let frame = strip.frame().samples();
            assert!(frame.iter().all(|sample| sample.is_finite()));
            peak = peak.max(strip.frame().peak());
        }
    }
    assert_eq!(packets, PACKETS);
    check_totals(&strip.stats(), PACKETS as u64, sent_samples);
    assert!(heard_ticks as u64 * tick.samples() as u64 >= sent_samples * 95 / 100);
    assert!(peak <= SANE_PEAK, "peak {peak}");
}

/// Asserts that every packet was accepted, every sample decoded, and every decoded sample played.
fn check_totals(stats: &PlayoutStats, packets: u64, sent_samples: u64) {
    assert_eq!(stats.received, packets);
    assert_eq!(
        (stats.undecodable, stats.late, stats.lost, stats.duplicate),
        (0, 0, 0, 0)
    );
    assert_eq!(
        stats.decoded_samples, sent_samples,
        "every sample is decoded"
    );
    // Played samples are those decoded, concealed or inserted, less those removed or covered by
    // concealment; the remainder still buffered is less than a packet and a tick.
    let inserted = stats.inserted_samples + stats.resampling_inserted_samples;
    let removed = stats.removed_samples + stats.resampling_removed_samples;
    let there = stats.decoded_samples + stats.concealed_samples + inserted;
    let gone = stats.played_samples + removed + stats.covered_samples;
    let balance = there as i64 - gone as i64;
    assert!(balance.abs() <= 5_760 + 960, "{balance} samples: {stats:?}");
}
