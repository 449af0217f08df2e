//! What a command does to the engine.

use core::sync::atomic::Ordering::Relaxed;

use super::berth::Berth;
use super::{Engine, Seat, Sink};
#[cfg(any(test, feature = "fault-injection"))]
use crate::command::Weakness;
use crate::command::{Command, Event, Refused, Retired};
use crate::participant::Participant;
use crate::room::Room;
use crate::units::{ParticipantId, RoomId};

/// One of a room's ways to change what a member hears. Gives back what is not needed, or the change itself if it cannot be
/// made.
type SetPart<C> = fn(&mut Room, usize, Box<C>) -> Result<Option<Box<C>>, Box<C>>;

/// A command that was not carried out, and the box it brought.
struct Unapplied(Option<Retired>);

/// Each of these is real-time safe.
impl Engine {
    /// Applies one command. One that cannot be carried out changes nothing: the box it brought is retired, it is counted,
    /// and unless it took something away it is told as [`Event::Refused`].
    ///
    /// Real-time: safe.
    pub fn apply(&mut self, command: Command, sink: &mut dyn Sink) {
        let subject = subject(&command);
        let Err(Unapplied(unused)) = self.try_apply(command, sink) else {
            return;
        };
        self.stats.refused_total += 1;
        match &unused {
            Some(Retired::Room(room)) => room.telemetry().failed.store(true, Relaxed),
            Some(Retired::Participant(participant)) => {
                let telemetry = &participant.shared.telemetry;
                telemetry.refused.store(true, Relaxed);
            }
            _ => {}
        }
        if let Some(unused) = unused {
            sink.retired(unused);
        }
        if let Some(subject) = subject {
            sink.event(Event::Refused(subject));
        }
    }

    fn try_apply(&mut self, command: Command, sink: &mut dyn Sink) -> Result<(), Unapplied> {
        match command {
            Command::AddRoom(room) => self.add_room(room),
            Command::ConfigureRoom(id, settings) => {
                let index = self.index_of(id)?;
                self.enter(index, |room| room.configure(settings));
                Ok(())
            }
            Command::RemoveRoom(id) => {
                let index = self.index_of(id)?;
                self.remove_room(index, false, sink);
                Ok(())
            }
            Command::Reserve { room, members } => {
                let Ok(index) = self.index_of(room) else {
                    return refused(Retired::Members(members));
                };
                if let Some(replaced) = self.enter(index, |room| room.reserve(members)) {
                    sink.retired(Retired::Members(replaced));
                }
                Ok(())
            }
            Command::AddParticipant { room, participant } => {
                self.add_participant(room, participant)
            }
            Command::RemoveParticipant(id) => self.remove_participant(id, sink),
            Command::SetListener(id, listener) => {
                let Some(&Seat { berth, member }) = self.seat_of.get(&id) else {
                    return refused(Retired::Listener(listener));
                };
                let set = self.enter(berth, |room| room.set_listener(member, listener));
                self.wake(berth);
                if let Some(listener) = set.flatten() {
                    sink.retired(Retired::Listener(listener));
                }
                Ok(())
            }
            Command::SetFeed(id, feed) => {
                let Ok(index) = self.index_of(id) else {
                    return Err(Unapplied(feed.map(Retired::Feed)));
                };
                let set = self.enter(index, |room| room.set_feed(feed));
                if let Some(feed) = set.flatten() {
                    sink.retired(Retired::Feed(feed));
                }
                Ok(())
            }
            Command::SetLinks(id, links) => {
                let Ok(index) = self.index_of(id) else {
                    return refused(Retired::Rescan(links));
                };
                let set = self.enter(index, |room| {
                    let replaced = room.set_links(links);
                    (replaced, room.members().is_empty())
                });
                let Some((replaced, is_empty)) = set else {
                    return Ok(());
                };
                if let Some(replaced) = replaced {
                    sink.retired(Retired::Rescan(replaced));
                }
                if !is_empty {
                    self.wake(index);
                }
                Ok(())
            }
            Command::SetScan(id, rescan) => {
                self.set_part(id, rescan, Room::set_scan, Retired::Rescan, sink)
            }
            Command::SetGains(id, change) => {
                self.set_part(id, change, Room::set_gains, Retired::GainChange, sink)
            }
            Command::Attend(id) => self.attend(id),
            #[cfg(any(test, feature = "fault-injection"))]
            Command::Break(id, weakness) => {
                let index = self.index_of(id)?;
                self.enter(index, |room| room.weaken(weakness));
                if weakness == Weakness::Tick {
                    self.wake(index);
                }
                Ok(())
            }
        }
    }

    /// Changes what a participant hears by one of a room's ways to do so.
    fn set_part<C>(
        &mut self,
        id: ParticipantId,
        change: Box<C>,
        set: SetPart<C>,
        retired: fn(Box<C>) -> Retired,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Some(&Seat { berth, member }) = self.seat_of.get(&id) else {
            return refused(retired(change));
        };
        match self.enter(berth, |room| set(room, member, change)) {
            Some(Ok(replaced)) => {
                if let Some(replaced) = replaced {
                    sink.retired(retired(replaced));
                }
                self.wake(berth);
                Ok(())
            }
            Some(Err(change)) => refused(retired(change)),
            None => Ok(()),
        }
    }

    fn add_room(&mut self, room: Box<Room>) -> Result<(), Unapplied> {
        let id = room.id();
        let members = room.members().len();
        let has_place = self.berth_of.len() < self.limits.rooms
            && !self.berth_of.contains_key(&id)
            && self.seat_of.len() + members <= self.limits.participants;
        if !has_place {
            return refused(Retired::Room(room));
        }
        let index = match self.berths.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.berths.push(None);
                self.berths.len() - 1
            }
        };
        let phase = self.loads.least_loaded(room.settings().tick);
        let mut berth = Berth::new(room, phase, self.slot);
        berth.weigh(1 + members as isize, &mut self.loads);
        self.berths[index] = Some(berth);
        self.berth_of.insert(id, index);
        // A room usually comes empty, and wakes with the first participant.
        if members > 0 {
            self.wake(index);
        }
        Ok(())
    }

    fn add_participant(
        &mut self,
        room: RoomId,
        participant: Box<Participant>,
    ) -> Result<(), Unapplied> {
        let id = participant.id();
        let is_full = self.seat_of.len() >= self.limits.participants;
        let index = self.berth_of.get(&room).copied();
        let Some(index) = index.filter(|_| !is_full && !self.seat_of.contains_key(&id)) else {
            return refused(Retired::Participant(participant));
        };
        let member = match self.enter(index, |room| room.add(participant)) {
            Some(Ok(member)) => member,
            Some(Err(participant)) => return refused(Retired::Participant(participant)),
            None => return Ok(()),
        };
        if let Some(berth) = &mut self.berths[index] {
            berth.weigh(1, &mut self.loads);
        }
        let seat = Seat {
            berth: index,
            member,
        };
        self.seat_of.insert(id, seat);
        self.wake(index);
        Ok(())
    }

    fn remove_participant(
        &mut self,
        id: ParticipantId,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Seat { berth, member } = self.seat_of.remove(&id).ok_or(Unapplied(None))?;
        self.enter(berth, |room| room.dismiss(member));
        self.wake(berth);
        self.take_left(berth, sink);
        Ok(())
    }

    /// Looks at one participant's settings at its room's next tick, and sees to it that there is one.
    fn attend(&mut self, id: ParticipantId) -> Result<(), Unapplied> {
        let seat = self.seat_of.get(&id).copied();
        let Seat { berth, member } = seat.ok_or(Unapplied(None))?;
        self.wake(berth);
        if let Some(rhythm) = self.enter(berth, |room| room.attend(member)).flatten() {
            self.meet(berth, |_| Some(rhythm.into()));
        }
        Ok(())
    }

    fn index_of(&self, id: RoomId) -> Result<usize, Unapplied> {
        self.berth_of.get(&id).copied().ok_or(Unapplied(None))
    }
}

fn refused(unused: Retired) -> Result<(), Unapplied> {
    Err(Unapplied(Some(unused)))
}

/// What a command adds to or changes; `None` if it takes something away, which is no loss if it is not there.
fn subject(command: &Command) -> Option<Refused> {
    match command {
        Command::AddRoom(room) => Some(Refused::Room(room.id())),
        Command::ConfigureRoom(id, _)
        | Command::Reserve { room: id, .. }
        | Command::SetFeed(id, Some(_))
        | Command::SetLinks(id, _) => Some(Refused::Room(*id)),
        Command::AddParticipant { participant, .. } => Some(Refused::Participant(participant.id())),
        Command::SetListener(id, _) | Command::SetScan(id, _) | Command::SetGains(id, _) => {
            Some(Refused::Participant(*id))
        }
        _ => None,
    }
}
