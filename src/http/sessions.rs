//! `/v1/sessions/{session}`: a client's requests about its own session. Knowing the session's
//! secret, which is part of the path, is the permission.

use std::sync::Arc;

use warp::Filter;
use warp::http::header::{self, HeaderName};
use warp::http::{HeaderMap, HeaderValue, Method, StatusCode};
use warp::reply::Response;

use super::problem::Problem;
use super::request::{Request, request};
use super::response;
use super::route::{Routes, answered, with};
use super::sdpfrag::{self, FragmentError};
use super::state::HttpState;
use crate::conference::IceOutcome;
use crate::conference::sessions::Leave;
use crate::protocol::sentence;

/// The media type of a trickle ICE fragment.
const SDPFRAG: &str = "application/trickle-ice-sdpfrag";

/// Routes the path of each session.
pub(super) fn routes(state: &Arc<HttpState>) -> Routes {
    warp::path!("v1" / "sessions" / String)
        .and(with(state))
        .and(request())
        .then(|session, state, request| answered(one(state, session, request)))
        .boxed()
}

/// Handles a request about one session.
async fn one(
    state: Arc<HttpState>,
    session: String,
    request: Request,
) -> Result<Response, Problem> {
    match request.method {
        Method::PATCH => patch(&state, &session, request).await,
        // `If-Match` is ignored for DELETE, because leaving is always allowed (RFC 9725, 4.2).
        Method::DELETE => {
            state.conference.ask(Leave { session }).await?;
            Ok(response::empty(StatusCode::OK))
        }
        _ => Err(Problem::method_not_allowed("PATCH, DELETE, OPTIONS")),
    }
}

async fn patch(
    state: &HttpState,
    session: &str,
    mut request: Request,
) -> Result<Response, Problem> {
    if !request.is_of(SDPFRAG) {
        let accept_patch = HeaderName::from_static("accept-patch");
        let problem = Problem::wrong_type("application/trickle-ice-sdpfrag");
        return Err(problem.header(accept_patch, HeaderValue::from_static(SDPFRAG)));
    }
    let expected = expected(&request.headers);
    let fragment = sdpfrag::parse(&request.text().await?).map_err(refused)?;
    let mid = fragment.mid.clone().unwrap_or_else(|| "0".to_owned());
    let update = state
        .conference
        .update_ice(session, expected.as_deref(), fragment.into())
        .await?;
    match update {
        IceOutcome::Added => Ok(response::empty(StatusCode::NO_CONTENT)),
        IceOutcome::Restarted { etag, answer } => {
            let text = sdpfrag::write(&answer.ufrag, &answer.pwd, &mid, &answer.candidates);
            let mut response = response::typed(StatusCode::OK, SDPFRAG, text);
            let headers = response.headers_mut();
            headers.insert(header::ETAG, response::value(format!("\"{etag}\"")));
            Ok(response)
        }
    }
}

/// Returns the ETags in `If-Match`, with or without quotes, because clients send both; `None` if
/// the header is missing or `*`, so that every ETag matches.
fn expected(headers: &HeaderMap) -> Option<Vec<String>> {
    let mut tags = Vec::new();
    for value in headers.get_all(header::IF_MATCH) {
        for tag in value.to_str().unwrap_or_default().split(',') {
            let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
            if tag == "*" {
                return None;
            }
            tags.push(tag.to_owned());
        }
    }
    (!tags.is_empty()).then_some(tags)
}

pub(super) fn refused(error: FragmentError) -> Problem {
    Problem::new(
        StatusCode::BAD_REQUEST,
        "bad-fragment",
        "Bad SDP fragment",
        sentence(&error),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn if_match_header_accepts_tags_with_and_without_quotes() {
        let of = |value: &'static str| {
            expected(&HeaderMap::from_iter([(
                header::IF_MATCH,
                HeaderValue::from_static(value),
            )]))
        };
        assert_eq!(expected(&HeaderMap::new()), None);
        assert_eq!(of("*"), None);
        assert_eq!(of("\"*\""), None);
        assert_eq!(of("\"abc\""), Some(vec!["abc".into()]));
        assert_eq!(of("abc"), Some(vec!["abc".into()]));
        assert_eq!(of("\"a\", W/\"b\""), Some(vec!["a".into(), "b".into()]));
    }
}
