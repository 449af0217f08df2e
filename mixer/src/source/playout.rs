//! Playout: turns packets that arrive irregularly into PCM for every tick.
//!
//! Stands between a participant's packets and its strip: [`Reception`] stores the packets,
//! `DelayControl` and `next_supply` decide what to do next, `Decoding` does it. The playout knows
//! no gain, no room and no clock: the time of each tick is an argument.
//!
//! A tick needs whole packets. If the sender's packets are as long as the tick, each waits from its
//! arrival to the next tick, and a fraction of a packet left over in the queue would be useless
//! delay. So the wait is changed in steps. The *slack* is how long before the tick that needs it
//! the next packet should arrive, beyond the target. With negative slack, time is inserted until
//! the next packet is needed one tick later, unless a tick would wait that long for the packet or
//! the network does not need the difference. With slack of more than a tick, time is removed. Only
//! when the sender's clock clearly drifts does a resampler change the length of the queue
//! continuously; the queue is then one tick longer than otherwise.

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
use self::operation::{Operation, TimeStretch};
pub use self::stats::PlayoutStats;
use self::supply::{Settlement, Supply, next_supply};
use super::Source;
use crate::codec::{Codec, Decode};
use crate::format::{Layout, TickLength};
use crate::frame::Frame;
use crate::ingest::{Network, Pushed, Reception, duration_of};
use crate::packet::Packet;
use crate::schedule::Rhythm;
use crate::units::Time;

/// Plays out one sender's packets, one frame per tick.
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

/// What the frame of one tick holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// Sound that is decoded from packets, at least in part.
    Audio,
    /// Nothing but concealment.
    Concealed,
    /// Nothing but zeros.
    Silent,
}

impl Playout {
    /// Creates a playout for one sender. The decoder must produce `layout`.
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

    /// Stores one packet that is to be played.
    ///
    /// - `arrival`: when the packet was received from the network, on the clock of
    ///   [`Playout::pull`].
    ///
    /// Real-time: safe.
    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.push(packet, arrival)
    }

    /// Records a packet that is not to be played while packets before it still are; see
    /// [`Reception::refuse`].
    ///
    /// Real-time: safe.
    pub fn refuse(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.refuse(packet, arrival)
    }

    /// Stops playing and drops all stored packets: the sender is not to be heard.
    ///
    /// Real-time: safe.
    pub fn park(&mut self) {
        self.reception.skip_all();
        self.decoding.clear();
        self.control.catch_up = CatchUp::Done;
        self.state = State::Waiting;
    }

    /// Access to the sender's packets and their decoder, for the admission.
    pub(crate) fn network(&mut self) -> Network<'_> {
        Network {
            reception: &mut self.reception,
            decoder: &mut self.decoding,
        }
    }

    /// Plays held packets from the first one on, faster than they were spoken until the wait is
    /// back to normal.
    ///
    /// Real-time: safe.
    pub fn catch_up(&mut self) {
        self.control.begin_catching_up();
    }

    /// Plays the remaining packets at normal speed: none will follow.
    ///
    /// Real-time: safe.
    pub fn finish(&mut self) {
        self.control.catch_up = CatchUp::Last;
    }

    /// Drops all waiting packets but the last, and begins a new talk-spurt with it: used after a
    /// mute.
    ///
    /// Real-time: safe.
    pub fn restart(&mut self) {
        self.reception.keep_last();
        self.decoding.clear();
        self.state = State::Waiting;
    }

    /// Sets by how many samples a tick may be delayed for late packets, from the next pull on.
    ///
    /// Real-time: safe.
    pub fn set_leeway(&mut self, samples: usize) {
        self.control.late_ticks.leeway_samples = samples;
    }

    /// Sets whether ticks wait for late packets; if not, packets wait longer.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        self.reception.delay.set_ticks_wait(ticks_wait);
    }

    /// Records that the next tick waits for late packets, one of them from this sender if the tick
    /// lacks it.
    ///
    /// Real-time: safe.
    pub fn await_packet(&mut self) {
        self.control.late_ticks.wait(self.lacks_packet());
    }

    /// Fills one tick: begin or continue a talk-spurt -> discard packets that are far too late ->
    /// decode or conceal enough for the tick -> shorten or lengthen the wait -> take the tick out
    /// of the queue.
    ///
    /// - `now`: the tick's instant, on the clock of the arrivals; packets that arrived before it
    ///   may be played.
    /// - `frame`: must have the layout and tick given to [`Playout::new`]; silence is zeros.
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
        self.stretch(now, needed, drift.is_some());
        self.measure(now);
        self.decoding.play(needed, ratio, frame);
        let has_real = self.decoding.real_samples() > real_before;
        if has_real || had_sound && !self.decoding.ends_made_up() {
            Pulled::Audio
        } else {
            Pulled::Concealed
        }
    }

    /// Whether the playout gives only silence and changes nothing until the next packet arrives.
    pub fn is_idle(&self) -> bool {
        self.state == State::Waiting && self.reception.is_empty()
    }

    /// Whether any packets are stored.
    pub fn has_packets(&self) -> bool {
        !self.reception.is_empty()
    }

    /// Whether all packets have been played, so that the playout is silent or plays only
    /// concealment.
    pub fn has_run_dry(&self) -> bool {
        let is_made_up = self.state == State::Waiting || self.is_stalled();
        self.reception.is_empty() && is_made_up
    }

    /// Whether the next tick would begin concealment unless another packet arrives. Returns `false`
    /// for some ticks after a tick has waited for this sender in vain.
    pub fn lacks_packet(&self) -> bool {
        let may_lack = self.plays_sound()
            && !self.reception.cursor.is_new_timeline
            && self.control.late_ticks.may_wait();
        let end = self.played_up_to() + self.tick_samples as i64;
        may_lack && !self.reception.reaches(end, FADE_END, CONCEAL_STEP)
    }

    /// How long a packet waits after its earliest possible arrival, by the current estimate;
    /// [`PlayoutStats::target`] is the estimate at the last tick that played.
    pub fn target(&self) -> Duration {
        self.reception.target()
    }

    /// How long the sound that plays now has waited since its earliest possible arrival.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// When the sender's packets may be played; `None` before the first packet.
    pub fn rhythm(&self) -> Option<Rhythm> {
        self.reception.rhythm()
    }

    /// The codec of the packets that the playout takes.
    pub fn codec(&self) -> Codec {
        self.reception.codec()
    }

    /// Totals since the playout was created.
    pub fn stats(&self) -> PlayoutStats {
        let (reception, decoding) = (self.reception.counts(), &self.decoding.counts);
        PlayoutStats::of(reception, decoding, self.delay, self.target)
    }

    /// Starts a talk-spurt if its first packet has waited long enough; returns whether it started.
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

    /// Discards packets that are so late that catching up with them would take seconds, as after a
    /// freeze or a flood.
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

    /// Decodes or conceals until at least `needed` samples are queued, or ends the talk-spurt.
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
                Operation::End => {
                    decoding.end_talk_spurt(wanted);
                    self.state = State::Waiting;
                    return;
                }
            }
        }
    }

    /// Accounts for the concealment since the buffer ran dry, now that a packet shows what it
    /// replaced.
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

    /// Inserts or removes time, with one splice at most.
    fn stretch(&mut self, now: i64, needed: usize, is_drifting: bool) {
        let snapshot = self.snapshot(now, needed, is_drifting);
        let Some(stretch) = self.control.stretch(snapshot.as_ref()) else {
            return;
        };
        let Playout {
            reception,
            decoding,
            ..
        } = self;
        let splice = match &stretch {
            TimeStretch::Accelerate(wish) => decoding.accelerate(wish, needed, reception),
            TimeStretch::Decelerate { min_similarity } => decoding.decelerate(*min_similarity),
        };
        self.control.stretched(&stretch, splice);
        self.fill(now, needed);
    }

    /// The state of the wait in this tick; `None` while nothing plays, or only concealment.
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

    /// How long before the tick that needs it the next packet should arrive, beyond the target; in
    /// samples.
    ///
    /// - `queued`: samples left in the queue after this tick.
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
        let beyond_target = || Some(self.current_delay(now)? - self.reception.delay.target());
        self.control
            .resampling_ratio(drift, self.decoding.queued(), beyond_target)
    }

    /// Records whether this tick waited for a packet of the sender, and if so, whether in vain.
    fn count_wait(&mut self) {
        let lacks = self.control.late_ticks.leeway_samples > 0 && self.lacks_packet();
        self.control.late_ticks.count(lacks, self.tick_samples);
    }

    /// Updates the delay and the target that the statistics show.
    fn measure(&mut self, now: i64) {
        self.target = self.reception.target();
        if self.is_stalled() {
            // Only concealment plays: whether it is delay or the end of a talk-spurt will show
            // later.
            return;
        }
        self.delay = duration_of(self.current_delay(now).unwrap_or(0));
    }

    /// How long the sound that plays now has waited since its earliest possible arrival; in
    /// samples.
    fn current_delay(&self, now: i64) -> Option<i64> {
        Some(now - self.reception.base()? - self.played_up_to())
    }

    /// Media time of the sample that plays next.
    fn played_up_to(&self) -> i64 {
        self.reception.cursor.next_time - self.decoding.queued() as i64
    }

    /// Whether the queue ends with decoded sound.
    fn plays_sound(&self) -> bool {
        self.state == State::Playing && !self.is_stalled() && !self.decoding.ends_made_up()
    }

    /// Whether the buffer has run dry and concealment has been playing since.
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

/// Packets that are later than the target by more than 200 ms are discarded.
const STALE_SAMPLES: i64 = 9_600;
