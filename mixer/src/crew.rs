//! Encodes that may be done by another thread than the room's own.
//!
//! A room in which everybody talks owes everybody an encode, which may be more than one thread can
//! do in a tick. Such encodes are offered through the [`Sink`](crate::engine::Sink) as boxes that
//! any thread may run: each holds one listener's stream with a whole packet gathered, and nothing
//! else of the room. What is not done in time skips its packet, and its stream comes back later.

use core::fmt;
use core::panic::AssertUnwindSafe;
use std::panic::catch_unwind;

use crate::listener::{Heard, Listener};
use crate::packet::{OutPacket, Payload, Sources};
use crate::units::{ParticipantId, RoomId, RtpTime};

/// One stream's packet to be encoded.
pub struct EncodeJob {
    pub(crate) listener: Option<Box<Listener>>,
    pub(crate) to: ParticipantId,
    pub(crate) room: RoomId,
    /// The instant of the tick the packet belongs to, on the media clock.
    pub(crate) time: RtpTime,
    pub(crate) packet: OutPacket,
    pub(crate) heard: Heard,
}

/// Jobs that are not in use.
pub(crate) type Jobs = Vec<Box<EncodeJob>>;

impl EncodeJob {
    /// An empty one, to be used again and again.
    ///
    /// Real-time: set-up only (allocates).
    pub(crate) fn empty() -> Box<EncodeJob> {
        Box::new(EncodeJob {
            listener: None,
            to: ParticipantId(0),
            room: RoomId(0),
            time: RtpTime(0),
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
            heard: Heard::Nothing,
        })
    }

    /// Encodes, into itself. A panic comes to a mix the codec refused, whichever thread it is on.
    ///
    /// Real-time: safe.
    pub fn run(&mut self) {
        let Some(listener) = &mut self.listener else {
            self.heard = Heard::Nothing;
            return;
        };
        let packet = &mut self.packet;
        let encode = AssertUnwindSafe(|| listener.encode(packet));
        self.heard = catch_unwind(encode).unwrap_or(Heard::Failed);
    }
}

impl fmt::Debug for EncodeJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodeJob({:?} in {:?})", self.to, self.room)
    }
}
