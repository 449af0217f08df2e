//! mixminus: an audio-only MCU.
//!
//! Each client holds one WebRTC connection. The server decodes each client's audio, sums the
//! audible participants, subtracts the listener's own voice (mix-minus, N-1), and encodes and
//! returns one stream.
//!
//! # The picture
//!
//! ```text
//! datagram -> Peer -> Packet -> JitterBuffer -> Decoder -> Frame -> Bus (+=) -> Bus - own Frame
//!          -> Limiter -> Encoder -> Packet -> Peer -> datagram
//! ```
//!
//! Data moves to the right only. Only events and statistics travel left, never a reference. The
//! arrows within `Peer` belong to [`rtc`]; everything from the first `Packet` to the last belongs
//! to the engine, the crate [`mixer`], which knows no threads, sockets, clocks or logs.
//!
//! # Threads
//!
//! | thread | module | does | never |
//! |---|---|---|---|
//! | mixer-0, mixer-1, ... | [`audio`] | the ticks of its rooms, on absolute deadlines, under SCHED_FIFO where allowed; between ticks, encodes for other mixers | allocates, locks, logs, does I/O other than sleeping and waking threads |
//! | network | [`rtc`] | UDP in batches, ICE, DTLS, SRTP, RTP headers, RTCP, data channels | runs the mixer's work |
//! | negotiator | [`rtc`] | negotiates ICE restarts, on connections that the network thread lends it | touches media |
//! | tokio | [`http`], [`conference`] | HTTP, WebSocket, which participant is in which room | touches media packet by packet |
//! | reaper | [`audio`] | frees what the mixers no longer need | anything else |
//!
//! The queues between these threads, with their bounds and overflow rules, are listed in
//! [`queues`].
//!
//! # Who knows whom
//!
//! The test `tests/modules.rs` checks every module against its row. A module that uses no other
//! module may be used by all modules, unless their row says otherwise.
//!
//! | module | is | may know | must never see |
//! |---|---|---|---|
//! | [`mixer`] | the engine | Opus | threads, sockets, clocks |
//! | [`clock`], [`queues`] | the server's clock; the queues between threads | the mixer's time, packets and ids | - |
//! | [`audio`] | the mixer threads, which run the engine | mixer, queues, clock | rtc, http, conference |
//! | [`rtc`] | the network thread | the WebRTC core, the mixer's packets, ids and limits of a receiver, queues, clock | http, the engine |
//! | [`rate_limit`] | all limits on how often an operation may be done | - | everything else, clocks too |
//! | [`floor`] | who may talk in a room: a state machine without I/O | the mixer's ids and permits | everything else, clocks too |
//! | [`protocol`] | the JSON messages, one set for WebSocket and data channel | serde, the mixer's ids and profiles, floor's words | sockets, HTTP |
//! | [`conference`] | rooms, participants, sessions: requests come in, commands and events go out | floor, protocol, rate_limit, the handles of audio and rtc, the mixer's commands and the boxes they carry, its governor | HTTP and WebSocket types |
//! | [`http`] | HTTP and WebSocket | conference, protocol, config, rate_limit | rtc, audio, mixer |
//! | [`config`] | the settings: defaults, file, environment and flags | floor, protocol, rate_limit, the mixer's profiles | - |
//! | [`server`] | starts, connects and stops all parts of the server | all of them | - |
//! | [`join`] | the headless client, a program of its own | mixer's playout, rtc's SDP parser | the server |
//! | [`mod@bench`] | the benchmark harness, a program of its own | join, rtc's SDP and batches of datagrams, and for `bench tick` the mixer | the server |
//! | [`cli`] | the command line: its flags, and which subcommand runs | server, config, http's certificates, join, bench | - |
//! | [`memory`], [`sched`] | requests to the operating system: locked memory, real-time priority | - | everything else |
//! | `web/` | the page the binary serves | the HTTP contract | - |
//!
//! # Features
//!
//! | feature | adds | without it |
//! |---|---|---|
//! | `join` | `mixminus join`: [`join`] | no second WebRTC stack, HTTP client or audio file formats |
//! | `bench` | `mixminus bench`: [`mod@bench`]; implies `join` | no histograms, no progress bars |
//!
//! Both features are on by default. `--no-default-features` builds a binary with the server only.

#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod audio;
#[cfg(feature = "bench")]
pub mod bench;
pub mod cli;
pub mod clock;
pub mod conference;
pub mod config;
pub mod floor;
pub mod http;
#[cfg(feature = "join")]
pub mod join;
pub mod memory;
pub mod protocol;
pub mod queues;
pub mod rate_limit;
pub mod rtc;
pub mod sched;
pub mod server;
