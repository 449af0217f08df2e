//! What crosses into the engine besides packets.
//!
//! Commands carry boxes that were built on the control side, so that applying one neither allocates nor frees; what a
//! command replaces comes back as [`Retired`](crate::output::Retired). Settings do not cross at all: they are atomics the
//! engine reads each tick, latest wins.

use std::sync::Arc;

use crate::mix::gains::GainChange;
use crate::monitor::{Feed, Rescan};
use crate::output::Listener;
#[cfg(any(test, feature = "fault-injection"))]
use crate::room::Weakness;
use crate::room::{Members, Participant, Room, RoomSettings};
use crate::units::{ParticipantId, RoomId};

/// What crosses into the engine.
///
/// Limits are checked where these are made. A command the engine has no place for (an unknown room,
/// a full one, an id twice) changes nothing: what it carried comes back as [`Retired`](crate::output::Retired), the engine counts
/// it, and unless it was to take something away tells of it as [`Event::Refused`](crate::output::Event::Refused).
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
        members: Box<Members>,
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
    /// Takes a participant out of its room as [`RemoveParticipant`](Command::RemoveParticipant) does, to be put into another
    /// one, on this thread or another. Its box comes back as a [`Retired`](crate::output::Retired) that
    /// [is moving](crate::output::Retired::is_moving); [`Participant::leave_room`] makes it ready for the other room. Playout,
    /// decoder and encoder go on there as if nothing had happened, so that the client need not know.
    Detach {
        /// Who.
        participant: ParticipantId,
        /// A stream of the participant's own recipe, which one that cannot talk may need.
        stream: Option<Box<Listener>>,
    },
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
    /// after a grant, whose words may all have arrived, and after a [tone](crate::room::Settings::play).
    Attend(ParticipantId),
    /// Lets a room panic the next time this is done to it, to show what that costs the others.
    #[cfg(any(test, feature = "fault-injection"))]
    Break(RoomId, Weakness),
}
