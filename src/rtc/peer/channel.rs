//! The peer's data channel `control` (RFC 8831, RFC 8832).

use std::time::{Duration, Instant};

use rtc::data_channel::RTCDataChannelId;

use super::super::error::MessageError;
use super::super::handle::{Reason, RtcEvent};
use super::super::metrics::Dropped;
use super::{BRISK, CoreInput, Peer, Turn};

impl Peer {
    /// Sends text on the data channel `control`, if the client has opened it.
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
        // Every channel besides `control` is closed as soon as it opens, so no client expects an
        // answer on one.
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

/// Decides which floor releases are admitted beyond the message rate limit.
///
/// One is admitted after each message within the limit, because that message may have requested the
/// floor, and one per [`RELEASE_INTERVAL`], because the floor may have been granted otherwise.
/// Releases that come faster change nothing.
#[derive(Debug, Default)]
pub(in crate::rtc) struct Releases {
    /// Whether a message within the rate limit has been admitted since the last extra release.
    is_due: bool,
    admitted: Option<Instant>,
}

impl Releases {
    /// Whether the message `text` is admitted.
    ///
    /// - `passes`: whether the message is within the rate limit.
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

/// Whether a text may be a floor release, judged without parsing it. It is parsed later, on a
/// thread that does not handle audio.
fn may_release(text: &str) -> bool {
    text.len() <= MAX_RELEASE_BYTES && text.contains("floor_release")
}

/// Longest floor release in bytes; a usual one with an `id` has about a hundred.
const MAX_RELEASE_BYTES: usize = 1_024;

/// Shortest time between two floor releases over the rate limit: a bouncing push-to-talk key does
/// not send them faster for longer.
const RELEASE_INTERVAL: Duration = Duration::from_millis(20);

/// Reads the text of a message on the data channel `control`.
fn read_message(is_string: bool, data: &[u8]) -> Result<&str, MessageError> {
    if data.len() > MAX_MESSAGE_BYTES {
        return Err(MessageError::TooLong {
            limit_bytes: MAX_MESSAGE_BYTES,
        });
    }
    let text = is_string.then(|| std::str::from_utf8(data).ok()).flatten();
    text.ok_or(MessageError::NotText)
}

/// Longest message accepted on a data channel, in bytes; a command has about a hundred.
const MAX_MESSAGE_BYTES: usize = 16 * 1_024;

/// Longest text sent on a data channel, in bytes, if the client accepts that much: the state of a
/// room of 380 people in one message. It is also the default limit of clients (RFC 8841, section
/// 6.1). The core keeps a buffer of this size for each peer with data channels.
///
/// The answer also announces this length as the longest message that the server accepts, because
/// clients with the same core do not accept longer messages than they may send. Commands longer
/// than [`MAX_MESSAGE_BYTES`] are answered with an error.
pub(in crate::rtc) const MAX_SENT_BYTES: u32 = 64 * 1_024;

/// Label of the only data channel that is read.
const CONTROL: &str = "control";

/// Memory that the core keeps for every data channel ever opened, besides its label, and the limit
/// per client, a thousand channels. Channels besides `control` are closed at once, which does not
/// harm the call, but a client that keeps opening channels would fill the memory.
const CHANNEL_BYTES: usize = 256;
const MAX_CHANNEL_BYTES: usize = 256 * 1_024;

/// Most text, in bytes, that waits until the client can receive it; further text is dropped.
pub(super) const MAX_BUFFERED_BYTES: usize = 256 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    const RELEASE: &str = r#"{"command":"floor_release","id":1}"#;
    const REQUEST: &str = r#"{"command":"floor_request"}"#;

    #[test]
    fn rate_limiter_admits_a_floor_release_after_each_passed_message() {
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
    fn rate_limiter_admits_no_other_message_and_bounds_floor_releases() {
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
