//! Reception of one sender's packets, from arrival until they are due for playout.
//!
//! `admission` decides whether a packet is played, held, skipped or refused. [`Reception`] places
//! the packet on the sender's [`timeline`], stores it in the [`jitter_buffer`] and learns how long
//! packets of this sender should wait ([`delay_estimator`]). Decoding and playout belong to
//! [`source`](crate::source).

pub(crate) mod admission;
mod cursor;
mod decode_budget;
mod decoder_warmup;
pub mod delay_estimator;
pub mod jitter_buffer;
mod level_hint;
mod network;
mod permit_state;
mod reception;
mod talk_spurt;
pub mod timeline;

pub(crate) use admission::{Admission, Change, TickHeard};
pub(crate) use cursor::Cursor;
pub use delay_estimator::DelayEstimator;
pub use jitter_buffer::{Inserted, JitterBuffer};
pub(crate) use network::{Network, UnheardDecoder};
pub(crate) use reception::duration_of;
pub use reception::{Pushed, Reception, ReceptionCounts};
