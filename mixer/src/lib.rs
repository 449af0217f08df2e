//! The pure mixing engine: packets in, mix-minus packets out, one tick at a time.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod bus;
pub mod codec;
pub mod command;
pub mod delay;
pub mod engine;
pub mod format;
pub mod frame;
pub mod gate;
pub mod jitter;
pub mod limiter;
pub mod listener;
pub mod members;
pub mod opus_toc;
pub mod packet;
pub mod participant;
pub mod phase;
pub mod playout;
pub mod profile;
pub mod room;
pub mod stats;
pub mod stretch;
pub mod strip;
pub mod timeline;
pub mod units;

pub use frame::Frame;
pub use packet::{OutPacket, Packet, Payload};
pub use units::{Decibels, Gain, Level, ParticipantId, RoomId, RtpTime, Seq, Tick, Time};
