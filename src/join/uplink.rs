//! The sending half: a thread that takes a frame from the source every packet time, encodes it and
//! hands it to the connection.
//!
//! Who talks by turns has a [`UplinkGate`] between source and encoder.
//!
//! The thread outlives connections: an [`UplinkTrack`] is put in when one is made and taken out when it is
//! lost. RTP time follows the deadlines, so that what is not sent leaves a gap and not a shift.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures_util::FutureExt;
use mixer::Level;
use mixer::RtpTime;
use mixer::format::MAX_PAYLOAD_BYTES;
use mixer::units::Decibels;
use rtc::rtp::header::Header;
use rtc::rtp::packet::Packet;
use tokio::sync::mpsc::UnboundedSender;
use tracing::warn;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use crate::sched;

use super::media::MediaEvent;
use super::opus::VoiceEncoder;
use super::pacing::Pacer;
use super::pcm::read_ahead::{Pull, ReadAhead};
use super::radio::gate::{Fate, Turn, UplinkGate};
use super::sdp::SendLimits;
use super::stats::Counters;
use super::tap::Tap;

/// Duration of the packets that are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ptime {
    /// 10 ms: least delay.
    Ms10,
    /// 20 ms, the default.
    #[default]
    Ms20,
    /// 40 ms.
    Ms40,
    /// 60 ms: fewest packets.
    Ms60,
}

impl Ptime {
    /// In milliseconds.
    pub const fn ms(self) -> u32 {
        match self {
            Ptime::Ms10 => 10,
            Ptime::Ms20 => 20,
            Ptime::Ms40 => 40,
            Ptime::Ms60 => 60,
        }
    }

    /// The one of that many milliseconds.
    pub const fn from_ms(ms: u32) -> Option<Ptime> {
        match ms {
            10 => Some(Ptime::Ms10),
            20 => Some(Ptime::Ms20),
            40 => Some(Ptime::Ms40),
            60 => Some(Ptime::Ms60),
            _ => None,
        }
    }

    const fn samples(self) -> usize {
        self.ms() as usize * 48
    }
}

/// The track that packets go to while a connection lasts.
pub struct UplinkTrack {
    /// The connection's track.
    pub track: Arc<TrackLocalStaticRTP>,
    /// Its RTP source.
    pub ssrc: u32,
    /// The payload type that was agreed on for Opus.
    pub payload_type: u8,
    /// What the receiver allows.
    pub limits: SendLimits,
}

/// The track of the present connection, if there is one.
pub type UplinkTrackSlot = Arc<ArcSwapOption<UplinkTrack>>;

/// What the sending thread works with.
pub struct UplinkParts {
    /// The source, read ahead.
    pub feed: ReadAhead,
    /// The encoder.
    pub encoder: VoiceEncoder,
    /// Duration of a packet.
    pub ptime: Ptime,
    /// Which frames are sent; without one all are.
    pub switch: Option<UplinkGate>,
    /// Where packets go.
    pub outlet: UplinkTrackSlot,
    /// Who listens in.
    pub tap: Arc<dyn Tap>,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// Told of the end of the source, and of what the switch finds.
    pub events: UnboundedSender<MediaEvent>,
}

/// The running thread.
pub struct Uplink {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Uplink {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, when it gives no thread.
    pub fn start(parts: UplinkParts) -> std::io::Result<Uplink> {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Sender::new(parts, Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("join-uplink".to_owned())
            .spawn(move || {
                // Where it is not permitted, a busy machine is heard, as it is with any other player.
                let _ = sched::raise_priority(sched::CLIENT);
                sender.run()
            })?;
        Ok(Uplink {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for Uplink {
    /// Stops the thread and waits for it: one packet time.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported already; here it must not become a second one.
            let _ = thread.join();
        }
    }
}

struct Sender {
    parts: UplinkParts,
    stop: Arc<AtomicBool>,
    pcm: Vec<f32>,
    payload: [u8; MAX_PAYLOAD_BYTES],
    current: Option<Arc<UplinkTrack>>,
    stream: Stream,
    ended: bool,
}

impl Sender {
    fn new(parts: UplinkParts, stop: Arc<AtomicBool>) -> Sender {
        Sender {
            pcm: vec![0.0; parts.ptime.samples()],
            parts,
            stop,
            payload: [0; MAX_PAYLOAD_BYTES],
            current: None,
            stream: Stream::new(rand::random(), rand::random()),
            ended: false,
        }
    }

    fn run(mut self) {
        let ptime = self.parts.ptime;
        let period = Duration::from_millis(u64::from(ptime.ms()));
        let mut pacer = Pacer::new(Instant::now(), period);
        while !self.stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let skipped_slots = pacer.skip_all_but(CATCH_UP_TICKS, now);
            self.stream.pass(skipped_slots * ptime.samples() as u64);
            while pacer.take(now).is_some() {
                self.tick();
                self.stream.pass(ptime.samples() as u64);
            }
            thread::sleep(pacer.deadline().saturating_duration_since(Instant::now()));
        }
    }

    fn tick(&mut self) {
        self.follow_outlet();
        let Some(outlet) = self.current.clone() else {
            // Nobody hears what a microphone picks up meanwhile; a file waits.
            if self.parts.feed.is_live() {
                self.pull();
            }
            return self.turn(UplinkGate::idle);
        };
        let is_waiting = self
            .parts
            .switch
            .as_ref()
            .is_some_and(UplinkGate::is_waiting);
        if is_waiting && !self.parts.feed.is_live() {
            return;
        }
        match self.pull() {
            Pull::Full => self.send_or_not(&outlet),
            Pull::Underrun => {
                let counters = &self.parts.counters;
                counters.underruns.fetch_add(1, Ordering::Relaxed);
                self.stream.fall_silent();
                let samples = self.pcm.len();
                self.turn(|switch| switch.dry(samples));
            }
            Pull::Ended => {
                self.stream.fall_silent();
                self.turn(UplinkGate::idle);
                self.tell_end();
            }
        }
    }

    fn pull(&mut self) -> Pull {
        let pulled = self.parts.feed.pull(&mut self.pcm);
        if pulled == Pull::Full {
            let time = RtpTime(self.stream.time);
            self.parts.tap.taken(Instant::now(), time, &self.pcm);
        }
        pulled
    }

    fn send_or_not(&mut self, outlet: &UplinkTrack) {
        let Some(switch) = &mut self.parts.switch else {
            return self.send(outlet);
        };
        let waiting_samples = self.parts.feed.waiting_samples();
        let level = level_of(&self.pcm);
        let (fate, turn) = switch.frame(&self.pcm, level, waiting_samples);
        // The beginning is told first: the server is to know of it before the packets come.
        self.tell(turn);
        match fate {
            Fate::Send => self.send(outlet),
            Fate::SendWithKept => self.send_with_kept(outlet),
            Fate::Drop => self.stream.fall_silent(),
        }
    }

    /// Sends what was kept at the times it was taken at, then the frame of this tick.
    fn send_with_kept(&mut self, outlet: &UplinkTrack) {
        let kept = self.parts.switch.as_mut().map(UplinkGate::take_kept);
        let kept = kept.unwrap_or_default();
        let samples = self.pcm.len() as u64;
        self.stream.go_back(kept.len() as u64 * samples);
        let newest = std::mem::take(&mut self.pcm);
        for pcm in kept {
            self.pcm = pcm;
            self.send(outlet);
            self.stream.pass(samples);
        }
        self.pcm = newest;
        self.send(outlet);
    }

    /// Lets the switch look at what is no frame.
    fn turn(&mut self, look: impl FnOnce(&mut UplinkGate) -> Turn) {
        if let Some(switch) = &mut self.parts.switch {
            let turn = look(switch);
            self.tell(turn);
        }
    }

    fn tell(&self, turn: Turn) {
        let voice = turn.voice.map(MediaEvent::Voice);
        let sending = turn.sending.map(MediaEvent::Sending);
        // A voice that ends is told after its last packet.
        for event in [sending, voice].into_iter().flatten() {
            // Nobody may be interested any more.
            let _ = self.parts.events.send(event);
        }
    }

    /// Takes over a new connection.
    fn follow_outlet(&mut self) {
        let next = self.parts.outlet.load_full();
        let same = match (&self.current, &next) {
            (Some(current), Some(next)) => Arc::ptr_eq(current, next),
            (None, None) => true,
            _ => false,
        };
        if same {
            return;
        }
        if let Some(outlet) = &next
            && let Err(error) = self.parts.encoder.obey(&outlet.limits)
        {
            warn!(%error, "cannot apply the limits in the server's answer to the encoder");
        }
        self.stream.fall_silent();
        self.current = next;
    }

    fn send(&mut self, outlet: &UplinkTrack) {
        let UplinkParts {
            encoder,
            tap,
            counters,
            ..
        } = &mut self.parts;
        let bytes = match encoder.encode(&self.pcm, &mut self.payload) {
            Ok(0) => return self.stream.fall_silent(),
            Ok(bytes) => bytes,
            Err(error) => {
                warn!(%error, "cannot encode a frame; the frame is not sent");
                return self.stream.fall_silent();
            }
        };
        let mut header = self.stream.header(outlet.ssrc, outlet.payload_type);
        if let Some(number) = outlet.limits.level_extension {
            let level = Bytes::copy_from_slice(&[level_of(&self.pcm).wire()]);
            header
                .set_extension(number, level)
                .expect("one byte under a number from 1 to 14 is in order");
        }
        let packet = Packet {
            header: header.clone(),
            payload: Bytes::copy_from_slice(&self.payload[..bytes]),
        };
        // Never waits: a connection that takes no more at this instant loses this packet.
        let sent = outlet.track.write_rtp(packet).now_or_never();
        if !matches!(sent, Some(Ok(()))) {
            counters.unsent_packets.fetch_add(1, Ordering::Relaxed);
            return;
        }
        tap.sent(Instant::now(), &header, &self.payload[..bytes]);
        counters.sent_packets.fetch_add(1, Ordering::Relaxed);
        counters
            .sent_bytes
            .fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn tell_end(&mut self) {
        if self.ended {
            return;
        }
        self.ended = true;
        let event = match self.parts.feed.take_error() {
            Some(error) => MediaEvent::SourceFailed(error),
            None => MediaEvent::SourceEnded,
        };
        // Nobody may be interested any more.
        let _ = self.parts.events.send(event);
    }
}

/// The numbers of an RTP stream (RFC 3550, 5.1).
struct Stream {
    seq: u16,
    time: u32,
    talking: bool,
}

impl Stream {
    fn new(seq: u16, time: u32) -> Stream {
        Stream {
            seq,
            time,
            talking: false,
        }
    }

    /// The header of the packet of this tick; the first after silence carries the marker bit.
    fn header(&mut self, ssrc: u32, payload_type: u8) -> Header {
        let header = Header {
            version: 2,
            marker: !self.talking,
            payload_type,
            sequence_number: self.seq,
            timestamp: self.time,
            ssrc,
            ..Header::default()
        };
        self.seq = self.seq.wrapping_add(1);
        self.talking = true;
        header
    }

    fn pass(&mut self, samples: u64) {
        self.time = self.time.wrapping_add(samples as u32);
    }

    fn go_back(&mut self, samples: u64) {
        self.time = self.time.wrapping_sub(samples as u32);
    }

    fn fall_silent(&mut self) {
        self.talking = false;
    }
}

/// The level of a frame as RFC 6464 wants it.
pub fn level_of(pcm: &[f32]) -> Level {
    let energy: f32 = pcm.iter().map(|sample| sample * sample).sum();
    Level::from(Decibels::from_factor((energy / pcm.len() as f32).sqrt()))
}

/// Packets sent at once after a late wake-up. What is later than that is left out: it would only add
/// delay at the other end.
const CATCH_UP_TICKS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packet_times_are_those_opus_has() {
        for ms in [10, 20, 40, 60] {
            let ptime = Ptime::from_ms(ms).unwrap();
            assert_eq!((ptime.ms(), ptime.samples()), (ms, ms as usize * 48));
        }
        assert_eq!(Ptime::from_ms(30), None);
    }

    #[test]
    fn a_gap_moves_the_time_and_not_the_sequence() {
        let mut stream = Stream::new(65_535, u32::MAX - 959);
        let mut next = |silent: bool| {
            let header = (!silent).then(|| stream.header(7, 111));
            if silent {
                stream.fall_silent();
            }
            stream.pass(960);
            header.map(|header| (header.sequence_number, header.timestamp, header.marker))
        };
        assert_eq!(next(false), Some((65_535, u32::MAX - 959, true)));
        assert_eq!(next(false), Some((0, 0, false)));
        assert_eq!(next(true), None);
        assert_eq!(next(true), None);
        assert_eq!(next(false), Some((1, 2_880, true)));
        assert_eq!(next(false), Some((2, 3_840, false)));
    }

    #[test]
    fn levels_are_below_full_scale() {
        assert_eq!(level_of(&[1.0; 960]).wire(), 0);
        assert_eq!(level_of(&[0.1; 960]).wire(), 20);
        assert_eq!(level_of(&[0.0; 960]), Level::SILENCE);
    }
}
