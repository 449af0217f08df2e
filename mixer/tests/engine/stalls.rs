//! Concealment cost per tick during a stall: when the server's uplink stalls, all talkers conceal
//! at once, so each may conceal only the samples it plays.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use mixer::codec::opus::{OpusDecoder, OpusEncoder};
use mixer::codec::{Decode, DecodeError, Encode, Encoding, Profile, ReceiverLimits};
use mixer::format::{Layout, TickLength};
use mixer::source::Playout;
use mixer::{Frame, Packet, Payload, RtpTime, Seq, Time};

/// An Opus decoder that publishes its count of concealed samples while the playout owns it.
struct Counted(OpusDecoder, Arc<AtomicU64>);

impl Counted {
    fn count(&self) {
        self.1.store(self.0.concealed_samples(), Relaxed);
    }
}

impl Decode for Counted {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        self.0.decode(payload, pcm)
    }

    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.0.recover(next_payload, pcm)
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        self.0.conceal(pcm);
        self.count();
    }

    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        let untouched = self.0.guess(after, pcm);
        self.count();
        untouched
    }

    fn miss(&mut self, samples: usize) {
        self.0.miss(samples);
        self.count();
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// A talker with a playout, sending a packet of 20 ms every 20 ms.
struct Talker {
    encoder: OpusEncoder,
    playout: Playout,
    frame: Frame,
    concealed: Arc<AtomicU64>,
    tick: TickLength,
    /// Number of packets encoded.
    packets: u64,
    now: Time,
}

impl Talker {
    fn new(profile: Profile, tick: TickLength) -> Talker {
        let mut encoding = Encoding::new(profile, &ReceiverLimits::default(), tick);
        encoding.packet_ms = 20;
        let concealed = Arc::new(AtomicU64::new(0));
        let decoder = Counted(OpusDecoder::new(Layout::Mono), concealed.clone());
        Talker {
            encoder: OpusEncoder::new(&encoding),
            playout: Playout::new(Layout::Mono, tick, Box::new(decoder)),
            frame: Frame::new(Layout::Mono, tick),
            concealed,
            tick,
            packets: 0,
            now: Time::from_us(1_000_000),
        }
    }

    fn packet(&mut self) -> Packet {
        let number = self.packets;
        self.packets += 1;
        let pcm: Vec<f32> = (number * 960..(number + 1) * 960)
            .map(|at| {
                let turns = |hz: f64| (hz * at as f64 / 48_000.0).fract() * std::f64::consts::TAU;
                0.2 * (turns(197.3).sin() + 0.5 * turns(631.1).sin()) as f32
            })
            .collect();
        let mut payload = Payload::EMPTY;
        self.encoder.encode(&pcm, &mut payload).unwrap();
        Packet {
            seq: Seq(number as u16),
            time: RtpTime((number * 960) as u32),
            ssrc: 1,
            marker: false,
            level: None,
            payload,
        }
    }

    fn push(&mut self) {
        let packet = self.packet();
        self.playout.push(&packet, self.now);
    }

    /// Runs 20 ms of ticks and returns the most samples that one tick concealed.
    fn pull(&mut self) -> u64 {
        let mut most = 0;
        for _ in 0..20 / self.tick.ms() {
            let before = self.concealed.load(Relaxed);
            let now = self.now + Duration::from_millis(9);
            self.playout.pull(now, &mut self.frame);
            most = most.max(self.concealed.load(Relaxed) - before);
            self.now = self.now + Duration::from_millis(u64::from(self.tick.ms()));
        }
        most
    }
}

/// What arrives after the stall.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// All delayed packets, then new ones.
    Late,
    /// New packets only; those of the stall are lost.
    Lost,
    /// No packets: the talker had stopped.
    Nothing,
}

#[test]
fn stall_conceals_each_missing_sample_once_in_every_outcome() {
    for tick in [TickLength::Ms10, TickLength::Ms20] {
        for profile in Profile::ALL {
            for after in [After::Late, After::Lost, After::Nothing] {
                for stalled in [1, 3, 5, 10] {
                    let case = format!("{tick:?}, {profile}, {after:?}, {stalled} packets");
                    let mut talker = Talker::new(profile, tick);
                    for _ in 0..50 {
                        talker.push();
                        talker.pull();
                    }
                    let before = talker.concealed.load(Relaxed);
                    let held: Vec<Packet> = (0..stalled)
                        .map(|_| {
                            let most = talker.pull();
                            assert!(most <= tick.samples() as u64 + SEAM, "{case}: {most}");
                            talker.packet()
                        })
                        .collect();
                    if after == After::Late {
                        for packet in &held {
                            talker.playout.push(packet, talker.now);
                        }
                    }
                    for _ in 0..20 {
                        if after != After::Nothing {
                            talker.push();
                        }
                        let most = talker.pull();
                        assert!(most <= tick.samples() as u64 + SEAM, "{case}: {most}");
                    }
                    // Concealment fades out completely within 120 ms.
                    let gap = (stalled * 960).min(5_760) + 2 * 960;
                    let gap = if after == After::Nothing { 5_760 } else { gap };
                    let concealed = talker.concealed.load(Relaxed) - before;
                    assert!(concealed <= gap + SEAM, "{case}: {concealed} of {gap}");
                    assert!(concealed > 0, "{case}: nothing was concealed");
                }
            }
        }
    }
}

/// Samples that a tick may conceal beyond what it plays: to cross-fade into the next packet, or to
/// fade out.
const SEAM: u64 = 480;
