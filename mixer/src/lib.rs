//! The pure mixing engine: packets in, mix-minus packets out, one tick at a time.
pub mod codec;
pub mod command;
pub mod format;
pub mod frame;
pub mod packet;
pub mod profile;
pub mod units;

pub use frame::Frame;
pub use packet::{OutPacket, Packet, Payload};
pub use units::{Decibels, Gain, Level, ParticipantId, RoomId, RtpTime, Seq, Tick, Time};
