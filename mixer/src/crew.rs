//! Encodes that may be done by another thread than the room's own.
//!
//! A room in which everybody talks owes everybody an encode, which may be more than one thread can
//! do in a tick. Such encodes are offered through the [`Sink`](crate::engine::Sink) as boxes that
//! any thread may run: each holds one listener's stream with a whole packet gathered, and nothing
//! else of the room. What is not done in time skips its packet, and its stream comes back later.

use core::fmt;
use core::panic::AssertUnwindSafe;
use core::time::Duration;
use std::panic::catch_unwind;

use crate::codec::Codec;
use crate::listener::{Heard, Listener};
use crate::packet::{OutPacket, Payload, Sources};
use crate::profile::{Application, Recipe};
use crate::units::{ParticipantId, RoomId, RtpTime};

/// One stream's packet to be encoded.
pub struct EncodeJob {
    pub(crate) listener: Option<Box<Listener>>,
    pub(crate) to: ParticipantId,
    pub(crate) room: RoomId,
    /// The instant of the tick the packet belongs to, on the media clock.
    pub(crate) time: RtpTime,
    /// When that tick was run.
    pub(crate) run_at: RtpTime,
    pub(crate) packet: OutPacket,
    pub(crate) heard: Heard,
    /// What the encode takes at most.
    pub(crate) budget: Duration,
}

/// Jobs that are not in use.
pub(crate) type Jobs = Vec<Box<EncodeJob>>;

impl EncodeJob {
    /// An empty one, to be used again and again.
    ///
    /// Real-time: set-up only (allocates).
    pub(crate) fn empty() -> Box<EncodeJob> {
        Box::new(EncodeJob {
            listener: None,
            to: ParticipantId(0),
            room: RoomId(0),
            time: RtpTime(0),
            run_at: RtpTime(0),
            packet: OutPacket {
                time: RtpTime(0),
                marker: false,
                sources: Sources::default(),
                payload: Payload::EMPTY,
            },
            heard: Heard::Nothing,
            budget: Duration::ZERO,
        })
    }

    /// What the encode takes at most, unless the machine is busy with something else: a thread with less time than that
    /// had better not begin it.
    pub fn budget(&self) -> Duration {
        self.budget
    }

    /// Encodes, into itself. A panic comes to a mix the codec refused, whichever thread it is on.
    ///
    /// Real-time: safe.
    pub fn run(&mut self) {
        let Some(listener) = &mut self.listener else {
            self.heard = Heard::Nothing;
            return;
        };
        let packet = &mut self.packet;
        let encode = AssertUnwindSafe(|| listener.encode(packet));
        self.heard = catch_unwind(encode).unwrap_or(Heard::Failed);
    }
}

impl fmt::Debug for EncodeJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodeJob({:?} in {:?})", self.to, self.room)
    }
}

/// What one packet's encode takes at most: twice what it usually does.
///
/// - `complexity_cap`: most libopus complexity to be spent.
pub(crate) fn budget(recipe: &Recipe, complexity_cap: u8) -> Duration {
    let complexity = u32::from(recipe.complexity.min(complexity_cap));
    // 20 ms of mono on one core of the machine that the design's figures come from.
    let usual_us = match (recipe.codec, recipe.application) {
        (Codec::Opus, Application::Voip | Application::Audio) => 50 + 10 * complexity,
        (Codec::Opus, Application::LowDelay) => 25 + 4 * complexity,
        _ => 25,
    };
    let frames = recipe.packet_ms * recipe.layout.channels() as u32;
    Duration::from_micros((2 * usual_us * frames).div_ceil(20).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::{Layout, TickLength};
    use crate::profile::{Profile, ReceiverLimits};

    #[test]
    fn budget_follows_what_is_encoded() {
        let limits = ReceiverLimits::default();
        let us = |profile, change: fn(&mut Recipe), cap| {
            let mut recipe = Recipe::new(profile, &limits, TickLength::Ms20);
            change(&mut recipe);
            budget(&recipe, cap).as_micros()
        };
        assert_eq!(us(Profile::Voice, |_| {}, 9), 280);
        assert_eq!(us(Profile::Voice, |_| {}, 0), 100);
        assert_eq!(us(Profile::LowDelay, |_| {}, 9), 122);
        assert_eq!(us(Profile::Thin, |_| {}, 9), 840, "60 ms");
        let stereo = |recipe: &mut Recipe| recipe.layout = Layout::Stereo;
        assert_eq!(us(Profile::Music, stereo, 9), 560);
    }
}
