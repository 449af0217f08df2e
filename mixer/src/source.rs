//! The sound of one participant, as one frame per tick.
//!
//! A [`Source`] provides frames: a [`Playout`] decodes them from a sender's packets, a
//! [`PcmSource`] takes them from a thread outside the engine that reads a file. The [`Strip`]
//! meters the frames, applies the noise gate and the gain, and keeps the frame that is added to the
//! bus.

pub mod gate;
mod pcm;
pub mod playout;
pub mod stretch_buffer;
mod strip;

pub use pcm::{PcmReader, PcmSource};
pub use playout::{Playout, PlayoutStats, Pulled};
pub use strip::{Strip, TickRules};

use crate::frame::Frame;
use crate::units::Time;

/// Provider of a strip's frames.
///
/// Real-time: every call is safe.
pub trait Source: Send {
    /// Fills `frame` with one tick of sound; silence is zeros.
    ///
    /// - `now`: the tick's instant.
    fn pull(&mut self, now: Time, frame: &mut Frame) -> Pulled;

    /// Whether the source gives nothing but silence until its next packet, or until a
    /// [`Command::Attend`](crate::engine::Command::Attend).
    fn is_idle(&self) -> bool;

    /// Totals of packets and samples since the source was created.
    fn stats(&self) -> PlayoutStats;

    /// The playout of a source that receives packets; `None` for any other source.
    fn playout(&self) -> Option<&Playout> {
        None
    }

    /// Mutable access to the playout of a source that receives packets, to push packets into it.
    fn playout_mut(&mut self) -> Option<&mut Playout> {
        None
    }
}
