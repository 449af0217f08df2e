//! The web client, embedded in the binary: a small table of files.

use std::hash::{DefaultHasher, Hash, Hasher};

use warp::http::header::{self, HeaderName, HeaderValue};
use warp::http::{HeaderMap, Method, StatusCode};
use warp::reply::Response;

use super::problem::Problem;
use super::reply;

/// A file of the page.
struct File {
    path: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

macro_rules! file {
    ($path:literal, $name:literal, $media_type:literal) => {
        File {
            path: $path,
            media_type: $media_type,
            bytes: include_bytes!(concat!("../web/", $name)),
        }
    };
}

const FILES: [File; 4] = [
    file!("/", "index.html", "text/html; charset=utf-8"),
    file!("/app.js", "app.js", "text/javascript; charset=utf-8"),
    file!("/style.css", "style.css", "text/css; charset=utf-8"),
    file!("/icon.svg", "icon.svg", "image/svg+xml"),
];

/// The page loads nothing from elsewhere and talks to this server only; older Safari does not count a WebSocket to the
/// same host as `'self'`, so it is named.
const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Whether there is a file under this path.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}

/// The file under `path`.
pub(super) fn serve(path: &str, method: &Method, headers: &HeaderMap) -> Result<Response, Problem> {
    let file = FILES.iter().find(|file| file.path == path);
    let file = file.ok_or_else(Problem::not_found)?;
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(Problem::method_not_allowed("GET, HEAD, OPTIONS"));
    }
    let etag = reply::value(etag(file.bytes));
    let known = headers.get(header::IF_NONE_MATCH) == Some(&etag);
    let mut response = if known {
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        Response::new(file.bytes.into())
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, etag);
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(file.media_type),
    );
    // Asked again each time, so that a new server never runs with an old page.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(POLICY),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        HeaderName::from_static("referrer-policy"),
        HeaderValue::from_static("no-referrer"),
    );
    Ok(response)
}

/// Changes with the content; it need not resist anybody, the content is ours.
fn etag(bytes: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}
