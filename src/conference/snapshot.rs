//! Snapshots: the events that tell a data channel that has just opened, or a new monitor, the
//! present state of a room and of its floor.
//!
//! A data channel limits the length of a message. The state of a larger room lists only some
//! participants: floor holders, talkers and, in the first message on a channel, the channel's own
//! participant (the reader); `participants_total` gives the full number. Later messages with the
//! room's state are the same for all channels, so they do not list the reader.

use std::sync::Arc;
use std::time::Instant;

use mixer::ParticipantId;

use super::machine::Machine;
use super::member::Member;
use super::room::Room;
use crate::floor::Action;
use crate::protocol::{Event, PublicId, RoomName, RoomState};
use crate::rtc::MAX_TEXT_BYTES;

/// Maximum number of participants listed in a shortened room state. With names of maximum length
/// these participants fill half a message; the floor's holders and queue fill a third at most.
const MOST_IN_SHORT: usize = 64;

impl Machine {
    /// Sends a participant whose data channel has just opened the state of its room and of the
    /// other rooms that it hears.
    pub(super) fn catch_up(&mut self, id: ParticipantId, now: Instant) {
        let Some(name) = self.registry.place(id) else {
            return;
        };
        let Some(room) = self.registry.rooms.get(name) else {
            return;
        };
        let elsewhere = self.missed_by(id, now);
        let elsewhere = elsewhere.map(|(event, name)| event.to_json_from(name).into());
        let mut texts = room.first_texts(name, id, now);
        texts.extend(elsewhere);
        for text in texts {
            self.effects.text(vec![id], text);
        }
    }

    /// Returns the events that tell a participant who talks in the other rooms that it hears, and
    /// the state of their floors.
    pub(super) fn missed_by(
        &self,
        id: ParticipantId,
        now: Instant,
    ) -> impl Iterator<Item = (Event, &RoomName)> {
        let heard = self.monitoring.heard_by(id, self.registry.place(id));
        let rooms = heard.filter_map(|name| Some((name, self.registry.rooms.get(name)?)));
        rooms.flat_map(move |(name, room)| {
            let events = room.snapshot(name, now).into_iter();
            events.map(move |event| (event, name))
        })
    }
}

impl Room {
    /// Returns the texts that tell a data channel that has just opened the state of its room.
    pub(super) fn first_texts(
        &self,
        name: &RoomName,
        reader: ParticipantId,
        now: Instant,
    ) -> Vec<Arc<str>> {
        let event = Event::Room {
            room: Box::new(self.state(name, now)),
        };
        let text = self.fitting_text(&event, event.to_json().into(), Some(reader));
        let floor = self.floor_recap(name, now).into_iter();
        [text]
            .into_iter()
            .chain(floor.map(|event| event.to_json().into()))
            .collect()
    }

    /// Returns the text of an event for a data channel: `whole`, or a shortened room state if
    /// `whole` is a room state longer than a data channel message.
    pub(super) fn fitting_text(
        &self,
        event: &Event,
        whole: Arc<str>,
        reader: Option<ParticipantId>,
    ) -> Arc<str> {
        match event {
            Event::Room { room } if whole.len() > MAX_TEXT_BYTES => {
                let room = Box::new(self.in_short(room, reader));
                Event::Room { room }.to_json().into()
            }
            _ => whole,
        }
    }

    /// Returns the floor events that describe the present state of the floor.
    pub(super) fn floor_recap(&self, name: &RoomName, now: Instant) -> Vec<Event> {
        let actions = self.floor.snapshot(now);
        actions
            .filter_map(|action| self.announcement(name, action))
            .collect()
    }

    /// Returns the events that tell a new subscriber in another room which participants talk, and
    /// the state of the floor.
    pub(super) fn snapshot(&self, name: &RoomName, now: Instant) -> Vec<Event> {
        let talkers = self.members.iter().filter(|member| member.talking);
        let talking = talkers.map(|member| Event::Talking {
            participant: PublicId(member.id),
        });
        talking.chain(self.floor_recap(name, now)).collect()
    }

    /// Returns the event that all clients receive about a floor action; `None` if the action
    /// concerns one participant only.
    pub(super) fn announcement(&self, name: &RoomName, action: Action) -> Option<Event> {
        let room = name.clone();
        Some(match action {
            Action::Taken {
                participant,
                grant,
                may_request,
            } => {
                let called = self.name_of(participant);
                Event::floor_taken(room, called, participant, grant, may_request)
            }
            Action::Released { participant, burst } => Event::FloorReleased {
                room,
                burst,
                participant: PublicId(participant),
            },
            Action::Idle { n } => Event::FloorIdle { room, n },
            Action::Revoked {
                participant,
                burst,
                cause,
                grace,
            } => Event::floor_revoked(room, participant, Some(burst), cause, grace),
            Action::QueueChanged => Event::FloorQueue {
                room,
                queue: self.floor.queue().map(PublicId).collect(),
            },
            _ => return None,
        })
    }

    /// Returns the room's `state` with only the reader, floor holders and talkers, up to
    /// [`MOST_IN_SHORT`] participants.
    fn in_short(&self, state: &RoomState, reader: Option<ParticipantId>) -> RoomState {
        let rank = |member: &Member| {
            if Some(member.id) == reader {
                Some(0)
            } else if self.floor.holds(member.id) {
                Some(1)
            } else {
                member.talking.then_some(2)
            }
        };
        let ranked = self.members.iter().enumerate();
        let mut chosen: Vec<(u8, usize)> = ranked
            .filter_map(|(at, member)| Some((rank(member)?, at)))
            .collect();
        chosen.sort_unstable();
        chosen.truncate(MOST_IN_SHORT);
        // Restores the order of joining.
        chosen.sort_unstable_by_key(|(_, at)| *at);
        let participants = chosen.iter().map(|(_, at)| self.members[*at].public());
        RoomState {
            name: state.name.clone(),
            config: state.config,
            allow_monitors: state.allow_monitors,
            floor: state.floor.clone(),
            monitors: state.monitors.clone(),
            links: state.links.clone(),
            permanent: state.permanent,
            participants: participants.collect(),
            participants_total: Some(self.members.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::super::member::tests::member;
    use super::super::registry::Registry;
    use super::*;
    use crate::floor::{Mode, Request, Settings};
    use crate::protocol::{MAX_MONITORS, Monitor, Monitors, RoomConfig};

    /// A room of `people` participants: 300 holds the floor, 350 waits in the queue and 400 is
    /// talking.
    fn hall(people: u32) -> (Registry, RoomName) {
        let mut registry = Registry::default();
        let name = RoomName::parse("hall").expect("a good name");
        let config = RoomConfig {
            floor: Settings {
                mode: Mode::Ptt,
                ..Settings::default()
            },
            ..RoomConfig::default()
        };
        let room = registry.new_room(config, false);
        registry.rooms.insert(name.clone(), room);
        for id in 1..=people {
            registry.add(&name, member(id, &format!("secret {id}")));
        }
        let room = registry.rooms.get_mut(&name).expect("it is there");
        for id in 1..=people {
            room.floor.join(ParticipantId(id), true, 0);
        }
        for id in [300, 350] {
            let request = Request::default();
            room.floor
                .request(ParticipantId(id), request, Instant::now());
        }
        for member in &mut room.members {
            member.talking = member.id == ParticipantId(400);
        }
        (registry, name)
    }

    fn texts(room: &Room, name: &RoomName) -> Vec<Value> {
        let texts = room.first_texts(name, ParticipantId(7), Instant::now());
        let parsed = texts.iter().map(|text| {
            assert!(text.len() <= MAX_TEXT_BYTES, "{} bytes", text.len());
            serde_json::from_str(text).expect("JSON")
        });
        parsed.collect()
    }

    #[test]
    fn oversized_room_snapshot_lists_only_its_recipient_the_floor_holder_and_talkers() {
        let (registry, name) = hall(2_000);
        let texts = texts(&registry.rooms[&name], &name);
        let room = &texts[0]["room"];
        assert_eq!(room["participants_total"], 2_000);
        assert_eq!(
            (&room["name"], &room["mode"]),
            (&"hall".into(), &"ptt".into())
        );
        assert_eq!(room["talk_limit_s"], 30);
        let listed = room["participants"].as_array().expect("a list").iter();
        let csrcs: Vec<_> = listed.map(|it| it["csrc"].as_u64()).collect();
        assert_eq!(csrcs, [Some(7), Some(300), Some(400)]);
        let holder = &room["floor"]["holders"][0]["participant"];
        assert_eq!(texts[1]["event"], "floor_taken");
        assert_eq!(&texts[1]["participant"], holder);
        assert_eq!(texts[2]["event"], "floor_queue");
        assert_eq!(texts.len(), 3);
    }

    #[test]
    fn room_snapshot_that_fits_lists_all_participants() {
        let (registry, name) = hall(100);
        let texts = texts(&registry.rooms[&name], &name);
        let listed = texts[0]["room"]["participants"].as_array();
        assert_eq!(listed.map(Vec::len), Some(100));
        assert!(texts[0]["room"].get("participants_total").is_none());
    }

    #[test]
    fn snapshot_of_the_largest_possible_room_fits_the_message_limit() {
        let (mut registry, name) = hall(2_000);
        let room = registry.rooms.get_mut(&name).expect("it is there");
        let settings = Settings {
            mode: Mode::Multi(Mode::MOST_HOLDERS),
            queue_limit: 1_000,
            ..*room.floor.settings()
        };
        room.floor.set(settings, Instant::now());
        let monitor = Monitor {
            participant: PublicId(ParticipantId(u32::MAX)),
            name: "\u{10ffff}".repeat(64),
            room: RoomName::parse(&"x".repeat(64)).expect("a good name"),
        };
        room.monitors = Monitors {
            monitors: vec![monitor; MAX_MONITORS],
            total: 2_000,
        };
        for member in &mut room.members {
            member.name = "\u{10ffff}".repeat(64);
            member.talking = true;
            let now = Instant::now();
            room.floor.request(member.id, Request::default(), now);
        }
        let whole = texts(room, &name);
        let listed = whole[0]["room"]["participants"].as_array();
        assert_eq!(listed.map(Vec::len), Some(MOST_IN_SHORT));
        assert_eq!(whole.len(), 1 + usize::from(Mode::MOST_HOLDERS) + 1);
    }
}
