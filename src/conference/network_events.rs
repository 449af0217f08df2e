//! Handles events of the network thread: connections, data channels and the messages on data
//! channels.

use std::time::Instant;

use mixer::ParticipantId;
use mixer::codec::loss_class;

use super::commands::{read, too_many};
use super::machine::Machine;
use crate::protocol::{CommandMessage, Event, LeaveReason, sentence};
use crate::rate_limit::{Limited, Verdict};
use crate::rtc::{MessageError, Reason, RtcEvent};

impl Machine {
    /// Handles an event of a peer, from the network thread.
    pub(super) fn on_rtc(&mut self, event: RtcEvent, now: Instant) {
        match event {
            RtcEvent::Connected(id) => self.set_connected(id, true),
            RtcEvent::Disconnected(id) => self.set_connected(id, false),
            RtcEvent::Gone(id, reason) => {
                self.remove_participant(id, leave_reason(reason), now);
            }
            RtcEvent::ChannelOpen(id) => self.on_channel(id, now),
            RtcEvent::Text(id, text) => self.on_text(id, &text, now),
            RtcEvent::BadMessage(id, error) => self.on_bad_message(id, error, now),
            RtcEvent::Loss(id, percent) => self.set_loss(id, percent),
        }
    }

    fn set_connected(&mut self, id: ParticipantId, connected: bool) {
        let Some((room, member)) = self.registry.member_mut(id) else {
            return;
        };
        if member.connected == connected {
            return;
        }
        member.connected = connected;
        let room = room.clone();
        let participant = member.public();
        if connected && !member.shared.settings.is_reachable() {
            member.shared.settings.set_reachable(true);
            self.placement.attend(&mut self.effects, id);
        }
        self.broadcast(&room, &Event::Changed { participant });
    }

    /// Tells the mixer the packet loss that a listener has reported. If the loss class of a
    /// listen-only participant has changed, the participant also gets a new stream, with which it
    /// can join the listener group of the new class; a mixer cannot build a stream, because it must
    /// not allocate.
    fn set_loss(&mut self, id: ParticipantId, percent: u8) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        let settings = &member.shared.settings;
        let changed = loss_class(settings.loss_percent()) != loss_class(percent);
        settings.report_loss(percent);
        if let Some(stream) = member.stream.filter(|_| changed) {
            // If the queue is full, a later report of another loss class sets the stream.
            let _ = self.placement.set_stream(&mut self.effects, id, stream);
        }
    }

    /// Handles an opened data channel: from now on the channel carries the room's events, beginning
    /// with a snapshot of the room.
    fn on_channel(&mut self, id: ParticipantId, now: Instant) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        member.channel = true;
        self.catch_up(id, now);
    }

    /// Carries out a command received on a data channel. The command concerns the channel's own
    /// participant, so it needs no session secret.
    fn on_text(&mut self, id: ParticipantId, text: &str, now: Instant) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        // A message proves that the channel is open, even if the event of its opening was dropped.
        if !member.channel {
            self.on_channel(id, now);
        }
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        // The message is parsed before the rate limiter counts it: a release is obeyed at any
        // message rate.
        let message = read(text);
        let is_release = message.as_ref().is_ok_and(CommandMessage::is_release);
        let verdict = match is_release {
            true => Verdict::Pass,
            false => member.messages.take(now),
        };
        let answer = match verdict {
            Verdict::Pass => match message {
                Ok(message) => self.perform(id, message, now).unwrap_or_else(Some),
                Err(refusal) => Some(refusal),
            },
            Verdict::Warn => Some(too_many(self.limits.rates.messages)),
            // The call itself goes on, because audio has priority over messages.
            Verdict::Abuse => None,
        };
        if verdict != Verdict::Pass {
            self.counters.count_limited(Limited::Message);
        }
        if let Some(answer) = answer {
            self.effects.text(vec![id], answer.to_json().into());
        }
    }

    /// Answers an unreadable data channel message, which counts against the same rate limit as a
    /// readable one.
    fn on_bad_message(&mut self, id: ParticipantId, error: MessageError, now: Instant) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        let verdict = member.messages.take(now);
        if verdict != Verdict::Pass {
            self.counters.count_limited(Limited::Message);
        }
        let answer = match verdict {
            Verdict::Pass => Event::Error {
                kind: "invalid-command",
                detail: sentence(&error),
                room: None,
                id: None,
            },
            Verdict::Warn => too_many(self.limits.rates.messages),
            Verdict::Abuse => return,
        };
        self.effects.text(vec![id], answer.to_json().into());
    }
}

/// Returns `Left` for a client that closed its connection, and `Lost` for all other reasons.
fn leave_reason(reason: Reason) -> LeaveReason {
    match reason {
        Reason::Closed => LeaveReason::Left,
        Reason::ConsentLost | Reason::NeverConnected | Reason::Fault => LeaveReason::Lost,
    }
}
