//! Commands: everything that crosses into the engine besides packets.
//!
//! Commands carry boxes that were built on the control side, so that applying one neither allocates
//! nor frees. Replaced objects come back as [`Retired`](crate::output::Retired). Settings do not
//! cross at all: they are atomics that the engine reads each tick; the latest value wins.

use std::sync::Arc;

use crate::mix::gains::GainChange;
use crate::mix::links::LinkChange;
use crate::monitor::{Feed, MonitorChange};
use crate::output::OutputStream;
#[cfg(any(test, feature = "fault-injection"))]
use crate::room::Weakness;
use crate::room::{Members, Participant, Room, RoomSettings};
use crate::units::{ParticipantId, RoomId};

/// A command to the engine.
///
/// Limits are checked where commands are made. A command that the engine cannot carry out (unknown
/// room, full room, id already present) changes nothing. The object that it carried comes back as
/// [`Retired`](crate::output::Retired), and the engine counts the command. Unless the command was
/// to take something away, the engine also reports
/// [`Event::Refused`](crate::output::Event::Refused).
#[derive(Debug)]
pub enum Command {
    /// Adds a room. The engine gives it the phase whose slots carry the least load.
    AddRoom(Box<Room>),
    /// Changes a room's noise gate and limit of contributors at its next tick. Tick length and
    /// layout stay, since members are built for them.
    ConfigureRoom(RoomId, RoomSettings),
    /// Removes a room with all its members.
    RemoveRoom(RoomId),
    /// Gives a room more places; the members move to the new list, and the old list is retired.
    Reserve {
        /// The room that gets more places.
        room: RoomId,
        /// An empty list with more places.
        members: Box<Members>,
    },
    /// Adds a participant built for the room's tick length and layout.
    AddParticipant {
        /// The room that the participant joins.
        room: RoomId,
        /// The participant to add.
        participant: Box<Participant>,
    },
    /// Removes a participant. It is sent nothing more at once; it leaves the room a tick later,
    /// when its voice has faded.
    RemoveParticipant(ParticipantId),
    /// Takes a participant out of its room like [`RemoveParticipant`](Command::RemoveParticipant),
    /// to be added to another room, on this thread or another. The box comes back as a
    /// [`Retired`](crate::output::Retired) that [is moving](crate::output::Retired::is_moving);
    /// [`Participant::leave_room`] prepares it for the other room. Playout, decoder and encoder go
    /// on without interruption, so that the client need not know.
    Detach {
        /// The participant to take out.
        participant: ParticipantId,
        /// A stream of the participant's own encoding, which a listen-only participant may need.
        stream: Option<Box<OutputStream>>,
    },
    /// Replaces a participant's stream, for another encoding or as its first stream.
    SetStream(ParticipantId, Box<OutputStream>),
    /// Sets the feed through which other rooms hear this room, made for its layout and tick length;
    /// `None`: other rooms no longer hear this room.
    SetFeed(RoomId, Option<Arc<Feed>>),
    /// Replaces the linked rooms, which every member of the room hears.
    SetLinks(RoomId, Box<LinkChange>),
    /// Replaces the rooms that a participant monitors besides its own. For a listen-only
    /// participant the box must bring a stream of the participant's own encoding.
    SetMonitors(ParticipantId, Box<MonitorChange>),
    /// Replaces a participant's personal gains: talkers of its room that it hears louder, quieter
    /// or not at all. For a listen-only participant the box must bring a stream of the
    /// participant's own encoding.
    SetGains(ParticipantId, Box<GainChange>),
    /// Applies a participant's settings at the next tick, even if its room sleeps. To be sent after
    /// a grant of the floor, when all the speech that was held may already have arrived, and after
    /// a [tone](crate::room::Settings::play).
    Attend(ParticipantId),
    /// Makes a room panic at its next operation of this kind, to test that other rooms go on.
    #[cfg(any(test, feature = "fault-injection"))]
    Break(RoomId, Weakness),
}
