//! Where the next samples come from: a packet, the copy of it in the packet after, or a guess.

use super::Playout;
use super::fade::{FADE_END, FADE_IN, FADE_START, ramp};
use crate::format::MAX_PAYLOAD_BYTES;
use crate::jitter::Entry;
use crate::opus_toc;

impl Playout {
    /// Decodes or conceals until at least `needed` samples wait; ends the talk-spurt where it has
    /// ended. A pause that has passed when it shows, since nothing tells its beginning from a late
    /// packet, costs no tick more: what comes after it plays at once.
    pub(super) fn fill(&mut self, now: i64, needed: usize) {
        while self.queue.len() < needed {
            match self.next_step() {
                Step::Decode => self.decode_first(),
                Step::Recover { missing } => self.recover(missing),
                Step::Conceal { missing } => {
                    self.conceal(missing);
                    self.next_time += missing as i64;
                }
                Step::Rejoin { covered } => self.rejoin(covered),
                Step::Stall => self.stall(needed - self.queue.len()),
                Step::Pause if self.stalled > 0 && !self.fresh && self.is_due(now) => {
                    self.go_on_with_first()
                }
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
        let lost = first.seq - self.expected(first.seq);
        let missing = first.time - self.next_time;
        if lost <= 0 && missing >= CONCEAL_STEP as i64 {
            // Nothing lost and yet a gap: the sender was silent. What was made up meanwhile hid no
            // loss.
            return Step::Pause;
        }
        if lost > 0 {
            self.count_lost(first.seq);
            self.decoder.miss(core::mem::take(&mut self.guessed));
        }
        self.stats.concealed_samples += self.stalled as u64;
        let covered = self.stalled as i64;
        self.stalled = 0;
        if missing > FADE_END as i64 {
            return Step::Pause;
        }
        if lost <= 0 && (1..=FADE_START as i64).contains(&covered) && self.buffer.len() > 1 {
            // A guess this short passes for the sound. After a longer one the sound is missed.
            return Step::Rejoin {
                covered: covered as usize,
            };
        }
        if missing < covered + CONCEAL_STEP as i64 {
            // In order, or late, or lost and covered already: the delay has grown by the
            // difference.
            self.next_time = first.time;
            return Step::Decode;
        }
        let rest = ((missing - covered) as usize).next_multiple_of(CONCEAL_STEP);
        self.next_time = first.time - rest as i64;
        if first.fec {
            Step::Recover { missing: rest }
        } else {
            Step::Conceal { missing: rest }
        }
    }

    /// Decodes the first packet stored onto the end of the queue.
    pub(super) fn decode_first(&mut self) {
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
        let mut guess = [0.0; 2 * CONCEAL_STEP];
        let guess = self.guess_on(&mut guess);
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
            self.conceal(entry.samples);
            return;
        }
        self.stats.decoded_samples += decoded as u64;
        let sound = self.queue.last_mut(decoded);
        self.fade.toward_sound(sound, self.channels);
        blend(guess, sound);
    }

    /// Goes on with a guess for as long as it takes to pass from it to sound that does not follow from
    /// it; nothing if there is no such guess.
    fn guess_on<'a>(&mut self, room: &'a mut [f32; 2 * CONCEAL_STEP]) -> &'a [f32] {
        let (guessed, gain) = (core::mem::take(&mut self.guessed), self.fade.gain());
        if guessed == 0 || gain == 0.0 {
            return &[];
        }
        let guess = &mut room[..CONCEAL_STEP * self.channels];
        self.decoder.guess(guessed, guess);
        guess.iter_mut().for_each(|sample| *sample *= gain);
        guess
    }

    /// Goes on where the sound would be by now, had packets not come late: what they hold has been
    /// covered by a guess that went on at the same pace, and to play it as well would put a jump
    /// into every tone. The decoder gets to know it all the same.
    ///
    /// The delay stays what it was. If it is too short for the network, the estimator knows from the
    /// same packets, and the delay is lengthened where the sound repeats itself.
    fn rejoin(&mut self, covered: usize) {
        let mut guess = [0.0; 2 * CONCEAL_STEP];
        let guess = &mut guess[..CONCEAL_STEP * self.channels];
        self.decoder.guess(covered, guess);
        self.guessed = 0;
        let (mut left, mut sound) = (covered, 0);
        let next_seq = |playout: &Playout| playout.buffer.first().map(|first| first.seq);
        while sound == 0 && next_seq(self) == Some(self.next_seq) {
            let before = self.queue.len();
            self.decode_first();
            let appended = self.queue.len() - before;
            let hidden = left.min(appended);
            let samples = self.queue.last_mut(appended);
            samples.copy_within(hidden * self.channels.., 0);
            self.queue.truncate(before + appended - hidden);
            self.stats.covered_samples += hidden as u64;
            left -= hidden;
            sound = appended - hidden;
        }
        blend(guess, self.queue.last_mut(sound));
    }

    fn consumed(&mut self, entry: &Entry) {
        self.next_seq = entry.seq + 1;
        self.next_time = entry.end();
        self.packet_samples = entry.samples;
    }

    /// Fills a gap from the copy that the packet after it carries: the end of it, since the copy is
    /// of one frame only (RFC 6716, 4.2.5); what was lost before that is made up.
    fn recover(&mut self, missing: usize) {
        let mut scratch = [0; MAX_PAYLOAD_BYTES];
        let Some(payload) = self.buffer.peek_payload(&mut scratch) else {
            return;
        };
        let copied = opus_toc::shape(payload).map_or(0, |shape| shape.frame_samples);
        if copied == 0 || copied > missing {
            self.conceal(missing);
            self.next_time += missing as i64;
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
            self.stats.recovered_samples += appended as u64;
            self.fade
                .toward_sound(self.queue.last_mut(appended), self.channels);
        }
        self.next_time += missing as i64;
    }

    /// Makes up samples for packets that are not there yet: they may be late, lost, or the
    /// talk-spurt may be over.
    fn stall(&mut self, wanted: usize) {
        let samples = wanted.next_multiple_of(CONCEAL_STEP).min(FADE_END);
        let appended = self.append_guess(samples);
        self.fade
            .toward_silence(self.queue.last_mut(appended), self.channels);
        self.stalled += samples;
    }

    /// Appends samples that the decoder guesses, and takes note of only if it cannot otherwise.
    fn append_guess(&mut self, samples: usize) -> usize {
        let (decoder, channels, guessed) = (&mut self.decoder, self.channels, self.guessed);
        let mut untouched = false;
        let appended = self.queue.append(samples, |pcm| {
            untouched = decoder.guess(guessed, pcm);
            pcm.len() / channels
        });
        self.guessed = if untouched { guessed + appended } else { 0 };
        appended
    }

    /// Appends made-up samples in the place of lost ones.
    fn conceal(&mut self, samples: usize) {
        let (decoder, channels) = (&mut self.decoder, self.channels);
        let appended = self.queue.append(samples, |pcm| {
            decoder.conceal(pcm);
            pcm.len() / channels
        });
        self.fade
            .toward_silence(self.queue.last_mut(appended), channels);
        self.stats.concealed_samples += appended as u64;
    }

    /// Ends a talk-spurt: what is left of the sound fades within five milliseconds, then zeros.
    fn fade_out(&mut self, wanted: usize) {
        let tail = wanted.next_multiple_of(CONCEAL_STEP).min(FADE_IN);
        let from = self.fade.gain();
        if from > 0.0 {
            self.append_guess(tail);
            ramp(self.queue.last_mut(tail), self.channels, from, 0.0);
        }
        self.fade.run = FADE_END;
        self.filler += wanted;
        let zeros = wanted.saturating_sub(if from > 0.0 { tail } else { 0 });
        self.queue.append(zeros, |pcm| {
            pcm.fill(0.0);
            zeros
        });
    }
}

/// Lets the beginning of a sound come out of what was guessed in its place.
fn blend(guess: &[f32], sound: &mut [f32]) {
    let seam = guess.len().min(sound.len());
    for (at, (sound, guess)) in sound[..seam].iter_mut().zip(guess).enumerate() {
        let share = (at as f32 + 0.5) / seam as f32;
        *sound = share * *sound + (1.0 - share) * *guess;
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
    /// Late packets are there, covered already, and what comes after them is there too.
    Rejoin { covered: usize },
    /// Nothing is there: whether lost, late or over will show.
    Stall,
    /// The talk-spurt is over, or what follows belongs to another timeline.
    Pause,
}

/// Opus conceals in steps of 2.5 ms.
pub(super) const CONCEAL_STEP: usize = 120;
