//! An Opus voice over bad networks, in virtual time: how much is concealed, how much is stretched,
//! and how long packets wait.
//!
//! The networks match those of `tests/tools/trial.py`, which plays them through libwebrtc and
//! scores the sound.

use std::sync::atomic::Ordering::Relaxed;

use crate::common::Chance;
use crate::recordings::{fixture, read_wav};
use crate::stage::Stage;
use mixer::codec::opus::OpusEncoder;
use mixer::codec::{Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::TickLength;
use mixer::packet::{Packet, Payload};
use mixer::room::RoomSettings;
use mixer::units::{Level, RtpTime, Seq, Time};

/// A network that delays each packet by a uniformly distributed 0 to `jitter_ms` and loses some
/// packets.
#[derive(Debug, Clone, Copy)]
struct Uplink {
    jitter_ms: f64,
    loss_percent: u8,
    /// Whether packets keep their order.
    ordered: bool,
}

/// How much of a voice was altered, and how long its packets waited.
#[derive(Debug, Clone, Copy)]
struct Outcome {
    /// Concealed where packets were missing.
    concealed_ms: f64,
    /// Inserted and removed to change the playout delay.
    stretched_ms: f64,
    /// How long the last packets waited for their tick.
    wait_ms: f64,
}

/// Packets of silence before the voice, in which the playout delay adapts, as at the start of a
/// call.
const LEAD: usize = 50;

/// Packets after which the sender learns of the loss and adds FEC.
const TOLD: usize = 75;

const CALLS: u64 = 8;

/// Encodes the voice as a sender that adds FEC once the loss has been reported.
fn packets(loss_percent: u8) -> Vec<Packet> {
    let mut pcm = vec![0.0; LEAD * 960];
    pcm.extend(read_wav(&fixture("voices/human-en-female.wav")));
    let limits = ReceiverLimits {
        fec: true,
        ..ReceiverLimits::default()
    };
    let encoding = Encoding::new(Profile::Voice, &limits, TickLength::Ms20);
    let mut encoder = OpusEncoder::new(&encoding);
    let frames = pcm.chunks_exact(960).enumerate();
    let packets = frames.map(|(number, frame)| {
        if number == TOLD {
            encoder.configure(&encoding.settings(loss_percent));
        }
        let mut payload = Payload::EMPTY;
        encoder.encode(frame, &mut payload).expect("20 ms encode");
        let is_silent = frame.iter().all(|sample| *sample == 0.0);
        Packet {
            seq: Seq(number as u16),
            time: RtpTime(number as u32 * 960),
            ssrc: 5,
            marker: number == 0,
            level: Some(match is_silent {
                true => Level::SILENCE,
                false => Level::from_wire(20),
            }),
            payload,
        }
    });
    packets.collect()
}

/// Sends the packets through the network into a room with one other listener.
fn call(packets: &[Packet], uplink: Uplink, seed: u64) -> Outcome {
    let mut chance = Chance(seed);
    let mut stage = Stage::new(RoomSettings::default());
    stage.join_tapped(1, |_| 0.0);
    stage.join(2, |_| 0.0, None);
    let talker = stage.talkers[1].id;
    let begin_us = stage.now().us() + (chance.next() * 20_000.0) as u64;
    let mut last_us = 0;
    let mut arrivals = Vec::new();
    for (number, packet) in packets.iter().enumerate() {
        let delay_us = (chance.next() * uplink.jitter_ms * 1_000.0) as u64;
        let mut due_us = begin_us + number as u64 * 20_000 + delay_us;
        if chance.next() * 100.0 < f64::from(uplink.loss_percent) {
            continue;
        }
        if uplink.ordered {
            due_us = due_us.max(last_us);
            last_us = due_us;
        }
        arrivals.push((due_us, packet));
    }
    arrivals.sort_by_key(|(due_us, _)| *due_us);
    let mut arrivals = arrivals.into_iter().peekable();
    while arrivals.peek().is_some() {
        stage.slot += 1;
        let now = stage.now();
        while let Some((due_us, packet)) = arrivals.next_if(|(due_us, _)| *due_us <= now.us()) {
            stage.engine.push(talker, packet, Time::from_us(due_us));
        }
        stage.engine.run_slot(stage.slot, now, &mut stage.sink);
        stage.sink.packets.clear();
    }
    let heard = &stage.talkers[1].shared.telemetry;
    let ms = |samples: u64| samples as f64 / 48.0;
    Outcome {
        concealed_ms: ms(heard.concealed_samples_total.load(Relaxed)),
        stretched_ms: ms(
            heard.inserted_samples_total.load(Relaxed) + heard.removed_samples_total.load(Relaxed)
        ),
        wait_ms: f64::from(heard.delay_us.load(Relaxed)) / 1_000.0,
    }
}

/// Median of one figure over several calls.
fn median(outcomes: &[Outcome], figure: impl Fn(&Outcome) -> f64) -> f64 {
    let mut figures: Vec<f64> = outcomes.iter().map(figure).collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[test]
fn playout_limits_concealment_stretching_and_delay_on_bad_networks() {
    let uplink = |jitter_ms, loss_percent, ordered| Uplink {
        jitter_ms,
        loss_percent,
        ordered,
    };
    let limit = |concealed_ms, stretched_ms, wait_ms| Outcome {
        concealed_ms,
        stretched_ms,
        wait_ms,
    };
    let rows = [
        (uplink(0.0, 0, true), limit(0.0, 0.0, 15.0)),
        (uplink(30.0, 0, true), limit(20.0, 20.0, 45.0)),
        (uplink(60.0, 0, true), limit(20.0, 30.0, 75.0)),
        (uplink(60.0, 0, false), limit(20.0, 30.0, 75.0)),
        (uplink(60.0, 2, true), limit(140.0, 40.0, 95.0)),
        (uplink(5.0, 5, true), limit(240.0, 20.0, 36.0)),
    ];
    let mut missed = Vec::new();
    for (uplink, limit) in rows {
        let packets = packets(uplink.loss_percent);
        let outcomes: Vec<Outcome> = (1..=CALLS)
            .map(|seed| call(&packets, uplink, seed))
            .collect();
        let found = Outcome {
            concealed_ms: median(&outcomes, |it| it.concealed_ms),
            stretched_ms: median(&outcomes, |it| it.stretched_ms),
            wait_ms: median(&outcomes, |it| it.wait_ms),
        };
        let kept = found.concealed_ms <= limit.concealed_ms
            && found.stretched_ms <= limit.stretched_ms
            && found.wait_ms <= limit.wait_ms;
        if !kept {
            missed.push((uplink, found, limit));
        }
    }
    assert!(missed.is_empty(), "{missed:#.1?}");
}
