//! The network thread: one UDP socket, one WebRTC peer connection per client.
//!
//! Stands at both ends of the picture: datagrams become [`queues::Inbound`](crate::queues::Inbound) packets for the
//! mixer, and the mixer's [`queues::Outbound`](crate::queues::Outbound) packets become datagrams. ICE, DTLS, SRTCP
//! and SCTP are the sans-I/O `rtc` crate's; this module owns the socket, the clock, SDP, RTP and its encryption, the
//! routing of datagrams and the rules about who may reach a peer at all.
//!
//! It knows nothing of rooms, the floor or HTTP: a peer is a participant id and a stream each way.
//!
//! ```text
//! accept (any thread)   offer -> sdp::offer -> accept::build -> Peer + answer
//! thread (one)          RTP      -> demux -> routes -> Peer -> receive -> Inbound
//!                       the rest -> demux -> routes -> Peer -> core -> datagrams -> sendmmsg
//!                       Outbound -> Peer -> send -> datagrams -> sendmmsg
//! ```

mod accept;
mod candidates;
mod config;
mod datagrams;
pub mod demux;
mod error;
mod handle;
mod metrics;
pub(crate) mod mmsg;
mod nap;
mod negotiator;
mod outbox;
mod outlet;
mod peer;
mod peers;
mod receive;
mod reception;
mod reports;
mod routes;
mod rtp_head;
pub mod sdp;
mod send;
mod socket;
mod sources;
pub mod srtp;
mod stream;
pub mod stun;
mod thread;
mod timers;

pub use accept::{AcceptOptions, Accepted};
pub use config::RtcConfig;
pub use datagrams::Datagrams;
pub use error::{MessageError, OfferError, RestartError, RtcError, TrickleError};
pub use handle::{Closing, MAX_TEXT_BYTES, Reason, Rtc, RtcEvent, RtcHandle, start};
pub use metrics::{Dropped, PeerStats, RtcMetrics};
pub use peer::Peer;
pub use sdp::{Restart, RestartAnswer};
pub use send::{SendConfig, Sending, Sent};
