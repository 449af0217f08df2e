//! Hundreds of listeners share one encode per profile, and G.711 clients are served and heard.

use crate::stage::{Stage, amplitude_of, tone};
use mixer::codec::g711::{G711Decoder, G711Encoder, Law};
use mixer::codec::{Codec, Decode, Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::{Layout, TickLength};
use mixer::frame::Frame;
use mixer::packet::{Packet, Payload};
use mixer::room::RoomSettings;
use mixer::source::Playout;
use mixer::units::{RtpTime, Seq, Time};

fn g711(codec: Codec) -> Encoding {
    let limits = ReceiverLimits {
        codec,
        ..ReceiverLimits::default()
    };
    Encoding::new(Profile::Voice, &limits, TickLength::Ms20).with_hangover(0)
}

/// The number of encodes per tick depends on the profiles, not on the number of listeners.
#[test]
fn five_hundred_listeners_cost_one_encode_per_profile() {
    let mut stage = Stage::for_many(512, RoomSettings::default());
    stage.join_clear(1, tone(441.7, 0.3));
    let encodings = [
        crate::stage::encoding(Profile::Voice),
        crate::stage::encoding(Profile::Thin),
        g711(Codec::Pcmu),
        g711(Codec::Pcma),
    ];
    for id in 2..=501 {
        stage.join_ear_of(id, encodings[id as usize % 4]);
    }
    (0..300).for_each(|_| stage.turn());
    let before = stage.engine.stats();
    (0..60).for_each(|_| stage.turn());
    let after = stage.engine.stats();
    // Three profiles send every tick, thin every third tick. The talker hears nothing.
    assert_eq!(after.encodes_total - before.encodes_total, 60 * 3 + 20);
    let packets = 125 * (60 * 3 + 20);
    assert_eq!(after.packets_total - before.packets_total, packets);

    // Two seconds after the last word no packet is produced, and the room sleeps.
    (0..100).for_each(|_| stage.pass());
    let before = stage.engine.stats();
    (0..1_000).for_each(|_| stage.pass());
    let after = stage.engine.stats();
    assert_eq!(after.packets_total, before.packets_total);
    assert!(stage.engine.is_idle());
}

/// Plays five seconds of a tone through G.711 and a playout, without the packets that `lost` names.
fn played(law: Law, packet_ms: usize, lost: impl Fn(u64) -> bool) -> (Vec<f32>, Playout) {
    let samples = packet_ms * 48;
    let mut encoder = G711Encoder::new(law);
    let decoder = Box::new(G711Decoder::new(law, Layout::Mono));
    let mut playout = Playout::new(Layout::Mono, TickLength::Ms20, decoder);
    let mut voice = tone(441.7, 0.3);
    let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
    let (mut heard, mut sent, mut due_ms) = (Vec::new(), 0u64, 1_000);
    for tick in 0..250u64 {
        let now_ms = 1_000 + tick * 20;
        while due_ms <= now_ms {
            let from = sent * samples as u64;
            let pcm: Vec<f32> = (from..from + samples as u64).map(&mut voice).collect();
            let mut payload = Payload::EMPTY;
            encoder.encode(&pcm, &mut payload).unwrap();
            let packet = Packet {
                seq: Seq(sent as u16),
                time: RtpTime(from as u32),
                ssrc: 5,
                marker: sent == 0,
                level: None,
                payload,
            };
            if !lost(sent) {
                playout.push(&packet, Time::from_us(due_ms * 1_000));
            }
            sent += 1;
            due_ms += packet_ms as u64;
        }
        playout.pull(Time::from_us(now_ms * 1_000 + 500), &mut frame);
        heard.extend_from_slice(frame.samples());
    }
    (heard, playout)
}

fn steepest(pcm: &[f32]) -> f32 {
    let steps = pcm.windows(2).map(|pair| (pair[1] - pair[0]).abs());
    steps.fold(0.0, f32::max)
}

#[test]
fn g711_packets_of_any_length_are_played_unaltered() {
    for packet_ms in [10, 20, 40, 60] {
        for law in [Law::Mu, Law::A] {
            let (heard, playout) = played(law, packet_ms, |_| false);
            let settled = &heard[48_000..];
            let level = amplitude_of(settled, 441.7);
            assert!(
                (level - 0.3).abs() < 0.01,
                "{law:?} {packet_ms} ms: {level}"
            );
            let stats = playout.stats();
            assert_eq!((stats.lost, stats.undecodable), (0, 0), "{packet_ms} ms");
            assert_eq!(stats.concealed_samples, 0, "{packet_ms} ms");
        }
    }
}

#[test]
fn g711_losses_are_concealed_without_a_click() {
    let (whole, _) = played(Law::Mu, 20, |_| false);
    let natural = steepest(&whole[48_000..]);
    for (name, every, run) in [("one in ten", 10, 1), ("three in thirty", 30, 3)] {
        let (heard, playout) = played(Law::Mu, 20, |number| number > 20 && number % every < run);
        assert!(playout.stats().lost > 10, "{name}: {:?}", playout.stats());
        let step = steepest(&heard[48_000..]);
        assert!(step < 1.6 * natural, "{name}: {step} of {natural}");
        let level = amplitude_of(&heard[48_000..], 441.7);
        assert!(level > 0.2, "{name}: {level}");
    }
}

#[test]
fn g711_payloads_of_invalid_length_are_refused() {
    let decoder = Box::new(G711Decoder::new(Law::A, Layout::Mono));
    let mut playout = Playout::new(Layout::Mono, TickLength::Ms20, decoder);
    for (number, bytes) in [0, 1, 19, 161, 1_000].into_iter().enumerate() {
        let packet = Packet {
            seq: Seq(number as u16),
            time: RtpTime(960 * number as u32),
            ssrc: 5,
            marker: false,
            level: None,
            payload: Payload::copy_from(&vec![0x55; bytes]).unwrap(),
        };
        playout.push(&packet, Time::from_us(1_000_000));
    }
    assert_eq!(playout.stats().undecodable, 5);
    let mut pcm = vec![0.0; 5_760];
    let mut decoder = G711Decoder::new(Law::A, Layout::Mono);
    assert!(decoder.decode(&[0; 161], &mut pcm).is_err());
    assert!(decoder.decode(&[0; 160], &mut pcm[..100]).is_err());
}
