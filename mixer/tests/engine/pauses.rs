//! Playout after a pause or a late packet matches the output of a decoder without gaps.

use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::{Layout, TickLength};
use mixer::source::Playout;
use mixer::{Frame, Packet, Payload, RtpTime, Seq, Time};

const PACKET: usize = 960;

/// One packet of a tone whose frequency differs from packet to packet, so that a decoder that
/// continues the signal from before a gap does not match the signal after it.
fn spoken(number: u64) -> Vec<f32> {
    let hz = 500.0 + 150.0 * (number * 7 % 24) as f64;
    let turns = |at: usize| (hz * at as f64 / 48_000.0).fract() * std::f64::consts::TAU;
    (0..PACKET)
        .map(|at| {
            let edge = at.min(PACKET - 1 - at).min(48) as f32 / 48.0;
            0.25 * edge * turns(at).sin() as f32
        })
        .collect()
}

/// Signal-to-noise ratio, in dB, of the first packet after each pause from 5 ms on, against a
/// decoder that decoded every packet and did nothing else.
///
/// - `silent`: length of each pause in packets; the encoder gets no input meanwhile.
fn snr_db(profile: Profile, silent: u64) -> f64 {
    let mut encoding = Encoding::new(profile, &ReceiverLimits::default(), TickLength::Ms20);
    encoding.packet_ms = 20;
    let mut encoder = OpusEncoder::new(&encoding);
    let mut decoder = OpusDecoder::new(Layout::Mono);
    let opus = Box::new(OpusDecoder::new(Layout::Mono));
    let mut playout = Playout::new(Layout::Mono, TickLength::Ms20, opus);
    let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
    let (mut seq, mut signal, mut noise) = (0, 0.0, 0.0);
    for number in 0..400u64 {
        let within = number % (20 + silent);
        let arrival = Time::from_us(1_000_000 + number * 20_000);
        let mut meant = [0.0; PACKET];
        if within < 20 {
            let mut payload = Payload::EMPTY;
            encoder.encode(&spoken(number), &mut payload).unwrap();
            decoder.decode(payload.as_slice(), &mut meant).unwrap();
            let packet = Packet {
                seq: Seq(seq),
                time: RtpTime((number as usize * PACKET) as u32),
                ssrc: 1,
                marker: false,
                level: None,
                payload,
            };
            playout.push(&packet, arrival);
            seq += 1;
        }
        playout.pull(arrival + std::time::Duration::from_millis(9), &mut frame);
        if within == 0 && number > 0 {
            let pairs = frame.samples()[240..].iter().zip(&meant[240..]);
            for (played, meant) in pairs {
                signal += meant * meant;
                noise += (played - meant) * (played - meant);
            }
        }
    }
    10.0 * f64::from(signal / noise.max(1e-12)).log10()
}

#[test]
fn playout_after_a_pause_matches_a_decoder_without_gaps() {
    for profile in Profile::ALL {
        for silent in [1, 2, 5, 6, 20] {
            let snr_db = snr_db(profile, silent);
            assert!(snr_db > 60.0, "{profile}, {silent} packets: {snr_db:.1} dB");
        }
    }
}
