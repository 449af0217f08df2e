//! Test driver: runs the conference's handle and its owner on one thread, so that each call is
//! complete when it returns.

use std::cell::{RefCell, RefMut};
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use tokio::runtime::Runtime;
use tokio::sync::{broadcast, oneshot};

use crate::conference::floor::{ReadFloorStanding, ReleaseFloor, RequestFloor};
use crate::conference::handle::Request;
use crate::conference::ice::BegunRestart;
use crate::conference::join::HeldSeat;
use crate::conference::machine::Machine;
use crate::conference::participants::ChangeParticipant;
use crate::conference::performer::Performer;
use crate::conference::rooms::{ConfigureRoom, DeleteRoom, ListRooms, ReadRoom};
use crate::conference::sessions::{CarryOut, Leave};
use crate::conference::{
    Close, Conference, Configure, ConfigureError, Figures, FloorError, IceError, IceOutcome,
    IceUpdate, Join, JoinError, Joined, Overloaded, Owner, UnknownParticipant, UnknownSession,
};
use crate::floor::{self, Answer, Mode};
use crate::protocol::{
    Change, CommandMessage, Event, FloorStanding, MonitorEntry, Participant, PublicId, RoomChange,
    RoomLine, RoomName, RoomState,
};
use crate::rtc::RestartResult;

/// A handle whose calls drive the owner.
pub(super) struct Driven {
    pub(super) handle: Conference,
    owner: RefCell<Owner>,
    runtime: Runtime,
}

/// Access to the machine, to inspect and change it; the machine's effects are performed when this
/// guard is dropped.
pub(super) struct Turn<'a> {
    owner: RefMut<'a, Owner>,
}

impl Driven {
    pub(super) fn new((handle, owner): (Conference, Owner)) -> Driven {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        Driven {
            handle,
            owner: owner.into(),
            runtime: runtime.expect("a runtime"),
        }
    }

    /// Runs a future to its end while the owner serves requests.
    pub(super) fn until<T>(&self, future: impl Future<Output = T>) -> T {
        let mut owner = self.owner.borrow_mut();
        self.runtime.block_on(async {
            let mut future = pin!(future);
            loop {
                tokio::select! {
                    biased;
                    outcome = &mut future => return outcome,
                    Some(envelope) = owner.next_request() => owner.serve(envelope, Instant::now()),
                }
            }
        })
    }

    /// Sends a request; returns the answer.
    fn ask<R: Request>(&self, request: R) -> R::Answer {
        self.until(self.handle.ask(request))
    }

    pub(super) fn lock(&self) -> Turn<'_> {
        // Lets the owner serve earlier requests first.
        self.until(self.handle.place());
        let mut turn = Turn {
            owner: self.owner.borrow_mut(),
        };
        turn.perform();
        turn
    }

    /// Runs a turn of the owner; returns whether all mixers and the network thread are running.
    pub(super) fn turn(&self, now: Instant) -> bool {
        self.owner.borrow_mut().turn(now);
        self.is_whole()
    }

    pub(super) fn report(&self, now: Instant) {
        self.owner.borrow_mut().report(now);
    }

    pub(super) fn is_whole(&self) -> bool {
        self.handle.is_whole()
    }

    pub(super) fn rooms(&self) -> Vec<RoomLine> {
        self.ask(ListRooms)
    }

    pub(super) fn room(&self, name: &RoomName) -> Option<RoomState> {
        self.ask(ReadRoom { room: name.clone() })
    }

    pub(super) fn configure(
        &self,
        name: &RoomName,
        change: RoomChange,
        how: Configure,
    ) -> Result<(RoomState, bool), ConfigureError> {
        self.ask(ConfigureRoom {
            room: name.clone(),
            change,
            how,
        })
    }

    pub(super) fn delete(&self, name: &RoomName) -> Result<(), ConfigureError> {
        self.ask(DeleteRoom { room: name.clone() })
    }

    pub(super) fn watch(
        &self,
        room: &RoomName,
    ) -> Option<(RoomState, broadcast::Receiver<Arc<str>>)> {
        self.until(self.handle.watch(room.clone()))
    }

    pub(super) fn leave(&self, session: &str) -> Result<(), UnknownSession> {
        self.ask(Leave {
            session: session.to_owned(),
        })
    }

    pub(super) fn change(
        &self,
        room: &RoomName,
        participant: PublicId,
        change: Change,
    ) -> Result<Participant, UnknownParticipant> {
        self.ask(ChangeParticipant {
            room: room.clone(),
            participant,
            change,
        })
    }

    pub(super) fn carry_out(
        &self,
        room: &RoomName,
        message: CommandMessage,
    ) -> Result<Option<Event>, Event> {
        self.ask(CarryOut {
            room: room.clone(),
            message,
        })
    }

    pub(super) fn floor_request(
        &self,
        session: &str,
        request: floor::Request,
    ) -> Result<Answer, FloorError> {
        self.ask(RequestFloor {
            session: session.to_owned(),
            request,
        })
    }

    pub(super) fn floor_release(&self, session: &str) -> Result<(), UnknownSession> {
        self.ask(ReleaseFloor {
            session: session.to_owned(),
        })
    }

    pub(super) fn floor_standing(&self, session: &str) -> Result<FloorStanding, UnknownSession> {
        self.ask(ReadFloorStanding {
            session: session.to_owned(),
        })
    }

    pub(super) fn join(&self, join: Join) -> Result<Joined, JoinError> {
        self.until(self.handle.join(join))
    }

    pub(super) fn reserve(
        &self,
        room: &RoomName,
        mode: Option<Mode>,
        listen: Vec<MonitorEntry>,
    ) -> Result<HeldSeat, JoinError> {
        self.until(self.handle.reserve(room, mode, listen))
    }

    pub(super) fn update_ice(
        &self,
        session: &str,
        expected: Option<&[String]>,
        update: IceUpdate,
    ) -> Result<IceOutcome, IceError> {
        self.until(self.handle.update_ice(session, expected, update))
    }

    pub(super) fn begin_ice(
        &self,
        session: &str,
        expected: Option<&[String]>,
        update: IceUpdate,
    ) -> Result<Option<(BegunRestart, oneshot::Receiver<RestartResult>)>, IceError> {
        self.until(self.handle.begin_ice(session, expected, update))
    }

    pub(super) fn refuse_waiting(&self) -> Overloaded {
        self.until(self.handle.refuse_waiting())
    }

    pub(super) fn figures(&self) -> Figures {
        self.until(self.handle.figures())
    }

    pub(super) fn close(&self) {
        self.ask(Close);
    }
}

impl Turn<'_> {
    /// Returns the performer, after all pending effects have been performed.
    pub(super) fn performer(&mut self) -> &mut Performer {
        self.perform();
        &mut self.owner.performer
    }

    /// Performs the machine's pending effects.
    pub(super) fn perform(&mut self) {
        let Owner {
            machine, performer, ..
        } = &mut *self.owner;
        machine.settle_floors();
        performer.perform(machine.effects.take());
        self.owner.set_credit();
    }
}

impl Deref for Turn<'_> {
    type Target = Machine;

    fn deref(&self) -> &Machine {
        &self.owner.machine
    }
}

impl DerefMut for Turn<'_> {
    fn deref_mut(&mut self) -> &mut Machine {
        &mut self.owner.machine
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.perform();
    }
}
