//! State shared with the control side: settings that control writes, and measurements that the
//! engine writes.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

use crate::mix::Tone;
use crate::permit::Permit;
use crate::units::{Gain, Level};

/// The state of a room that any thread can read at any time.
#[derive(Debug, Default)]
pub struct RoomTelemetry {
    /// The engine does not hold the room: it retired the room after a panic, or had no place for
    /// it.
    pub failed: AtomicBool,
}

impl RoomTelemetry {
    /// Whether the engine has retired the room after a panic, or had no place for it.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// One participant's settings (control writes, engine reads) and telemetry (engine writes, anyone
/// reads).
#[derive(Debug, Default)]
pub struct Shared {
    /// Settings: the latest value wins, so a write is never refused.
    pub settings: Settings,
    /// Telemetry: state that can be read again if an event was dropped.
    pub telemetry: Telemetry,
}

/// Settings of one participant. Each setting holds its latest value only.
#[derive(Debug)]
pub struct Settings {
    muted: AtomicBool,
    gain_bits: AtomicU32,
    loss_percent: AtomicU8,
    permit: AtomicU8,
    reachable: AtomicBool,
    /// The number of the last tone in the low byte; above it a count of all tones so far.
    tone: AtomicU32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            muted: AtomicBool::new(false),
            gain_bits: AtomicU32::new(Gain::UNITY.factor().to_bits()),
            loss_percent: AtomicU8::new(0),
            permit: AtomicU8::new(Permit::Free as u8),
            reachable: AtomicBool::new(true),
            tone: AtomicU32::new(0),
        }
    }
}

impl Settings {
    /// Whether the participant's voice is kept out of every mix.
    pub fn muted(&self) -> bool {
        self.muted.load(Ordering::Relaxed)
    }

    /// Keeps the participant's voice out of every mix, or lets it in again.
    pub fn mute(&self, muted: bool) {
        self.muted.store(muted, Ordering::Relaxed);
    }

    /// How loud the participant is mixed.
    pub fn gain(&self) -> Gain {
        Gain::linear(f32::from_bits(self.gain_bits.load(Ordering::Relaxed)))
    }

    /// Sets how loud the participant is mixed; the engine ramps to the new gain.
    pub fn amplify(&self, gain: Gain) {
        self.gain_bits
            .store(gain.factor().to_bits(), Ordering::Relaxed);
    }

    /// Whether the participant may be heard.
    pub fn permit(&self) -> Permit {
        Permit::from_wire(self.permit.load(Ordering::Relaxed))
    }

    /// Sets whether the participant may be heard. A participant that is playing notices at the next
    /// tick. A newly permitted one notices with its next packet, or at once with
    /// [`Command::Attend`](crate::engine::Command::Attend).
    pub fn set_permit(&self, permit: Permit) {
        self.permit.store(permit as u8, Ordering::Relaxed);
    }

    /// Whether packets reach the participant.
    pub fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Sets whether packets reach the participant. The participant's stream does not begin before
    /// they do, since a decoder that misses the first packets lacks the state that later packets
    /// build on. In a room that sleeps, [`Command::Attend`](crate::engine::Command::Attend) makes
    /// the stream begin at once.
    pub fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
    }

    /// Plays a tone that this participant alone hears, if it can talk as well as listen. A later
    /// call replaces a tone that has not begun. The tone begins with the participant's next packet,
    /// or at once with [`Command::Attend`](crate::engine::Command::Attend).
    pub fn play(&self, tone: Tone) {
        let next = |before: u32| {
            let count = (before >> 8).wrapping_add(1);
            Some(count << 8 | tone as u32)
        };
        // Never refused: `next` always returns a value.
        let _ = (self.tone).fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The tone requested last, and a number that distinguishes this request from others.
    pub(crate) fn tone(&self) -> (u32, Option<Tone>) {
        let number = self.tone.load(Ordering::Relaxed);
        (number, Tone::from_number(number as u8))
    }

    /// Loss that the participant's receiver reports for the packets sent to it, percent.
    pub fn loss_percent(&self) -> u8 {
        self.loss_percent.load(Ordering::Relaxed)
    }

    /// Sets the loss that the participant's receiver reports, percent; capped at 100.
    pub fn report_loss(&self, percent: u8) {
        self.loss_percent.store(percent.min(100), Ordering::Relaxed);
    }
}

/// Measurements of one participant, written by the engine.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// The engine had no place for the participant, so it neither hears nor is heard.
    pub refused: AtomicBool,
    /// Whether the participant contributes to mixes now.
    pub talking: AtomicBool,
    /// Level of the last tick, RFC 6464 scale; 127 is silence.
    pub level: AtomicU8,
    /// The permit in effect: the one in the settings, but [`Permit::Closed`] once a draining voice
    /// has been heard to its end.
    pub permit: AtomicU8,
    /// Packets received.
    pub received_total: AtomicU64,
    /// Packets that carry sound: neither marked silent (RFC 6464) nor a DTX refresh.
    pub voiced_total: AtomicU64,
    /// Packets that never arrived.
    pub lost_total: AtomicU64,
    /// Packets that arrived too late to be played.
    pub late_total: AtomicU64,
    /// Packets received more than once.
    pub duplicate_total: AtomicU64,
    /// Packets of another codec than the sender's, or that failed to decode.
    pub undecodable_total: AtomicU64,
    /// Samples of concealment, played in place of missing packets.
    pub concealed_samples_total: AtomicU64,
    /// Samples recovered from in-band FEC.
    pub recovered_samples_total: AtomicU64,
    /// Samples inserted by time stretching.
    pub inserted_samples_total: AtomicU64,
    /// Samples removed by time stretching.
    pub removed_samples_total: AtomicU64,
    /// Samples that resampling inserted.
    pub resampling_inserted_samples_total: AtomicU64,
    /// Samples that resampling removed.
    pub resampling_removed_samples_total: AtomicU64,
    /// Samples of late packets not played, because concealment had already covered their time.
    pub covered_samples_total: AtomicU64,
    /// Samples played.
    pub played_samples_total: AtomicU64,
    /// Current playout delay, microseconds.
    pub delay_us: AtomicU32,
}

impl Telemetry {
    /// Whether the engine had no place for the participant.
    pub fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Level of the last tick.
    pub fn level(&self) -> Level {
        Level::from_wire(self.level.load(Ordering::Relaxed))
    }

    /// Packets received.
    pub fn received_total(&self) -> u64 {
        self.received_total.load(Ordering::Relaxed)
    }

    /// Packets that carry sound.
    pub fn voiced_total(&self) -> u64 {
        self.voiced_total.load(Ordering::Relaxed)
    }

    /// The permit in effect.
    pub fn permit(&self) -> Permit {
        Permit::from_wire(self.permit.load(Ordering::Relaxed))
    }
}
