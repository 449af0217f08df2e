//! Constructors of small HTTP responses.

use serde::Serialize;
use warp::http::StatusCode;
use warp::http::header::{self, HeaderValue};
use warp::reply::Response;

use super::problem::Problem;

/// Creates a response without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = status;
    response
}

/// Creates a JSON response.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_string(value) {
        Ok(text) => typed(status, "application/json", text),
        Err(_) => Problem::internal().into(),
    }
}

/// Creates a response of any media type. Caches must not store it, because it describes the present
/// state.
pub(super) fn typed(status: StatusCode, media_type: &'static str, text: String) -> Response {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Creates a header value from text that was checked when it entered the server.
pub(super) fn value(text: String) -> HeaderValue {
    HeaderValue::from_str(&text)
        .expect("room names, secrets and checked configuration hold visible ASCII only")
}
