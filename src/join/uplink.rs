//! The sending half of a client: a thread that takes a frame from the source every packet time,
//! encodes it and hands it to the connection.
//!
//! A push-to-talk client has an [`UplinkGate`] between source and encoder.
//!
//! The thread outlives connections: an [`UplinkTrack`] is set when a connection is established and
//! removed when it is lost. RTP time follows the deadlines: time without packets is a gap in RTP
//! time, so that later sound is not shifted.

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

/// Duration of the sent packets.
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
    /// Returns the duration in milliseconds.
    pub const fn ms(self) -> u32 {
        match self {
            Ptime::Ms10 => 10,
            Ptime::Ms20 => 20,
            Ptime::Ms40 => 40,
            Ptime::Ms60 => 60,
        }
    }

    /// Returns the packet duration of this many milliseconds, if Opus has it.
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

/// The track on which the uplink sends while a connection lasts.
pub struct UplinkTrack {
    /// The connection's track.
    pub track: Arc<TrackLocalStaticRTP>,
    /// The SSRC of its packets.
    pub ssrc: u32,
    /// The payload type agreed on for Opus.
    pub payload_type: u8,
    /// The limits that the receiver sets.
    pub limits: SendLimits,
}

/// The track of the current connection, if any.
pub type UplinkTrackSlot = Arc<ArcSwapOption<UplinkTrack>>;

/// What the sending thread needs to run.
pub struct UplinkParts {
    /// The source of the audio, which is read ahead.
    pub feed: ReadAhead,
    /// The encoder.
    pub encoder: VoiceEncoder,
    /// Duration of a packet.
    pub ptime: Ptime,
    /// Decides which frames are sent; without a gate all frames are sent.
    pub switch: Option<UplinkGate>,
    /// The track to which packets go.
    pub outlet: UplinkTrackSlot,
    /// The observer of packets and frames.
    pub tap: Arc<dyn Tap>,
    /// The statistics counters.
    pub counters: Arc<Counters>,
    /// Receives the end of the source, and the changes of the gate.
    pub events: UnboundedSender<MediaEvent>,
}

/// The running sending thread. Dropping it stops the thread.
pub struct Uplink {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Uplink {
    /// Starts the sending thread.
    ///
    /// # Errors
    /// The system's error if it starts no thread.
    pub fn start(parts: UplinkParts) -> std::io::Result<Uplink> {
        let stop = Arc::new(AtomicBool::new(false));
        let sender = Sender::new(parts, Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("join-uplink".to_owned())
            .spawn(move || {
                // If the system does not permit the priority, a busy machine causes gaps in the
                // sound, as for any other player.
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
    /// Stops the thread and waits for it: one packet time at most.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported already; here it must not cause a second one.
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
            // Without a connection a microphone is read and discarded; a file waits.
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
        // The start of sending is reported before the packets are sent: the server must learn of it
        // before they arrive.
        self.tell(turn);
        match fate {
            Fate::Send => self.send(outlet),
            Fate::SendWithKept => self.send_with_kept(outlet),
            Fate::Drop => self.stream.fall_silent(),
        }
    }

    /// Sends the frames that the gate kept, with the RTP times at which they were taken, then the
    /// frame of this tick.
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

    /// Reports a tick without a frame to the gate, by `look`, and passes on what changes.
    fn turn(&mut self, look: impl FnOnce(&mut UplinkGate) -> Turn) {
        if let Some(switch) = &mut self.parts.switch {
            let turn = look(switch);
            self.tell(turn);
        }
    }

    fn tell(&self, turn: Turn) {
        let voice = turn.voice.map(MediaEvent::Voice);
        let sending = turn.sending.map(MediaEvent::Sending);
        // The end of a voice is reported after its last packet.
        for event in [sending, voice].into_iter().flatten() {
            // Sending the event fails only if its receiver has been dropped.
            let _ = self.parts.events.send(event);
        }
    }

    /// Takes over the track of a new connection and applies the limits of its receiver.
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
        // The send never waits: a packet that the connection does not accept at once is lost.
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
        // Sending the event fails only if its receiver has been dropped.
        let _ = self.parts.events.send(event);
    }
}

/// The sequence number and time of an RTP stream (RFC 3550, 5.1).
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

    /// Returns the header of this tick's packet; the first one after silence carries the marker
    /// bit.
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

/// Returns the level of a frame as defined by RFC 6464.
pub fn level_of(pcm: &[f32]) -> Level {
    let energy: f32 = pcm.iter().map(|sample| sample * sample).sum();
    Level::from(Decibels::from_factor((energy / pcm.len() as f32).sqrt()))
}

/// The most packets that are sent at once after a late wake-up. Older ones are dropped: they would
/// only add delay at the receiver.
const CATCH_UP_TICKS: u64 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ptime_accepts_only_10_20_40_and_60_ms() {
        for ms in [10, 20, 40, 60] {
            let ptime = Ptime::from_ms(ms).unwrap();
            assert_eq!((ptime.ms(), ptime.samples()), (ms, ms as usize * 48));
        }
        assert_eq!(Ptime::from_ms(30), None);
    }

    #[test]
    fn uplink_pause_advances_the_rtp_time_but_not_the_sequence_number() {
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
    fn level_of_a_frame_is_relative_to_full_scale() {
        assert_eq!(level_of(&[1.0; 960]).wire(), 0);
        assert_eq!(level_of(&[0.1; 960]).wire(), 20);
        assert_eq!(level_of(&[0.0; 960]), Level::SILENCE);
    }
}
