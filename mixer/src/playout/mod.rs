//! From packets that come when they like to PCM that is there at every tick.
//!
//! Stands between a participant's packets and its strip: stores ([`crate::jitter`]), decides how
//! long to wait ([`crate::delay`]), decodes, conceals, and takes out or puts in time
//! ([`crate::stretch`]) so that the wait stays what it should be. It knows no gain, no room and no
//! clock: the time of each tick is an argument.
//!
//! One tick needs whole packets. With the sender's packets as long as the tick, each waits from its
//! arrival to the next tick, and a fraction left over in the queue would be delay that buys
//! nothing. So the wait is governed in steps: the *slack* is how long before the tick that needs it
//! the next packet should arrive, beyond the target. Slack below zero puts time in until the next
//! packet is needed one tick later, unless a tick would wait that long for it or the network does not ask
//! for the difference; slack above a tick takes time out. Only against a clock that is clearly off does
//! the queue breathe continuously, through a resampler, one tick longer than otherwise.

mod fade;
mod fill;
mod govern;
mod kept;
mod leeway;
mod patience;

use core::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{FixedAsync, Resampler, Slip};

use self::fade::{FADE_END, FADE_IN, Fade, ramp};
use self::govern::SIMILAR;
use self::kept::CatchUp;
use self::patience::Patience;

use crate::codec::{Codec, Decode, SKETCH_RATE_HZ};
use crate::delay::DelayEstimator;
use crate::format::{
    Layout, MAX_PACKET_SAMPLES, MAX_TICK_SAMPLES, MIN_PACKET_SAMPLES, SAMPLE_RATE_HZ, TickLength,
};
use crate::frame::Frame;
use crate::gate::Reading;
use crate::jitter::{Inserted, JitterBuffer};
use crate::packet::Packet;
use crate::phase::Rhythm;
use crate::stretch::{MAX_LAG, PcmQueue};
use crate::timeline::{Place, Timeline};
use crate::units::Time;

/// Plays out one sender's packets.
pub struct Playout {
    tick_samples: usize,
    channels: usize,
    decoder: Box<dyn Decode>,
    buffer: JitterBuffer,
    timeline: Timeline,
    delay: DelayEstimator,
    queue: PcmQueue,
    slip: Slip<f32>,
    state: State,
    /// Sequence number of the packet to be decoded next.
    next_seq: i64,
    /// Media time at the end of the queue.
    next_time: i64,
    /// Samples concealed since the buffer ran dry, while media time stood still.
    stalled: usize,
    /// Of what the queue ends with, or ended with when it was taken, samples that the decoder has guessed
    /// without taking note.
    guessed: usize,
    fade: Fade,
    /// A new encoder's packets follow: the decoder starts afresh with them.
    reset_decoder: bool,
    /// The packets stored belong to another timeline than what plays.
    fresh: bool,
    /// Packets before this one came and were not to be played.
    refused_to: i64,
    catch_up: CatchUp,
    /// Length of the last packet decoded.
    packet_samples: usize,
    ticks_to_next_splice: u32,
    /// For how many ticks the sound has made no pause.
    loud_ticks: u32,
    /// When packets that could be needed a tick earlier are.
    patience: Patience,
    /// Samples of this tick that stand behind the end of a talk-spurt.
    filler: usize,
    /// How much later than the tick's instant a packet may come and still be played in it.
    leeway_samples: usize,
    /// So many ticks must pass before another waits for a packet.
    ticks_to_next_wait: u32,
    /// The next tick waits for a packet of this sender.
    is_awaited: bool,
    /// Share of the recent ticks that waited for a packet of this sender and got it.
    share_awaited: f32,
    /// How alike two periods must be to be spliced; falls with every attempt that found nothing.
    similarity: f32,
    stats: PlayoutStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing plays: before the first packet, or between talk-spurts.
    Waiting,
    /// A talk-spurt plays.
    Playing,
}

/// A packet that has a place.
struct Admitted {
    seq: i64,
    time: i64,
    samples: usize,
    fec: bool,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// Stored for its time.
    Stored,
    /// Its time has passed.
    Late,
    /// It was here before.
    Duplicate,
    /// The buffer is full: it holds more than it will ever play.
    Overflow,
    /// No packet of the sender's codec.
    Malformed,
}

/// What a tick's frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// At least in part what the sender sent.
    Audio,
    /// Nothing but what was made up for what did not come.
    Concealed,
    /// Zeros.
    Silent,
}

/// Running totals of one playout, and its delay now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PlayoutStats {
    /// Packets taken in, of any fate.
    pub received: u64,
    /// Packets that never came, or came too late.
    pub lost: u64,
    /// Packets that came too late.
    pub late: u64,
    /// Packets that came twice.
    pub duplicate: u64,
    /// Packets that did not decode.
    pub undecodable: u64,
    /// Packets thrown away unplayed because far too much was waiting.
    pub discarded: u64,
    /// Samples per channel decoded from packets.
    pub decoded_samples: u64,
    /// Samples per channel made up because none were there.
    pub concealed_samples: u64,
    /// Samples per channel recovered from in-band FEC.
    pub recovered_samples: u64,
    /// Samples per channel handed out, silence between talk-spurts apart.
    pub played_samples: u64,
    /// Samples per channel inserted by time stretching, to lengthen the delay.
    pub inserted_samples: u64,
    /// Samples per channel removed by time stretching, to shorten the delay.
    pub removed_samples: u64,
    /// Samples per channel that the resampler added, to follow a slower clock.
    pub resampling_inserted_samples: u64,
    /// Samples per channel that the resampler saved, to follow a faster clock.
    pub resampling_removed_samples: u64,
    /// Samples per channel of late packets that were decoded and not played, because concealment had
    /// already covered their time.
    pub covered_samples: u64,
    /// How long what plays now has waited since the earliest it could have arrived.
    pub delay: Duration,
    /// How long it should wait at least.
    pub target: Duration,
}

impl Playout {
    /// A playout for one sender. The decoder must give `layout`.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength, decoder: Box<dyn Decode>) -> Playout {
        let channels = layout.channels();
        let tick_samples = tick.samples();
        let expects_fec = decoder.codec() == Codec::Opus;
        Playout {
            tick_samples,
            channels,
            decoder,
            buffer: JitterBuffer::new(),
            timeline: Timeline::default(),
            delay: DelayEstimator::new(expects_fec),
            queue: PcmQueue::new(channels, QUEUE_SAMPLES),
            slip: Slip::new(tick_samples, channels, FixedAsync::Output)
                .expect("a tick is longer than the four samples a slip needs"),
            state: State::Waiting,
            next_seq: 0,
            next_time: 0,
            stalled: 0,
            guessed: 0,
            fade: Fade::default(),
            reset_decoder: false,
            fresh: true,
            refused_to: 0,
            catch_up: CatchUp::default(),
            packet_samples: 960,
            ticks_to_next_splice: 0,
            loud_ticks: 0,
            patience: Patience::new(tick),
            filler: 0,
            leeway_samples: 0,
            ticks_to_next_wait: 0,
            is_awaited: false,
            share_awaited: 0.0,
            similarity: SIMILAR,
            stats: PlayoutStats::default(),
        }
    }

    /// Takes one packet in.
    ///
    /// - `arrival`: when it left the network, on the clock that [`Playout::pull`] is given.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        let Admitted {
            seq,
            time,
            samples,
            fec,
        } = match self.admit(packet, arrival) {
            Ok(admitted) => admitted,
            Err(outcome) => return outcome,
        };
        let payload = packet.payload.as_slice();
        if self.buffer.insert(seq, time, samples, fec, payload) == Inserted::Stored {
            return Pushed::Stored;
        }
        // Full: whoever sends this much is far ahead of what is played, so the oldest goes.
        self.discard_first();
        match self.buffer.insert(seq, time, samples, fec, payload) {
            Inserted::Stored => Pushed::Stored,
            _ => Pushed::Overflow,
        }
    }

    /// Takes one packet in that is not to be played: its arrival is noted, and what was lost before it, so that a talk-spurt
    /// after it starts with what is known of the network. It is neither lost nor decoded.
    ///
    /// For use after [`park`](Playout::park).
    ///
    /// Real-time: safe.
    pub fn pass(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        match self.admit(packet, arrival) {
            Ok(admitted) => {
                if !self.fresh && admitted.seq > self.expected(admitted.seq) {
                    self.delay.lost();
                }
                self.next_seq = admitted.seq + 1;
                self.next_time = admitted.time + admitted.samples as i64;
                self.fresh = false;
                Pushed::Stored
            }
            Err(outcome) => outcome,
        }
    }

    /// Stops playing and throws away what waits: the sender is silent, and says so.
    ///
    /// Real-time: safe.
    pub fn park(&mut self) {
        while let Some(first) = self.buffer.drop_first() {
            if !self.fresh {
                self.count_lost(first.seq);
            }
            self.next_seq = first.seq + 1;
            self.next_time = first.end();
            self.fresh = false;
        }
        if self.next_seq < self.refused_to {
            self.next_seq = self.refused_to;
            self.fresh = false;
        }
        self.queue.clear();
        self.catch_up = CatchUp::Done;
        self.end_talk_spurt();
    }

    /// Lets the decoder know of a packet that was passed: what comes next is then decoded as if
    /// nothing had been left out.
    ///
    /// Real-time: safe.
    pub fn run_up(&mut self, payload: &[u8]) {
        if core::mem::take(&mut self.reset_decoder) {
            self.decoder.reset();
        }
        let mut unheard = [0.0; 2 * RUN_UP_SAMPLES];
        // What is longer, or no packet at all, leaves the decoder as it is: colder than it might be.
        let _ = self
            .decoder
            .decode(payload, &mut unheard[..RUN_UP_SAMPLES * self.channels]);
    }

    /// How loud a packet is that may be passed; `None` if only playing it can tell.
    ///
    /// Real-time: safe.
    pub fn sketch(&mut self, payload: &[u8]) -> Option<Reading> {
        let mut pcm = [0.0; SKETCH_SAMPLES];
        let samples = self.decoder.sketch(payload, &mut pcm)?;
        Some(Reading::of_sketch(&pcm[..samples]))
    }

    /// Whether it would give nothing but silence, and change nothing, until the next packet.
    pub fn is_idle(&self) -> bool {
        self.state == State::Waiting && self.buffer.first().is_none()
    }

    /// Fills one tick.
    ///
    /// - `now`: the tick's instant, on the clock of the arrivals; what arrived before it may be
    ///   played.
    /// - `frame`: of the layout and tick this was made for; silence is zeros.
    ///
    /// Real-time: safe.
    pub fn pull(&mut self, now: Time, frame: &mut Frame) -> Pulled {
        let now = now.samples() as i64;
        self.count_wait();
        if self.state == State::Waiting && !self.begin_talk_spurt(now) {
            frame.clear();
            return Pulled::Silent;
        }
        self.discard_stale(now);
        let drifting = self.delay.drift();
        let ratio = self.resampling_ratio(now, drifting);
        let needed = self.input_needed(ratio);
        let real_before = self.stats.decoded_samples + self.stats.recovered_samples;
        let had = self.queue.len();
        self.filler = 0;
        self.fill(now, needed);
        self.govern(now, needed, drifting.is_some());
        self.measure(now);
        self.play(needed, ratio, frame);
        let real = self.stats.decoded_samples + self.stats.recovered_samples > real_before;
        self.stats.played_samples += self.tick_samples.saturating_sub(self.filler) as u64;
        if real || (had > 0 && self.fade.run == 0) {
            Pulled::Audio
        } else {
            Pulled::Concealed
        }
    }

    /// Lets the next packet start afresh, whatever was waiting: after a mute.
    ///
    /// Real-time: safe.
    pub fn restart(&mut self) {
        while self.buffer.len() > 1 {
            self.discard_first();
        }
        self.queue.clear();
        self.end_talk_spurt();
    }

    /// How long after its earliest possible arrival a packet waits at least, as is known by now;
    /// [`PlayoutStats::target`] is what was known at the last tick that played.
    pub fn target(&self) -> Duration {
        duration_of(self.delay.target())
    }

    /// When its packets may be played, as far as is known by now; `None` before the first one.
    pub fn rhythm(&self) -> Option<Rhythm> {
        let ready = self.base()? + self.next_time + self.delay.target();
        let ready_us = u64::try_from(ready).ok()? * 1_000 / (u64::from(SAMPLE_RATE_HZ) / 1_000);
        Some(Rhythm {
            ready: Time::from_us(ready_us),
            packet_samples: self.packet_samples,
        })
    }

    /// Whose packets it takes.
    pub fn codec(&self) -> Codec {
        self.decoder.codec()
    }

    /// Totals since it was made.
    pub fn stats(&self) -> &PlayoutStats {
        &self.stats
    }

    /// Finds a packet's place, and notes when it arrived.
    fn admit(&mut self, packet: &Packet, arrival: Time) -> Result<Admitted, Pushed> {
        self.stats.received += 1;
        let payload = packet.payload.as_slice();
        let Some(samples) = self.codec().samples(payload) else {
            self.stats.undecodable += 1;
            return Err(Pushed::Malformed);
        };
        let arrival = arrival.samples() as i64;
        let (seq, time) = match self
            .timeline
            .place(packet.ssrc, packet.seq, packet.time, arrival)
        {
            Place::Next { seq, time } => (seq, time),
            Place::Fresh {
                seq,
                time,
                other_source,
            } => {
                self.begin_timeline(other_source);
                (seq, time)
            }
            Place::Seen => {
                self.stats.duplicate += 1;
                return Err(Pushed::Duplicate);
            }
        };
        let fec = self.codec().carries_fec(payload);
        self.delay.arrived(arrival, time, samples, fec);
        if !self.fresh && seq < self.next_seq {
            self.stats.late += 1;
            self.delay.found();
            return Err(Pushed::Late);
        }
        Ok(Admitted {
            seq,
            time,
            samples,
            fec,
        })
    }

    fn begin_timeline(&mut self, other_source: bool) {
        self.buffer.clear();
        self.delay.reanchor();
        self.fresh = true;
        self.reset_decoder |= other_source;
    }

    /// Starts a talk-spurt if its first packet has waited long enough.
    fn begin_talk_spurt(&mut self, now: i64) -> bool {
        if !self.is_due(now) {
            return false;
        }
        self.queue.clear();
        self.fade.run = FADE_END;
        self.loud_ticks = 0;
        self.go_on_with_first();
        self.guessed = 0;
        self.state = State::Playing;
        true
    }

    /// Whether the first packet stored has waited long enough to begin a talk-spurt in this tick.
    fn is_due(&self, now: i64) -> bool {
        let Some(first) = self.buffer.first() else {
            return false;
        };
        let Some(base) = self.delay.base() else {
            return false;
        };
        // The tick needs as many packets as make it up: the last of them is the one to wait for.
        let packets = self.tick_samples.div_ceil(first.samples);
        let last = first.time + ((packets - 1) * first.samples) as i64;
        now >= base + last + self.delay.target()
    }

    /// The first packet stored is decoded next, whatever should have come before it.
    fn go_on_with_first(&mut self) {
        let Some(first) = self.buffer.first().copied() else {
            return;
        };
        if !self.fresh && first.seq > self.expected(first.seq) {
            // Silence covered the rest of a hole; what was made up before it did hide a loss.
            self.stats.concealed_samples += self.stalled as u64;
            self.count_lost(first.seq);
            self.decoder.miss(core::mem::take(&mut self.guessed));
        }
        self.next_seq = first.seq;
        self.next_time = first.time;
        self.packet_samples = first.samples;
        self.fresh = false;
        self.stalled = 0;
        self.similarity = SIMILAR;
    }

    fn end_talk_spurt(&mut self) {
        self.state = State::Waiting;
    }

    /// Gives up on the packets before `seq`.
    fn count_lost(&mut self, seq: i64) {
        let lost = (seq - self.expected(seq)).max(0) as u64;
        self.stats.lost += lost;
        if lost > 0 {
            self.delay.lost();
        }
        self.next_seq = seq;
    }

    /// Throws away what is so late that playing it faster would take seconds: after a freeze, a
    /// flood.
    fn discard_stale(&mut self, now: i64) {
        let Some(base) = self.base() else {
            return;
        };
        let limit = self.delay.target() + STALE_SAMPLES + self.catch_up.allowance();
        if self.buffer.len() < 2 || now - base - self.played_up_to() < limit {
            return;
        }
        // What plays now fades within five milliseconds; what comes after the cut fades in.
        self.queue.truncate(FADE_IN);
        let frames = self.queue.len();
        ramp(self.queue.last_mut(frames), self.channels, 1.0, 0.0);
        while let Some(first) = self.buffer.first().copied() {
            if self.buffer.len() < 2
                || now - base - first.end() <= self.delay.target() + self.tick_samples as i64
            {
                break;
            }
            self.discard_first();
        }
        if let Some(first) = self.buffer.first().copied() {
            self.count_lost(first.seq);
            self.next_time = first.time;
        }
        self.stalled = 0;
        self.fade.run = FADE_END;
    }

    /// Throws the first packet away, which is then not lost as well.
    fn discard_first(&mut self) {
        let Some(first) = self.buffer.drop_first() else {
            return;
        };
        self.stats.discarded += 1;
        if !self.fresh {
            self.count_lost(first.seq);
            self.next_seq = first.seq + 1;
        }
    }

    /// Media time of the frame that plays next.
    fn played_up_to(&self) -> i64 {
        self.next_time - self.queue.len() as i64
    }

    fn play(&mut self, needed: usize, ratio: Option<f64>, frame: &mut Frame) {
        let out = frame.samples_mut();
        let input = self.queue.front(needed);
        if ratio.is_none() || input.len() < needed * self.channels {
            let len = out.len().min(input.len());
            out[..len].copy_from_slice(&input[..len]);
            out[len..].fill(0.0);
        } else {
            let from = InterleavedSlice::new(input, self.channels, needed);
            let to = InterleavedSlice::new_mut(out, self.channels, self.tick_samples);
            if let (Ok(from), Ok(mut to)) = (from, to) {
                // Fails only on wrong sizes, and these were asked for just before.
                let _ = self.slip.process_into_buffer(&from, &mut to, None);
            }
            let tick = self.tick_samples;
            self.stats.resampling_removed_samples += needed.saturating_sub(tick) as u64;
            self.stats.resampling_inserted_samples += tick.saturating_sub(needed) as u64;
        }
        self.queue.advance(needed);
    }
}

impl core::fmt::Debug for Playout {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Playout({:?}, {:?}, {:?})",
            self.state, self.buffer, self.queue
        )
    }
}

fn duration_of(samples: i64) -> Duration {
    Duration::from_micros(samples.max(0) as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ))
}

/// The longest packet that is decoded unheard: 60 ms. What is kept of silence is short.
const RUN_UP_SAMPLES: usize = 2_880;

/// The longest packet that is sketched: 60 ms.
const SKETCH_SAMPLES: usize = 60 * SKETCH_RATE_HZ as usize / 1_000;

/// The queue holds what one tick takes, resampled by a little, and what a splice looks at; onto that,
/// when it is a sample short of it, comes the longest packet or the guess in its place, which is
/// rounded up to the shortest. At 48 kHz nothing of a strip is larger.
const QUEUE_SAMPLES: usize =
    2 * MAX_TICK_SAMPLES + 2 * MAX_LAG + MAX_PACKET_SAMPLES + MIN_PACKET_SAMPLES;

/// This much beyond the target is not worth playing: 200 ms.
const STALE_SAMPLES: i64 = 9_600;
