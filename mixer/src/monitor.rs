//! Listening to other rooms: each room's voices go to its [`Feed`], and a [`Scan`] reads feeds.
//!
//! A scan reads the feeds of the rooms that a participant, or a whole room, hears besides its own.

mod feed;
mod monitor_mix;

pub use feed::Feed;
pub(crate) use feed::{Mouth, Place, Tap};
pub use monitor_mix::{Channel, Rescan, Scan, Strength};
