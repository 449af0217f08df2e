//! Which pages may use the interface (the CORS protocol of the Fetch standard), and the same question for WebSockets,
//! which browsers do not ask.

use warp::http::header::{self, HeaderValue};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

use super::hosts::Hosts;

/// The rule.
#[derive(Debug, Clone, Default)]
pub(super) struct Cors {
    /// Empty is none but our own page: any other that somebody in the network has open could join and remove people
    /// otherwise, since nobody has to sign in. [`EVERY`] is every page.
    origins: Vec<String>,
    hosts: Hosts,
}

impl Cors {
    pub(super) fn new(origins: Vec<String>, hosts: Hosts) -> Cors {
        Cors { origins, hosts }
    }

    /// Whether a request may change anything, or open a WebSocket: from a listed page, from a page of this very server,
    /// or from no page at all.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.lists(origin) || self.is_own(origin, headers)
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

    /// Whether an origin is where this request was sent, or one of the names that this server is known by.
    fn is_own(&self, origin: &str, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST);
        let host = host.and_then(|host| host.to_str().ok());
        let authority = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        authority.is_some_and(|authority| {
            let is_same = host.is_some_and(|host| authority.eq_ignore_ascii_case(host));
            is_same || self.hosts.is_public(authority)
        })
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
        let every = Cors::new(vec![EVERY.into()], Hosts::default());
        assert!(every.admits(&headers("https://evil.example")));
        assert!(every.admits(&headers("null")));
    }

    #[test]
    fn with_a_list_only_those_and_our_own() {
        let hosts = Hosts::new(&["public.example".to_owned()], &[]);
        let cors = Cors::new(vec!["https://a.example".into()], hosts);
        assert!(cors.admits(&headers("https://public.example")));
        assert!(cors.admits(&headers("https://a.example")));
        assert!(cors.admits(&headers("https://mix.example:8443")));
        assert!(cors.admits(&HeaderMap::new()));
        for origin in [
            "https://evil.example",
            "null",
            "https://a.example.evil",
            "http://mix.example",
            "https://public.example:8080",
        ] {
            assert!(!cors.admits(&headers(origin)), "{origin}");
        }
    }

    #[test]
    fn strangers_get_no_header() {
        let cors = Cors::new(vec!["https://a.example".into()], Hosts::default());
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
