//! One sender's packets, from their arrival until they are due.
//!
//! `admission` decides whether a packet is played, held, skipped or refused. [`Reception`] puts it at its place in time
//! ([`timeline`]), stores it ([`jitter_buffer`]) and learns how long packets of this sender should wait
//! ([`delay_estimator`]). Nothing is played here: that is the business of [`source`](crate::source).

pub(crate) mod admission;
mod cursor;
mod decode_budget;
mod decoder_warmup;
pub mod delay_estimator;
mod intake;
pub mod jitter_buffer;
mod level_hint;
mod permit_state;
mod reception;
mod talk_spurt;
pub mod timeline;

pub(crate) use admission::{Admission, Change, TickHeard};
pub(crate) use cursor::Cursor;
pub use delay_estimator::DelayEstimator;
pub(crate) use intake::{Intake, Network, UnheardDecoder};
pub use jitter_buffer::{Inserted, JitterBuffer};
pub(crate) use reception::duration_of;
pub use reception::{Pushed, Reception, ReceptionCounts};
