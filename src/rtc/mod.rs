//! The network thread: one UDP socket, one WebRTC peer connection per client.
//!
//! Stands at both ends of the picture: datagrams become [`queues::Inbound`](crate::queues::Inbound)
//! packets for the mixers, and the mixers' [`queues::Outbound`](crate::queues::Outbound) packets
//! become datagrams. The sans-I/O `rtc` crate, called the core in this module, does ICE, DTLS,
//! SRTCP and SCTP. This module owns the socket, the clock, SDP, RTP and its encryption, the routing
//! of datagrams and the rules about who may reach a peer.
//!
//! In the comments, "we" and "our" mean the server's side of a connection, and a check is an ICE
//! connectivity check.
//!
//! Knows nothing of rooms, the floor or HTTP: a peer is a participant id and a stream each way.
//!
//! ```text
//! accept (any thread)   offer -> sdp::offer -> accept -> Peer + answer
//! event_loop (one)      RTP      -> demux -> routes -> Peer -> rtp_receiver -> Inbound
//!                       the rest -> demux -> routes -> Peer -> core -> send_queue -> sendmmsg
//!                       Outbound -> Peer -> rtp_sender -> send_queue -> sendmmsg
//! ```

mod accept;
mod candidates;
mod config;
mod control;
pub(crate) mod datagram_batch;
pub mod demux;
mod error;
mod event_loop;
mod handle;
mod metrics;
mod negotiator;
mod peer;
mod peers;
mod reception_stats;
mod routes;
mod rtcp_interceptor;
mod rtcp_reports;
mod rtp_header;
mod rtp_receiver;
mod rtp_sender;
mod rx_batching;
pub mod sdp;
mod send_queue;
mod socket;
mod socket_writer;
pub mod srtp;
mod ssrc_limiter;
pub mod stun;
mod timers;
mod turn_output;

pub use accept::{AcceptOptions, Accepted};
pub use config::RtcConfig;
pub use control::{Closing, MAX_TEXT_BYTES, NetworkControl, RestartResult};
pub use error::{MessageError, RestartError, RtcError, TrickleError};
pub use handle::{Reason, Rtc, RtcEvent, RtcHandle, start};
pub use metrics::{Dropped, PeerStats, RtcMetrics};
pub use peer::Peer;
pub use rtp_sender::{RtpSender, SendConfig, Sent};
pub use sdp::{IceUpdate, OfferError, Restart, RestartAnswer};
pub use send_queue::SendQueue;
