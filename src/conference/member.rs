//! One participant of a room, as the conference knows it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mixer::ParticipantId;
use mixer::codec::Encoding;
use mixer::format::TickLength;
use mixer::room::Shared;

use super::floor::SentCounts;
use crate::protocol::{Participant, PublicId};
use crate::rate_limit::MessageLimit;

/// One participant of a room.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) id: ParticipantId,
    pub(super) session: String,
    pub(super) name: String,
    pub(super) gain_db: f32,
    pub(super) talking: bool,
    pub(super) connected: bool,
    pub(super) talks: bool,
    pub(super) listens: bool,
    /// How the participant's stream is encoded, if the participant is listen-only.
    pub(super) stream: Option<StreamEncoding>,
    /// Whether the participant's data channel is open.
    pub(super) channel: bool,
    /// Packet counts of the participant when its room's floor last observed them.
    pub(super) sent: SentCounts,
    /// Rate limiter of the participant's messages over its data channel and over WebSockets, and of
    /// its floor requests over HTTP. Changes that others make to the participant are not counted.
    pub(super) messages: MessageLimit,
    /// The present ICE session of the peer.
    pub(super) ice: IceSession,
    /// Settings that the engine reads, and telemetry that the engine writes.
    pub(super) shared: Arc<Shared>,
}

/// How the stream to a listen-only participant is encoded.
///
/// The conference keeps this to build the participant a new stream when the participant changes its
/// listener group.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamEncoding {
    /// How the stream is encoded.
    pub(super) encoding: Encoding,
    /// The tick length of the participant's room.
    pub(super) tick: TickLength,
}

/// A peer's ICE session, with the names by which requests refer to it.
#[derive(Debug, Clone, Default)]
pub(super) struct IceSession {
    /// The server's ETag of the session (RFC 9725, 4.3.1).
    pub(super) etag: String,
    /// The client's user name fragment in the session.
    pub(super) client_ufrag: String,
    /// The client's user name fragment before the last restart: updates under it are stale.
    pub(super) former_ufrag: Option<String>,
}

impl Member {
    /// Returns the participant as others may see it.
    pub(super) fn public(&self) -> Participant {
        Participant {
            id: PublicId(self.id),
            csrc: self.id.0,
            name: self.name.clone(),
            muted: self.shared.settings.muted(),
            talking: self.talking,
            gain_db: self.gain_db,
            connected: self.connected,
            talks: self.talks,
            listens: self.listens,
        }
    }

    /// Returns whether the engine mixes the participant at this moment.
    pub(super) fn is_heard(&self) -> bool {
        self.shared.telemetry.talking.load(Relaxed)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::conference) fn member(id: u32, session: &str) -> Member {
        Member {
            id: ParticipantId(id),
            session: session.into(),
            name: "Ann".into(),
            gain_db: 0.0,
            talking: false,
            connected: false,
            talks: true,
            listens: true,
            stream: None,
            channel: false,
            sent: SentCounts::default(),
            messages: MessageLimit::new(crate::rate_limit::Rates::default().messages),
            ice: IceSession::default(),
            shared: Arc::default(),
        }
    }
}
