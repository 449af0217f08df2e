//! Applying commands to the engine.

use core::any::Any;
use core::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;

use super::room_entry::RoomEntry;
use super::{Command, Engine, Location};
use crate::mix::links::LinkChange;
use crate::monitor::Feed;
use crate::output::{Event, OutputStream, Refused, Retired, Sink};
#[cfg(any(test, feature = "fault-injection"))]
use crate::room::Weakness;
use crate::room::{Members, Participant, Room, RoomSettings};
use crate::units::{ParticipantId, RoomId};

/// A method of a room that changes what a member hears. Returns the box, unless the room needs the
/// previous state in it for a cross-fade. If the change cannot be made, returns it as an error.
type SetPart<C> = fn(&mut Room, usize, Box<C>) -> Result<Option<Box<C>>, Box<C>>;

/// A command that was not carried out, with the box that it carried.
struct Unapplied(Option<Retired>);

/// Commands; each method is real-time safe.
impl Engine {
    /// Applies one command.
    ///
    /// A command that cannot be carried out changes nothing: the box that it carried is retired,
    /// and the command is counted. Unless the command was to take something away,
    /// [`Event::Refused`] reports it.
    ///
    /// Real-time: safe.
    pub fn apply(&mut self, command: Command, sink: &mut dyn Sink) {
        let subject = subject(&command);
        let Err(Unapplied(unused)) = self.try_apply(command, sink) else {
            return;
        };
        self.stats.refused_total += 1;
        if let Some(unused) = unused {
            if let Some(room) = unused.get::<Room>() {
                room.telemetry().failed.store(true, Relaxed);
            }
            if let Some(participant) = unused.get::<Participant>() {
                let telemetry = &participant.shared.telemetry;
                telemetry.refused.store(true, Relaxed);
            }
            sink.retired(unused);
        }
        if let Some(subject) = subject {
            sink.event(Event::Refused(subject));
        }
    }

    fn try_apply(&mut self, command: Command, sink: &mut dyn Sink) -> Result<(), Unapplied> {
        match command {
            Command::AddRoom(room) => self.add_room(room),
            Command::ConfigureRoom(id, settings) => self.configure_room(id, settings),
            Command::RemoveRoom(id) => {
                let index = self.index_of(id)?;
                self.remove_room(index, false, sink);
                Ok(())
            }
            Command::Reserve { room, members } => self.reserve(room, members, sink),
            Command::AddParticipant { room, participant } => {
                self.add_participant(room, participant)
            }
            Command::RemoveParticipant(id) => self.remove_participant(id, sink),
            Command::Detach {
                participant,
                stream,
            } => self.detach(participant, stream, sink),
            Command::SetStream(id, stream) => self.set_stream(id, stream, sink),
            Command::SetFeed(id, feed) => self.set_feed(id, feed, sink),
            Command::SetLinks(id, links) => self.set_links(id, links, sink),
            Command::SetMonitors(id, monitor_change) => {
                self.set_part(id, monitor_change, Room::set_monitors, sink)
            }
            Command::SetGains(id, change) => self.set_part(id, change, Room::set_gains, sink),
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

    fn configure_room(&mut self, id: RoomId, settings: RoomSettings) -> Result<(), Unapplied> {
        let index = self.index_of(id)?;
        self.enter(index, |room| room.configure(settings));
        Ok(())
    }

    fn reserve(
        &mut self,
        id: RoomId,
        members: Box<Members>,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Ok(index) = self.index_of(id) else {
            return refused(members);
        };
        let replaced = self.enter(index, |room| room.reserve(members));
        retire(replaced, sink);
        Ok(())
    }

    fn set_stream(
        &mut self,
        id: ParticipantId,
        stream: Box<OutputStream>,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Some(&Location { entry, member }) = self.location_of.get(&id) else {
            return refused(stream);
        };
        let replaced = self.enter(entry, |room| room.set_stream(member, stream));
        self.wake(entry);
        retire(replaced.flatten(), sink);
        Ok(())
    }

    fn set_feed(
        &mut self,
        id: RoomId,
        feed: Option<Arc<Feed>>,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Ok(index) = self.index_of(id) else {
            return Err(Unapplied(feed.map(Retired::shared)));
        };
        let replaced = self.enter(index, |room| room.set_feed(feed));
        if let Some(feed) = replaced.flatten() {
            sink.retired(Retired::shared(feed));
        }
        Ok(())
    }

    fn set_links(
        &mut self,
        id: RoomId,
        links: Box<LinkChange>,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Ok(index) = self.index_of(id) else {
            return refused(links);
        };
        let set = self.enter(index, |room| {
            let replaced = room.set_links(links);
            (replaced, room.members().is_empty())
        });
        if let Some((replaced, is_empty)) = set {
            retire(replaced, sink);
            if !is_empty {
                self.wake(index);
            }
        }
        Ok(())
    }

    /// Applies a change of what a participant hears through `set`, a method of the participant's
    /// room.
    fn set_part<C: Any + Send>(
        &mut self,
        id: ParticipantId,
        change: Box<C>,
        set: SetPart<C>,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Some(&Location { entry, member }) = self.location_of.get(&id) else {
            return refused(change);
        };
        match self.enter(entry, |room| set(room, member, change)) {
            Some(Ok(replaced)) => {
                retire(replaced, sink);
                self.wake(entry);
                Ok(())
            }
            Some(Err(change)) => refused(change),
            None => Ok(()),
        }
    }

    fn add_room(&mut self, room: Box<Room>) -> Result<(), Unapplied> {
        let id = room.id();
        let members = room.members().len();
        let has_place = self.entry_of.len() < self.limits.rooms
            && !self.entry_of.contains_key(&id)
            && self.location_of.len() + members <= self.limits.participants;
        if !has_place {
            return refused(room);
        }
        let index = match self.entries.iter().position(Option::is_none) {
            Some(index) => index,
            None => {
                self.entries.push(None);
                self.entries.len() - 1
            }
        };
        let phase = self.loads.least_loaded(room.settings().tick);
        let mut entry = RoomEntry::new(room, phase, self.slot);
        entry.weigh(1 + members as isize, &mut self.loads);
        self.entries[index] = Some(entry);
        self.entry_of.insert(id, index);
        // A room usually arrives empty, and wakes with its first participant.
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
        let is_full = self.location_of.len() >= self.limits.participants;
        let index = self.entry_of.get(&room).copied();
        let Some(index) = index.filter(|_| !is_full && !self.location_of.contains_key(&id)) else {
            return refused(participant);
        };
        let member = match self.enter(index, |room| room.add(participant)) {
            Some(Ok(member)) => member,
            Some(Err(participant)) => return refused(participant),
            None => return Ok(()),
        };
        if let Some(entry) = &mut self.entries[index] {
            entry.weigh(1, &mut self.loads);
        }
        let location = Location {
            entry: index,
            member,
        };
        self.location_of.insert(id, location);
        self.wake(index);
        Ok(())
    }

    fn remove_participant(
        &mut self,
        id: ParticipantId,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let Location { entry, member } = self.location_of.remove(&id).ok_or(Unapplied(None))?;
        self.enter(entry, |room| room.dismiss(member));
        self.wake(entry);
        self.take_left(entry, sink);
        Ok(())
    }

    fn detach(
        &mut self,
        id: ParticipantId,
        stream: Option<Box<OutputStream>>,
        sink: &mut dyn Sink,
    ) -> Result<(), Unapplied> {
        let give_back = |stream: Option<Box<OutputStream>>| Unapplied(stream.map(Retired::owned));
        let Some(&Location { entry, member }) = self.location_of.get(&id) else {
            return Err(give_back(stream));
        };
        match self.enter(entry, |room| room.detach(member, stream)) {
            Some(Ok(unneeded)) => retire(unneeded, sink),
            Some(Err(stream)) => return Err(give_back(stream)),
            None => return Ok(()),
        }
        self.location_of.remove(&id);
        self.wake(entry);
        self.take_left(entry, sink);
        Ok(())
    }

    /// Applies one participant's settings at its room's next tick, and wakes the room for that.
    fn attend(&mut self, id: ParticipantId) -> Result<(), Unapplied> {
        let location = self.location_of.get(&id).copied();
        let Location { entry, member } = location.ok_or(Unapplied(None))?;
        self.wake(entry);
        if let Some(rhythm) = self.enter(entry, |room| room.attend(member)).flatten() {
            self.meet(entry, |_| Some(rhythm.into()));
        }
        Ok(())
    }

    fn index_of(&self, id: RoomId) -> Result<usize, Unapplied> {
        self.entry_of.get(&id).copied().ok_or(Unapplied(None))
    }
}

fn refused<T: Any + Send>(unused: Box<T>) -> Result<(), Unapplied> {
    Err(Unapplied(Some(Retired::owned(unused))))
}

fn retire<T: Any + Send>(replaced: Option<Box<T>>, sink: &mut dyn Sink) {
    if let Some(replaced) = replaced {
        sink.retired(Retired::owned(replaced));
    }
}

/// The room or participant that a command adds or changes; `None` if the command takes something
/// away. If that is already gone, nothing need be reported.
fn subject(command: &Command) -> Option<Refused> {
    match command {
        Command::AddRoom(room) => Some(Refused::Room(room.id())),
        Command::ConfigureRoom(id, _)
        | Command::Reserve { room: id, .. }
        | Command::SetFeed(id, Some(_))
        | Command::SetLinks(id, _) => Some(Refused::Room(*id)),
        Command::AddParticipant { participant, .. } => Some(Refused::Participant(participant.id())),
        Command::SetStream(id, _) | Command::SetMonitors(id, _) | Command::SetGains(id, _) => {
            Some(Refused::Participant(*id))
        }
        Command::Detach { participant, .. } => Some(Refused::Participant(*participant)),
        _ => None,
    }
}
