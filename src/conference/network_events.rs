//! What the network thread reports: connections, data channels and the messages on them.

use std::time::Instant;

use mixer::ParticipantId;
use mixer::profile::loss_class;

use super::commands::{read, too_many};
use super::machine::Machine;
use crate::protocol::{CommandMessage, Event, LeaveReason};
use crate::rate_limit::{Limited, Verdict};
use crate::rtc::{MessageError, Reason, RtcEvent};

impl Machine {
    /// Takes in what has happened to a peer.
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

    /// Passes on the loss that a listener reports. Who only listens gets a stream that is prepared for it, and with it a
    /// way to the others of its kind; the mixer itself could not give it one.
    fn set_loss(&mut self, id: ParticipantId, percent: u8) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        let settings = &member.shared.settings;
        let changed = loss_class(settings.loss_percent()) != loss_class(percent);
        settings.report_loss(percent);
        if let Some(ear) = member.ear.filter(|_| changed) {
            // If the link is full, the next report that differs brings it.
            let _ = self.placement.set_listener(&mut self.effects, id, ear);
        }
    }

    /// A data channel opened: from now on it carries the room's events, beginning with the room itself.
    fn on_channel(&mut self, id: ParticipantId, now: Instant) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        member.channel = true;
        self.catch_up(id, now);
    }

    /// A command on a data channel. It concerns the channel's own participant, so it needs no session.
    fn on_text(&mut self, id: ParticipantId, text: &str, now: Instant) {
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        // Whatever became of the news that it is open: something has come over it.
        if !member.channel {
            self.on_channel(id, now);
        }
        let Some((_, member)) = self.registry.member_mut(id) else {
            return;
        };
        // Read before it is counted: the floor is released however much a client sends.
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
            // The call itself goes on: it is audio first.
            Verdict::Abuse => None,
        };
        if verdict != Verdict::Pass {
            self.counters.count_limited(Limited::Message);
        }
        if let Some(answer) = answer {
            self.effects.text(vec![id], answer.to_json().into());
        }
    }

    /// Answers a message on a data channel that could not be read, within the same limit as those that could.
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
                detail: error.to_string(),
                room: None,
                id: None,
            },
            Verdict::Warn => too_many(self.limits.rates.messages),
            Verdict::Abuse => return,
        };
        self.effects.text(vec![id], answer.to_json().into());
    }
}

/// A client that closed its connection has left; everybody else was lost.
fn leave_reason(reason: Reason) -> LeaveReason {
    match reason {
        Reason::Closed => LeaveReason::Left,
        Reason::ConsentLost | Reason::NeverConnected | Reason::Fault => LeaveReason::Lost,
    }
}
