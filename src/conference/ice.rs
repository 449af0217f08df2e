//! ICE of a session after the join: trickled candidates, and restarts.

use std::time::Instant;

use mixer::ParticipantId;
use tokio::sync::oneshot;

use super::effect::NetworkOrder;
use super::handle::Request;
use super::join::secret;
use super::machine::Machine;
use super::member::IceSession;
use super::{Conference, IceError, UnknownSession};
use crate::rtc::sdp::remote_candidates;
use crate::rtc::{IceUpdate, Restart, RestartAnswer, RestartError, RestartResult};

/// The result of an [`IceUpdate`].
#[derive(Debug)]
pub enum IceOutcome {
    /// The candidates were added.
    Added,
    /// The update named a new user name fragment, so ICE was restarted.
    Restarted {
        /// The ETag of the new ICE session.
        etag: String,
        /// The server's ICE parameters of the new session.
        answer: RestartAnswer,
    },
}

impl Conference {
    /// Adds a client's new ICE candidates, or restarts ICE if their user name fragment is new.
    ///
    /// - `expected`: the ETags of the request's `If-Match` condition; `None` and an empty list mean
    ///   no condition.
    ///
    /// # Errors
    /// [`IceError`]. A failed restart leaves the old ICE session unchanged.
    pub async fn update_ice(
        &self,
        session: &str,
        expected: Option<&[String]>,
        update: IceUpdate,
    ) -> Result<IceOutcome, IceError> {
        let Some((begun, answer)) = self.begin_ice(session, expected, update).await? else {
            return Ok(IceOutcome::Added);
        };
        match answer.await.unwrap_or(Err(RestartError::Unknown)) {
            Ok(answer) => Ok(IceOutcome::Restarted {
                etag: begun.etag,
                answer,
            }),
            Err(error) => {
                self.tell(RestartFailed(begun)).await;
                Err(error.into())
            }
        }
    }

    /// Hands an ICE update to the network thread; returns the restart that the update asks for, if
    /// any, and the receiver of its result.
    pub(super) async fn begin_ice(
        &self,
        session: &str,
        expected: Option<&[String]>,
        update: IceUpdate,
    ) -> Result<Option<(BegunRestart, oneshot::Receiver<RestartResult>)>, IceError> {
        let (outcome, restarted) = oneshot::channel();
        let begun = self.ask(UpdateIce {
            session: session.to_owned(),
            expected: expected.map(<[String]>::to_vec),
            update,
            etag: secret::<8>(),
            outcome,
        });
        Ok(begun.await?.map(|begun| (begun, restarted)))
    }
}

/// Adds a client's new ICE candidates, or restarts its ICE session; the answer is the restart that
/// was sent to the network thread, if any.
///
/// # Errors
/// [`IceError`].
#[derive(Debug)]
pub(super) struct UpdateIce {
    /// The secret of the session.
    pub(super) session: String,
    /// The ETags of the request's `If-Match` condition; `None` and an empty list mean no condition.
    pub(super) expected: Option<Vec<String>>,
    pub(super) update: IceUpdate,
    /// The ETag of the new ICE session, if one begins.
    pub(super) etag: String,
    /// Receives the result of a restart.
    pub(super) outcome: oneshot::Sender<RestartResult>,
}

/// Restores the ICE session from before a failed restart, unless another restart has begun since.
#[derive(Debug)]
pub(super) struct RestartFailed(pub(super) BegunRestart);

impl Request for UpdateIce {
    type Answer = Result<Option<BegunRestart>, IceError>;

    fn handle(self, machine: &mut Machine, _: Instant) -> Self::Answer {
        machine.update_ice(self)
    }
}

impl Request for RestartFailed {
    type Answer = ();

    fn handle(self, machine: &mut Machine, _: Instant) {
        let RestartFailed(begun) = self;
        let member = machine.registry.member_mut(begun.id);
        if let Some((_, member)) = member.filter(|(_, member)| member.ice.etag == begun.etag) {
            member.ice = begun.before;
        }
    }
}

impl Machine {
    /// Hands an ICE update to the network thread; returns the restart that the update asks for, if
    /// any.
    ///
    /// The member takes the new ICE session's ETag at once, and the network thread is told in the
    /// same step. Candidates that the client sends without waiting for the answer thus find the
    /// session they belong to, and a client that disconnects during its restart leaves nothing half
    /// done.
    fn update_ice(&mut self, request: UpdateIce) -> Result<Option<BegunRestart>, IceError> {
        let UpdateIce {
            session,
            expected,
            update,
            etag,
            outcome,
        } = request;
        let id = self.session(&session)?;
        let member = self.registry.member_mut(id);
        let (_, member) = member.ok_or(UnknownSession)?;
        let (id, ice) = (member.id, &mut member.ice);
        let conditions = expected.filter(|tags| !tags.is_empty());
        let is_late = update.ufrag.is_some() && update.ufrag == ice.former_ufrag;
        if is_late || conditions.is_some_and(|tags| !tags.contains(&ice.etag)) {
            return Err(IceError::Stale);
        }
        let is_full = self.effects.check_network().is_err();
        let (ufrag, pwd) = match (update.ufrag, update.pwd) {
            (Some(ufrag), Some(pwd)) if ufrag != ice.client_ufrag => (ufrag, pwd),
            _ => {
                // An update without any usable candidate succeeds without effect, even when the
                // queue is full.
                if is_full
                    && !remote_candidates(update.candidates.iter().map(String::as_str)).is_empty()
                {
                    return Err(IceError::Overloaded);
                }
                let order = NetworkOrder::Trickle(id, update.candidates);
                self.effects.tell_network(order);
                return Ok(None);
            }
        };
        if is_full {
            return Err(IceError::Overloaded);
        }
        let next = IceSession {
            etag: etag.clone(),
            client_ufrag: ufrag.clone(),
            former_ufrag: Some(ice.client_ufrag.clone()),
        };
        let before = std::mem::replace(ice, next);
        let restart = Restart {
            ufrag,
            pwd,
            candidates: update.candidates,
        };
        let order = NetworkOrder::Restart(id, restart, outcome);
        self.effects.tell_network(order);
        Ok(Some(BegunRestart { id, etag, before }))
    }
}

/// A restart that was sent to the network thread.
#[derive(Debug)]
pub(super) struct BegunRestart {
    id: ParticipantId,
    /// The ETag of the new ICE session.
    pub(super) etag: String,
    /// The ICE session that is restored if the restart fails.
    before: IceSession,
}
