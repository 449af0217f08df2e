//! One WebRTC connection: establishes it, attaches the client's media, watches its state and closes
//! it.
//!
//! A client makes an offer ([`Connection::offer`]). For two clients connected without a server, the
//! second one answers ([`Connection::answer`]). The session descriptions hold all candidates: none
//! is trickled.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rtc::media_stream::MediaStreamTrack;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use thiserror::Error;
use tokio::sync::watch;
use webrtc::data_channel::DataChannel;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, RTCSessionDescription, RTCStatsReportEntry, StatsSelector,
};

use super::downlink::Received;
use super::media::Sockets;
use super::sdp::SendLimits;
use super::uplink::UplinkTrack;
use crate::rtc::sdp::{AnswerError, Fingerprints, Offer, RemoteAnswer};
use events::{Channels, Events};
use trust::{Guard, Trust};

mod events;
mod stack;
mod trust;

/// Why a connection cannot be established.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The WebRTC stack reported an error.
    #[error("the WebRTC stack failed: {0}")]
    WebRtc(#[from] webrtc::error::Error),
    /// The list of the machine's addresses cannot be read, or is empty.
    #[error("this machine has no network address")]
    NoAddress,
    /// Gathering the machine's own candidates did not end in time.
    #[error("gathering the ICE candidates of this machine did not complete")]
    Gathering,
    /// The answer cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The client's own offer cannot be parsed.
    #[error("the client's own SDP offer cannot be parsed")]
    Offer,
    /// The other side presented a certificate that its description does not announce.
    #[error("the server's DTLS certificate matches no fingerprint in its SDP answer")]
    Certificate,
    /// No network path was found in time.
    #[error(
        "no media path to the server within {} s; check that its UDP port is reachable",
        CONNECT_TIMEOUT.as_secs()
    )]
    NoPath,
}

/// Which of the machine's addresses a connection may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The addresses of all interfaces but loopback: the other side is on another machine.
    Elsewhere,
    /// The addresses of all interfaces and loopback: the other side may be on this machine.
    Anywhere,
    /// Only this address, because the path is known.
    From(IpAddr),
}

/// The state of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// The connection is being established.
    Connecting,
    /// Media flows.
    Up,
    /// Nothing has arrived for a while; the connection may recover.
    Shaky,
    /// The connection will not recover.
    Down,
}

/// A WebRTC connection of a client to a server or to another client.
pub struct Connection {
    peer: Arc<dyn PeerConnection>,
    sockets: Sockets,
    track: Option<(Arc<TrackLocalStaticRTP>, u32)>,
    control: watch::Receiver<Option<Arc<dyn DataChannel>>>,
    link: watch::Receiver<Link>,
    trust: watch::Receiver<Trust>,
    /// The guard, until the other side's fingerprints are known and the check starts.
    guard: Mutex<Option<Guard>>,
    gathered: watch::Receiver<bool>,
}

impl Connection {
    /// Creates a connection and its offer, complete with candidates.
    ///
    /// # Errors
    /// [`ConnectionError`] when this machine cannot make an offer.
    pub async fn offer(
        sockets: Sockets,
        reach: Reach,
    ) -> Result<(Connection, String), ConnectionError> {
        let (mut connection, channels) = Connection::build(sockets, reach).await?;
        connection.add_audio().await?;
        let channel = connection.peer.create_data_channel(CONTROL, None).await?;
        channels.open(channel);
        let offer = connection.peer.create_offer(None).await?;
        let sdp = connection.describe(offer).await?;
        Ok((connection, sdp))
    }

    /// Applies the answer to the offer; media flows as soon as [`Connection::up`] returns.
    ///
    /// # Errors
    /// [`ConnectionError`] when it is not a valid answer, or refuses audio.
    pub async fn accept(&self, answer: String) -> Result<(), ConnectionError> {
        let answer = RemoteAnswer::read(&answer)?;
        let own = self.peer.local_description().await;
        let own = own.and_then(|own| Offer::read(&own.sdp).ok());
        let plain = answer.plain(&own.ok_or(ConnectionError::Offer)?);
        self.begin();
        self.guard(answer.fingerprints().clone());
        let plain = RTCSessionDescription::answer(plain)?;
        self.peer.set_remote_description(plain).await?;
        self.plug(&answer);
        Ok(())
    }

    /// Creates the answering side of an offer and its answer, complete with candidates.
    ///
    /// # Errors
    /// [`ConnectionError`] when it is not a valid offer, or has no audio.
    pub async fn answer(
        sockets: Sockets,
        reach: Reach,
        offer: String,
    ) -> Result<(Connection, String), ConnectionError> {
        // The relevant parts of an offer are the same as those of an answer.
        let other = RemoteAnswer::read(&offer)?;
        let (mut connection, _) = Connection::build(sockets, reach).await?;
        connection.begin();
        connection.guard(other.fingerprints().clone());
        let offer = RTCSessionDescription::offer(offer)?;
        connection.peer.set_remote_description(offer).await?;
        connection.add_audio().await?;
        let answer = connection.peer.create_answer(None).await?;
        let sdp = connection.describe(answer).await?;
        connection.plug(&other);
        Ok((connection, sdp))
    }

    /// Waits until media can flow.
    ///
    /// # Errors
    /// [`ConnectionError::NoPath`] when no path is found in time; [`ConnectionError::Certificate`]
    /// when the other side presents another certificate than announced.
    pub async fn up(&self) -> Result<(), ConnectionError> {
        let mut link = self.link.clone();
        let settled = link.wait_for(|link| matches!(link, Link::Up | Link::Down));
        match tokio::time::timeout(CONNECT_TIMEOUT, settled).await {
            Ok(Ok(link)) if *link == Link::Up => Ok(()),
            _ if *self.trust.borrow() == Trust::Refused => Err(ConnectionError::Certificate),
            _ => Err(ConnectionError::NoPath),
        }
    }

    /// Returns the state of the connection as a watch channel.
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    /// Sends a message on the data channel; returns `false` if no channel is open.
    pub async fn say(&self, text: &str) -> bool {
        let control = self.control.borrow().clone();
        match control {
            Some(control) => control.send_text(text).await.is_ok(),
            None => false,
        }
    }

    /// Returns the round-trip time to the other side, once it has been measured.
    pub async fn rtt(&self) -> Option<Duration> {
        let report = self
            .peer
            .get_stats(Instant::now(), StatsSelector::None)
            .await;
        let reported = report.iter().find_map(|entry| match entry {
            RTCStatsReportEntry::RemoteInboundRtp(stream) if stream.round_trip_time > 0.0 => {
                Some(stream.round_trip_time)
            }
            _ => None,
        });
        let checked = report
            .candidate_pairs()
            .filter(|pair| pair.nominated)
            .map(|pair| pair.current_round_trip_time)
            .find(|rtt_s| *rtt_s > 0.0);
        Duration::try_from_secs_f64(checked.or(reported)?).ok()
    }

    /// Disconnects the media and closes the connection.
    pub async fn close(&self) {
        self.sockets.outlet.store(None);
        self.sockets.counters.set_connected(false);
        // If closing in order takes too long, the connection is dropped.
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, self.peer.close()).await;
    }

    async fn build(
        sockets: Sockets,
        reach: Reach,
    ) -> Result<(Connection, Channels), ConnectionError> {
        let (control_in, control) = watch::channel(None);
        let (state_in, state) = watch::channel(Link::Connecting);
        let (link_in, link) = watch::channel(Link::Connecting);
        let (trust_in, trust) = watch::channel(Trust::Pending);
        let (gathered_in, gathered) = watch::channel(false);
        let channels = Channels {
            control: control_in,
            sockets: sockets.clone(),
            trust: trust.clone(),
        };
        let events = Events {
            link: state_in,
            gathered: gathered_in,
            channels: channels.clone(),
        };
        let peer = stack::build(Arc::new(events), reach).await?;
        let connection = Connection {
            peer,
            sockets,
            track: None,
            control,
            link,
            trust,
            guard: Mutex::new(Some(Guard {
                state,
                link: link_in,
                trust: trust_in,
            })),
            gathered,
        };
        Ok((connection, channels))
    }

    /// Adds a track to send on, or a receive-only transceiver if the client does not talk.
    async fn add_audio(&mut self) -> Result<(), ConnectionError> {
        if !self.sockets.talks {
            let only_listen = RTCRtpTransceiverInit {
                direction: RTCRtpTransceiverDirection::Recvonly,
                ..RTCRtpTransceiverInit::default()
            };
            // The answering side already has a transceiver, from the offer.
            if self.peer.get_transceivers().await.is_empty() {
                self.peer
                    .add_transceiver_from_kind(RtpCodecKind::Audio, Some(only_listen))
                    .await?;
            }
            return Ok(());
        }
        let ssrc = rand::random();
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters {
                ssrc: Some(ssrc),
                ..RTCRtpCodingParameters::default()
            },
            codec: stack::opus().rtp_codec,
            ..RTCRtpEncodingParameters::default()
        };
        let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            "mixminus".to_owned(),
            "voice".to_owned(),
            "voice".to_owned(),
            RtpCodecKind::Audio,
            vec![encoding],
        )));
        self.peer
            .add_track(Arc::clone(&track) as Arc<dyn TrackLocal>)
            .await?;
        self.track = Some((track, ssrc));
        Ok(())
    }

    /// Sets the local description and returns it with all candidates, once they are gathered.
    async fn describe(&self, own: RTCSessionDescription) -> Result<String, ConnectionError> {
        self.peer.set_local_description(own).await?;
        let mut gathered = self.gathered.clone();
        let complete = gathered.wait_for(|gathered| *gathered);
        match tokio::time::timeout(GATHER_TIMEOUT, complete).await {
            Ok(Ok(_)) => {}
            _ => return Err(ConnectionError::Gathering),
        }
        let described = self.peer.local_description().await;
        described
            .map(|own| own.sdp)
            .ok_or(ConnectionError::Gathering)
    }

    /// Starts to check the other side's certificate against `fingerprints`. The connection is
    /// reported as up only after the check.
    fn guard(&self, fingerprints: Fingerprints) {
        let guard = self
            .guard
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(guard) = guard {
            tokio::spawn(guard.watch(Arc::downgrade(&self.peer), fingerprints));
        }
    }

    /// Restarts the playout before the first packet of this connection can arrive.
    fn begin(&self) {
        // The queue is full only if the receiving thread does not run, and after such a pause the
        // playout restarts anyway.
        let _ = self.sockets.received.try_send(Received::Restart);
    }

    /// Lets the uplink send on this connection's track once the connection is up.
    fn plug(&self, other: &RemoteAnswer) {
        let (limits, payload_type) = (SendLimits::of(other), other.payload_type());
        let outlet = self.track.as_ref().map(|(track, ssrc)| {
            Arc::new(UplinkTrack {
                track: Arc::clone(track),
                ssrc: *ssrc,
                payload_type,
                limits,
            })
        });
        let slot = Arc::clone(&self.sockets.outlet);
        let counters = Arc::clone(&self.sockets.counters);
        let mut link = self.link.clone();
        tokio::spawn(async move {
            if let Ok(up) = link.wait_for(|link| *link != Link::Connecting).await
                && *up == Link::Up
            {
                slot.store(outlet);
                counters.set_connected(true);
            }
        });
    }
}

/// The label of the data channel that carries the control messages.
const CONTROL: &str = "control";

/// The time limit for gathering candidates. It involves no server: the candidates are the addresses
/// of the interfaces.
const GATHER_TIMEOUT: Duration = Duration::from_secs(3);

/// The time limit for a connection: ten round trips on the slowest links, and a margin for lost
/// packets.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
