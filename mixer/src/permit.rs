//! Permission of one participant to be heard in a room with a floor.
//!
//! The floor is the right to speak, as in push-to-talk radio. Its holder is chosen outside the
//! engine. The engine enforces the choice: a voice without a permit never enters a mix. The terms
//! of floor control itself (3GPP TS 24.380) stay outside too.

/// Permission of one participant to be heard in a room with a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Permit {
    /// The room has no floor: the participant is heard whenever the noise gate is open.
    #[default]
    Free = 0,
    /// The participant is not heard. Packets are held only where speech may be about to request the
    /// floor.
    Closed = 1,
    /// The participant has requested the floor and is not heard yet. The last 300 ms of speech are
    /// held until the request is answered.
    Asked = 2,
    /// The participant is heard without a noise gate. Held packets are played and caught up with.
    Held = 3,
    /// The participant has released the floor: packets in flight are played, then the permit is
    /// [`Closed`](Permit::Closed).
    Draining = 4,
}

impl Permit {
    /// Decodes a permit from its number; an unknown number means [`Permit::Closed`].
    pub const fn from_wire(number: u8) -> Permit {
        match number {
            0 => Permit::Free,
            2 => Permit::Asked,
            3 => Permit::Held,
            4 => Permit::Draining,
            _ => Permit::Closed,
        }
    }
}
