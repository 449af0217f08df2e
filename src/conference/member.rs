//! One participant of a room, as the conference knows it.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use mixer::ParticipantId;
use mixer::command::Shared;
use mixer::format::TickLength;
use mixer::profile::Recipe;

use super::floor::SentCounts;
use crate::protocol::{Participant, PublicId};
use crate::rate_limit::MessageLimit;

/// One participant.
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
    /// How its stream is made, if it only listens.
    pub(super) ear: Option<StreamRecipe>,
    /// Its data channel is open.
    pub(super) channel: bool,
    /// What it had sent when its room's floor last looked.
    pub(super) sent: SentCounts,
    /// How many messages it may still send: over its data channel, over WebSockets, and requests for the floor over
    /// HTTP. What others do to it is not counted here.
    pub(super) messages: MessageLimit,
    /// The present ICE session of the peer.
    pub(super) ice: IceSession,
    /// Settings the engine reads and telemetry it writes.
    pub(super) shared: Arc<Shared>,
}

/// How the stream of a listen-only participant is made: only this side can give it another one in a listener group.
#[derive(Debug, Clone, Copy)]
pub(super) struct StreamRecipe {
    /// How it is encoded.
    pub(super) recipe: Recipe,
    /// The room's tick.
    pub(super) tick: TickLength,
}

/// How requests name a peer's ICE session.
#[derive(Debug, Clone, Default)]
pub(super) struct IceSession {
    /// Ours for it (RFC 9725, 4.3.1).
    pub(super) etag: String,
    /// The client's user name fragment in it.
    pub(super) client_ufrag: String,
    /// The one before the last restart: what comes under it is late.
    pub(super) former_ufrag: Option<String>,
}

impl Member {
    /// What everybody may see.
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

    /// Whether the engine mixes it at this moment.
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
            ear: None,
            channel: false,
            sent: SentCounts::default(),
            messages: MessageLimit::new(crate::rate_limit::Rates::default().messages),
            ice: IceSession::default(),
            shared: Arc::default(),
        }
    }
}
