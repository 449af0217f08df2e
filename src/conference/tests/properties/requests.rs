//! Requests to the machine in the random test, with checks of their answers.

use super::*;
use crate::conference::commands::too_many;
use crate::conference::effect::{Effect, NetworkOrder};
use crate::conference::handle::PendingRequest;
use crate::conference::rooms::WatchRoom;
use crate::protocol::{Event, RoomName};
use crate::rate_limit::Rates;

impl World {
    pub(super) fn has_room(&self, room: Where) -> bool {
        self.machine.registry.rooms.contains_key(&name(ROOMS[room]))
    }

    pub(super) fn is_in(&self, id: ParticipantId) -> bool {
        self.machine.registry.place(id).is_some()
    }

    pub(super) fn members(&self) -> usize {
        let rooms = self.machine.registry.rooms.values();
        rooms.map(|room| room.members.len()).sum()
    }

    pub(super) fn reserve(&mut self, room: Where, mode: Option<Mode>, listen: Rooms) {
        self.joins += 1;
        let drawn = self.joins;
        let seat = self.ask(ReserveSeat {
            room: name(ROOMS[room]),
            mode,
            listen: entries(listen),
            drawn,
        });
        match seat {
            Ok(seat) => {
                assert!(!self.closed);
                self.seats.push(seat);
            }
            Err(JoinError::MonitoringRefused { .. }) => {}
            Err(error) => assert!(
                !self.closed || matches!(error, JoinError::Overloaded(Overloaded::Stopping)),
                "{error}"
            ),
        }
    }

    pub(super) fn enter(&mut self, seat: usize, talks: bool, listen: Rooms) {
        if seat >= self.seats.len() {
            return;
        }
        let seat = self.seats.remove(seat);
        let (id, room) = (seat.id, seat.room.clone());
        let secret = format!("secret {}", id.0);
        let mut member = member(id.0, &secret);
        member.talks = talks;
        let shared = member.shared.clone();
        self.luggage = (Some(id), Some(id));
        let wishes = JoinWish {
            priority: 0,
            listen: entries(listen),
        };
        let entered = self.ask(Enter {
            seat,
            member: Box::new(member),
            wishes,
        });
        let left_over = std::mem::take(&mut self.luggage);
        if entered.is_err() {
            assert_eq!(left_over, (Some(id), Some(id)), "neither was told");
            return;
        }
        assert!(!self.closed);
        assert_eq!(left_over, (None, None), "both were told");
        self.sessions.push(Session {
            id,
            secret,
            room,
            shared,
        });
    }

    pub(super) fn start_to_watch(&mut self, room: Where) {
        let (events, mut subscribed) = oneshot::channel();
        let room = name(ROOMS[room]);
        let watch = WatchRoom {
            room: room.clone(),
            events,
        };
        if let Some(state) = self.ask(watch) {
            let events = subscribed.try_recv().expect("subscribed in the same step");
            let state = serde_json::to_value(&state).expect("JSON");
            self.watch(&room, &state, events);
        }
    }

    pub(super) fn configure(&mut self, room: Where, setting: Setting, puts: bool) {
        let mut change = RoomChange::default();
        let mut floor = FloorChange::default();
        match setting {
            Setting::Mode(mode) => floor.mode = Some(mode),
            Setting::Implicit(implicit) => floor.implicit = Some(implicit),
            Setting::Tick(tick) => change.tick = Some(tick),
            Setting::Profile(profile) => change.profile = Some(profile),
            Setting::Limit(most) => change.max_participants = Some(most),
            Setting::Monitors(allow) => change.allow_monitors = Some(Some(allow)),
            Setting::Links(some) => {
                let rooms = entries(some).into_iter().map(|entry| entry.room);
                change.links = Some(rooms.collect());
            }
        }
        change.floor = floor;
        let how = match puts {
            true => Configure::Put,
            false => Configure::Merge,
        };
        let existed = self.has_room(room);
        let configured = self.ask(ConfigureRoom {
            room: name(ROOMS[room]),
            change,
            how,
        });
        if let Ok((_, made)) = configured {
            assert_eq!(made, !existed);
            assert!(self.has_room(room));
        } else {
            assert_eq!(self.has_room(room), existed, "nothing has changed");
        }
    }

    /// Sends a command over the WebSocket of a room; returns the answer.
    pub(super) fn command(
        &mut self,
        session: &Session,
        room: &RoomName,
        text: &str,
    ) -> Result<Option<Event>, Event> {
        let command =
            CommandMessage::parse(text).map_err(|_| too_many(Rates::default().messages))?;
        let is_in = self.machine.registry.place(session.id) == Some(room);
        let message = CommandMessage {
            session: Some(session.secret.clone()),
            ..command
        };
        let answer = self.ask(CarryOut {
            room: room.clone(),
            message,
        });
        assert!(is_in || answer.is_err());
        answer
    }

    /// Sends a monitor list, which must be refused if one of its rooms refuses monitors.
    pub(super) fn listen(&mut self, session: &Session, list: Rooms) {
        let rooms = entries(list);
        let refuses = |entry: &MonitorEntry| {
            let room = self.machine.registry.rooms.get(&entry.room);
            let is_own = entry.room == session.room;
            room.is_some_and(|room| !is_own && !room.config.allows_monitors())
        };
        let is_refused = rooms.iter().any(refuses);
        let rooms = rooms.iter().map(|it| format!("{:?}", it.room.as_str()));
        let rooms = rooms.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"command":"listen","rooms":[{rooms}],"id":7}}"#);
        let answer = self.command(session, &session.room.clone(), &text);
        if matches!(answer, Ok(Some(Event::Ok { .. }))) {
            assert!(!is_refused);
        }
    }

    /// Sends a data channel message; its answer must precede the floor events that it causes.
    pub(super) fn text(&mut self, id: ParticipantId, text: &str) {
        if !self.network.peers.contains(&id) {
            return;
        }
        let member = self.machine.registry.member_mut(id);
        let was_open = member.is_some_and(|(_, member)| member.channel);
        let effects = self.effects_of(Input::Network(RtcEvent::Text(id, text.to_owned())));
        if was_open {
            let answer = effects.iter().position(|effect| {
                matches!(effect, Effect::Network(NetworkOrder::Text(to, _)) if to[..] == [id])
            });
            assert_no_floor_before(&effects, answer);
        }
        self.perform(effects);
    }

    pub(super) fn ask_for_floor(&mut self, session: &Session, queue: bool) {
        let was_there = self.is_in(session.id);
        let request = floor::Request {
            queue,
            ..floor::Request::default()
        };
        let (request, mut answer) = PendingRequest::new(RequestFloor {
            session: session.secret.clone(),
            request,
        });
        let effects = self.effects_of(Input::Request(request));
        let replied = effects
            .iter()
            .position(|effect| matches!(effect, Effect::Reply(_)));
        assert!(replied.is_some());
        assert_no_floor_before(&effects, replied);
        self.perform(effects);
        let answer = answer.try_recv().expect("the one answer");
        assert!(was_there || answer.is_err());
    }

    pub(super) fn update_ice(&mut self, session: &Session, restarts: bool) {
        let (outcome, _) = oneshot::channel();
        let was_there = self.is_in(session.id);
        self.joins += 1;
        let etag = format!("etag {}", self.joins);
        let ufrag = restarts.then(|| format!("ufrag {}", self.joins));
        let candidate = "candidate:1 1 udp 1 127.0.0.1 9 typ host";
        let update = IceUpdate {
            pwd: ufrag
                .as_ref()
                .map(|_| "aPasswordOfTwentyTwoOrMore".to_owned()),
            ufrag,
            candidates: vec![candidate.to_owned()],
        };
        let before = self.ice_of(session.id);
        let begun = self.ask(UpdateIce {
            session: session.secret.clone(),
            expected: None,
            update,
            etag,
            outcome,
        });
        assert!(was_there || begun.is_err());
        // The restart fails: the earlier ICE session is valid again.
        if let Ok(Some(begun)) = begun {
            assert!(restarts && self.ice_of(session.id) != before);
            self.ask(RestartFailed(begun));
        }
        assert_eq!(self.ice_of(session.id), before);
    }

    fn ice_of(&mut self, id: ParticipantId) -> Option<String> {
        let (_, member) = self.machine.registry.member_mut(id)?;
        Some(format!("{:?}", member.ice))
    }
}

/// Asserts that no floor event for a room precedes the answer.
fn assert_no_floor_before(effects: &[Effect], answer: Option<usize>) {
    let floor = effects.iter().position(
        |effect| matches!(effect, Effect::Broadcast(_, text) if text.contains(r#""event":"floor_"#)),
    );
    if let (Some(floor), Some(answer)) = (floor, answer) {
        assert!(answer < floor, "{effects:?}");
    }
}
