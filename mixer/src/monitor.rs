//! Listening to other rooms: each room's voices go to its [`Feed`], and a [`MonitorMix`] sums the
//! feeds of the rooms that a participant, or a whole room, hears besides its own.

mod feed;
mod monitor_mix;

pub use feed::Feed;
pub(crate) use feed::{FeedReader, FeedWriter, TickSpan};
pub use monitor_mix::{MonitorChange, MonitorLevel, MonitorMix, MonitoredRoom};
