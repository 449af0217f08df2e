//! What crosses into the engine and what comes out of it, besides packets.
//!
//! Commands carry boxes that were built on the control side, so that applying one neither allocates
//! nor frees; what a command replaces comes back as [`Retired`]. Settings do not cross at all: they
//! are atomics the engine reads each tick, latest wins.

use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::Arc;

use crate::feed::Feed;
use crate::listener::Listener;
use crate::members::Members;
use crate::mix::gains::GainChange;
use crate::participant::Participant;
use crate::permit::Permit;
use crate::room::{Room, RoomSettings};
use crate::scan::Rescan;
use crate::tone::Tone;
use crate::units::{Gain, Level, ParticipantId, RoomId};

/// What crosses into the engine.
///
/// Limits are checked where these are made. A command the engine has no place for (an unknown room,
/// a full one, an id twice) changes nothing: what it carried comes back as [`Retired`], the engine counts
/// it, and unless it was to take something away tells of it as [`Event::Refused`].
#[derive(Debug)]
pub enum Command {
    /// Takes in a room; it gets the least loaded phase of the slots.
    AddRoom(Box<Room>),
    /// Changes a room's gate and cap at its next tick. Tick and layout are what members are built
    /// for, so they stay.
    ConfigureRoom(RoomId, RoomSettings),
    /// Takes out a room with all who are in it.
    RemoveRoom(RoomId),
    /// Gives a room more places; the members move over, the old list comes back.
    Reserve {
        /// Which.
        room: RoomId,
        /// An empty list with more places.
        members: Members,
    },
    /// Takes in a participant built for the room's tick and layout.
    AddParticipant {
        /// Which room.
        room: RoomId,
        /// Who.
        participant: Box<Participant>,
    },
    /// Takes out a participant: at once for the network, and for the room when its voice has faded,
    /// a tick later.
    RemoveParticipant(ParticipantId),
    /// Gives a participant another stream: another recipe, or the first.
    SetListener(ParticipantId, Box<Listener>),
    /// Lets other rooms hear what is said in this one, through a feed made for its layout and tick; or
    /// no longer.
    SetFeed(RoomId, Option<Arc<Feed>>),
    /// Lets everybody in a room hear these others and no others.
    SetLinks(RoomId, Box<Rescan>),
    /// Lets a participant hear these rooms beside his own and no others. Who cannot talk must be given a
    /// listener of his own recipe with it.
    SetScan(ParticipantId, Box<Rescan>),
    /// Lets a participant hear certain talkers of its room louder, quieter or not at all, and all others as the room does. A
    /// participant who cannot talk must be given a listener of its own recipe with it.
    SetGains(ParticipantId, Box<GainChange>),
    /// Acts on a participant's settings at the next tick, though its room be asleep: to be sent
    /// after a grant, whose words may all have arrived, and after a [tone](Settings::play).
    Attend(ParticipantId),
    /// Lets a room panic the next time this is done to it, to show what that costs the others.
    #[cfg(any(test, feature = "fault-injection"))]
    Break(RoomId, Weakness),
}

/// Where a room is made to panic.
#[cfg(any(test, feature = "fault-injection"))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// In its next tick.
    Tick,
    /// When a packet arrives.
    Packet,
    /// When a command changes it.
    Command,
    /// When an encode that another thread has done comes back.
    Job,
    /// When it is asked, asleep, whether somebody elsewhere is heard.
    Call,
}

/// What a refused command was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// A room was to be added or changed.
    Room(RoomId),
    /// A participant was to be added or changed.
    Participant(ParticipantId),
}

/// What the engine tells. May be dropped on the way: the telemetry of participants and rooms holds the
/// state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// A participant is heard from this tick on.
    Talking {
        /// Where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// A participant is no longer heard.
    Stopped {
        /// Where.
        room: RoomId,
        /// Who.
        participant: ParticipantId,
    },
    /// Something panicked in a room; the room is retired with all who were in it.
    RoomFault {
        /// Which.
        room: RoomId,
    },
    /// A command that was to add or change something could not be carried out.
    Refused(Refused),
}

/// What the engine tells of a room, to be read by anyone at any time.
#[derive(Debug, Default)]
pub struct RoomTelemetry {
    /// The engine does not have the room: it retired the room after a panic, or had no place for it.
    pub failed: AtomicBool,
}

impl RoomTelemetry {
    /// Whether the engine has given the room up, or never took it.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Relaxed)
    }
}

/// What the engine is done with: to be freed where freeing is allowed.
#[derive(Debug)]
pub enum Retired {
    /// A room, with whoever was still in it.
    Room(Box<Room>),
    /// A participant.
    Participant(Box<Participant>),
    /// A stream that was replaced.
    Listener(Box<Listener>),
    /// A list that was replaced.
    Members(Members),
    /// What was heard of other rooms before.
    Rescan(Box<Rescan>),
    /// Personal gains from before.
    GainChange(Box<GainChange>),
    /// A feed that is not written to any more.
    Feed(Arc<Feed>),
}

/// One participant's settings (control writes, engine reads) and telemetry (engine writes, anyone
/// reads).
#[derive(Debug, Default)]
pub struct Shared {
    /// Settings: latest wins, cannot be full.
    pub settings: Settings,
    /// Telemetry: state that can be read again when an event was dropped.
    pub telemetry: Telemetry,
}

/// Latest-value settings of one participant.
#[derive(Debug)]
pub struct Settings {
    muted: AtomicBool,
    gain_bits: AtomicU32,
    loss_percent: AtomicU8,
    permit: AtomicU8,
    reachable: AtomicBool,
    /// The number of the tone to be played, and above it how many there have been.
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

    /// Sets how loud the participant is mixed; the engine ramps to it.
    pub fn amplify(&self, gain: Gain) {
        self.gain_bits
            .store(gain.factor().to_bits(), Ordering::Relaxed);
    }

    /// Whether the participant may be heard.
    pub fn permit(&self) -> Permit {
        Permit::from_wire(self.permit.load(Ordering::Relaxed))
    }

    /// Says whether the participant may be heard. Whoever plays notices at the next tick, and who is
    /// let in with the next packet, or at once with [`Command::Attend`].
    pub fn set_permit(&self, permit: Permit) {
        self.permit.store(permit as u8, Ordering::Relaxed);
    }

    /// Whether packets reach the participant.
    pub fn is_reachable(&self) -> bool {
        self.reachable.load(Ordering::Relaxed)
    }

    /// Says whether packets reach the participant. Its stream does not begin before they do, since a
    /// decoder that misses the first packets lacks the state that later packets build on. In a room
    /// that sleeps, [`Command::Attend`] makes the stream begin at once.
    pub fn set_reachable(&self, reachable: bool) {
        self.reachable.store(reachable, Ordering::Relaxed);
    }

    /// Plays a tone that this participant alone hears, if it can talk as well as listen; of several
    /// that have not been begun the last. It begins with the participant's next packet, or at once
    /// with [`Command::Attend`].
    pub fn play(&self, tone: Tone) {
        let next = |before: u32| {
            let count = (before >> 8).wrapping_add(1);
            Some(count << 8 | tone as u32)
        };
        // Never refused: it always says what comes next.
        let _ = (self.tone).fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
    }

    /// The tone played last, and a number that tells it from others.
    pub(crate) fn tone(&self) -> (u32, Option<Tone>) {
        let number = self.tone.load(Ordering::Relaxed);
        (number, Tone::from_number(number as u8))
    }

    /// Loss the participant's receiver reports on what we send, percent.
    pub fn loss_percent(&self) -> u8 {
        self.loss_percent.load(Ordering::Relaxed)
    }

    /// Tells the encoder how much loss the listener reports.
    pub fn report_loss(&self, percent: u8) {
        self.loss_percent.store(percent.min(100), Ordering::Relaxed);
    }
}

/// What the engine measured of one participant.
#[derive(Debug, Default)]
pub struct Telemetry {
    /// The engine had no place for the participant, who neither hears nor is heard.
    pub refused: AtomicBool,
    /// Contributing to mixes now.
    pub talking: AtomicBool,
    /// Level of the last tick, RFC 6464 scale; 127 is silence.
    pub level: AtomicU8,
    /// What its voice does: as its setting says, but [`Permit::Closed`] once what was on its way has
    /// been heard.
    pub permit: AtomicU8,
    /// Packets taken in.
    pub received_total: AtomicU64,
    /// Packets with a sound in them: neither called silent (RFC 6464) nor a DTX refresh.
    pub voiced_total: AtomicU64,
    /// Packets that never came.
    pub lost_total: AtomicU64,
    /// Packets that came after their time.
    pub late_total: AtomicU64,
    /// Packets that came twice.
    pub duplicate_total: AtomicU64,
    /// Packets that are not of the sender's codec, or did not decode.
    pub undecodable_total: AtomicU64,
    /// Samples made up because none were there.
    pub concealed_samples_total: AtomicU64,
    /// Samples recovered from in-band FEC.
    pub recovered_samples_total: AtomicU64,
    /// Samples inserted by time stretching.
    pub inserted_samples_total: AtomicU64,
    /// Samples removed by time stretching.
    pub removed_samples_total: AtomicU64,
    /// Samples that the resampler added.
    pub resampling_inserted_samples_total: AtomicU64,
    /// Samples that the resampler saved.
    pub resampling_removed_samples_total: AtomicU64,
    /// Samples of late packets not played, because concealment had covered their time.
    pub covered_samples_total: AtomicU64,
    /// Samples played.
    pub played_samples_total: AtomicU64,
    /// Playout delay now, microseconds.
    pub delay_us: AtomicU32,
}

impl Telemetry {
    /// Whether the engine had no place for the participant.
    pub fn was_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// The level of the last tick.
    pub fn level(&self) -> Level {
        Level::from_wire(self.level.load(Ordering::Relaxed))
    }

    /// Packets taken in.
    pub fn received_total(&self) -> u64 {
        self.received_total.load(Ordering::Relaxed)
    }

    /// Packets with a sound in them.
    pub fn voiced_total(&self) -> u64 {
        self.voiced_total.load(Ordering::Relaxed)
    }

    /// What its voice does.
    pub fn permit(&self) -> Permit {
        Permit::from_wire(self.permit.load(Ordering::Relaxed))
    }
}
