//! The peer's data channel `control` (RFC 8831, RFC 8832).

use std::time::{Duration, Instant};

use rtc::data_channel::RTCDataChannelId;

use super::super::error::MessageError;
use super::super::handle::{Reason, RtcEvent};
use super::super::metrics::Dropped;
use super::{BRISK, CoreInput, Peer, Turn};

impl Peer {
    /// Text for the data channel `control`, if there is one.
    pub(in crate::rtc) fn send_text(&mut self, text: String, turn: &mut Turn<'_>) {
        let Some(channel) = self.control else {
            return;
        };
        if self
            .parts
            .core
            .give(CoreInput::Text(turn.now, channel, text))
            .is_err()
        {
            self.dropped(Dropped::Message);
        }
        self.brisk_until = turn.now + BRISK;
        self.drain(turn);
    }

    pub(super) fn on_channel(&mut self, id: RTCDataChannelId, turn: &mut Turn<'_>) {
        let connection = self.parts.core.connection();
        let Some(mut channel) = connection.and_then(|it| it.data_channel(id)) else {
            return;
        };
        self.channel_bytes += CHANNEL_BYTES + channel.label().len();
        if self.channel_bytes > MAX_CHANNEL_BYTES {
            return self.end(Reason::Fault);
        }
        if channel.label() == CONTROL && self.control.is_none() {
            self.control = Some(id);
            turn.out
                .events
                .push_back(RtcEvent::ChannelOpen(self.parts.participant));
        } else if channel.close().is_err() {
            self.dropped(Dropped::Core);
        }
    }

    pub(super) fn on_message(
        &mut self,
        id: RTCDataChannelId,
        is_string: bool,
        data: &[u8],
        turn: &mut Turn<'_>,
    ) {
        // Beside `control` every channel is closed as soon as it opens; nobody waits for an answer there.
        if self.control != Some(id) {
            return self.dropped(Dropped::Message);
        }
        let message = read_message(is_string, data);
        let passes = self.texts.passes(turn.now);
        let text = message.as_ref().map_or("", |text| text);
        if !self.releases.admit(text, passes, turn.now) {
            return self.dropped(Dropped::Message);
        }
        let participant = self.parts.participant;
        let event = match message {
            Ok(text) => RtcEvent::Text(participant, text.to_owned()),
            Err(error) => {
                self.dropped(Dropped::Message);
                RtcEvent::BadMessage(participant, error)
            }
        };
        turn.out.events.push_back(event);
    }
}

/// Lets messages through that release the floor although there are too many messages: one after each message within
/// the limit, since that may have asked for the floor, and one every now and then, since the floor may have come
/// otherwise. Releases that come faster change nothing.
#[derive(Debug, Default)]
pub(in crate::rtc) struct Releases {
    /// A message has passed since the last release.
    is_due: bool,
    admitted: Option<Instant>,
}

impl Releases {
    /// Whether a message is taken.
    ///
    /// - `passes`: it is within the limit.
    fn admit(&mut self, text: &str, passes: bool, now: Instant) -> bool {
        if passes {
            self.is_due = true;
            return true;
        }
        let since = |at| now.saturating_duration_since(at);
        let rested = self.admitted.is_none_or(|at| since(at) >= RELEASE_INTERVAL);
        if !(self.is_due || rested) || !may_release(text) {
            return false;
        }
        self.is_due = false;
        self.admitted = Some(now);
        true
    }
}

/// Whether a message may be a release of the floor. It is read where that costs nobody's audio anything.
fn may_release(text: &str) -> bool {
    text.len() <= MAX_RELEASE_BYTES && text.contains("floor_release")
}

/// Longest release of the floor; with an `id`, it has a hundred bytes.
const MAX_RELEASE_BYTES: usize = 1_024;

/// Time between two releases that are over the limit: a key that bounces takes no longer.
const RELEASE_INTERVAL: Duration = Duration::from_millis(20);

/// The text of a message on `control`.
fn read_message(is_string: bool, data: &[u8]) -> Result<&str, MessageError> {
    if data.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLong {
            limit_bytes: MAX_MESSAGE_BYTES,
        });
    }
    let text = is_string.then(|| std::str::from_utf8(data).ok()).flatten();
    text.ok_or(MessageError::NotText)
}

/// Longest message taken on a data channel; a command has a hundred bytes.
const MAX_MESSAGE_BYTES: usize = 16 * 1_024;

/// Longest message sent, if the client takes that much: a room of 380 people in one piece. It is also what a client takes
/// that says nothing about it (RFC 8841, 6.1). The core keeps a buffer of this size for each peer with data channels.
///
/// The answer names it as what we take: clients of the same core as ours take no longer message than they may send. It is
/// taken, but commands longer than [`MAX_MESSAGE_BYTES`] are answered with an error.
pub(in crate::rtc) const MAX_SENT_BYTES: u32 = 64 * 1_024;

/// The one data channel that is listened to.
const CONTROL: &str = "control";

/// What the core keeps of every data channel ever opened, beside its label, and the most it may keep for one client: a
/// thousand channels. Those beside `control` are closed at once, which is no harm to the call; a client that goes on all
/// the same would fill the memory.
const CHANNEL_BYTES: usize = 256;
const MAX_CHANNEL_BYTES: usize = 256 * 1_024;

/// Text that waits for the client to take it; more is dropped.
pub(super) const MAX_BUFFERED_BYTES: usize = 256 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = r#"{"command":"floor_release","id":1}"#;
    const REQUEST: &str = r#"{"command":"floor_request"}"#;

    #[test]
    fn release_gets_through_after_every_message_that_did() {
        let mut releases = Releases::default();
        let now = Instant::now();
        for _ in 0..50 {
            assert!(releases.admit(REQUEST, true, now));
            assert!(releases.admit(RELEASE, false, now));
        }
        assert!(!releases.admit(RELEASE, false, now), "nothing to release");
        assert!(releases.admit(RELEASE, false, now + RELEASE_INTERVAL));
    }

    #[test]
    fn nothing_else_gets_through_beyond_the_limit() {
        let mut releases = Releases::default();
        let now = Instant::now();
        assert!(!releases.admit(REQUEST, false, now));
        let long = format!("floor_release{}", " ".repeat(MAX_RELEASE_BYTES));
        assert!(!releases.admit(&long, false, now));
        let admitted = (0..1_000).filter(|ms| {
            let now = now + Duration::from_millis(*ms);
            releases.admit(RELEASE, false, now)
        });
        assert_eq!(admitted.count(), 50, "a flood of releases is bounded too");
    }
}
