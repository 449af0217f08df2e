//! `/v1/sessions/{session}/floor`: requests, releases and queries of the floor, for clients that
//! use only HTTP.

use std::sync::Arc;

use serde_json::Value;
use warp::Filter;
use warp::http::{Method, StatusCode};
use warp::reply::Response;

use super::problem::Problem;
use super::request::{Request, request};
use super::response;
use super::route::{self, Routes, with};
use super::state::HttpState;
use crate::conference::floor::{ReadFloorStanding, ReleaseFloor, RequestFloor};
use crate::floor::{Answer, Denial, DenyCause};
use crate::protocol::{FloorStanding, JsonReader, PublicId, ms, read_request};

/// Routes the path of each session's floor.
pub(super) fn routes(state: &Arc<HttpState>) -> Routes {
    warp::path!("v1" / "sessions" / String / "floor")
        .and(with(state))
        .and(request())
        .then(|session, state, request| route::answered(one(state, session, request)))
        .boxed()
}

/// Handles a request about the floor of one session.
async fn one(
    state: Arc<HttpState>,
    session: String,
    mut request: Request,
) -> Result<Response, Problem> {
    let conference = &state.conference;
    match request.method {
        Method::GET | Method::HEAD => {
            let standing = conference.ask(ReadFloorStanding { session }).await?;
            Ok(response::json(StatusCode::OK, &standing))
        }
        Method::PUT => {
            let mut fields = JsonReader::parse(&request.json().await?)?;
            let asked = read_request(&mut fields)?;
            fields.finish()?;
            let request = RequestFloor {
                session,
                request: asked,
            };
            answered(conference.ask(request).await?)
        }
        Method::DELETE => {
            conference.ask(ReleaseFloor { session }).await?;
            Ok(response::empty(StatusCode::NO_CONTENT))
        }
        _ => Err(Problem::method_not_allowed(
            "GET, HEAD, PUT, DELETE, OPTIONS",
        )),
    }
}

fn answered(answer: Answer) -> Result<Response, Problem> {
    match answer {
        Answer::Granted(grant) => Ok(response::json(StatusCode::OK, &FloorStanding::from(grant))),
        Answer::Queued(position) => Ok(response::json(
            StatusCode::ACCEPTED,
            &FloorStanding::from(position),
        )),
        Answer::Denied(denial) => Err(denied(denial)),
    }
}

pub(super) fn denied(denial: Denial) -> Problem {
    let mut problem = Problem::new(
        StatusCode::CONFLICT,
        "floor-denied",
        "Floor denied",
        sentence(denial.cause),
    )
    .with("cause", denial.cause.number())
    .with("reason", denial.cause.reason());
    if let Some(holder) = denial.holder {
        problem = problem.with("holder", PublicId(holder).to_string());
    }
    if let Some(after) = denial.retry_after {
        problem = problem.with("retry_after_ms", Value::from(ms(after)));
    }
    problem
}

/// Returns a sentence that tells the requesting client why the floor was denied and what it can do.
fn sentence(cause: DenyCause) -> &'static str {
    match cause {
        DenyCause::AnotherClientHasPermission => {
            "Another participant holds the floor; send \"queue\": true to wait for the floor."
        }
        DenyCause::OnlyOneParticipant => "No other participant is in the room to listen.",
        DenyCause::RetryAfterNotExpired => {
            "The floor was revoked; request it again after retry_after_ms milliseconds."
        }
        DenyCause::ReceiveOnly => {
            "This session can only listen, because of its offer or the settings of the room."
        }
        DenyCause::Muted => "The participant is muted; unmute it before requesting the floor.",
        DenyCause::QueueFull => "The floor queue is full; try again later.",
        DenyCause::Other => {
            "A moderator grants the floor in this room; send \"queue\": true to wait for a grant."
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mixer::ParticipantId;

    use super::*;

    #[test]
    fn floor_denial_names_the_holder_and_the_time_of_the_next_try() {
        let problem = denied(Denial {
            cause: DenyCause::RetryAfterNotExpired,
            holder: Some(ParticipantId(7)),
            retry_after: Some(Duration::from_millis(1_500)),
        });
        let expected = Problem::new(
            StatusCode::CONFLICT,
            "floor-denied",
            "Floor denied",
            "The floor was revoked; request it again after retry_after_ms milliseconds.",
        )
        .with("cause", 4)
        .with("reason", "retry-after has not expired")
        .with("holder", "00000007")
        .with("retry_after_ms", 1_500);
        assert_eq!(problem, expected);
    }
}
