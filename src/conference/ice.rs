//! A session's ICE after the join: candidates that trickle in, and restarts.

use mixer::ParticipantId;
use tokio::sync::oneshot;

use super::effect::NetworkOrder;
use super::join::secret;
use super::machine::Machine;
use super::member::IceSession;
use super::request::Request;
use super::sessions::SessionRequest;
use super::{Conference, IceError, UnknownSession};
use crate::rtc::sdp::remote_candidates;
use crate::rtc::{Restart, RestartAnswer, RestartError, RestartResult};

/// A client's news about its own addresses, from a trickle fragment (RFC 8840).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceUpdate {
    /// The user name fragment the candidates belong to.
    pub ufrag: Option<String>,
    /// The password that goes with it; needed for a restart.
    pub pwd: Option<String>,
    /// Candidate lines without `a=`.
    pub candidates: Vec<String>,
}

/// What became of an [`IceUpdate`].
#[derive(Debug)]
pub enum IceOutcome {
    /// The candidates were added.
    Added,
    /// The fragment named a new user name: ICE starts afresh.
    Restarted {
        /// Names the new ICE session.
        etag: String,
        /// The server's side of it.
        answer: RestartAnswer,
    },
}

impl Conference {
    /// Takes a client's new candidates, or restarts ICE when they come under a new user name.
    ///
    /// - `expected`: what the request was conditional on; `None` and an empty list are no condition.
    ///
    /// # Errors
    /// [`IceError`]. A restart that fails leaves the old ICE session as it was.
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
                let failed = SessionRequest::RestartFailed(begun);
                self.tell(Request::Session(failed)).await;
                Err(error.into())
            }
        }
    }

    /// Hands an update to the network thread; gives the restart it asks for, if any, and what is to come of it.
    pub(super) async fn begin_ice(
        &self,
        session: &str,
        expected: Option<&[String]>,
        update: IceUpdate,
    ) -> Result<Option<(BegunRestart, oneshot::Receiver<RestartResult>)>, IceError> {
        let (outcome, restarted) = oneshot::channel();
        let begun = self.ask(|reply| {
            Request::Session(SessionRequest::Ice {
                session: session.to_owned(),
                expected: expected.map(<[String]>::to_vec),
                update,
                etag: secret::<8>(),
                outcome,
                reply,
            })
        });
        Ok(begun.await?.map(|begun| (begun, restarted)))
    }
}

impl Machine {
    /// Hands an update to the network thread; gives the restart it asks for, if any.
    ///
    /// The member names the new ICE session from here on, and the thread is told in the same step: candidates that the
    /// client sends without waiting for the answer find the session they belong to, and a client that hangs up over its
    /// restart leaves nothing half done.
    ///
    /// - `etag`: names the new ICE session if there is one.
    /// - `outcome`: where it is told what becomes of the restart.
    pub(super) fn take_ice(
        &mut self,
        session: &str,
        expected: Option<&[String]>,
        update: IceUpdate,
        etag: String,
        outcome: oneshot::Sender<RestartResult>,
    ) -> Result<Option<BegunRestart>, IceError> {
        let id = self.session(session)?;
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
                // Candidates of no use are dropped in silence, however full it is.
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

    /// A restart has failed: the session before it holds again, unless yet another restart has come since.
    pub(super) fn undo_restart(&mut self, begun: BegunRestart) {
        let member = self.registry.member_mut(begun.id);
        if let Some((_, member)) = member.filter(|(_, member)| member.ice.etag == begun.etag) {
            member.ice = begun.before;
        }
    }
}

/// A restart that the network thread has been asked for.
#[derive(Debug)]
pub(super) struct BegunRestart {
    id: ParticipantId,
    /// Names the new ICE session.
    pub(super) etag: String,
    /// What holds again if it fails.
    before: IceSession,
}
