//! What a participant says, as one frame per tick.
//!
//! A [`Source`] gives frames: [`Playout`] those of a sender of packets, [`PcmSource`] those that a thread outside the engine
//! reads from a file. The [`Strip`] meters and gates them and makes of them what is added to the bus.

pub mod gate;
mod pcm;
pub mod playout;
pub mod stretch_buffer;
mod strip;

pub use pcm::{PcmReader, PcmSource};
pub use playout::{Playout, PlayoutStats, Pulled};
pub use strip::{Rules, Strip};

use crate::frame::Frame;
use crate::units::Time;

/// Where a strip's frames come from. Real-time: every call is safe.
pub trait Source: Send {
    /// Fills one tick; silence is zeros.
    ///
    /// - `now`: the tick's instant.
    fn pull(&mut self, now: Time, frame: &mut Frame) -> Pulled;

    /// Whether it gives nothing but silence until its next packet, or until a
    /// [`Command::Attend`](crate::engine::Command::Attend).
    fn is_idle(&self) -> bool;

    /// What it counted.
    fn stats(&self) -> PlayoutStats;

    /// The playout, of a source that takes packets.
    fn playout(&self) -> Option<&Playout> {
        None
    }

    /// The same, to be given packets.
    fn playout_mut(&mut self) -> Option<&mut Playout> {
        None
    }
}
