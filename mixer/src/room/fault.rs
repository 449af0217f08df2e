//! Faults that tests inject into a room.

/// The operation in which a room is made to panic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weakness {
    /// The room's next tick.
    Tick,
    /// Arrival of a packet.
    Packet,
    /// A change of the room's settings.
    Command,
    /// Return of an encode from another thread.
    Job,
    /// The check of a sleeping room for voices in other rooms.
    Call,
}
