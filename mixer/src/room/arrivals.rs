//! A room takes in its members' packets, and says for which packets its next tick waits.

use std::sync::atomic::Ordering::Relaxed;

use super::{Arrival, Room};
use crate::codec::DTX_MAX_BYTES;
use crate::ingest::Pushed;
use crate::packet::Packet;
use crate::permit::Permit;
#[cfg(any(test, feature = "fault-injection"))]
use crate::room::Weakness;
use crate::room::members::Members;
use crate::room::telemetry::publish_arrivals;
use crate::schedule::Rhythm;
use crate::source::Strip;
use crate::units::{Level, Time};

/// Packets between ticks; each method is real-time safe.
impl Room {
    /// Takes in one packet from the member at `place`; returns `None` if the member sends no
    /// packets.
    pub(crate) fn push(&mut self, place: usize, packet: &Packet, arrival: Time) -> Option<Arrival> {
        #[cfg(any(test, feature = "fault-injection"))]
        self.give_way(Weakness::Packet);
        let at_rest = self.is_at_rest();
        let ticks_wait = self.leeway_samples() > 0;
        let member = self.members.list.get_mut(place)?;
        let participant = &mut *member.participant;
        let wants_tone = participant.wants_tone();
        let strip = participant.strip.as_mut().filter(|it| it.takes_packets())?;
        let settings = &participant.shared.settings;
        if strip.is_parked() {
            // A parked strip is not pulled each tick, so it may not know the latest settings.
            strip.set(settings.muted() || member.leaving, settings.gain());
        }
        strip.set_ticks_wait(ticks_wait);
        strip.allow(settings.permit(), arrival);
        let begins = strip.begins_talk_spurt_at(arrival);
        if strip.rhythm().is_none() && !settings.muted() {
            self.newest_sender = Some(participant.id);
        }
        let pushed = strip.push(packet, arrival);
        if strip.is_parked() && !member.awake {
            let telemetry = &participant.shared.telemetry;
            let level = Level::from(strip.level()).wire();
            telemetry.level.store(level, Relaxed);
            publish_arrivals(strip, strip.stats().received, telemetry);
        } else {
            member.awake = true;
        }
        member.attended |= wants_tone;
        let speaks = !strip.tells_silence()
            && packet.payload.as_slice().len() > DTX_MAX_BYTES
            && !settings.muted();
        let is_next =
            begins || strip.has_floor() || self.recent_talkers.last() == Some(participant.id);
        let wanted = at_rest && speaks && is_next && member.awake && pushed == Pushed::Stored;
        let rhythm = Rhythm {
            ready: arrival + strip.target(),
            packet_samples: strip.samples_of(packet),
        };
        let (id, wakes) = (participant.id, member.awake || member.attended);
        Some(Arrival {
            pushed,
            wanted: wanted.then_some((id, rhythm)),
            wakes,
        })
    }

    /// Applies the settings of the member at `place` at the next tick, even if its strip is idle
    /// and the room asleep. Returns when packets that have waited for the permit to be heard may be
    /// played.
    pub(crate) fn attend(&mut self, place: usize) -> Option<Rhythm> {
        let at_rest = self.is_at_rest();
        let ticks_wait = self.leeway_samples() > 0;
        let member = self.members.list.get_mut(place)?;
        member.attended = member.participant.strip.is_some();
        let participant = &mut *member.participant;
        let settings = &participant.shared.settings;
        let strip = participant.strip.as_mut()?;
        strip.set_ticks_wait(ticks_wait);
        let is_granted = settings.permit() == Permit::Held && !settings.muted();
        (at_rest && is_granted).then(|| strip.held_rhythm())?
    }

    /// How long the next tick may wait for a missing packet, samples: half a tick.
    ///
    /// Zero if the room feeds or hears other rooms, or if more than [`MOST_WAITED_FOR`]
    /// participants talk.
    pub(crate) fn leeway_samples(&self) -> usize {
        let is_apart = !self.feeds_others() && !self.listens_to_other_rooms();
        match is_apart && self.members.ranks.len() <= MOST_WAITED_FOR {
            true => self.settings.tick.samples() / 2,
            false => 0,
        }
    }

    /// Whether a participant heard in the last tick has sent no packet for the next one.
    pub(crate) fn lacks_packet(&self) -> bool {
        let Members { list, ranks, .. } = &self.members;
        ranks.iter().any(|rank| {
            let member = list.get(rank.member).filter(|it| it.may_be_awaited(rank));
            let strip = member.and_then(|it| it.participant.strip.as_deref());
            strip.is_some_and(Strip::lacks_packet)
        })
    }

    /// Tells the strips heard in the last tick that the next tick waits for their packets.
    pub(crate) fn await_packets(&mut self) {
        let Members { list, ranks, .. } = &mut self.members;
        for rank in ranks.iter() {
            let member = list
                .get_mut(rank.member)
                .filter(|it| it.may_be_awaited(rank));
            if let Some(strip) = member.and_then(|it| it.participant.strip.as_deref_mut()) {
                strip.await_packet();
            }
        }
    }
}

/// Largest number of talkers with which a tick waits for late packets. With more talkers, somebody
/// would be late in nearly every tick.
const MOST_WAITED_FOR: usize = 3;
