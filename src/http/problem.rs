//! Errors as clients see them: RFC 9457 problem documents. All their texts are written in this
//! project. Error texts of libraries are never sent, because some have contained memory addresses.

use std::convert::Infallible;
use std::fmt;

use serde_json::{Map, Value};
use warp::Rejection;
use warp::http::header::{self, HeaderName};
use warp::http::{HeaderValue, StatusCode};
use warp::reply::Response;

use super::request::MAX_BODY_BYTES;
use crate::conference::{
    ConfigureError, FloorError, IceError, JoinError, OfferError, Overloaded, UnknownParticipant,
    UnknownSession,
};
use crate::protocol::{Invalid, NameError, RoomNameError, sentence};
use crate::rate_limit::{RetryAfter, TooMany};

/// Number of seconds after which a client should try an overloaded server again.
const RETRY_AFTER_S: u64 = 5;

/// A refused request, as a problem document (RFC 9457).
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    extras: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// Creates a problem document.
    ///
    /// - `kind`: the last part of the problem's URN, by which programs recognise the kind of the
    ///   problem.
    /// - `title`: the kind in words; always the same text for one kind.
    /// - `detail`: a sentence about the present request.
    pub(super) fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Problem {
        Problem {
            status,
            kind,
            title,
            detail: detail.into(),
            extras: Map::new(),
            headers: Vec::new(),
        }
    }

    /// Adds a member with further details to the problem document.
    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Problem {
        self.extras.insert(key.to_owned(), value.into());
        self
    }

    /// Adds a header to the response.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Problem {
        self.headers.push((name, value));
        self
    }

    pub(super) fn not_found() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "not-found",
            "Not found",
            "This server serves nothing at this path; /v1/openapi.json lists all paths.",
        )
    }

    pub(super) fn method_not_allowed(allow: &'static str) -> Problem {
        Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method-not-allowed",
            "Method not allowed",
            format!("This path accepts only the methods {allow}."),
        )
        .header(header::ALLOW, HeaderValue::from_static(allow))
    }

    pub(super) fn wrong_type(expected: &'static str) -> Problem {
        Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported-media-type",
            "Unsupported media type",
            format!("The Content-Type of the body must be {expected}."),
        )
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-request",
            "Bad request",
            detail,
        )
    }

    pub(super) fn unknown_room() -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "no-such-room",
            "No such room",
            sentence(&JoinError::UnknownRoom),
        )
    }

    /// Creates the problem of a request that exceeds a limit.
    ///
    /// - `excess`: a clause that says what there is too much of, such as "too many joins".
    pub(super) fn too_many(excess: impl fmt::Display, retry_after: RetryAfter) -> Problem {
        let seconds = retry_after.seconds();
        Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "too-many-requests",
            "Too many requests",
            sentence(&format!("{excess}; try again in {seconds} s")),
        )
        .with("retry_after_s", seconds)
        .header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Creates the problem of a request that was sent to a host name that is not this server's.
    pub(super) fn misdirected() -> Problem {
        Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "unknown-host",
            "Unknown host",
            "This server does not answer to the host name of this request; the operator can add the name with --hosts.",
        )
    }

    /// Creates the problem of a request that a page of another site has sent.
    pub(super) fn origin_refused() -> Problem {
        Problem::new(
            StatusCode::FORBIDDEN,
            "origin-refused",
            "Origin refused",
            "Pages of this origin may not use this server; the operator can allow the origin with --cors-origins.",
        )
    }

    pub(super) fn internal() -> Problem {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "Internal error",
            "The request failed because of a fault in the server, not in the request.",
        )
    }

    pub(super) fn body_timeout() -> Problem {
        Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body-timeout",
            "Body too slow",
            "The body did not arrive within 10 seconds.",
        )
    }

    pub(super) fn body_too_large() -> Problem {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body-too-large",
            "Body too large",
            format!("The body may have at most {MAX_BODY_BYTES} bytes."),
        )
        .with("max_bytes", MAX_BODY_BYTES)
    }

    pub(super) fn not_whole() -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-whole",
            "Audio thread ended",
            "A mixer thread or the network thread has ended; restart the server.",
        )
    }

    /// Returns the problem document as JSON.
    pub(super) fn document(&self) -> Value {
        let mut document = Map::new();
        let urn = format!("urn:mixminus:problem:{}", self.kind);
        document.insert("type".into(), urn.into());
        document.insert("title".into(), self.title.into());
        document.insert("status".into(), self.status.as_u16().into());
        document.insert("detail".into(), self.detail.as_str().into());
        document.extend(self.extras.clone());
        document.into()
    }

    /// Turns a rejection by warp, when no route has accepted the request, into a problem document.
    pub(super) async fn recover(rejection: Rejection) -> Result<Response, Infallible> {
        let problem = if rejection.find::<warp::reject::InvalidQuery>().is_some() {
            Problem::bad_request("The query string is invalid.")
        } else if rejection.find::<warp::reject::InvalidHeader>().is_some() {
            Problem::bad_request("A header of the request is invalid.")
        } else {
            Problem::not_found()
        };
        Ok(problem.into())
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Response {
        let mut response = Response::new(problem.document().to_string().into());
        *response.status_mut() = problem.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.extend(problem.headers);
        response
    }
}

impl From<Overloaded> for Problem {
    fn from(overloaded: Overloaded) -> Problem {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "Overloaded",
            sentence(&format!("{overloaded}; try again in {RETRY_AFTER_S} s")),
        )
        .with("retry_after_s", RETRY_AFTER_S)
        .header(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S))
    }
}

impl From<JoinError> for Problem {
    fn from(error: JoinError) -> Problem {
        let detail = sentence(&error);
        match error {
            JoinError::UnknownRoom => Problem::unknown_room(),
            JoinError::UnknownMonitoredRoom { room } => Problem::new(
                StatusCode::NOT_FOUND,
                "no-such-room",
                "No such room",
                detail,
            )
            .with("room", room.as_str()),
            JoinError::MonitoringRefused { room } => Problem::new(
                StatusCode::FORBIDDEN,
                "monitoring-refused",
                "Monitoring refused",
                detail,
            )
            .with("room", room.as_str()),
            JoinError::RoomFull { limit } => {
                Problem::new(StatusCode::CONFLICT, "room-full", "Room full", detail)
                    .with("limit", limit)
            }
            JoinError::Overloaded(overloaded) => overloaded.into(),
            JoinError::Offer(error) => error.into(),
        }
    }
}

impl From<OfferError> for Problem {
    fn from(error: OfferError) -> Problem {
        let (status, kind, title) = match error {
            OfferError::Unparsable => (StatusCode::BAD_REQUEST, "bad-offer", "Bad offer"),
            OfferError::NoAudio | OfferError::NoCodec | OfferError::Unsupported { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "unusable-offer",
                "Unusable offer",
            ),
        };
        Problem::new(status, kind, title, sentence(&error))
    }
}

impl From<ConfigureError> for Problem {
    fn from(error: ConfigureError) -> Problem {
        let detail = sentence(&error);
        match error {
            ConfigureError::UnknownRoom => Problem::unknown_room(),
            ConfigureError::Occupied => {
                Problem::new(StatusCode::CONFLICT, "room-in-use", "Room in use", detail)
            }
            ConfigureError::TooManyLinked { limit } => Problem::new(
                StatusCode::CONFLICT,
                "too-many-links",
                "Too many links",
                detail,
            )
            .with("max_links", limit),
            ConfigureError::Overloaded(overloaded) => overloaded.into(),
        }
    }
}

impl From<UnknownParticipant> for Problem {
    fn from(error: UnknownParticipant) -> Problem {
        match error {
            UnknownParticipant::Room => Problem::unknown_room(),
            UnknownParticipant::Participant => Problem::new(
                StatusCode::NOT_FOUND,
                "unknown-participant",
                "Unknown participant",
                sentence(&error),
            ),
        }
    }
}

impl From<TooMany> for Problem {
    fn from(too_many: TooMany) -> Problem {
        Problem::too_many(too_many, too_many.retry_after)
    }
}

impl From<FloorError> for Problem {
    fn from(error: FloorError) -> Problem {
        match error {
            FloorError::Unknown(unknown) => unknown.into(),
            FloorError::TooMany(too_many) => too_many.into(),
        }
    }
}

impl From<UnknownSession> for Problem {
    fn from(UnknownSession: UnknownSession) -> Problem {
        Problem::new(
            StatusCode::NOT_FOUND,
            "unknown-session",
            "Unknown session",
            sentence(&UnknownSession),
        )
    }
}

impl From<IceError> for Problem {
    fn from(error: IceError) -> Problem {
        match error {
            IceError::UnknownSession => UnknownSession.into(),
            IceError::Stale => Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "stale-etag",
                "Stale ETag",
                sentence(&format!("{error}; send the newest ETag, or none")),
            ),
            IceError::TooOften { retry_after } => Problem::too_many(error, RetryAfter(retry_after)),
            IceError::Overloaded => Overloaded::Link.into(),
            IceError::RestartFailed => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "restart-failed",
                "ICE restart failed",
                sentence(&error),
            ),
        }
    }
}

impl From<Invalid> for Problem {
    fn from(invalid: Invalid) -> Problem {
        let (kind, title) = match invalid {
            Invalid::NotJson | Invalid::NotObject => ("bad-json", "Bad JSON"),
            Invalid::Name(error) => return error.into(),
            _ => ("bad-field", "Bad field"),
        };
        Problem::new(StatusCode::BAD_REQUEST, kind, title, sentence(&invalid))
    }
}

impl From<NameError> for Problem {
    fn from(error: NameError) -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-name",
            "Bad name",
            sentence(&error),
        )
    }
}

impl From<RoomNameError> for Problem {
    fn from(error: RoomNameError) -> Problem {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "bad-room-name",
            "Bad room name",
            sentence(&error),
        )
    }
}
