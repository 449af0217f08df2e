//! A forecast of the next talkers. A room in a pause moves its ticks to the arrival of the packets
//! of these participants.

use core::time::Duration;

use super::{LONGEST_PACKET_MS, Room};
use crate::schedule::{MOST_MET, Rhythm, Rhythms};
use crate::source::Strip;
use crate::units::{ParticipantId, Tick, Time};

/// The forecast of talkers; each method is real-time safe.
impl Room {
    /// When the packets of the likely next talkers may be played; `None` unless the room is in a
    /// pause.
    ///
    /// Moving the room's ticks now costs the listeners a moment of silence. At the next word it
    /// would cost them part of that word.
    pub(crate) fn rhythms_in_pause(&self, now: Time) -> Option<Rhythms> {
        // With a single member, nobody would hear the difference.
        if self.rest_ms <= LONGEST_PACKET_MS || self.members.len() < 2 {
            return None;
        }
        let likely: Rhythms = (self.likely_talkers(now).map(|(_, rhythm)| rhythm)).collect();
        if !likely.is_empty() {
            return Some(likely);
        }
        // The last talker may have left.
        let mut others = [self.recent_talkers.last(), self.newest_sender].into_iter();
        let rhythm = others.find_map(|id| self.strip_of(id?)?.rhythm());
        rhythm.map(Rhythms::from)
    }

    /// The rhythms of the participant that begins to talk and of the other likely talkers.
    pub(crate) fn rhythms_around(&self, next: ParticipantId, rhythm: Rhythm, now: Time) -> Rhythms {
        let others = self.likely_talkers(now).filter(|(id, _)| *id != next);
        let others = others.map(|(_, rhythm)| rhythm);
        core::iter::once(rhythm).chain(others).collect()
    }

    /// The participants likely to talk next: those that talked in the last 30 s and still send. In
    /// a room where only a few can talk, everybody that sends counts, so that the room moves before
    /// the first word and then stays.
    fn likely_talkers(&self, now: Time) -> impl Iterator<Item = (ParticipantId, Rhythm)> {
        let lately_ticks = LATELY_MS / u64::from(self.settings.tick.ms());
        let lately = Tick(self.tick.0.saturating_sub(lately_ticks));
        let talkers = self.recent_talkers.since(lately);
        let rhythms_of_talkers = talkers.filter_map(move |id| {
            let strip = self.strip_of(id)?;
            Some((id, strip.rhythm_at(now)?))
        });
        let is_recent = move |id| self.recent_talkers.since(lately).any(|talker| talker == id);
        let rhythms_of_others = self.few_who_can_talk().filter_map(move |(id, strip)| {
            let has_place = !is_recent(id) && strip.target() <= MOST_OF_SILENT;
            Some((id, strip.rhythm_at(now).filter(|_| has_place)?))
        });
        rhythms_of_talkers.chain(rhythms_of_others)
    }

    /// All participants that can talk, if they are at most [`MOST_MET`]; otherwise none.
    fn few_who_can_talk(&self) -> impl Iterator<Item = (ParticipantId, &Strip)> {
        let are_few = self.strips().nth(MOST_MET).is_none();
        self.strips().take(if are_few { MOST_MET } else { 0 })
    }

    fn strip_of(&self, id: ParticipantId) -> Option<&Strip> {
        let found = self.strips().find(|(member, _)| *member == id);
        found.map(|(_, strip)| strip)
    }

    /// The strips of participants that can talk and are not leaving.
    fn strips(&self) -> impl Iterator<Item = (ParticipantId, &Strip)> {
        let stay = self.members.list.iter().filter(|member| !member.leaving);
        stay.filter_map(|member| Some((member.id, member.participant.strip.as_deref()?)))
    }

    /// Whether nobody would notice an irregular tick: nobody is heard, no packet is partly
    /// gathered, and no sent packet would overlap with the one being gathered.
    pub(super) fn is_at_rest(&self) -> bool {
        self.rest_ms > LONGEST_PACKET_MS && self.gathering_ms == 0
    }
}

/// A participant heard within the last 30 s is likely to talk again.
const LATELY_MS: u64 = 30_000;

/// Longest target playout delay at which a participant that has not talked lately is considered.
/// Otherwise the jitter of a silent participant would move the room.
const MOST_OF_SILENT: Duration = Duration::from_millis(6);
