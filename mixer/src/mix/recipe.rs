//! The recipe of one listener's mix in one tick, as a value that can be compared.
//!
//! Two listeners of equal [key](MixRecipe::key) hear the same mix, except in a tick in which a list
//! of one of them changes.

use crate::mix::bus::Base;

/// The number of a list, of personal gains or of monitored rooms, within its room: see
/// [`Interned`](crate::room::interned::Interned).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PartNo(pub u16);

/// The part of a mix recipe that several listeners can share: the room's bus, changed by these
/// lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MixKey {
    /// The sum from which the mix is made.
    pub base: Base,
    /// Personal gains that act on this tick's bus. Lists of equal effect have one number; a list
    /// that names nobody on the bus has none.
    pub gains: Option<PartNo>,
    /// The monitored rooms that are heard.
    pub monitors: Option<PartNo>,
}

/// The recipe of the mix that one listener hears this tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MixRecipe {
    pub shared: MixKey,
    /// Whether the listener's own voice is on the bus and is subtracted.
    pub minus_own: bool,
    /// Whether a sound is played to this listener alone, such as a floor tone.
    pub private_source: bool,
}

impl MixRecipe {
    /// The part of the mix that other listeners can hear too; `None` if no other listener can hear
    /// this mix.
    pub fn key(&self) -> Option<MixKey> {
        (!self.minus_own && !self.private_source).then_some(self.shared)
    }
}
