//! Personal gains: talkers that one listener wants louder, quieter or not at all.
//!
//! Personal gains act on the voices on the bus of the listener's own room. So they multiply a
//! talker's gain in the room and cannot undo a mute. Each distinct list costs one more mix and
//! encode while a talker that it names is on the bus, and for 200 ms afterwards. At other times it
//! costs nothing.

use crate::mix::render::Voice;
use crate::output::OutputStream;
use crate::units::{Gain, ParticipantId};

/// Personal gains of one listener: the talkers it hears louder, quieter or not at all.
///
/// Entries that name nobody in the room are kept, and act once that participant talks. An entry for
/// the listener itself has no effect.
#[derive(Debug)]
pub struct PersonalGains {
    /// Sorted by id; each id occurs once, and no gain is unity.
    entries: Box<[(ParticipantId, Gain)]>,
    /// The entries that act on this tick's bus, in the same order: never more than there are
    /// entries.
    corrections: Vec<Correction>,
}

/// A personal gain that acts on this tick's bus.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Correction {
    pub voice: Voice,
    pub gain: Gain,
}

impl PersonalGains {
    /// The most talkers one list can name.
    pub const MOST: usize = 64;

    /// Builds a list from pairs in any order. Of several pairs for one talker the last counts.
    /// Beyond [`MOST`](PersonalGains::MOST) talkers, those of the highest ids are left out.
    /// Real-time: set-up only (allocates).
    pub fn new(of: impl IntoIterator<Item = (ParticipantId, Gain)>) -> PersonalGains {
        let mut entries: Vec<_> = of.into_iter().collect();
        entries.reverse();
        entries.sort_by_key(|(id, _)| *id);
        entries.dedup_by_key(|(id, _)| *id);
        entries.retain(|(_, gain)| *gain != Gain::UNITY);
        entries.truncate(PersonalGains::MOST);
        PersonalGains {
            corrections: Vec::with_capacity(entries.len()),
            entries: entries.into(),
        }
    }

    /// Whether the list has no entries.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The gain at which the listener hears this talker; unity without an entry.
    pub(crate) fn gain_of(&self, id: ParticipantId) -> Gain {
        let at = self.entries.binary_search_by_key(&id, |(id, _)| *id);
        at.map_or(Gain::UNITY, |at| self.entries[at].1)
    }

    /// Finds the entries whose talkers are on the bus.
    ///
    /// - `voices`: the voices on the bus, sorted by id.
    ///
    /// Real-time: safe.
    pub(crate) fn find_corrections(&mut self, voices: &[Voice]) {
        self.corrections.clear();
        let mut voices = voices.iter().peekable();
        for &(id, gain) in &self.entries {
            while voices.next_if(|voice| voice.id < id).is_some() {}
            if let Some(&voice) = voices.next_if(|voice| voice.id == id) {
                self.corrections.push(Correction { voice, gain });
            }
        }
    }

    /// The entries that the last [`find_corrections`](PersonalGains::find_corrections) found.
    pub(crate) fn corrections(&self) -> &[Correction] {
        &self.corrections
    }

    /// Whether both lists give every possible talker the same gain.
    pub(crate) fn is_like(&self, other: &PersonalGains) -> bool {
        self.entries == other.entries
    }
}

/// A change of one participant's personal gains. The box comes back with the previous gains, and
/// with the stream if that was not needed.
#[derive(Debug, Default)]
pub struct GainChange {
    /// The gains from now on; `None`: every talker as loud as in the room.
    pub gains: Option<Box<PersonalGains>>,
    /// A stream of the participant's own encoding, for a listen-only participant that may have no
    /// stream of its own.
    pub stream: Option<Box<OutputStream>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voices(ids: &[u32]) -> Vec<Voice> {
        let voices = ids.iter().enumerate();
        let voices = voices.map(|(place, &id)| Voice {
            id: ParticipantId(id),
            place,
        });
        voices.collect()
    }

    fn gains(of: &[(u32, f32)]) -> PersonalGains {
        let pairs = of.iter();
        PersonalGains::new(pairs.map(|&(id, gain)| (ParticipantId(id), Gain::linear(gain))))
    }

    #[test]
    fn personal_gains_keep_the_last_entry_per_talker_and_drop_unity_gains() {
        let list = gains(&[(7, 0.5), (3, 2.0), (7, 0.25), (5, 0.5), (5, 1.0)]);
        assert!(list.is_like(&gains(&[(3, 2.0), (7, 0.25)])));
        assert_eq!(list.gain_of(ParticipantId(7)), Gain::linear(0.25));
        assert_eq!(list.gain_of(ParticipantId(5)), Gain::UNITY);
        assert!(gains(&[(5, 1.0)]).is_empty());
        let many: Vec<_> = (0..100).map(|id| (id, 0.5)).collect();
        assert_eq!(gains(&many).entries.len(), PersonalGains::MOST);
    }

    #[test]
    fn personal_gains_correct_only_talkers_who_are_on_the_bus() {
        let mut list = gains(&[(2, 0.5), (4, 0.0), (6, 2.0)]);
        list.find_corrections(&voices(&[1, 2, 3, 6, 9]));
        let found = list.corrections().iter();
        let found: Vec<_> = found.map(|it| (it.voice.id.0, it.voice.place)).collect();
        assert_eq!(found, [(2, 1), (6, 3)]);
        list.find_corrections(&voices(&[1, 9]));
        assert!(list.corrections().is_empty());
    }
}
