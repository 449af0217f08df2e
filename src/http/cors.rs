//! The origins whose pages may use the HTTP interface (the CORS protocol of the Fetch standard) and
//! open WebSockets, for which browsers make no CORS check.

use warp::http::header::{self, HeaderValue};
use warp::http::{HeaderMap, StatusCode};
use warp::reply::Response;

use super::hosts::Hosts;

/// The origins whose pages may use this server.
#[derive(Debug, Clone, Default)]
pub(super) struct Cors {
    /// The configured origins. An empty list allows only the server's own page, because without
    /// sign-in any other page open in the network could join rooms and remove participants.
    /// [`EVERY`] allows the pages of all origins.
    origins: Vec<String>,
    hosts: Hosts,
}

impl Cors {
    pub(super) fn new(origins: Vec<String>, hosts: Hosts) -> Cors {
        Cors { origins, hosts }
    }

    /// Returns whether a request may change anything or open a WebSocket: it must come from a page
    /// of a listed origin, from a page of this server, or from no page at all.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return true;
        };
        let Ok(origin) = origin.to_str() else {
            return false;
        };
        self.lists(origin) || self.is_own(origin, headers)
    }

    /// Adds the CORS headers that let the browser hand the response to a page of `origin`.
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

    /// Returns whether an origin is this server: the host that the request was sent to, or a
    /// configured host name.
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

/// The entry of the list of origins that stands for every origin.
const EVERY: &str = "*";

/// The response headers that browsers let pages of listed origins read.
const EXPOSED: &str =
    "Location, ETag, Link, Participant-Id, Accept-Patch, Accept-Post, Retry-After";

/// Builds the answer to `OPTIONS`, which is the same for every path: a CORS preflight response.
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
    fn cors_admits_only_pages_of_this_server_by_default_and_every_page_with_a_star() {
        assert!(Cors::default().admits(&headers("https://mix.example:8443")));
        assert!(!Cors::default().admits(&headers("https://evil.example")));
        assert!(!Cors::default().admits(&headers("null")));
        let every = Cors::new(vec![EVERY.into()], Hosts::default());
        assert!(every.admits(&headers("https://evil.example")));
        assert!(every.admits(&headers("null")));
    }

    #[test]
    fn cors_admits_listed_origins_and_pages_of_this_server() {
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
    fn cors_adds_no_allow_header_for_unlisted_origins() {
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
