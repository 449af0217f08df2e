//! Listening to other rooms: what is said in a room is written to its [`Feed`], and a [`Scan`] reads the feeds of the rooms
//! that a participant, or a whole room, hears besides its own.

mod feed;
mod monitor_mix;

pub use feed::Feed;
pub(crate) use feed::{Mouth, Place, Tap};
pub use monitor_mix::{Channel, Rescan, Scan, Strength};
