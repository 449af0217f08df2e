//! Records the packets that a client is sent and decodes them one by one, without a playout that
//! would stretch the sound or fill gaps.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use mixer::codec::Decode;
use mixer::codec::opus::OpusDecoder;
use mixer::format::Layout;
use mixminus::join::tap::Tap;
use rtc::rtp::header::Header;

use crate::common::sound::RATE;

/// A tap that keeps every packet that arrives at a client.
#[derive(Default)]
pub struct Wire(Mutex<Vec<Arrived>>);

struct Arrived {
    at: Instant,
    seq: u16,
    time: u32,
    payload: Vec<u8>,
}

impl Tap for Wire {
    fn received(&self, at: Instant, header: &Header, payload: &[u8]) {
        self.0.lock().expect("no panic while held").push(Arrived {
            at,
            seq: header.sequence_number,
            time: header.timestamp,
            payload: payload.to_vec(),
        });
    }
}

/// The sound that a client was sent, on the sender's media clock.
pub struct Sent {
    pub pcm: Vec<f32>,
    /// When the first sample was mixed, plus the delay of the network on the way to the client.
    pub began: Instant,
    pub packets: usize,
    pub lost: usize,
}

impl Wire {
    /// Returns the payloads that have arrived so far.
    pub fn payloads(&self) -> Vec<Vec<u8>> {
        let packets = self.0.lock().expect("no panic while held");
        packets
            .iter()
            .map(|packet| packet.payload.clone())
            .collect()
    }

    /// Decodes what has arrived so far, in the order of sending. Lost packets are concealed; time
    /// without packets is silence.
    pub fn decode(&self) -> Sent {
        let mut packets = self.0.lock().expect("no panic while held");
        let (first_seq, first_time) = match packets.first() {
            Some(first) => (first.seq, first.time),
            None => panic!("nothing was sent"),
        };
        // A test sends too few packets for the sequence numbers to wrap.
        let place = |packet: &Arrived| packet.seq.wrapping_sub(first_seq) as i16;
        let sample = |packet: &Arrived| packet.time.wrapping_sub(first_time) as usize;
        packets.sort_by_key(place);
        let mut decoder = OpusDecoder::new(Layout::Mono);
        let (mut pcm, mut lost, mut next_place) = (Vec::new(), 0, 0);
        for packet in packets.iter() {
            let missing = (place(packet) - next_place).max(0) as usize;
            for _ in 0..missing.min(CONCEALED) {
                append(&mut pcm, |frame| decoder.conceal(frame));
            }
            lost += missing;
            next_place = place(packet) + 1;
            pcm.resize(sample(packet), 0.0);
            append(&mut pcm, |frame| {
                let samples = decoder.decode(&packet.payload, frame);
                assert_eq!(samples, Ok(frame.len()), "packets of 20 ms are sent");
            });
        }
        let began = packets
            .iter()
            .filter_map(|packet| packet.at.checked_sub(samples(sample(packet))));
        Sent {
            began: began.min().expect("there are packets"),
            packets: packets.len(),
            pcm,
            lost,
        }
    }
}

impl Sent {
    /// Returns when a sample was mixed, plus the delay of the network on the way to the client.
    pub fn instant_of(&self, sample: usize) -> Instant {
        self.began + samples(sample)
    }
}

fn append(pcm: &mut Vec<f32>, fill: impl FnOnce(&mut [f32])) {
    let end = pcm.len();
    pcm.resize(end + PACKET, 0.0);
    fill(&mut pcm[end..]);
}

fn samples(count: usize) -> Duration {
    Duration::from_secs_f64(count as f64 / RATE as f64)
}

/// Samples in a packet of 20 ms.
const PACKET: usize = RATE / 50;

/// The number of lost packets in a row that are concealed; further ones are silence.
const CONCEALED: usize = 5;
