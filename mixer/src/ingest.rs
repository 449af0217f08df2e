//! One sender's packets, from their arrival until they are due.
//!
//! [`Reception`] puts each packet at its place in time ([`timeline`]), stores it ([`jitter_buffer`]) and learns how long
//! packets of this sender should wait ([`delay_estimator`]). It decodes and plays nothing: that is the business of
//! [`source`](crate::source).

mod cursor;
pub mod delay_estimator;
pub mod jitter_buffer;
mod reception;
pub mod timeline;

pub(crate) use cursor::Cursor;
pub use delay_estimator::DelayEstimator;
pub use jitter_buffer::{Inserted, JitterBuffer};
pub(crate) use reception::duration_of;
pub use reception::{Pushed, Reception, ReceptionCounts};
