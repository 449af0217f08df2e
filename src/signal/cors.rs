//! Which pages may use the interface (the CORS protocol of the Fetch standard), and the same question for WebSockets,
//! which browsers do not ask.

use warp::http::header::{self, HeaderValue};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

/// The rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Cors {
    /// Empty is none but our own page: any other that somebody in the network has open could join and remove people
    /// otherwise, since nobody has to sign in. [`EVERY`] is every page.
    origins: Vec<String>,
}

impl Cors {
    pub(super) fn new(origins: Vec<String>) -> Cors {
        Cors { origins }
    }

    /// Whether a WebSocket may be opened: from a listed page, from a page of this very server, or from no page at all.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.lists(origin) || own(origin, headers)
    }

    /// Adds what the browser must see to hand the response to a page of `origin`.
    pub(super) fn decorate(&self, origin: Option<&HeaderValue>, response: &mut Response) {
        let headers = response.headers_mut();
        if self.lists_every() {
            headers.insert(
                header::ACCESS_CONTROL_ALLOW_ORIGIN,
                HeaderValue::from_static("*"),
            );
        } else {
            headers.append(header::VARY, HeaderValue::from_static("Origin"));
            let Some(origin) =
                origin.filter(|origin| origin.to_str().is_ok_and(|origin| self.lists(origin)))
            else {
                return;
            };
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        }
        headers.insert(
            header::ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
    }

    fn lists(&self, origin: &str) -> bool {
        self.lists_every()
            || self
                .origins
                .iter()
                .any(|listed| listed.eq_ignore_ascii_case(origin))
    }

    fn lists_every(&self) -> bool {
        self.origins.iter().any(|listed| listed == EVERY)
    }
}

/// Stands for every origin.
const EVERY: &str = "*";

/// What a client may read of our responses.
const EXPOSED: &str =
    "Location, ETag, Link, Participant-Id, Accept-Patch, Accept-Post, Retry-After";

/// The answer to `OPTIONS`, wherever it is asked.
pub(super) fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_METHODS,
        HeaderValue::from_static("OPTIONS, GET, HEAD, POST, PUT, PATCH, DELETE"),
    );
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static("Authorization, Content-Type, If-Match"),
    );
    headers.insert(
        header::ACCESS_CONTROL_MAX_AGE,
        HeaderValue::from_static("86400"),
    );
    response
}

/// Whether `origin` is where this request was sent.
fn own(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let authority = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    matches!((authority, host), (Some(authority), Some(host)) if authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(origin: &'static str) -> HeaderMap {
        HeaderMap::from_iter([
            (header::ORIGIN, HeaderValue::from_static(origin)),
            (header::HOST, HeaderValue::from_static("mix.example:8443")),
        ])
    }

    #[test]
    fn without_a_list_our_own_page_may_and_with_a_star_every_page() {
        assert!(Cors::default().admits(&headers("https://mix.example:8443")));
        assert!(!Cors::default().admits(&headers("https://evil.example")));
        assert!(!Cors::default().admits(&headers("null")));
        let every = Cors::new(vec![EVERY.into()]);
        assert!(every.admits(&headers("https://evil.example")));
        assert!(every.admits(&headers("null")));
    }

    #[test]
    fn with_a_list_only_those_and_our_own() {
        let cors = Cors::new(vec!["https://a.example".into()]);
        assert!(cors.admits(&headers("https://a.example")));
        assert!(cors.admits(&headers("https://mix.example:8443")));
        assert!(cors.admits(&HeaderMap::new()));
        for origin in [
            "https://evil.example",
            "null",
            "https://a.example.evil",
            "http://mix.example",
        ] {
            assert!(!cors.admits(&headers(origin)), "{origin}");
        }
    }

    #[test]
    fn strangers_get_no_header() {
        let cors = Cors::new(vec!["https://a.example".into()]);
        let mut response = Response::default();
        cors.decorate(
            Some(&HeaderValue::from_static("https://evil.example")),
            &mut response,
        );
        assert!(
            !response
                .headers()
                .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        );
        let mut response = Response::default();
        cors.decorate(
            Some(&HeaderValue::from_static("https://a.example")),
            &mut response,
        );
        assert_eq!(
            response.headers()[header::ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://a.example"
        );
    }
}
