//! From packets that come when they like to PCM that is there at every tick.
//!
//! Stands between a participant's packets and its strip: stores ([`crate::jitter`]), decides how long to wait
//! ([`crate::delay`]), decodes, conceals, and takes out or puts in time ([`crate::stretch`]) so that the wait stays what
//! it should be. It knows no gain, no room and no clock: the time of each tick is an argument.
//!
//! One tick needs whole packets. With the sender's packets as long as the tick, each waits from its arrival to the next
//! tick, and a fraction left over in the queue would be delay that buys nothing. So the wait is governed in steps: the
//! *slack* is how long before the tick that needs it the next packet should arrive, beyond the target. Slack below zero
//! puts time in until the next packet is needed one tick later; slack above a tick takes time out. Only against a clock
//! that is clearly off does the queue breathe continuously, through a resampler, one tick longer than otherwise.

use core::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Adjustable, FixedAsync, Resampler, Slip};

use crate::codec::Decode;
use crate::delay::DelayEstimator;
use crate::format::{
    Layout, MAX_PACKET_SAMPLES, MAX_PAYLOAD_BYTES, MAX_TICK_SAMPLES, SAMPLE_RATE_HZ, TickLength,
};
use crate::frame::Frame;
use crate::jitter::{Entry, Inserted, JitterBuffer};
use crate::opus_toc;
use crate::packet::Packet;
use crate::stretch::{MAX_LAG, MIN_LAG, PcmQueue};
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
    fade: Fade,
    /// A new encoder's packets follow: the decoder starts afresh with them.
    reset_decoder: bool,
    /// The packets stored belong to another timeline than what plays.
    fresh: bool,
    /// Length of the last packet decoded.
    packet_samples: usize,
    ticks_to_next_splice: u32,
    /// Ticks in a row in which the packets could have been needed a tick earlier.
    early_ticks: u32,
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
    /// No Opus packet.
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
    /// Samples per channel taken out to shorten the delay.
    pub removed_samples: u64,
    /// Samples per channel put in to lengthen it.
    pub inserted_samples: u64,
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
        Playout {
            tick_samples,
            channels,
            decoder,
            buffer: JitterBuffer::new(),
            timeline: Timeline::default(),
            delay: DelayEstimator::new(),
            queue: PcmQueue::new(channels, QUEUE_SAMPLES),
            slip: Slip::new(tick_samples, channels, FixedAsync::Output)
                .expect("a tick is longer than the four samples a slip needs"),
            state: State::Waiting,
            next_seq: 0,
            next_time: 0,
            stalled: 0,
            fade: Fade::default(),
            reset_decoder: false,
            fresh: true,
            packet_samples: 960,
            ticks_to_next_splice: 0,
            early_ticks: 0,
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
        self.stats.received += 1;
        let payload = packet.payload.as_slice();
        let Ok(shape) = opus_toc::shape(payload) else {
            self.stats.undecodable += 1;
            return Pushed::Malformed;
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
                return Pushed::Duplicate;
            }
        };
        let fec = opus_toc::carries_fec(payload);
        self.delay
            .arrived(arrival, time + shape.samples as i64, shape.samples, fec);
        if !self.fresh && seq < self.next_seq {
            self.stats.late += 1;
            return Pushed::Late;
        }
        if self.buffer.insert(seq, time, shape.samples, fec, payload) == Inserted::Stored {
            return Pushed::Stored;
        }
        // Full: whoever sends this much is far ahead of what is played, so the oldest goes.
        self.discard_first();
        match self.buffer.insert(seq, time, shape.samples, fec, payload) {
            Inserted::Stored => Pushed::Stored,
            _ => Pushed::Overflow,
        }
    }

    /// Fills one tick.
    ///
    /// - `now`: the tick's instant, on the clock of the arrivals; what arrived before it may be played.
    /// - `frame`: of the layout and tick this was made for; silence is zeros.
    ///
    /// Real-time: safe.
    pub fn pull(&mut self, now: Time, frame: &mut Frame) -> Pulled {
        let now = now.samples() as i64;
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
        self.fill(needed);
        self.govern(now, needed, drifting.is_some());
        self.measure(now);
        self.play(needed, ratio, frame);
        let real = self.stats.decoded_samples + self.stats.recovered_samples > real_before;
        self.stats.played_samples += self.tick_samples as u64;
        if real || (had > 0 && self.fade.run == 0) {
            Pulled::Audio
        } else {
            Pulled::Concealed
        }
    }

    /// Lets the next packet start afresh, whatever was waiting: after a mute or a grant of the floor.
    ///
    /// Real-time: safe.
    pub fn restart(&mut self) {
        while self.buffer.len() > 1 {
            self.discard_first();
        }
        self.queue.clear();
        self.end_talk_spurt();
    }

    /// Totals since it was made.
    pub fn stats(&self) -> &PlayoutStats {
        &self.stats
    }

    fn begin_timeline(&mut self, other_source: bool) {
        self.buffer.clear();
        self.delay.reanchor();
        self.fresh = true;
        self.reset_decoder |= other_source;
    }

    /// Starts a talk-spurt if its first packet has waited long enough.
    fn begin_talk_spurt(&mut self, now: i64) -> bool {
        let Some(first) = self.buffer.first().copied() else {
            return false;
        };
        let Some(base) = self.delay.base() else {
            return false;
        };
        if now < base + first.end() + self.delay.target() {
            return false;
        }
        self.queue.clear();
        self.next_seq = first.seq;
        self.next_time = first.time;
        self.packet_samples = first.samples;
        self.state = State::Playing;
        self.fresh = false;
        self.stalled = 0;
        self.similarity = SIMILAR;
        self.fade.run = FADE_END;
        true
    }

    fn end_talk_spurt(&mut self) {
        self.state = State::Waiting;
        self.stalled = 0;
    }

    /// Throws away what is so late that playing it faster would take seconds: after a freeze, a flood.
    fn discard_stale(&mut self, now: i64) {
        let Some(base) = self.delay.base() else {
            return;
        };
        let limit = self.delay.target() + STALE_SAMPLES;
        if self.buffer.len() < 2 || now - base - self.played_up_to() < limit {
            return;
        }
        // What plays now fades within five milliseconds; what comes after the cut fades in.
        self.queue.truncate(FADE_IN);
        let frames = self.queue.len();
        ramp(
            self.queue.last_mut(frames),
            self.channels,
            self.fade.gain(),
            0.0,
        );
        while let Some(first) = self.buffer.first().copied() {
            if self.buffer.len() < 2
                || now - base - first.end() <= self.delay.target() + self.tick_samples as i64
            {
                break;
            }
            self.discard_first();
        }
        if let Some(first) = self.buffer.first() {
            self.next_seq = first.seq;
            self.next_time = first.time;
        }
        self.stalled = 0;
        self.fade.run = FADE_END;
    }

    fn discard_first(&mut self) {
        if self.buffer.drop_first().is_some() {
            self.stats.discarded += 1;
        }
    }

    /// Media time of the frame that plays next.
    fn played_up_to(&self) -> i64 {
        self.next_time - self.queue.len() as i64
    }

    // -- filling the queue ------------------------------------------------------------------------------------------

    /// Decodes or conceals until at least `needed` samples wait; ends the talk-spurt where it has ended.
    fn fill(&mut self, needed: usize) {
        while self.queue.len() < needed {
            match self.next_step() {
                Step::Decode => self.decode_first(),
                Step::Recover { missing } => self.recover(missing),
                Step::Conceal { missing } => {
                    self.conceal(missing, true);
                    self.next_time += missing as i64;
                }
                Step::Stall => self.stall(needed - self.queue.len()),
                Step::Pause => {
                    self.fade_out(needed - self.queue.len());
                    self.end_talk_spurt();
                    return;
                }
            }
        }
    }

    /// What the next samples are made from, as a list of cases.
    fn next_step(&mut self) -> Step {
        if self.fresh {
            return Step::Pause;
        }
        let Some(first) = self.buffer.first().copied() else {
            return if self.stalled >= FADE_END {
                Step::Pause
            } else {
                Step::Stall
            };
        };
        let lost = first.seq - self.next_seq;
        let missing = first.time - self.next_time;
        if lost <= 0 && missing >= CONCEAL_STEP as i64 {
            // Nothing lost and yet a gap: the sender was silent. What was made up meanwhile hid no loss.
            return Step::Pause;
        }
        if lost > 0 {
            self.stats.lost += lost as u64;
            self.delay.lost(lost as u64);
            self.next_seq = first.seq;
        }
        self.stats.concealed_samples += self.stalled as u64;
        let covered = self.stalled as i64;
        self.stalled = 0;
        if missing > FADE_END as i64 {
            return Step::Pause;
        }
        if missing < covered + CONCEAL_STEP as i64 {
            // In order, or late, or lost and covered already: the delay has grown by the difference.
            self.next_time = first.time;
            return Step::Decode;
        }
        let rest = ((missing - covered) as usize).next_multiple_of(CONCEAL_STEP);
        self.next_time = first.time - rest as i64;
        if covered == 0 && first.fec {
            Step::Recover { missing: rest }
        } else {
            Step::Conceal { missing: rest }
        }
    }

    fn decode_first(&mut self) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        let Some(entry) = self.buffer.first().copied() else {
            return;
        };
        let Some(payload) = self.buffer.peek_payload(&mut scratch) else {
            return;
        };
        if self.reset_decoder {
            self.decoder.reset();
            self.reset_decoder = false;
        }
        let mut decoded = 0;
        let decoder = &mut self.decoder;
        self.queue.append(entry.samples, |pcm| {
            decoded = decoder.decode(payload, pcm).unwrap_or(0);
            decoded
        });
        self.buffer.drop_first();
        self.consumed(&entry);
        if decoded == 0 {
            self.stats.undecodable += 1;
            self.conceal(entry.samples, true);
            return;
        }
        self.stats.decoded_samples += decoded as u64;
        self.fade
            .toward_sound(self.queue.last_mut(decoded), self.channels);
    }

    fn consumed(&mut self, entry: &Entry) {
        self.next_seq = entry.seq + 1;
        self.next_time = entry.end();
        self.packet_samples = entry.samples;
    }

    /// Fills a gap from the copy that the packet after it carries.
    fn recover(&mut self, missing: usize) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        let Some(payload) = self.buffer.peek_payload(&mut scratch) else {
            return;
        };
        let (decoder, channels) = (&mut self.decoder, self.channels);
        let appended = self
            .queue
            .append(missing, |pcm| match decoder.recover(payload, pcm) {
                Ok(()) => pcm.len() / channels,
                Err(_) => 0,
            });
        if appended == 0 {
            self.conceal(missing, true);
        } else {
            self.stats.recovered_samples += appended as u64;
            self.fade
                .toward_sound(self.queue.last_mut(appended), self.channels);
        }
        self.next_time += missing as i64;
    }

    /// Makes up samples for packets that are not there yet: they may be late, lost, or the talk-spurt may be over.
    fn stall(&mut self, wanted: usize) {
        let samples = wanted.next_multiple_of(CONCEAL_STEP).min(FADE_END);
        self.conceal(samples, false);
        self.stalled += samples;
    }

    /// Appends made-up samples; `counted` if they stand for a loss, otherwise that is found out later.
    fn conceal(&mut self, samples: usize, counted: bool) {
        let (decoder, channels) = (&mut self.decoder, self.channels);
        let appended = self.queue.append(samples, |pcm| {
            decoder.conceal(pcm);
            pcm.len() / channels
        });
        self.fade
            .toward_silence(self.queue.last_mut(appended), channels);
        if counted {
            self.stats.concealed_samples += appended as u64;
        }
    }

    /// Ends a talk-spurt: what is left of the sound fades within five milliseconds, then zeros.
    fn fade_out(&mut self, wanted: usize) {
        let tail = wanted.next_multiple_of(CONCEAL_STEP).min(FADE_IN);
        let from = self.fade.gain();
        if from > 0.0 {
            let (decoder, channels) = (&mut self.decoder, self.channels);
            self.queue.append(tail, |pcm| {
                decoder.conceal(pcm);
                pcm.len() / channels
            });
            ramp(self.queue.last_mut(tail), self.channels, from, 0.0);
        }
        self.fade.run = FADE_END;
        let zeros = wanted.saturating_sub(if from > 0.0 { tail } else { 0 });
        self.queue.append(zeros, |pcm| {
            pcm.fill(0.0);
            zeros
        });
    }

    // -- governing the delay ----------------------------------------------------------------------------------------

    /// How long before the tick that needs it the next packet should arrive, beyond the target; in samples.
    ///
    /// - `queued`: samples left in the queue once this tick is taken.
    fn slack(&self, now: i64, queued: usize) -> Option<i64> {
        let base = self.delay.base()?;
        let tick = self.tick_samples;
        let needed_at = now + ((queued / tick + 1) * tick) as i64;
        let packets = (tick - queued % tick).div_ceil(self.packet_samples);
        let end = self.next_time + (packets * self.packet_samples) as i64;
        Some(needed_at - (base + end) - self.delay.target())
    }

    /// Puts time in or takes it out, one splice at most.
    fn govern(&mut self, now: i64, needed: usize, drifting: bool) {
        self.ticks_to_next_splice = self.ticks_to_next_splice.saturating_sub(1);
        if self.state != State::Playing || self.stalled > 0 || self.fade.run > 0 {
            return;
        }
        let Some(slack) = self.slack(now, self.queue.len().saturating_sub(needed)) else {
            return;
        };
        let tick = self.tick_samples as i64;
        self.early_ticks = if slack >= tick + EARLY_SAMPLES {
            self.early_ticks + 1
        } else {
            0
        };
        let early = slack >= tick + HYSTERESIS_SAMPLES || self.early_ticks >= EARLY_TICKS;
        if slack < 0 {
            self.lengthen();
        } else if self.ticks_to_next_splice == 0 || slack > URGENT_SAMPLES {
            let leftover = (self.queue.len().saturating_sub(needed) % self.tick_samples) as i64;
            let excess = match drifting {
                true => slack - 2 * tick,
                false if early => slack,
                false => leftover,
            };
            if excess >= MIN_LAG as i64 {
                self.shorten(needed, excess as usize, slack > URGENT_SAMPLES);
            }
        }
    }

    fn lengthen(&mut self) {
        let inserted = self.queue.lengthen(MAX_LAG, self.similarity);
        self.stats.inserted_samples += inserted as u64;
        self.note_splice(inserted, 1);
    }

    fn shorten(&mut self, needed: usize, excess: usize, urgent: bool) {
        // Two periods must be there to become one; only packets that are there are used for it.
        while self.queue.len() < needed + 2 * MAX_LAG && self.next_is_ready() {
            self.decode_first();
        }
        let similarity = if urgent { -1.0 } else { self.similarity };
        let spare = if self.next_is_ready() {
            excess
        } else {
            excess.min(self.queue.len().saturating_sub(needed))
        };
        let removed = self.queue.shorten(spare, similarity);
        self.stats.removed_samples += removed as u64;
        self.note_splice(removed, TICKS_BETWEEN_SPLICES);
        self.fill(needed);
    }

    fn note_splice(&mut self, changed: usize, rest: u32) {
        if changed == 0 {
            self.similarity = (self.similarity - SIMILAR_STEP).max(SIMILAR_LEAST);
        } else {
            self.similarity = SIMILAR;
            self.ticks_to_next_splice = rest;
        }
    }

    /// The first packet stored is the very next one.
    fn next_is_ready(&self) -> bool {
        let ready = |first: &Entry| first.seq == self.next_seq && first.time == self.next_time;
        !self.fresh && self.state == State::Playing && self.buffer.first().is_some_and(ready)
    }

    /// The resampling ratio (output over input) that holds the delay steady against a clock that is off, or that uses up
    /// a rest in the queue too short to be spliced out.
    fn resampling_ratio(&self, now: i64, drift: Option<f64>) -> Option<f64> {
        let Some(drift) = drift else {
            let rest = self.queue.len() % self.tick_samples;
            return (REST_SAMPLES..MIN_LAG)
                .contains(&rest)
                .then_some(1.0 / (1.0 + MAX_DRIFT_CORRECTION));
        };
        let wanted = self.delay.target() + self.tick_samples as i64 + HYSTERESIS_SAMPLES;
        let error = (self.current_delay(now)? - wanted) as f64;
        let correction =
            (error / DRIFT_SETTLING_SAMPLES).clamp(-MAX_DRIFT_CORRECTION, MAX_DRIFT_CORRECTION);
        Some(1.0 / (1.0 + (drift + correction).clamp(-MAX_DRIFT, MAX_DRIFT)))
    }

    /// Samples the tick takes from the queue.
    fn input_needed(&mut self, ratio: Option<f64>) -> usize {
        let Some(ratio) = ratio else {
            return self.tick_samples;
        };
        // Refused only outside the range it clamps to, which MAX_DRIFT stays within.
        let _ = self.slip.set_resample_ratio(ratio, false);
        self.slip.input_frames_next()
    }

    /// How long what plays now has waited since it could first have arrived.
    fn current_delay(&self, now: i64) -> Option<i64> {
        Some(now - self.delay.base()? - self.played_up_to() - self.packet_samples as i64)
    }

    fn measure(&mut self, now: i64) {
        let delay = self.current_delay(now).unwrap_or(0).max(0);
        self.stats.delay = duration_of(delay);
        self.stats.target = duration_of(self.delay.target());
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

/// How the next samples come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The next packet is there.
    Decode,
    /// Packets are lost, and the first one after them carries a copy of the last.
    Recover { missing: usize },
    /// Packets are lost.
    Conceal { missing: usize },
    /// Nothing is there: whether lost, late or over will show.
    Stall,
    /// The talk-spurt is over, or what follows belongs to another timeline.
    Pause,
}

/// The gain of made-up sound: full for the first 20 ms, gone after 120 ms, and back within 5 ms.
#[derive(Debug, Default)]
struct Fade {
    /// Samples made up in a row.
    run: usize,
}

impl Fade {
    fn gain(&self) -> f32 {
        Fade::gain_at(self.run)
    }

    fn gain_at(run: usize) -> f32 {
        let faded = run.saturating_sub(FADE_START) as f32 / (FADE_END - FADE_START) as f32;
        (1.0 - faded).max(0.0)
    }

    fn toward_silence(&mut self, pcm: &mut [f32], channels: usize) {
        for frame in pcm.chunks_mut(channels) {
            let gain = self.gain();
            frame.iter_mut().for_each(|sample| *sample *= gain);
            self.run += 1;
        }
    }

    fn toward_sound(&mut self, pcm: &mut [f32], channels: usize) {
        let gain = self.gain();
        self.run = 0;
        if gain < 1.0 {
            let frames = (pcm.len() / channels).min(FADE_IN);
            ramp(&mut pcm[..frames * channels], channels, gain, 1.0);
        }
    }
}

/// Multiplies interleaved PCM with a straight line from one gain to another.
fn ramp(pcm: &mut [f32], channels: usize, from: f32, to: f32) {
    let frames = pcm.len() / channels;
    for (n, frame) in pcm.chunks_mut(channels).enumerate() {
        let gain = from + (to - from) * (n as f32 + 0.5) / frames as f32;
        frame.iter_mut().for_each(|sample| *sample *= gain);
    }
}

fn duration_of(samples: i64) -> Duration {
    Duration::from_micros(samples.max(0) as u64 * 1_000_000 / u64::from(SAMPLE_RATE_HZ))
}

/// Made-up sound is at full gain this long: one lost packet of the usual length is hidden best by the decoder alone.
const FADE_START: usize = 960;

/// And has faded away by then: 120 ms.
const FADE_END: usize = 5_760;

/// Sound returns within 5 ms, and leaves within as much.
const FADE_IN: usize = 240;

/// Opus conceals in steps of 2.5 ms.
const CONCEAL_STEP: usize = 120;

/// The queue holds a tick, the packets a splice looks at, and the longest packet on top.
const QUEUE_SAMPLES: usize = 2 * MAX_PACKET_SAMPLES + 2 * MAX_TICK_SAMPLES + 2 * MAX_LAG;

/// This much beyond the target is not worth playing: 200 ms.
const STALE_SAMPLES: i64 = 9_600;

/// This much beyond the target is taken out without minding how it sounds: 80 ms.
const URGENT_SAMPLES: i64 = 3_840;

/// Time is taken out at once if this much slack is left afterwards (2 ms), and after two seconds if half a millisecond is.
const HYSTERESIS_SAMPLES: i64 = 96;
const EARLY_SAMPLES: i64 = 24;
const EARLY_TICKS: u32 = 100;

/// A rest in the queue of less than this is left alone: a sixth of a millisecond, more than one tick's resampling takes.
const REST_SAMPLES: usize = 8;

/// One splice in 60 ms of 20 ms ticks: about a tenth faster than natural, which listeners do not notice.
const TICKS_BETWEEN_SPLICES: u32 = 3;

/// How alike two periods must be, at first and at last, and what each vain attempt takes off.
const SIMILAR: f32 = 0.9;
const SIMILAR_STEP: f32 = 0.03;
const SIMILAR_LEAST: f32 = 0.2;

/// The delay settles within two seconds, by no more than 2,000 ppm beside the drift itself.
const DRIFT_SETTLING_SAMPLES: f64 = 2.0 * SAMPLE_RATE_HZ as f64;
const MAX_DRIFT_CORRECTION: f64 = 0.002;

/// What the slip resampler can follow with 10 ms ticks.
const MAX_DRIFT: f64 = 0.006;
