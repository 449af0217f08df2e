//! The pure mixing engine: packets in, mix-minus packets out, one tick at a time.
//!
//! ```text
//! ingest    Packet -> Admission -> Timeline -> JitterBuffer
//! source    JitterBuffer -> Decoder -> StretchBuffer -> Frame -> Strip     (or a queue of PCM -> Frame -> Strip)
//! room      Strips -> who is heard -> Bus (+=)
//! mix       Bus - own Frame, personal gains, monitors, tone -> Frame
//! output    Frame -> Limiter -> Encoder -> OutPacket -> Sink
//! ```
//!
//! | module | what it holds |
//! |---|---|
//! | [`format`](mod@format), [`units`], [`frame`], [`packet`], [`permit`], [`meter`] | the values that everything else is made of |
//! | [`codec`] | Opus and G.711; profiles, and how one stream is encoded |
//! | [`schedule`] | the slots of a tick, when rooms should run in them, how complex the encoding may be, work that another thread may do |
//! | [`ingest`] | one sender's packets until they are due: whether they are played, their place in time, storage, how long they wait |
//! | [`source`] | what a participant says, as frames: decoding, concealing, time stretching; gain, meter and gate |
//! | [`output`] | one stream's packets, and where everything goes that leaves the engine |
//! | [`monitor`] | what is said in a room, for listeners in other rooms |
//! | [`mix`] | the sum, and what each listener hears of it |
//! | [`room`] | one tick of one room: its members, who is heard, who shares a stream |
//! | [`engine`] | all rooms of one thread: commands, packets, slots |
//!
//! A module uses those above it and none below it (`tests/modules.rs`).
//!
//! The engine knows no threads, sockets, async, clocks or logs: time is an argument, and events go
//! to an [`output::Sink`]. After set-up nothing in it allocates, locks or calls the system; what is
//! marked "set-up only" is done on the control side and crosses as a box.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod codec;
pub mod engine;
pub mod format;
pub mod frame;
mod gain_ramp;
pub mod ingest;
mod memory;
pub mod meter;
pub mod mix;
pub mod monitor;
pub mod output;
pub mod packet;
pub mod permit;
pub mod room;
pub mod schedule;
pub mod source;
pub mod units;

pub use frame::Frame;
pub use packet::{OutPacket, Packet, Payload};
pub use units::{Decibels, Gain, Level, ParticipantId, RoomId, RtpTime, Seq, Tick, Time};
