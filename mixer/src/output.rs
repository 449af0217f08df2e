//! Output streams and the sink: from a mix to packets, and everything else that leaves the engine.
//!
//! An [`OutputStream`] gathers the mixes of a few ticks, limits and encodes them. Its
//! packets, the engine's events and retired objects go to a [`Sink`].

mod destination;
mod encode_budget;
mod event;
pub mod limiter;
mod output_stream;
mod retired;
mod sink;

pub use destination::Destination;
pub(crate) use encode_budget::encode_budget;
pub use event::{Event, Refused};
pub use limiter::Limiter;
pub use output_stream::OutputStream;
pub(crate) use output_stream::{MixedTick, TickInstant, Tuning};
pub use retired::Retired;
pub use sink::Sink;
