//! Handles the events of the WebRTC stack.

use std::sync::Arc;
use std::time::Instant;

use mixer::packet::Payload;
use mixer::{Packet, RtpTime, Seq};
use tokio::sync::watch;
use webrtc::data_channel::{DataChannel, DataChannelEvent};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};

use super::super::downlink::Received;
use super::super::media::Sockets;
use super::Link;
use super::trust::{Trust, given};
use crate::clock;

/// The event handler of a connection. The stack calls it on its own task, so nothing in it may
/// block.
pub(super) struct Events {
    pub link: watch::Sender<Link>,
    pub gathered: watch::Sender<bool>,
    pub channels: Channels,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Events {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let link = match state {
            RTCPeerConnectionState::Connected => Link::Up,
            RTCPeerConnectionState::Disconnected => Link::Shaky,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => Link::Down,
            _ => return,
        };
        self.link.send_replace(link);
    }

    async fn on_data_channel(&self, channel: Arc<dyn DataChannel>) {
        self.channels.open(channel);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let sockets = self.channels.sockets.clone();
        let mut trust = self.channels.trust.clone();
        tokio::spawn(async move {
            if !given(&mut trust).await {
                return;
            }
            while let Some(event) = track.poll().await {
                if let TrackRemoteEvent::OnRtpPacket(packet) = event {
                    receive(&sockets, &packet);
                }
            }
        });
    }
}

/// Publishes the open data channel `control` and passes on its messages, whichever side opened the
/// channel.
#[derive(Clone)]
pub(super) struct Channels {
    pub control: watch::Sender<Option<Arc<dyn DataChannel>>>,
    pub sockets: Sockets,
    /// Whether the other side is trusted; until then its messages are ignored.
    pub trust: watch::Receiver<Trust>,
}

impl Channels {
    pub fn open(&self, channel: Arc<dyn DataChannel>) {
        let mut this = self.clone();
        tokio::spawn(async move {
            if !given(&mut this.trust).await {
                return;
            }
            while let Some(event) = channel.poll().await {
                match event {
                    DataChannelEvent::OnOpen => {
                        this.control.send_replace(Some(Arc::clone(&channel)));
                    }
                    DataChannelEvent::OnMessage(message) if message.is_string => {
                        if let Ok(text) = str::from_utf8(&message.data) {
                            // Sending the message fails only if it has no receiver.
                            let _ = this.sockets.messages.send(text.into());
                        }
                    }
                    _ => {}
                }
            }
            this.control.send_replace(None);
        });
    }
}

/// Passes one packet from the network to the playout.
fn receive(sockets: &Sockets, packet: &rtc::rtp::Packet) {
    let at = Instant::now();
    let header = &packet.header;
    sockets.tap.received(at, header, &packet.payload);
    sockets.counters.received(packet.payload.len());
    sockets.counters.heard(&header.csrc, at);
    // An oversized payload, which no regular sender makes, is counted as received and never played.
    let Some(payload) = Payload::copy_from(&packet.payload) else {
        return;
    };
    let packet = Packet {
        seq: Seq(header.sequence_number),
        time: RtpTime(header.timestamp),
        ssrc: header.ssrc,
        marker: header.marker,
        level: None,
        payload,
    };
    // If the queue to the playout is full, the packet is dropped, which the playout counts as a
    // loss.
    let _ = sockets
        .received
        .try_send(Received::Packet(packet, clock::at(at)));
}
