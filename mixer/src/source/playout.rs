//! From packets that come when they like to PCM that is there at every tick.
//!
//! Stands between a participant's packets and its strip: [`Reception`] stores them, `DelayControl` and `next_supply` decide
//! what is done next, `Decoding` does it. It knows no gain, no room and no clock: the time of each tick is an argument.
//!
//! One tick needs whole packets. With the sender's packets as long as the tick, each waits from its arrival to the next
//! tick, and a fraction left over in the queue would be delay that buys nothing. So the wait is changed in steps: the
//! *slack* is how long before the tick that needs it the next packet should arrive, beyond the target. Slack below zero puts
//! time in until the next packet is needed one tick later, unless a tick would wait that long for it or the network does not
//! ask for the difference; slack above a tick takes time out. Only against a clock that is clearly off does the queue breathe
//! continuously, through a resampler, one tick longer than otherwise.

mod catch_up;
mod decoding;
mod delay_control;
mod fade;
mod late_ticks;
mod operation;
mod shrink_policy;
mod stats;
mod supply;

use core::time::Duration;

use self::catch_up::CatchUp;
use self::decoding::{CONCEAL_STEP, Decoding};
use self::delay_control::{DelayControl, Snapshot};
use self::fade::FADE_END;
use self::operation::Operation;
pub use self::stats::PlayoutStats;
use self::supply::{Settlement, Supply, next_supply};
use super::Source;
use crate::codec::{Codec, Decode};
use crate::format::{Layout, TickLength};
use crate::frame::Frame;
use crate::ingest::{Network, Pushed, Reception, UnheardDecoder, duration_of};
use crate::packet::Packet;
use crate::schedule::Rhythm;
use crate::units::Time;

/// Plays out one sender's packets.
#[derive(Debug)]
pub struct Playout {
    tick_samples: usize,
    state: State,
    reception: Reception,
    control: DelayControl,
    decoding: Decoding,
    delay: Duration,
    target: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Nothing plays: before the first packet, or between talk-spurts.
    Waiting,
    /// A talk-spurt plays.
    Playing,
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

impl Playout {
    /// A playout for one sender. The decoder must give `layout`.
    ///
    /// Real-time: set-up only (allocates).
    pub fn new(layout: Layout, tick: TickLength, decoder: Box<dyn Decode>) -> Playout {
        Playout {
            tick_samples: tick.samples(),
            state: State::Waiting,
            reception: Reception::new(decoder.codec()),
            control: DelayControl::new(tick),
            decoding: Decoding::new(layout, tick, decoder),
            delay: Duration::ZERO,
            target: Duration::ZERO,
        }
    }

    /// Takes in one packet that is to be played.
    ///
    /// - `arrival`: when it left the network, on the clock that [`Playout::pull`] is given.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.push(packet, self.codec(), arrival)
    }

    /// Takes note of a packet that is not to be played; see [`Reception::pass`].
    ///
    /// For use after [`park`](Playout::park).
    ///
    /// Real-time: safe.
    pub fn pass(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.pass(packet, self.codec(), arrival)
    }

    /// Takes note of a packet that is not to be played although others still are; see [`Reception::refuse`].
    ///
    /// Real-time: safe.
    pub fn refuse(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.refuse(packet, self.codec(), arrival)
    }

    /// Stops playing and drops what waits: the sender is not to be heard.
    ///
    /// Real-time: safe.
    pub fn park(&mut self) {
        self.reception.skip_all();
        self.decoding.clear();
        self.control.catch_up = CatchUp::Done;
        self.state = State::Waiting;
    }

    /// Where its packets come in, and what decodes them.
    pub(crate) fn network(&mut self) -> Network<'_> {
        Network {
            reception: &mut self.reception,
            decoder: &mut self.decoding,
        }
    }

    /// Plays the packets kept from the first one on, and then faster than they were spoken until the wait is what it would be
    /// had they not been kept.
    ///
    /// Real-time: safe.
    pub fn catch_up(&mut self) {
        self.control.begin_catching_up();
    }

    /// Plays what is left as it was spoken: nothing comes after it.
    ///
    /// Real-time: safe.
    pub fn finish(&mut self) {
        self.control.catch_up = CatchUp::Last;
    }

    /// Lets the next packet start afresh, whatever was waiting: after a mute.
    ///
    /// Real-time: safe.
    pub fn restart(&mut self) {
        self.reception.keep_last();
        self.decoding.clear();
        self.state = State::Waiting;
    }

    /// Lets ticks come later than their instant, for packets that are late, from the next pull on.
    ///
    /// Real-time: safe.
    pub fn set_leeway(&mut self, samples: usize) {
        self.control.late_ticks.leeway_samples = samples;
    }

    /// Lets packets wait longer if ticks do not come later for those that are late.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        self.reception.delay.set_ticks_wait(ticks_wait);
    }

    /// Takes note that the next tick waits, for a packet of this sender if it lacks one.
    ///
    /// Real-time: safe.
    pub fn await_packet(&mut self) {
        self.control.late_ticks.wait(self.lacks_packet());
    }

    /// Fills one tick: begin or go on with a talk-spurt -> discard what is far too late -> decode or make up enough for the
    /// tick -> shorten or lengthen the wait -> take the tick out of the queue.
    ///
    /// - `now`: the tick's instant, on the clock of the arrivals; what arrived before it may be played.
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
        let drift = self.reception.delay.drift();
        let ratio = self.resampling_ratio(now, drift);
        let needed = self.decoding.begin_tick(ratio);
        let real_before = self.decoding.real_samples();
        let had_sound = self.decoding.queued() > 0;
        self.fill(now, needed);
        self.splice(now, needed, drift.is_some());
        self.measure(now);
        self.decoding.play(needed, ratio, frame);
        let has_real = self.decoding.real_samples() > real_before;
        if has_real || had_sound && !self.decoding.ends_made_up() {
            Pulled::Audio
        } else {
            Pulled::Concealed
        }
    }

    /// Whether it would give nothing but silence, and change nothing, until the next packet.
    pub fn is_idle(&self) -> bool {
        self.state == State::Waiting && self.reception.is_empty()
    }

    /// Whether packets wait.
    pub fn has_packets(&self) -> bool {
        !self.reception.is_empty()
    }

    /// Whether all that came has been played, and what plays now, if anything, is made up.
    pub fn has_run_dry(&self) -> bool {
        let is_made_up = self.state == State::Waiting || self.is_stalled();
        self.reception.is_empty() && is_made_up
    }

    /// Whether the next tick would have to make something up, the first since all was there, unless another packet comes.
    /// Of a sender for whom a tick has just waited in vain nothing is expected.
    pub fn lacks_packet(&self) -> bool {
        let may_lack = self.plays_sound()
            && !self.reception.cursor.is_new_timeline
            && self.control.late_ticks.may_wait();
        let end = self.played_up_to() + self.tick_samples as i64;
        may_lack && !self.reception.reaches(end, FADE_END, CONCEAL_STEP)
    }

    /// How long after its earliest possible arrival a packet waits at least, as is known by now; [`PlayoutStats::target`] is
    /// what was known at the last tick that played.
    pub fn target(&self) -> Duration {
        self.reception.target()
    }

    /// How long what plays now has waited since the earliest it could have arrived.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// When its packets may be played, as far as is known by now; `None` before the first one.
    pub fn rhythm(&self) -> Option<Rhythm> {
        self.reception.rhythm()
    }

    /// The codec of the packets it takes.
    pub fn codec(&self) -> Codec {
        self.decoding.codec()
    }

    /// Totals since it was made.
    pub fn stats(&self) -> PlayoutStats {
        let (reception, decoding) = (self.reception.counts(), &self.decoding.counts);
        PlayoutStats::of(reception, decoding, self.delay, self.target)
    }

    /// Starts a talk-spurt if its first packet has waited long enough.
    fn begin_talk_spurt(&mut self, now: i64) -> bool {
        if !self.reception.is_due(now, self.tick_samples) {
            return false;
        }
        self.control.begin_talk_spurt();
        if let Some(made_up) = self.reception.resume_at_first() {
            self.decoding.count_concealed(made_up);
            self.decoding.commit_prediction();
        }
        self.decoding.begin_talk_spurt();
        self.state = State::Playing;
        true
    }

    /// Throws away what is so late that playing it faster would take seconds: after a freeze, a flood.
    fn discard_stale(&mut self, now: i64) {
        let Some(base) = self.reception.base() else {
            return;
        };
        let target = self.reception.delay.target();
        let limit = target + STALE_SAMPLES + self.control.catch_up.allowance();
        if self.reception.len() < 2 || now - base - self.played_up_to() < limit {
            return;
        }
        self.decoding.cut();
        self.reception.discard_late(now, base, self.tick_samples);
    }

    /// Decodes or makes up samples until at least `needed` wait; ends the talk-spurt where it has ended.
    fn fill(&mut self, now: i64, needed: usize) {
        while self.decoding.queued() < needed {
            let Supply {
                operation,
                settlement,
            } = next_supply(&self.reception, now, self.tick_samples);
            if let Some(settlement) = settlement {
                self.settle(settlement);
            }
            let wanted = needed - self.decoding.queued();
            let Playout {
                reception,
                decoding,
                control,
                ..
            } = self;
            match operation {
                Operation::Normal => decoding.decode_first(reception),
                Operation::Recover { missing } => {
                    decoding.recover(missing, reception);
                    reception.cursor.next_time += missing as i64;
                }
                Operation::Conceal { missing } => {
                    decoding.conceal(missing);
                    reception.cursor.next_time += missing as i64;
                }
                Operation::Merge { covered } => decoding.merge(covered, reception),
                Operation::Expand => reception.cursor.stalled_samples += decoding.expand(wanted),
                Operation::ResumeAtFirst => {
                    reception.resume_at_first();
                    control.resume();
                }
                Operation::End | Operation::Accelerate(_) | Operation::Decelerate { .. } => {
                    decoding.end_talk_spurt(wanted);
                    self.state = State::Waiting;
                    return;
                }
            }
        }
    }

    /// It shows what the samples made up since the buffer ran dry stood for.
    fn settle(&mut self, settlement: Settlement) {
        if let Some(seq) = settlement.lost_before {
            self.reception.count_lost(seq);
            self.decoding.commit_prediction();
        }
        let cursor = &mut self.reception.cursor;
        let made_up = core::mem::take(&mut cursor.stalled_samples);
        if let Some(time) = settlement.next_time {
            cursor.next_time = time;
        }
        self.decoding.count_concealed(made_up);
    }

    /// Puts time in or takes it out, one splice at most.
    fn splice(&mut self, now: i64, needed: usize, is_drifting: bool) {
        let snapshot = self.snapshot(now, needed, is_drifting);
        let Some(operation) = self.control.splice(snapshot.as_ref()) else {
            return;
        };
        let Playout {
            reception,
            decoding,
            ..
        } = self;
        let splice = match &operation {
            Operation::Accelerate(wish) => decoding.accelerate(wish, needed, reception),
            Operation::Decelerate { min_similarity } => decoding.decelerate(*min_similarity),
            _ => return,
        };
        self.control.spliced(&operation, splice);
        self.fill(now, needed);
    }

    /// What this tick shows of the wait; `None` while nothing plays, or only what is made up.
    fn snapshot(&self, now: i64, needed: usize, is_drifting: bool) -> Option<Snapshot> {
        if !self.plays_sound() {
            return None;
        }
        let queued = self.decoding.queued().saturating_sub(needed);
        Some(Snapshot {
            slack: self.slack(now, queued)?,
            queued,
            is_quiet: self.decoding.is_quiet(),
            is_drifting,
            spare_samples: self.reception.delay.spare_samples(),
        })
    }

    /// How long before the tick that needs it the next packet should arrive, beyond the target; in samples.
    ///
    /// - `queued`: samples left in the queue once this tick is taken.
    fn slack(&self, now: i64, queued: usize) -> Option<i64> {
        let base = self.reception.base()?;
        let cursor = &self.reception.cursor;
        let (tick, packet) = (self.tick_samples, cursor.packet_samples);
        let needed_at = now + ((queued / tick + 1) * tick) as i64;
        let packets = (tick - queued % tick).div_ceil(packet);
        let start = cursor.next_time + ((packets - 1) * packet) as i64;
        Some(needed_at - (base + start) - self.reception.delay.target())
    }

    fn resampling_ratio(&self, now: i64, drift: Option<f64>) -> Option<f64> {
        let delay = self.current_delay(now);
        let beyond_target = delay.map(|delay| delay - self.reception.delay.target());
        self.control
            .resampling_ratio(drift, self.decoding.queued(), beyond_target)
    }

    /// Notes whether the tick that is pulled has waited for this sender, and if so, whether in vain.
    fn count_wait(&mut self) {
        let lacks = self.control.late_ticks.leeway_samples > 0 && self.lacks_packet();
        self.control.late_ticks.count(lacks, self.tick_samples);
    }

    /// Writes the delay down for the statistics.
    fn measure(&mut self, now: i64) {
        self.target = self.reception.target();
        if self.is_stalled() {
            // Nothing plays: whether that is delay or the end of a talk-spurt will show.
            return;
        }
        self.delay = duration_of(self.current_delay(now).unwrap_or(0));
    }

    /// How long what plays now has waited since it could first have arrived; in samples.
    fn current_delay(&self, now: i64) -> Option<i64> {
        Some(now - self.reception.base()? - self.played_up_to())
    }

    /// Media time of the frame that plays next.
    fn played_up_to(&self) -> i64 {
        self.reception.cursor.next_time - self.decoding.queued() as i64
    }

    /// Whether the queue ends with what the sender sent.
    fn plays_sound(&self) -> bool {
        self.state == State::Playing && !self.is_stalled() && !self.decoding.ends_made_up()
    }

    /// Whether the buffer has run dry and samples were made up since.
    fn is_stalled(&self) -> bool {
        self.reception.cursor.stalled_samples > 0
    }
}

impl Source for Playout {
    fn pull(&mut self, now: Time, frame: &mut Frame) -> Pulled {
        self.pull(now, frame)
    }

    fn is_idle(&self) -> bool {
        self.is_idle()
    }

    fn stats(&self) -> PlayoutStats {
        self.stats()
    }

    fn playout(&self) -> Option<&Playout> {
        Some(self)
    }

    fn playout_mut(&mut self) -> Option<&mut Playout> {
        Some(self)
    }
}

/// This much beyond the target is not worth playing: 200 ms.
const STALE_SAMPLES: i64 = 9_600;
