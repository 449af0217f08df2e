//! Faults that tests put into a room.

/// Where a room is made to panic.
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
