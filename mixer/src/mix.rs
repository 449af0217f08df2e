//! Makes each listener's mix: the room's bus, changed for this listener.
//!
//! | step | file |
//! |---|---|
//! | the sums of all contributors, and a sum without one of them | [`bus`] |
//! | the rooms that all members of a room hear | [`links`] |
//! | which listeners hear the same mix | `recipe` |
//! | talkers that one listener wants louder, quieter or not at all | [`gains`] |
//! | tones that tell one listener the outcome of its floor request | [`floor_tone`] |
//! | one listener's mix, made from the bus | `render` |

pub mod bus;
pub mod floor_tone;
pub mod gains;
pub mod links;
pub(crate) mod recipe;
pub(crate) mod render;

pub(crate) use floor_tone::PlayingTone;
pub use floor_tone::Tone;
