//! What a participant says, as one frame per tick.

pub mod gate;
pub mod playout;
pub mod stretch_buffer;

pub use playout::{Playout, PlayoutStats, Pulled};
