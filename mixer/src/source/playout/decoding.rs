//! Executes the playout's operations: owns the decoder, the queue of decoded sound and the fades.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Adjustable, FixedAsync, Resampler, Slip};

use super::delay_control::Splice;
use super::fade::{FADE_END, FADE_IN, Fade};
use super::operation::Acceleration;
use crate::codec::opus_toc;
use crate::codec::{Decode, SKETCH_RATE_HZ};
use crate::format::{
    Layout, MAX_PACKET_SAMPLES, MAX_PAYLOAD_BYTES, MAX_TICK_SAMPLES, MIN_PACKET_SAMPLES, TickLength,
};
use crate::frame::Frame;
use crate::gain_ramp::GainRamp;
use crate::ingest::{Reception, UnheardDecoder};
use crate::meter::LevelReading;
use crate::source::stretch_buffer::{MAX_LAG, MIN_LAG, StretchBuffer};

/// Decodes one sender's packets, conceals missing ones, and removes or inserts time.
pub(super) struct Decoding {
    channels: usize,
    tick_samples: usize,
    decoder: Box<dyn Decode>,
    queue: StretchBuffer,
    slip: Slip<f32>,
    fade: Fade,
    /// Samples at the end of the sound queued or played last that were predicted without changing
    /// the decoder's state.
    predicted_samples: usize,
    /// Samples of this tick that lie after the end of a talk-spurt.
    filler_samples: usize,
    pub counts: DecodingCounts,
}

/// Running totals of decoding and concealment, in samples per channel except for
/// `undecodable_packets`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct DecodingCounts {
    pub undecodable_packets: u64,
    pub decoded: u64,
    pub concealed: u64,
    pub recovered: u64,
    pub played: u64,
    pub inserted: u64,
    pub removed: u64,
    pub resampling_inserted: u64,
    pub resampling_removed: u64,
    pub covered: u64,
}

impl Decoding {
    pub fn new(layout: Layout, tick: TickLength, decoder: Box<dyn Decode>) -> Decoding {
        let (channels, tick_samples) = (layout.channels(), tick.samples());
        Decoding {
            channels,
            tick_samples,
            decoder,
            queue: StretchBuffer::new(channels, QUEUE_SAMPLES),
            slip: Slip::new(tick_samples, channels, FixedAsync::Output)
                .expect("a tick is longer than the four samples a slip needs"),
            fade: Fade::default(),
            predicted_samples: 0,
            filler_samples: 0,
            counts: DecodingCounts::default(),
        }
    }

    /// Samples per channel that wait to be played.
    pub fn queued(&self) -> usize {
        self.queue.len()
    }

    /// Whether a splice in the next samples would be inaudible.
    pub fn is_quiet(&self) -> bool {
        self.queue.is_quiet(2 * MIN_LAG)
    }

    /// Whether the queue ends with concealment.
    pub fn ends_made_up(&self) -> bool {
        self.fade.run > 0
    }

    /// Samples decoded from packets, or recovered from in-band FEC.
    pub fn real_samples(&self) -> u64 {
        self.counts.decoded + self.counts.recovered
    }

    /// Drops the queued samples for a new talk-spurt, whose sound will fade in.
    pub fn begin_talk_spurt(&mut self) {
        self.queue.clear();
        self.fade.run = FADE_END;
        self.predicted_samples = 0;
    }

    pub fn clear(&mut self) {
        self.queue.clear();
    }

    /// Cuts the queue to 5 ms, which fade out; the sound after the cut fades in.
    pub fn cut(&mut self) {
        self.queue.truncate(FADE_IN);
        let frames = self.queue.len();
        GainRamp::across(self.queue.last_mut(frames), self.channels, 1.0, 0.0);
        self.fade.run = FADE_END;
    }

    /// Counts the `made_up` samples since the buffer ran dry as concealed sound.
    pub fn count_concealed(&mut self, made_up: usize) {
        self.counts.concealed += made_up as u64;
    }

    /// Tells the decoder that packets it has only predicted are lost.
    pub fn commit_prediction(&mut self) {
        let predicted = core::mem::take(&mut self.predicted_samples);
        self.decoder.miss(predicted);
    }

    /// Decodes the first stored packet and appends it to the queue.
    pub fn decode_first(&mut self, reception: &mut Reception) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        let Some((entry, payload)) = reception.peek_first(&mut scratch) else {
            return;
        };
        if reception.take_new_encoder() {
            self.decoder.reset();
        }
        let mut tail = [0.0; 2 * CONCEAL_STEP];
        let tail = self.predicted_tail(&mut tail);
        let mut decoded = 0;
        let decoder = &mut self.decoder;
        self.queue.append(entry.samples, |pcm| {
            decoded = decoder.decode(payload, pcm).unwrap_or(0);
            decoded
        });
        reception.consume_first();
        if decoded == 0 {
            self.counts.undecodable_packets += 1;
            self.conceal(entry.samples);
            return;
        }
        self.counts.decoded += decoded as u64;
        let sound = self.queue.last_mut(decoded);
        self.fade.toward_sound(sound, self.channels);
        blend(tail, sound);
    }

    /// Continues the prediction for one concealment step, to be blended into the sound that
    /// follows; empty if no prediction plays.
    fn predicted_tail<'a>(&mut self, room: &'a mut [f32; 2 * CONCEAL_STEP]) -> &'a [f32] {
        let predicted = core::mem::take(&mut self.predicted_samples);
        let gain = self.fade.gain();
        if predicted == 0 || gain == 0.0 {
            return &[];
        }
        let tail = &mut room[..CONCEAL_STEP * self.channels];
        self.decoder.guess(predicted, tail);
        tail.iter_mut().for_each(|sample| *sample *= gain);
        tail
    }

    /// Decodes late packets, and drops as much of their sound as concealment has covered already.
    /// The concealment went on at the same pace, so playing that sound as well would put a jump
    /// into every tone. The decoder still receives the packets, which keeps its state right.
    ///
    /// The delay stays unchanged. If it is too short for the network, the estimator learns so from
    /// the same packets, and the delay is lengthened where the sound repeats itself.
    pub fn merge(&mut self, covered: usize, reception: &mut Reception) {
        let mut tail = [0.0; 2 * CONCEAL_STEP];
        let tail = &mut tail[..CONCEAL_STEP * self.channels];
        self.decoder.guess(covered, tail);
        self.predicted_samples = 0;
        let (mut left, mut sound) = (covered, 0);
        let is_next = |reception: &Reception| {
            let next_seq = reception.cursor.next_seq;
            reception.first().is_some_and(|first| first.seq == next_seq)
        };
        while sound == 0 && is_next(reception) {
            let before = self.queue.len();
            self.decode_first(reception);
            let appended = self.queue.len() - before;
            let hidden = left.min(appended);
            let samples = self.queue.last_mut(appended);
            samples.copy_within(hidden * self.channels.., 0);
            self.queue.truncate(before + appended - hidden);
            self.counts.covered += hidden as u64;
            left -= hidden;
            sound = appended - hidden;
        }
        blend(tail, self.queue.last_mut(sound));
    }

    /// Fills a gap with the FEC that the first stored packet carries. FEC covers only the last
    /// frame of the gap (RFC 6716, 4.2.5); what was lost before that frame is concealed.
    pub fn recover(&mut self, missing: usize, reception: &Reception) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        let Some((_, payload)) = reception.peek_first(&mut scratch) else {
            return;
        };
        let copied = opus_toc::shape(payload).map_or(0, |shape| shape.frame_samples);
        if copied == 0 || copied > missing {
            self.conceal(missing);
            return;
        }
        if missing > copied {
            self.conceal(missing - copied);
        }
        let (decoder, channels) = (&mut self.decoder, self.channels);
        let appended = self
            .queue
            .append(copied, |pcm| match decoder.recover(payload, pcm) {
                Ok(()) => pcm.len() / channels,
                Err(_) => 0,
            });
        if appended == 0 {
            self.conceal(copied);
        } else {
            self.counts.recovered += appended as u64;
            let sound = self.queue.last_mut(appended);
            self.fade.toward_sound(sound, self.channels);
        }
    }

    /// Conceals packets that have not arrived yet: they may be late or lost, or the talk-spurt may
    /// be over. Returns the number of samples.
    pub fn expand(&mut self, wanted: usize) -> usize {
        let samples = wanted.next_multiple_of(CONCEAL_STEP).min(FADE_END);
        let appended = self.append_prediction(samples);
        let predicted = self.queue.last_mut(appended);
        self.fade.toward_silence(predicted, self.channels);
        samples
    }

    /// Appends samples that the decoder predicts, without changing its state if the decoder can do
    /// so.
    fn append_prediction(&mut self, samples: usize) -> usize {
        let (decoder, channels) = (&mut self.decoder, self.channels);
        let predicted = self.predicted_samples;
        let mut untouched = false;
        let appended = self.queue.append(samples, |pcm| {
            untouched = decoder.guess(predicted, pcm);
            pcm.len() / channels
        });
        self.predicted_samples = if untouched { predicted + appended } else { 0 };
        appended
    }

    /// Appends concealment in the place of lost samples.
    pub fn conceal(&mut self, samples: usize) {
        let (decoder, channels) = (&mut self.decoder, self.channels);
        let appended = self.queue.append(samples, |pcm| {
            decoder.conceal(pcm);
            pcm.len() / channels
        });
        self.fade
            .toward_silence(self.queue.last_mut(appended), channels);
        self.counts.concealed += appended as u64;
    }

    /// Ends a talk-spurt: the sound fades out within 5 ms, and zeros fill the rest of `wanted`
    /// samples.
    pub fn end_talk_spurt(&mut self, wanted: usize) {
        let tail = wanted.next_multiple_of(CONCEAL_STEP).min(FADE_IN);
        let from = self.fade.gain();
        if from > 0.0 {
            self.append_prediction(tail);
            GainRamp::across(self.queue.last_mut(tail), self.channels, from, 0.0);
        }
        self.fade.run = FADE_END;
        self.filler_samples += wanted;
        let zeros = wanted.saturating_sub(if from > 0.0 { tail } else { 0 });
        self.queue.append(zeros, |pcm| {
            pcm.fill(0.0);
            zeros
        });
    }

    /// Removes time from the queued sound by splicing periods together.
    ///
    /// - `needed`: samples that this tick takes from the queue.
    pub fn accelerate(
        &mut self,
        wish: &Acceleration,
        needed: usize,
        reception: &mut Reception,
    ) -> Splice {
        // A splice needs two periods; only packets that follow without a gap are decoded for it.
        while self.queue.len() < needed + 2 * MAX_LAG && reception.has_next() {
            self.decode_first(reception);
        }
        let (excess, min_similarity) = match reception.has_next() {
            true => (wish.excess, wish.min_similarity),
            false => {
                let left = self.queue.len().saturating_sub(needed);
                (wish.excess.min(left), wish.min_similarity_at_end)
            }
        };
        let was_quiet = self.queue.is_quiet(MAX_LAG);
        let samples = self.queue.shorten(excess, min_similarity);
        self.counts.removed += samples as u64;
        Splice { samples, was_quiet }
    }

    /// Inserts time into the queued sound by repeating a period.
    pub fn decelerate(&mut self, min_similarity: f32) -> Splice {
        let samples = self.queue.lengthen(MAX_LAG, min_similarity);
        self.counts.inserted += samples as u64;
        Splice {
            samples,
            was_quiet: false,
        }
    }

    /// Sets the resampling ratio and returns how many samples the tick takes from the queue.
    pub fn begin_tick(&mut self, ratio: Option<f64>) -> usize {
        self.filler_samples = 0;
        let Some(ratio) = ratio else {
            return self.tick_samples;
        };
        // Fails only outside the resampler's range, which the delay control stays within.
        let _ = self.slip.set_resample_ratio(ratio, false);
        self.slip.input_frames_next()
    }

    /// Takes `needed` samples out of the queue, resampled to one tick if there is a ratio.
    pub fn play(&mut self, needed: usize, ratio: Option<f64>, frame: &mut Frame) {
        self.counts.played += self.tick_samples.saturating_sub(self.filler_samples) as u64;
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
                // Fails only on wrong sizes, and the resampler itself asked for these sizes.
                let _ = self.slip.process_into_buffer(&from, &mut to, None);
            }
            let tick = self.tick_samples;
            self.counts.resampling_removed += needed.saturating_sub(tick) as u64;
            self.counts.resampling_inserted += tick.saturating_sub(needed) as u64;
        }
        self.queue.advance(needed);
    }
}

impl UnheardDecoder for Decoding {
    fn decode_roughly(&mut self, payload: &[u8]) -> Option<LevelReading> {
        let mut pcm = [0.0; ROUGH_SAMPLES];
        let samples = self.decoder.sketch(payload, &mut pcm)?;
        Some(LevelReading::of_rough(&pcm[..samples]))
    }

    fn warm_up(&mut self, payload: &[u8], has_new_encoder: bool) {
        if has_new_encoder {
            self.decoder.reset();
        }
        let mut unheard = [0.0; 2 * WARM_UP_SAMPLES];
        let room = &mut unheard[..WARM_UP_SAMPLES * self.channels];
        // A longer packet, or a malformed one, leaves the decoder unchanged; its state then fits
        // the stream less well.
        let _ = self.decoder.decode(payload, room);
    }
}

impl core::fmt::Debug for Decoding {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Decoding({:?})", self.queue)
    }
}

/// Crossfades from `predicted` into the beginning of `sound`.
fn blend(predicted: &[f32], sound: &mut [f32]) {
    let seam = predicted.len().min(sound.len());
    for (at, (sound, predicted)) in sound[..seam].iter_mut().zip(predicted).enumerate() {
        let share = (at as f32 + 0.5) / seam as f32;
        *sound = share * *sound + (1.0 - share) * *predicted;
    }
}

/// Opus conceals in steps of 2.5 ms.
pub(super) const CONCEAL_STEP: usize = 120;

/// The longest packet that is decoded to warm up the decoder: 60 ms. Packets kept from silence are
/// short.
const WARM_UP_SAMPLES: usize = 2_880;

/// The longest packet that is decoded roughly: 60 ms.
const ROUGH_SAMPLES: usize = 60 * SKETCH_RATE_HZ as usize / 1_000;

/// Capacity of the queue: one tick, slightly more when resampled, and the samples that a splice
/// examines. When the queue is one sample short of that, the longest packet is added, or a
/// prediction in its place, rounded up to a multiple of the shortest packet. At 48 kHz nothing in a
/// strip is larger.
const QUEUE_SAMPLES: usize =
    2 * MAX_TICK_SAMPLES + 2 * MAX_LAG + MAX_PACKET_SAMPLES + MIN_PACKET_SAMPLES;
