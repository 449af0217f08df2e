//! What one output hears this tick, as a value: two outputs of equal [key](MixRecipe::key) hear the
//! same, but for the tick in which a list of one of them changes.

/// Numbers a list within its room: see [`Interned`](crate::room::interned::Interned).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartNo(pub u16);

/// The part of a recipe that several listeners can have in common: the room's bus, changed by these
/// lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MixKey {
    /// Personal gains that change something about this tick's bus. Lists that do the same to it
    /// have one number, and a list that names nobody who is on the bus has none.
    pub gains: Option<PartNo>,
    /// The other rooms that are heard.
    pub monitors: Option<PartNo>,
}

/// What one listener hears this tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MixRecipe {
    pub shared: MixKey,
    /// The listener's own voice is on the bus, and is taken out.
    pub minus_own: bool,
    /// Something is played to this listener alone, such as a floor tone.
    pub private_source: bool,
}

impl MixRecipe {
    /// What this listener has in common with all who hear the same; `None` if nobody else can hear
    /// it.
    pub fn key(&self) -> Option<MixKey> {
        (!self.minus_own && !self.private_source).then_some(self.shared)
    }
}
