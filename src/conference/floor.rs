//! The rooms' floors in operation: floor requests come in; permits go to the mixer and floor
//! messages to the participants.
//!
//! A request is answered at once. What the mixer observed of each participant is read from the
//! participant's telemetry every 20 ms: mixer events may be dropped, and a dropped event must not
//! leave a floor stuck.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use mixer::mix::Tone;
use mixer::permit::Permit;
use mixer::room::Telemetry;
use serde_json::Value;

use super::commands::refusal;
use super::effect::Effects;
use super::handle::Request;
use super::machine::Machine;
use super::metrics::MetricFamily;
use super::placement::Placement;
use super::room::Room;
use super::{CommandError, FloorError, UnknownSession};
use crate::floor::{self, Action, Answer, RevokeCause, Standing};
use crate::protocol::{Event, FloorCommand, FloorStanding, RoomName};
use crate::rate_limit::{Limited, RetryAfter, TooMany, Verdict};

/// Interval at which floors check their timers and the mixers' telemetry.
const ROUND: Duration = Duration::from_millis(20);

/// Rounds between two checks of the participants who neither hold a floor nor take one by talking.
/// Such a check can only lead to the notice that a talking participant has no floor, which is not
/// urgent.
const ROUNDS_PER_LOOK: u32 = 5;

/// Time and number of the last round in which the floors were observed.
#[derive(Debug)]
pub(super) struct FloorRounds {
    last: Instant,
    count: u32,
}

/// Floor outcomes counted since the start.
#[derive(Debug, Clone, Default)]
pub(super) struct FloorCounts {
    pub(super) granted: u64,
    pub(super) queued: u64,
    pub(super) denied: u64,
    pub(super) revoked: [u64; RevokeCause::ALL.len()],
}

/// Numbers of packets that a participant had sent when its telemetry was last read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SentCounts {
    packets: u64,
    voiced: u64,
}

/// Requests the floor of the session's room.
///
/// # Errors
/// [`FloorError`]; a session that has ended and one that never existed get the same error.
#[derive(Debug)]
pub(crate) struct RequestFloor {
    /// The secret of the session.
    pub(crate) session: String,
    pub(crate) request: floor::Request,
}

/// Releases the floor or leaves the floor queue; succeeds without effect for a session that neither
/// holds the floor nor waits for it.
///
/// # Errors
/// [`UnknownSession`] if the session does not exist.
#[derive(Debug)]
pub(crate) struct ReleaseFloor {
    /// The secret of the session.
    pub(crate) session: String,
}

/// Reads whether the session holds the floor or waits for it.
///
/// # Errors
/// [`UnknownSession`] if the session does not exist.
#[derive(Debug)]
pub(crate) struct ReadFloorStanding {
    /// The secret of the session.
    pub(crate) session: String,
}

impl Request for RequestFloor {
    type Answer = Result<Answer, FloorError>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let (id, name) = machine.at_floor(&self.session)?;
        machine.count_request(id, now)?;
        let answer = machine.ask(&name, id, self.request, now);
        answer.ok_or(UnknownSession.into())
    }
}

impl Request for ReleaseFloor {
    type Answer = Result<(), UnknownSession>;

    /// Releases the floor without counting against a rate limit: the release of a push-to-talk key
    /// must never be missed, and it has no effect for a participant who neither holds the floor nor
    /// waits for it.
    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let (id, name) = machine.at_floor(&self.session)?;
        if let Some(room) = machine.registry.change_floor(&name) {
            room.floor.release(id, now);
        }
        Ok(())
    }
}

impl Request for ReadFloorStanding {
    type Answer = Result<FloorStanding, UnknownSession>;

    fn handle(self, machine: &mut Machine, now: Instant) -> Self::Answer {
        let (id, name) = machine.at_floor(&self.session)?;
        let room = machine.registry.rooms.get(&name).ok_or(UnknownSession)?;
        Ok(room.floor.standing(id, now).into())
    }
}

impl Machine {
    /// Returns the participant of a session, and the participant's room.
    fn at_floor(&self, session: &str) -> Result<(ParticipantId, RoomName), UnknownSession> {
        let id = self.session(session)?;
        let name = self.registry.place(id).ok_or(UnknownSession)?;
        Ok((id, name.clone()))
    }

    /// Counts a floor request made over HTTP against the participant's message limit.
    fn count_request(&mut self, id: ParticipantId, now: Instant) -> Result<(), FloorError> {
        let (_, member) = self.registry.member_mut(id).ok_or(UnknownSession)?;
        if member.messages.take(now) == Verdict::Pass {
            return Ok(());
        }
        self.counters.count_limited(Limited::FloorRequest);
        Err(FloorError::TooMany(TooMany {
            what: Limited::FloorRequest,
            retry_after: RetryAfter(self.limits.rates.messages.interval),
        }))
    }

    /// Carries out a floor command of a participant.
    ///
    /// # Errors
    /// The event that tells the sender of the command why it was refused.
    pub(super) fn command_floor(
        &mut self,
        from: ParticipantId,
        command: FloorCommand,
        order_id: Option<Value>,
        now: Instant,
    ) -> Result<Option<Event>, Event> {
        let name = self.registry.place(from).cloned();
        let room = (name.as_ref()).and_then(|name| self.registry.change_floor(name));
        let (Some(name), Some(room)) = (&name, room) else {
            return Err(refusal(&CommandError::UnknownSession, order_id));
        };
        match command {
            FloorCommand::Request(request) => match self.ask(name, from, request, now) {
                Some(answer) => Ok(Some(floor_answer(answer, order_id))),
                None => Err(refusal(&CommandError::UnknownSession, order_id)),
            },
            FloorCommand::Position => {
                let position = room.floor.position(from);
                Ok(Some(Event::floor_queued(position, order_id)))
            }
            FloorCommand::Release => {
                room.floor.release(from, now);
                Ok(order_id.map(|id| Event::Ok { id }))
            }
            FloorCommand::Grant(to) => match room.floor.grant(from, to.0, now) {
                Ok(()) => Ok(order_id.map(|id| Event::Ok { id })),
                Err(error) => Err(refusal(&error.into(), order_id)),
            },
        }
    }

    /// Requests the floor of a room for a participant, counts the answer and plays its tone; `None`
    /// if the room does not exist.
    fn ask(
        &mut self,
        name: &RoomName,
        from: ParticipantId,
        request: floor::Request,
        now: Instant,
    ) -> Option<Answer> {
        let room = self.registry.change_floor(name)?;
        let before = room.floor.standing(from, now);
        let answer = room.floor.request(from, request, now);
        let counts = &mut self.counters.floor;
        let (count, tone) = match answer {
            // A participant that already holds the floor hears no grant tone again.
            Answer::Granted(_) if matches!(before, Standing::Granted(_)) => {
                (&mut counts.granted, None)
            }
            Answer::Granted(_) => (&mut counts.granted, Some(Tone::Grant)),
            Answer::Queued(_) => (&mut counts.queued, None),
            Answer::Denied(_) => (&mut counts.denied, Some(Tone::Deny)),
        };
        *count += 1;
        if let Some(tone) = tone {
            play(&self.placement, &mut self.effects, room, from, tone);
        }
        Some(answer)
    }

    /// Performs the actions of all floors that the present input has changed. This is the last step
    /// of an input, so that the answer to a request precedes the events that the request causes.
    pub(super) fn settle_floors(&mut self) {
        while let Some(name) = self.registry.changed_floors.pop_first() {
            self.apply_floor_actions(&name);
        }
    }

    /// Performs the pending actions of a room's floor.
    pub(super) fn apply_floor_actions(&mut self, name: &RoomName) {
        let Machine {
            registry,
            placement,
            counters,
            effects,
            ..
        } = self;
        let Some(room) = registry.rooms.get_mut(name) else {
            return;
        };
        for action in room.floor.take_actions() {
            match action {
                Action::Permit(id, permit) => allow(placement, effects, room, id, permit),
                Action::Permits => {
                    for member in &room.members {
                        let permit = room.floor.permit(member.id);
                        member.shared.settings.set_permit(permit);
                    }
                }
                Action::Granted(id, grant) => {
                    play(placement, effects, room, id, Tone::Grant);
                    effects.send_to(room, id, &Event::floor_granted(grant, None));
                }
                Action::Denied(id, denial) => {
                    play(placement, effects, room, id, Tone::Deny);
                    effects.send_to(room, id, &Event::floor_denied(denial, None));
                }
                Action::Unpermitted(id) => {
                    let cause = RevokeCause::NoPermissionToSend;
                    counters.floor.count_revoke(cause);
                    play(placement, effects, room, id, Tone::Deny);
                    let event = Event::floor_revoked(name.clone(), id, None, cause, Duration::ZERO);
                    effects.send_to(room, id, &event);
                }
                Action::Inactive => {
                    tracing::debug!(room = %name, "the floor has been idle for its inactivity time (T4)");
                }
                Action::Revoked {
                    participant, cause, ..
                } => {
                    counters.floor.count_revoke(cause);
                    play(placement, effects, room, participant, Tone::End);
                    announce(effects, name, room, action);
                }
                Action::Taken { .. }
                | Action::Released { .. }
                | Action::Idle { .. }
                | Action::QueueChanged => announce(effects, name, room, action),
            }
        }
    }

    /// Passes telemetry and the time to every floor, if a round is over.
    pub(super) fn observe_floors(&mut self, now: Instant) {
        let Some(look) = self.rounds.next(now) else {
            return;
        };
        let mut floors = std::mem::take(&mut self.registry.floors);
        floors.retain(|name| {
            let room = self.registry.rooms.get_mut(name);
            let Some(room) = room.filter(|room| room.config.floor.mode.has_floor()) else {
                return false;
            };
            let overheard = room.subscribers.is_some();
            room.floor.set_overheard(overheard, now);
            room.observe(look, now);
            // An empty room needs no observation; the next join adds the room again.
            let is_used = !room.members.is_empty();
            self.apply_floor_actions(name);
            is_used
        });
        self.registry.floors.append(&mut floors);
    }

    /// Returns when the floors are to be observed next, if any room with a floor has members.
    pub(super) fn next_round(&self) -> Option<Instant> {
        (!self.registry.floors.is_empty()).then(|| self.rounds.due())
    }
}

impl FloorCounts {
    fn count_revoke(&mut self, cause: RevokeCause) {
        let place = RevokeCause::ALL.iter().position(|it| *it == cause);
        if let Some(place) = place {
            self.revoked[place] += 1;
        }
    }

    pub(super) fn families(&self) -> [MetricFamily; 2] {
        let outcomes = [
            ("granted", self.granted),
            ("queued", self.queued),
            ("denied", self.denied),
        ];
        let revoked = RevokeCause::ALL.iter().zip(&self.revoked);
        [
            MetricFamily::counters(
                "mixminus_floor_requests_total",
                "Requests for a floor, by what they came to at once.",
                "outcome",
                outcomes,
            ),
            MetricFamily::counters(
                "mixminus_floor_revokes_total",
                "Floors taken back, and talkers told that they have none, by cause.",
                "cause",
                revoked.map(|(cause, count)| (cause.reason(), *count)),
            ),
        ]
    }
}

impl FloorRounds {
    pub(super) fn new(now: Instant) -> FloorRounds {
        FloorRounds {
            last: now,
            count: 0,
        }
    }

    /// Returns when the next round is due.
    fn due(&self) -> Instant {
        self.last + ROUND
    }

    /// Begins a round if one is due; returns whether it checks all participants, or `None` if no
    /// round is due.
    fn next(&mut self, now: Instant) -> Option<bool> {
        if now.saturating_duration_since(self.last) < ROUND {
            return None;
        }
        self.last = now;
        self.count = self.count.wrapping_add(1);
        Some(self.count.is_multiple_of(ROUNDS_PER_LOOK))
    }
}

impl SentCounts {
    fn of(telemetry: &Telemetry) -> SentCounts {
        SentCounts {
            packets: telemetry.received_total.load(Relaxed),
            voiced: telemetry.voiced_total.load(Relaxed),
        }
    }
}

impl Room {
    /// Marks all packets that members have sent so far as counted, because packets sent before a
    /// room had a floor must not count as talking.
    pub(super) fn forget_sent(&mut self) {
        for member in &mut self.members {
            member.sent = SentCounts::of(&member.shared.telemetry);
        }
    }

    /// Tells the floor which participants have sent packets, which draining voices have been played
    /// to the end, and the time.
    ///
    /// - `look`: whether to check the packets of all participants, not only of floor holders.
    fn observe(&mut self, look: bool, now: Instant) {
        let look = look || self.config.floor.implicit;
        let holders: Vec<ParticipantId> =
            self.floor.holders(now).map(|it| it.participant).collect();
        let draining: Vec<ParticipantId> = self.floor.draining().collect();
        if look || !holders.is_empty() {
            for member in &mut self.members {
                let telemetry = &member.shared.telemetry;
                if look || holders.contains(&member.id) {
                    let sent = SentCounts::of(telemetry);
                    let before = std::mem::replace(&mut member.sent, sent);
                    if sent.packets != before.packets {
                        let muted = member.shared.settings.muted();
                        let voiced = sent.voiced != before.voiced && !muted;
                        self.floor.media(member.id, voiced, now);
                    }
                }
                if draining.contains(&member.id) && telemetry.permit() == Permit::Closed {
                    self.floor.drained(member.id, now);
                }
            }
        }
        self.floor.tick(now);
    }
}

/// Broadcasts an action of the floor to the room.
fn announce(effects: &mut Effects, name: &RoomName, room: &Room, action: Action) {
    if let Some(event) = room.announcement(name, action) {
        effects.broadcast(room, &event);
    }
}

/// Sets a participant's permit: whether the mixer lets the participant's voice be heard.
fn allow(
    placement: &Placement,
    effects: &mut Effects,
    room: &Room,
    id: ParticipantId,
    permit: Permit,
) {
    let Some(member) = room.member(id) else {
        return;
    };
    member.shared.settings.set_permit(permit);
    // The room may sleep, because all packets of the talk-spurt may have arrived already. It must
    // tick to play them under the new permit, and to notice the end of a draining voice.
    if matches!(permit, Permit::Held | Permit::Draining) {
        placement.attend(effects, id);
    }
}

/// Plays a floor tone to one participant, if the room has floor tones enabled.
fn play(placement: &Placement, effects: &mut Effects, room: &Room, id: ParticipantId, tone: Tone) {
    if room.config.floor_tones
        && let Some(member) = room.member(id)
    {
        member.shared.settings.play(tone);
        placement.attend(effects, id);
    }
}

/// Turns the floor's answer into an event for the requesting participant.
fn floor_answer(answer: Answer, id: Option<Value>) -> Event {
    match answer {
        Answer::Granted(grant) => Event::floor_granted(grant, id),
        Answer::Queued(position) => Event::floor_queued(position, id),
        Answer::Denied(denial) => Event::floor_denied(denial, id),
    }
}
