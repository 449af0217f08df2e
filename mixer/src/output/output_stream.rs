//! One output stream: mixes in, packets out.
//!
//! The stream limits the mix, gathers ticks to packets of its encoding's length, encodes them, and
//! falls silent with the mix. Gathering and encoding are two calls: gathering belongs to the room's
//! tick, while any thread may encode. [`crate::room::groups`] decides which listeners share a
//! stream. Packet boundaries follow the room's tick counter, so that all streams of equal encoding
//! cut at the same instants. The RTP clock runs on through silence (RFC 3550, 5.1); the marker
//! starts each talk-spurt (RFC 3551, 4.1).

use core::fmt;

use crate::codec::{DTX_MAX_BYTES, Encode, Encoding, loss_class};
use crate::format::{Layout, SAMPLE_RATE_HZ, TickLength};
use crate::frame::Frame;
use crate::output::limiter::Limiter;
use crate::packet::{OutPacket, Sources};
use crate::schedule::{Work, WorkOutcome};
use crate::units::{RtpTime, Tick};

/// The position of a room's clock at one tick.
#[derive(Debug, Clone, Copy)]
pub struct TickInstant {
    /// Number of ticks so far; packet boundaries follow it.
    pub tick: Tick,
    /// Media time of the tick's first sample.
    pub time: RtpTime,
    /// Whether anybody in the room is heard, even if this listener does not hear them.
    pub room_sounds: bool,
}

/// One listener's mix of one tick.
#[derive(Debug)]
pub enum MixedTick<'a> {
    /// There is nothing to hear.
    Silent,
    /// There is sound to hear.
    Sound {
        /// The mix, in the room's layout; it is limited in place.
        frame: &'a mut Frame,
        /// Who is heard in the mix.
        sources: &'a Sources,
    },
}

/// One output stream: an encoder and the state that it keeps between ticks.
pub struct OutputStream {
    encoding: Encoding,
    encoder: Box<dyn Encode>,
    tuning: Tuning,
    limiter: Limiter,
    tick: TickLength,
    packet_ticks: u64,
    /// PCM of one packet in the encoding's layout, or of one tick if a tick is longer.
    pcm: Box<[f32]>,
    /// Whether the packet in `pcm` holds sound.
    sounding: bool,
    /// Media time of the packet's first sample.
    time: RtpTime,
    sources: Sources,
    /// Whether the previous packet continued a talk-spurt.
    in_spurt: bool,
    /// Whether the stream's first packet has been made.
    has_begun: bool,
    /// Time since the room last sounded, or since this stream did if its encoding has no hangover;
    /// saturating.
    silent_ms: u32,
    /// The packets in `pcm` that are still to be encoded.
    due: Option<PendingPackets>,
    /// Media time at the end of the last packet, while packets follow each other without a gap.
    sent_to: Option<RtpTime>,
    /// How far the stream's media time runs ahead of the room's. A tick that came early in a pause
    /// and holds sound is sent whole, after the packets already sent.
    ahead_samples: u32,
}

/// Encoder settings that change while a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Loss that the encoder prepares for, one of the classes of [`loss_class`], percent.
    pub loss_percent: u8,
    /// Highest Opus complexity to be used, 0..=10.
    pub complexity_cap: u8,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            loss_percent: 0,
            complexity_cap: 10,
        }
    }
}

/// Packets that are still to be encoded.
#[derive(Debug, Clone, Copy)]
struct PendingPackets {
    /// Index of the next packet within the tick.
    part: usize,
    marker: bool,
    sources: Sources,
}

impl OutputStream {
    /// Creates a stream that has been given nothing to hear yet, with an Opus or G.711 encoder.
    ///
    /// Real-time: set-up only (allocates).
    #[cfg(feature = "opus")]
    pub fn new(encoding: Encoding, tick: TickLength) -> OutputStream {
        OutputStream::with_encoder(encoding, tick, crate::codec::encoder(&encoding))
    }

    /// Creates a stream with any encoder, which must already be configured as `encoding` says.
    ///
    /// Real-time: set-up only (allocates).
    pub fn with_encoder(
        encoding: Encoding,
        tick: TickLength,
        encoder: Box<dyn Encode>,
    ) -> OutputStream {
        let packet_ticks = (encoding.packet_ms / tick.ms()).max(1);
        let samples = packet_ticks as usize * tick.samples() * encoding.layout.channels();
        OutputStream {
            encoding,
            encoder,
            tuning: Tuning::default(),
            limiter: Limiter::new(),
            tick,
            packet_ticks: u64::from(packet_ticks),
            pcm: crate::memory::filled(samples, 0.0),
            sounding: false,
            time: RtpTime::default(),
            sources: Sources::default(),
            in_spurt: false,
            has_begun: false,
            silent_ms: 0,
            due: None,
            sent_to: None,
            ahead_samples: 0,
        }
    }

    /// How the stream is encoded.
    pub fn encoding(&self) -> &Encoding {
        &self.encoding
    }

    /// The tick length that the stream was built for.
    pub fn tick(&self) -> TickLength {
        self.tick
    }

    /// Configures the encoder for the loss that receivers report and for the complexity cap.
    ///
    /// Real-time: safe.
    pub fn tune(&mut self, tuning: Tuning) {
        if tuning != self.tuning {
            self.tuning = tuning;
            let mut settings = self.encoding.settings(loss_class(tuning.loss_percent));
            settings.complexity = settings.complexity.min(tuning.complexity_cap);
            self.encoder.configure(&settings);
        }
    }

    /// Copies the state of `other`: its encoder, limiter and partly gathered packet. A listener of
    /// `other` can continue with this stream and hear no difference.
    ///
    /// Changes nothing and returns `false` if encoding or tick length differ, or if the encoder
    /// cannot follow.
    ///
    /// Real-time: safe.
    pub fn follow(&mut self, other: &OutputStream) -> bool {
        let alike = self.encoding == other.encoding && self.tick == other.tick;
        if !alike || !self.encoder.follow(&*other.encoder) {
            return false;
        }
        self.pcm.copy_from_slice(&other.pcm);
        self.tuning = other.tuning;
        self.limiter = other.limiter;
        self.sounding = other.sounding;
        self.time = other.time;
        self.sources = other.sources;
        self.in_spurt = other.in_spurt;
        self.has_begun = other.has_begun;
        self.silent_ms = other.silent_ms;
        self.due = other.due;
        self.sent_to = other.sent_to;
        self.ahead_samples = other.ahead_samples;
        true
    }

    /// Copies the limiter state of `other`, which is given the same mix, unless this stream has
    /// already been given sound.
    ///
    /// Real-time: safe.
    pub fn begin_like(&mut self, other: &OutputStream) {
        if !self.sounding && !self.in_spurt && self.silent_ms == 0 {
            self.limiter = other.limiter;
        }
    }

    /// Whether a listener of this stream could continue with `other`, which has been given the same
    /// mix for a while: no packet is partly gathered, and media times and limiter gains agree.
    pub fn can_merge_into(&self, other: &OutputStream, instant: TickInstant) -> bool {
        let between_packets = instant.tick.0.is_multiple_of(self.packet_ticks);
        let apart = self.limiter.gain() / other.limiter.gain();
        let same_time = self.ahead_samples == other.ahead_samples;
        between_packets && same_time && (1.0 / MERGE_GAIN..=MERGE_GAIN).contains(&apart)
    }

    /// Drops the partly gathered packet, since another room's ticks have other packet boundaries.
    /// The encoder keeps its state, and media time does not go back.
    pub(crate) fn leave_room(&mut self) {
        self.due = None;
        self.sounding = false;
    }

    /// Whether the stream has not yet been given anything to hear.
    pub fn is_new(&self) -> bool {
        !self.has_begun && !self.sounding
    }

    /// Whether the stream is asleep: while its mix stays silent, it sends and changes nothing. This
    /// makes a silent room cheap.
    pub fn is_asleep(&self) -> bool {
        !self.sounding && self.silent_ms > self.encoding.hangover_ms.max(REFRESHED_MS)
    }

    /// Length of audio gathered before encoding: one packet, or one tick if a tick is longer.
    pub fn gathered_ms(&self) -> u32 {
        self.encoding.packet_ms.max(self.tick.ms())
    }

    /// Whether there is a packet to be [encoded](OutputStream::encode).
    pub fn is_due(&self) -> bool {
        self.due.is_some()
    }

    /// Takes in one tick of the mix; returns whether there is now a packet to be
    /// [encoded](OutputStream::encode), or several if a tick is longer than a packet. A packet not
    /// encoded before the next call is lost.
    ///
    /// Real-time: safe.
    pub fn gather(&mut self, instant: TickInstant, mix: MixedTick<'_>) -> bool {
        self.due = None;
        let position = instant.tick.0 % self.packet_ticks;
        if instant.room_sounds && self.encoding.hangover_ms > 0 {
            // A receiver that is about to hear an answer keeps its jitter buffer.
            self.silent_ms = 0;
        }
        match mix {
            MixedTick::Sound { frame, sources } => {
                self.limiter.limit(frame);
                if !self.sounding {
                    self.begin(position);
                }
                self.store(position as usize, frame);
                self.sources = *sources;
            }
            MixedTick::Silent if self.is_asleep() => return false,
            MixedTick::Silent => {
                self.limiter.reset();
                if self.sounding {
                    self.tick_of_pcm(position as usize).fill(0.0);
                }
            }
        }
        if position + 1 < self.packet_ticks {
            return false;
        }
        let passed_samples = position as u32 * self.tick.samples() as u32;
        let time = RtpTime(instant.time.0.wrapping_sub(passed_samples));
        let ahead_samples = self.overlap(time);
        self.due = if self.sounding {
            self.ahead_samples = ahead_samples;
            Some(self.finish_sound())
        } else if ahead_samples > 0 {
            // This time was already sent as silence.
            self.ahead_samples = 0;
            None
        } else {
            self.ahead_samples = 0;
            self.finish_silence()
        };
        self.time = RtpTime(time.0.wrapping_add(self.ahead_samples));
        let samples = self.gathered_ms() * SAMPLES_PER_MS;
        self.sent_to = self.due.map(|_| RtpTime(self.time.0.wrapping_add(samples)));
        self.has_begun |= self.due.is_some();
        self.due.is_some()
    }

    /// Encodes the next of the gathered packets into `packet`.
    ///
    /// Real-time: safe.
    pub fn encode(&mut self, packet: &mut OutPacket) -> WorkOutcome {
        let Some(due) = self.due.take() else {
            return WorkOutcome::Nothing;
        };
        // Several packets, if a tick is longer than a packet.
        let parts = (self.gathered_ms() / self.encoding.packet_ms) as usize;
        let next = PendingPackets {
            part: due.part + 1,
            marker: false,
            ..due
        };
        self.due = Some(next).filter(|next| next.part < parts);
        let samples = self.pcm.len() / parts;
        let pcm = &self.pcm[due.part * samples..][..samples];
        if self.encoder.encode(pcm, &mut packet.payload).is_err() {
            return WorkOutcome::Failed;
        }
        if self.encoding.dtx && packet.payload.as_slice().len() <= DTX_MAX_BYTES {
            // The encoder's own DTX says that this packet need not be sent (RFC 6716, 2.1.9).
            self.in_spurt = false;
            return WorkOutcome::Nothing;
        }
        let passed_samples = due.part as u32 * self.encoding.packet_ms * SAMPLES_PER_MS;
        packet.time = RtpTime(self.time.0.wrapping_add(passed_samples));
        packet.marker = due.marker;
        packet.sources = due.sources;
        WorkOutcome::Packet
    }

    /// How much of a packet that begins at `time` would lie before the end of the last packet,
    /// samples.
    fn overlap(&self, time: RtpTime) -> u32 {
        let overlap = self.sent_to.map_or(0, |to| to.0.wrapping_sub(time.0));
        // Anything else is a gap.
        if overlap <= self.gathered_ms() * SAMPLES_PER_MS {
            overlap
        } else {
            0
        }
    }

    /// Starts a packet's sound at tick `position`: the ticks before it in the packet are silent.
    fn begin(&mut self, position: u64) {
        self.sounding = true;
        let before = position as usize * self.tick.samples() * self.encoding.layout.channels();
        self.pcm[..before].fill(0.0);
    }

    fn tick_of_pcm(&mut self, position: usize) -> &mut [f32] {
        let len = self.tick.samples() * self.encoding.layout.channels();
        &mut self.pcm[position * len..][..len]
    }

    fn store(&mut self, position: usize, frame: &Frame) {
        let from = frame.layout();
        let to = self.encoding.layout;
        let pcm = self.tick_of_pcm(position);
        match (from, to) {
            (Layout::Mono, Layout::Mono) | (Layout::Stereo, Layout::Stereo) => {
                pcm.copy_from_slice(frame.samples());
            }
            (Layout::Stereo, Layout::Mono) => {
                for (out, pair) in pcm.iter_mut().zip(frame.samples().chunks_exact(2)) {
                    *out = 0.5 * (pair[0] + pair[1]);
                }
            }
            (Layout::Mono, Layout::Stereo) => {
                for (pair, sample) in pcm.chunks_exact_mut(2).zip(frame.samples()) {
                    pair.fill(*sample);
                }
            }
        }
    }

    fn finish_sound(&mut self) -> PendingPackets {
        self.sounding = false;
        self.silent_ms = 0;
        PendingPackets {
            part: 0,
            marker: !core::mem::replace(&mut self.in_spurt, true),
            sources: self.sources,
        }
    }

    /// Ends a packet of silence; returns `None` if the packet need not be sent.
    ///
    /// Silence is sent at full cadence for the hangover, so that the receiver keeps its jitter
    /// buffer through the pauses of a conversation, and at least for a tail, so that the far
    /// decoder fades and settles. Then come refreshes, in case the tail was lost; then nothing.
    ///
    /// The encoder keeps its state over the pause: the next onset then comes out within 0.5 dB of
    /// its level, while a CELT encoder that starts afresh loses its first 20 ms after a short
    /// pause.
    fn finish_silence(&mut self) -> Option<PendingPackets> {
        let before_ms = self.silent_ms;
        self.silent_ms = before_ms.saturating_add(self.gathered_ms());
        let is_tail = before_ms < self.encoding.hangover_ms.max(TAIL_MS);
        let is_refresh = before_ms / REFRESH_MS != self.silent_ms / REFRESH_MS;
        if !is_tail {
            self.in_spurt = false;
        }
        if !self.has_begun && before_ms < SETTLES_MS {
            return None;
        }
        if !is_tail && (!is_refresh || before_ms >= REFRESHED_MS) {
            return None;
        }
        self.pcm.fill(0.0);
        Some(PendingPackets {
            part: 0,
            marker: false,
            sources: Sources::default(),
        })
    }
}

impl Work for OutputStream {
    fn run(&mut self, packet: &mut OutPacket) -> WorkOutcome {
        self.encode(packet)
    }
}

impl fmt::Debug for OutputStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutputStream")
            .field("encoding", &self.encoding)
            .field("limiter", &self.limiter)
            .field("silent_ms", &self.silent_ms)
            .finish_non_exhaustive()
    }
}

/// Shortest silence encoded after the last sound: two packets of the usual length, more than the
/// lookahead of any mode.
const TAIL_MS: u32 = 40;

/// How long a new stream waits before it sends silence; sound is sent at once. The newcomer's own
/// first packets may move the room's ticks, and its machine is busy with the join. A receiver whose
/// first packets come at odd times delays all later ones, libwebrtc's by 15 ms.
const SETTLES_MS: u32 = 500;

/// Interval of silent refreshes: as often as an Opus encoder under DTX refreshes by itself.
const REFRESH_MS: u32 = 400;

/// After this much silence no refresh is sent: every listener has received the silence by then.
/// With the noise gate's hangover and the fade of the last sound, nothing is sent any more two
/// seconds after somebody has talked.
const REFRESHED_MS: u32 = 1_600;

/// Largest ratio of the limiter gains of two streams at which a listener may change from one to the
/// other: 0.1 dB, the smallest audible step of loudness.
const MERGE_GAIN: f32 = 1.011_6;

const SAMPLES_PER_MS: u32 = SAMPLE_RATE_HZ / 1_000;

/// The arithmetic in milliseconds above needs a whole number of samples per millisecond.
const _: () = assert!(SAMPLE_RATE_HZ.is_multiple_of(1_000));

#[cfg(test)]
#[expect(
    clippy::disallowed_types,
    reason = "a recorder may lock; the engine may not"
)]
mod tests;
