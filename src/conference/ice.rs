//! A session's ICE after the join: candidates that trickle in, and restarts.

use mixer::ParticipantId;

use super::join::secret;
use super::{Conference, IceError};
use crate::rtc::{Restart, RestartAnswer};

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
        let (id, restart) = self.match_ice(session, expected, &update)?;
        let Some(restart) = restart else {
            return match self.inner.rtc.trickle(id, update.candidates) {
                Ok(()) => Ok(IceOutcome::Added),
                Err(error) => Err(error.into()),
            };
        };
        let ufrag = restart.ufrag.clone();
        let answer = self.inner.rtc.restart(id, restart).await?;
        let mut state = self.lock();
        let (_, member) = state
            .registry
            .member_mut(id)
            .ok_or(IceError::UnknownSession)?;
        member.client_ufrag = ufrag;
        member.etag = secret::<8>();
        Ok(IceOutcome::Restarted {
            etag: member.etag.clone(),
            answer,
        })
    }

    /// The participant an update is for, and the restart it asks for, if any.
    fn match_ice(
        &self,
        session: &str,
        expected: Option<&[String]>,
        update: &IceUpdate,
    ) -> Result<(ParticipantId, Option<Restart>), IceError> {
        let mut state = self.lock();
        let member = state
            .registry
            .of_session(session)
            .and_then(|id| state.registry.member_mut(id));
        let (_, member) = member.ok_or(IceError::UnknownSession)?;
        if expected.is_some_and(|tags| !tags.is_empty() && !tags.contains(&member.etag)) {
            return Err(IceError::Stale);
        }
        let restart = match (&update.ufrag, &update.pwd) {
            (Some(ufrag), Some(pwd)) if *ufrag != member.client_ufrag => Some(Restart {
                ufrag: ufrag.clone(),
                pwd: pwd.clone(),
                candidates: update.candidates.clone(),
            }),
            _ => None,
        };
        Ok((member.id, restart))
    }
}
