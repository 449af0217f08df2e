//! Whether one participant may be heard, where a room has a floor.
//!
//! Who holds the floor is decided outside the engine; here it is enforced: a voice without a permit
//! never enters a mix. The names of floor control itself (3GPP TS 24.380) stay outside too.

/// What a participant's voice may do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Permit {
    /// The room has no floor: who has something to say is heard, as far as the gate lets it.
    #[default]
    Free = 0,
    /// Not heard. Only what may turn out to be the beginning of a request's words is kept.
    Closed = 1,
    /// Not heard yet: what is said from now on is kept, the last 300 ms of it, until the request is
    /// answered.
    Asked = 2,
    /// Heard, and never gated. What was kept is caught up with.
    Held = 3,
    /// Let go: what is on its way is heard to its end, then it is [`Closed`](Permit::Closed).
    Draining = 4,
}

impl Permit {
    /// From its number; what is no permit's closes.
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
