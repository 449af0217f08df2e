//! Tests of gathering, encoding and falling silent, with an encoder that records its input.

use std::any::Any;
use std::sync::{Arc, Mutex};

use super::*;
use crate::codec::{EncodeError, EncoderSettings};
use crate::codec::{Profile, ReceiverLimits};
use crate::packet::Payload;
use crate::units::{Level, ParticipantId};

type Log = Arc<Mutex<Vec<Vec<f32>>>>;

/// An encoder that records the PCM it is given.
struct Recorder(Log);

impl Encode for Recorder {
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError> {
        self.0.lock().unwrap().push(pcm.to_vec());
        *payload = Payload::copy_from(&[1, 2, 3]).unwrap();
        Ok(())
    }

    fn configure(&mut self, _: &EncoderSettings) {}

    fn reset(&mut self) {}

    fn follow(&mut self, other: &dyn Encode) -> bool {
        other.as_any().is::<Recorder>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

struct Ear {
    listener: OutputStream,
    log: Log,
    tick: u64,
    /// How much earlier the ticks come than their number says.
    early_samples: u64,
    packet: OutPacket,
}

impl Ear {
    /// Creates an ear whose stream stops with the sound.
    fn new(packet_ms: u32, layout: Layout) -> Ear {
        Ear::with_hangover(packet_ms, layout, 0)
    }

    fn with_hangover(packet_ms: u32, layout: Layout, hangover_ms: u32) -> Ear {
        let mut encoding =
            Encoding::new(Profile::Voice, &ReceiverLimits::default(), TickLength::Ms20);
        encoding.packet_ms = packet_ms;
        encoding.layout = layout;
        encoding.hangover_ms = hangover_ms;
        let log = Log::default();
        let encoder = Box::new(Recorder(log.clone()));
        Ear {
            listener: OutputStream::with_encoder(encoding, TickLength::Ms20, encoder),
            log,
            tick: 0,
            early_samples: 0,
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
        }
    }

    /// Gives one tick of a constant, or of silence; returns the packet that it completed, if any.
    fn hear(&mut self, value: Option<f32>) -> Option<OutPacket> {
        self.hear_in(value.is_some(), value)
    }

    fn hear_in(&mut self, room_sounds: bool, value: Option<f32>) -> Option<OutPacket> {
        let instant = TickInstant {
            tick: Tick(self.tick),
            time: RtpTime((self.tick * 960 - self.early_samples) as u32),
            room_sounds,
        };
        self.tick += 1;
        let mut frame = Frame::new(Layout::Mono, TickLength::Ms20);
        let mut sources = Sources::default();
        sources.push(ParticipantId(7), Level::from_wire(20));
        let mix = match value {
            Some(value) => {
                frame.samples_mut().fill(value);
                MixedTick::Sound {
                    frame: &mut frame,
                    sources: &sources,
                }
            }
            None => MixedTick::Silent,
        };
        let due = self.listener.gather(instant, mix);
        let heard = self.listener.encode(&mut self.packet);
        assert_eq!(due, heard == WorkOutcome::Packet);
        due.then_some(self.packet)
    }
}

#[test]
fn rtp_marker_starts_each_talk_spurt_and_rtp_time_runs_through_silence() {
    let mut ear = Ear::new(20, Layout::Mono);
    let mut sent = Vec::new();
    for tick in 0..400 {
        let value = (tick < 5 || (200..205).contains(&tick)).then_some(0.1);
        if let Some(packet) = ear.hear(value) {
            assert_eq!(packet.time, RtpTime(tick * 960));
            assert_eq!(packet.sources.ids().is_empty(), value.is_none());
            sent.push((tick, packet.marker));
        }
    }
    let marked: Vec<u32> = sent
        .iter()
        .filter(|sent| sent.1)
        .map(|sent| sent.0)
        .collect();
    assert_eq!(marked, [0, 200]);
}

#[test]
fn output_stream_splits_a_tick_longer_than_a_packet() {
    for (packet_ms, parts) in [(10, 2), (5, 4)] {
        let mut ear = Ear::new(packet_ms, Layout::Stereo);
        for tick in 0..3 {
            assert!(ear.hear(Some(0.1)).is_some());
            let mut sent = vec![ear.packet];
            while ear.listener.is_due() {
                assert_eq!(ear.listener.encode(&mut ear.packet), WorkOutcome::Packet);
                sent.push(ear.packet);
            }
            assert_eq!(sent.len(), parts);
            for (part, packet) in sent.iter().enumerate() {
                let time = tick * 960 + part as u32 * packet_ms * 48;
                assert_eq!(packet.time, RtpTime(time));
                assert_eq!(packet.marker, tick == 0 && part == 0);
                assert!(!packet.sources.ids().is_empty());
            }
            let log = ear.log.lock().unwrap();
            assert!(
                log.iter()
                    .all(|pcm| pcm.len() == 2 * packet_ms as usize * 48)
            );
        }
        // A packet that is not encoded before the next tick is lost.
        ear.hear(Some(0.1));
        let packet = ear.hear(Some(0.1)).unwrap();
        assert_eq!(packet.time, RtpTime(4 * 960));
    }
}

#[test]
fn output_stream_sends_a_silent_tail_four_refreshes_then_nothing() {
    let mut ear = Ear::new(20, Layout::Mono);
    ear.hear(Some(0.1));
    let sent: Vec<u32> = (1..1_000).filter(|_| ear.hear(None).is_some()).collect();
    // Two packets of tail, then every 400 ms up to 1.6 s after the last sound.
    assert_eq!(sent, [1, 2, 20, 40, 60, 80]);
    assert!(ear.listener.is_asleep());
}

#[test]
fn output_stream_sends_silence_for_its_hangover_after_the_room_sounds() {
    let mut ear = Ear::with_hangover(20, Layout::Mono, 3_000);
    assert!(ear.hear(Some(0.1)).unwrap().marker);
    for tick in 1..140 {
        let packet = ear.hear(None).unwrap();
        assert_eq!((packet.time.0, packet.marker), (tick * 960, false));
    }
    // Somebody talks whom this listener does not hear: the listener itself.
    for _ in 0..300 {
        assert!(ear.hear_in(true, None).is_some());
    }
    let packets = (0..1_000).filter(|_| ear.hear(None).is_some()).count();
    assert_eq!(packets, 149, "three seconds");
    assert!(ear.listener.is_asleep());
    // The stream begins again with the next sound in the room.
    assert!(ear.hear_in(true, None).is_some());
}

#[test]
fn output_stream_packets_never_overlap_when_a_tick_comes_early() {
    let mut ear = Ear::with_hangover(20, Layout::Mono, 3_000);
    ear.hear(Some(0.1));
    ear.hear(None);
    // In a pause the tick that came early is left out.
    ear.early_samples = 600;
    assert!(ear.hear(None).is_none());
    let packet = ear.hear(None).unwrap();
    assert_eq!(packet.time.0, 3 * 960 - 600);
    // Sound is sent whole; the next pause makes up for the overlap.
    ear.early_samples = 1_000;
    let packet = ear.hear(Some(0.1)).unwrap();
    assert_eq!(packet.time.0, 4 * 960 - 600);
    let packet = ear.hear(Some(0.1)).unwrap();
    assert_eq!(packet.time.0, 5 * 960 - 600);
    assert!(ear.hear(None).is_none());
    let packet = ear.hear(None).unwrap();
    assert_eq!(packet.time.0, 7 * 960 - 1_000);
}

#[test]
fn sound_within_the_silent_tail_continues_the_talk_spurt() {
    let mut ear = Ear::new(20, Layout::Mono);
    assert!(ear.hear(Some(0.1)).unwrap().marker);
    ear.hear(None);
    assert!(!ear.hear(Some(0.1)).unwrap().marker);
}

#[test]
fn output_stream_ends_a_60_ms_packet_at_every_third_tick() {
    let mut ear = Ear::new(60, Layout::Mono);
    ear.hear(None);
    assert!(ear.hear(Some(0.5)).is_none());
    let packet = ear.hear(None).unwrap();
    assert_eq!(
        packet.time,
        RtpTime(0),
        "the packet began with a silent tick"
    );
    assert_eq!(packet.sources.ids(), [7]);
    let log = ear.log.lock().unwrap();
    assert!(log[0][..960].iter().all(|&sample| sample == 0.0));
    assert!(log[0][960..1_920].iter().all(|&sample| sample == 0.5));
    assert!(log[0][1_920..].iter().all(|&sample| sample == 0.0));
}

#[test]
fn output_stream_upmixes_a_mono_mix_for_a_stereo_encoding() {
    let mut ear = Ear::new(20, Layout::Stereo);
    ear.hear(Some(0.25));
    assert_eq!(ear.log.lock().unwrap()[0], vec![0.25; 1_920]);
}

#[test]
fn output_stream_limits_the_mix_before_encoding() {
    let mut ear = Ear::new(20, Layout::Mono);
    for _ in 0..5 {
        ear.hear(Some(3.0));
    }
    let log = ear.log.lock().unwrap();
    let peak = log
        .iter()
        .flatten()
        .fold(0.0f32, |peak, sample| peak.max(sample.abs()));
    assert!(peak <= crate::output::limiter::CEILING);
}
