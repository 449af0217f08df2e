//! Fuzz targets with state: playout, decoder and engine. The input is a list of operations in
//! virtual time.

mod engine;

use mixer::codec::opus::OpusDecoder;
use mixer::codec::{Decode, DecodeError, opus_toc};
use mixer::format::{Layout, MAX_PACKET_SAMPLES, TickLength};
use mixer::source::{Playout, Pulled};
use mixer::{Frame, Packet, Payload, RtpTime, Seq, Time};

pub use engine::engine;

/// Reads operations from the front of the input; missing bytes are zero.
struct Operations<'a>(&'a [u8]);

impl<'a> Operations<'a> {
    fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or(0)
    }

    fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn next(&mut self) -> Option<u8> {
        (!self.0.is_empty()).then(|| self.byte())
    }

    fn layout(&mut self) -> (Layout, TickLength) {
        let bits = self.byte();
        let layout = [Layout::Mono, Layout::Stereo][usize::from(bits & 1)];
        let tick = [TickLength::Ms20, TickLength::Ms10][usize::from(bits >> 1 & 1)];
        (layout, tick)
    }

    /// Returns up to 255 bytes of the input, or a packet that always decodes.
    fn payload(&mut self) -> Payload {
        let kind = self.byte();
        let bytes = match kind {
            0..=191 => self.bytes(usize::from(kind)).to_vec(),
            // One or six empty CELT frames of 2.5 ms to 20 ms: valid packets that libopus treats as
            // losses.
            kind => {
                let toc = (28 | kind & 3) << 3 | kind & 4;
                if kind & 8 == 0 {
                    vec![toc]
                } else {
                    vec![toc | 3, 6]
                }
            }
        };
        Payload::copy_from(&bytes).expect("short")
    }
}

/// The most ticks that are run for one input: enough for any delay to show, few enough for
/// thousands of inputs per second.
const MOST_TICKS: usize = 300;

/// Fuzzes the playout: pushes packets with any sequence number, time, source and content at any
/// time, and pulls frames in between.
///
/// Half of the inputs use libopus; the other half use a fake decoder, which makes them twenty times
/// faster.
pub fn playout(bytes: &[u8]) {
    let mut operations = Operations(bytes);
    let (layout, tick) = operations.layout();
    let decoder: Box<dyn Decode> = match bytes.first() {
        Some(first) if first & 4 != 0 => Box::new(OpusDecoder::new(layout)),
        _ => Box::new(Saw { at: 0, layout }),
    };
    let mut playout = Playout::new(layout, tick, decoder);
    let mut frame = Frame::new(layout, tick);
    let (mut seq, mut time, mut ssrc) = (Seq(65_530), RtpTime(u32::MAX - 3_000), 1);
    let mut now = Time::from_us(1_000_000);
    let (mut ticks, mut played, mut pushed) = (0usize, 0, 0);
    while let Some(operation) = operations.next() {
        match operation % 8 {
            // The next packet of a regular sender.
            0..=2 => {
                let payload = operations.payload();
                seq = seq.plus(1);
                push(&mut playout, (seq, time, ssrc), payload, now);
                pushed += 1;
                let samples =
                    opus_toc::shape(payload.as_slice()).map_or(960, |shape| shape.samples);
                time = time.plus(samples as u32);
            }
            // A packet from elsewhere in the stream; afterwards the stream continues.
            3 => {
                let far = (
                    operations.short(),
                    u32::from(operations.short()) << (operation >> 4),
                );
                let packet = (seq.plus(far.0), time.plus(far.1), ssrc);
                push(&mut playout, packet, operations.payload(), now);
                pushed += 1;
            }
            // The sender restarts its stream.
            4 => {
                ssrc += u32::from(operation >> 4 & 1);
                seq = Seq(operations.short());
                time = RtpTime(u32::from(operations.short()) << 16);
            }
            5 if operation > 200 => playout.restart(),
            5 => now = now + std::time::Duration::from_millis(u64::from(operations.byte()) * 8),
            _ => {
                for _ in 0..=operation >> 4 {
                    if ticks < MOST_TICKS {
                        pull(&mut playout, now, &mut frame);
                        played += u64::from(playout.stats().played_samples > 0);
                        now = now + tick.duration();
                        ticks += 1;
                    }
                }
            }
        }
        let stats = playout.stats();
        assert_eq!(stats.received, pushed);
        assert!(stats.target.as_millis() <= 500, "{:?}", stats.target);
        assert!(stats.delay.as_secs() <= 3_600, "{:?}", stats.delay);
        assert!(stats.late + stats.duplicate <= stats.received);
    }
    let ticks_played = playout.stats().played_samples / tick.samples() as u64;
    assert!(ticks_played <= ticks as u64 && played <= ticks as u64);
}

/// A fake decoder that returns a sawtooth of an unusual period for any payload with the shape of a
/// packet.
struct Saw {
    at: usize,
    layout: Layout,
}

impl Decode for Saw {
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError> {
        let shape = opus_toc::shape(payload).map_err(|_| DecodeError::Malformed)?;
        self.conceal(&mut pcm[..shape.samples * self.layout.channels()]);
        Ok(shape.samples)
    }

    fn recover(&mut self, _: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError> {
        self.conceal(pcm);
        Ok(())
    }

    fn conceal(&mut self, pcm: &mut [f32]) {
        for sample in pcm {
            *sample = (self.at % 331) as f32 / 331.0 - 0.5;
            self.at += 1;
        }
    }

    fn reset(&mut self) {
        self.at = 0;
    }
}

fn push(playout: &mut Playout, at: (Seq, RtpTime, u32), payload: Payload, arrival: Time) {
    let packet = Packet {
        seq: at.0,
        time: at.1,
        ssrc: at.2,
        marker: false,
        level: None,
        payload,
    };
    playout.push(&packet, arrival);
}

fn pull(playout: &mut Playout, now: Time, frame: &mut Frame) {
    frame.samples_mut().fill(f32::NAN);
    let pulled = playout.pull(now, frame);
    let finite = frame.samples().iter().all(|sample| sample.is_finite());
    assert!(finite, "every sample is written, by a decoder that is sane");
    if pulled == Pulled::Silent {
        assert_eq!(frame.peak(), 0.0);
    }
}

/// Fuzzes the decoder: decodes any payloads one after the other, with and without losses in
/// between.
pub fn decoder(bytes: &[u8]) {
    let mut operations = Operations(bytes);
    let (layout, _) = operations.layout();
    let channels = layout.channels();
    let mut decoder = OpusDecoder::new(layout);
    let mut pcm = vec![f32::NAN; MAX_PACKET_SAMPLES * channels];
    // The number of payloads is limited so that decoding one input stays below a second.
    for _ in 0..200 {
        let Some(operation) = operations.next() else {
            return;
        };
        let length = usize::from(operations.byte()) * (1 + 5 * usize::from(operation >> 7));
        let payload = operations.bytes(length.min(1_300));
        let shape = opus_toc::shape(payload);
        let _ = opus_toc::carries_fec(payload);
        let samples = match operation & 3 {
            3 => {
                let lost = 120 * (1 + usize::from(operation >> 2 & 7));
                if operation & 0x20 != 0 {
                    decoder.conceal(&mut pcm[..lost * channels]);
                    lost
                } else {
                    let recovered = decoder.recover(payload, &mut pcm[..lost * channels]);
                    recovered.map_or(0, |()| lost)
                }
            }
            2 if operation & 0xfc == 0 => {
                decoder.reset();
                0
            }
            _ => match decoder.decode(payload, &mut pcm) {
                Ok(samples) => {
                    let shape = shape.expect("what decodes has a shape");
                    assert_eq!(samples, shape.samples, "{payload:?}");
                    samples
                }
                Err(DecodeError::Malformed | DecodeError::TooLong { .. }) => 0,
            },
        };
        let decoded = &pcm[..samples * channels];
        assert!(decoded.iter().all(|sample| sample.is_finite()));
    }
}
