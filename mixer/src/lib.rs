//! The pure mixing engine: packets in, mix-minus packets out, one tick at a time.
//!
//! ```text
//! Packet -> Timeline -> JitterBuffer -> Decoder -> StretchBuffer -> Frame -> Strip -> Bus (+=)
//!        -> Bus - own Frame -> Limiter -> Encoder -> OutPacket
//! ```
//!
//! | arrow | file |
//! |---|---|
//! | one sender's packets until they are due: their place in time, storage, how long they wait | [`ingest`] |
//! | decoding, concealing, splicing time out and in; gain, meter and gate of one participant | [`source`], [`codec`] |
//! | who may be heard at all, where a room has a floor | [`permit`] |
//! | what one participant alone is told by ear | [`tone`] |
//! | the sum, and what each listener hears of it | [`mix`] |
//! | the ceiling of every mix | [`limiter`] |
//! | one stream's packets; who may share them | [`listener`], [`profile`], [`listeners`] |
//! | what is said in a room, for who listens from another; who hears which | [`feed`], [`scan`] |
//! | encodes that another thread may do | [`crew`] |
//! | one tick of one room, and the RTP clock of what it sends; all rooms | [`room`], `media_clock`, [`engine`] |
//! | less care where there is too much to do | [`governor`] |
//! | what comes in and goes out beside packets | [`command`], [`stats`] |
//!
//! It knows no threads, sockets, async, clocks or logs: time is an argument, and what has to be told
//! goes to a [`engine::Sink`]. After set-up nothing in it allocates, locks or calls the system; what
//! is marked "set-up only" is done on the control side and crosses as a box.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod codec;
pub mod command;
pub mod crew;
pub mod engine;
pub mod feed;
pub mod format;
pub mod frame;
mod gain_ramp;
pub mod governor;
pub mod ingest;
mod interned;
pub mod limiter;
pub mod listener;
pub mod listeners;
mod media_clock;
pub mod members;
mod memory;
pub mod meter;
pub mod mix;
pub mod opus_toc;
pub mod packet;
pub mod participant;
pub mod permit;
pub mod phase;
pub mod profile;
pub mod room;
pub mod scan;
pub mod source;
pub mod stats;
pub mod tone;
pub mod units;

pub use frame::Frame;
pub use packet::{OutPacket, Packet, Payload};
pub use units::{Decibels, Gain, Level, ParticipantId, RoomId, RtpTime, Seq, Tick, Time};
