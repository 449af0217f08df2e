//! The WHIP client (RFC 9725): posts an offer, keeps the URL of the session, deletes the session at
//! the end, and turns the server's refusals (RFC 9457) into sentences.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::Deserialize;
use thiserror::Error;

/// Why a request did not create a session.
#[derive(Debug, Error)]
pub enum WhipError {
    /// The HTTP client cannot be created.
    #[error("cannot set up the HTTP client: {0}")]
    Setup(#[source] reqwest::Error),
    /// The server cannot be reached, or did not answer in time.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Host and port.
        host: String,
        /// The cause at the end of the error's chain of causes, with advice.
        reason: String,
    },
    /// The server refused the request.
    #[error("{sentence}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The sentence to show to a person.
        sentence: String,
        /// The wait before the next attempt that the server asks for.
        retry_after: Option<Duration>,
    },
    /// The response is not one that WHIP defines.
    #[error("{host} does not behave like a mixminus server: {what}")]
    Unexpected {
        /// Host and port.
        host: String,
        /// What was wrong with the response.
        what: &'static str,
    },
}

impl WhipError {
    /// Whether another attempt would fail for the same reason.
    pub fn is_permanent(&self) -> bool {
        match self {
            WhipError::Setup(_) | WhipError::Unexpected { .. } => true,
            WhipError::Unreachable { .. } => false,
            WhipError::Refused { status, .. } => {
                (400..500).contains(status) && !matches!(status, 408 | 409 | 429)
            }
        }
    }

    /// Returns the wait before the next attempt that the server asks for, if any.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            WhipError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The WHIP endpoint of a room, to which offers are posted.
#[derive(Debug, Clone)]
pub struct WhipEndpoint {
    http: Client,
    url: Url,
}

impl WhipEndpoint {
    /// Creates the endpoint of the room at `url`, which
    /// [`participants`](super::address::participants) has completed.
    ///
    /// - `insecure`: accepts any TLS certificate.
    ///
    /// # Errors
    /// [`WhipError::Setup`] when TLS cannot be set up.
    pub fn new(
        mut url: Url,
        name: Option<&str>,
        profile: Option<&str>,
        insecure: bool,
    ) -> Result<WhipEndpoint, WhipError> {
        for (key, value) in [("name", name), ("profile", profile)] {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(key, value);
            }
        }
        // Installing the provider fails only if another one is installed, which then is used.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .redirect(Policy::limited(5))
            .tls_danger_accept_invalid_certs(insecure)
            .user_agent(concat!("mixminus/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(WhipError::Setup)?;
        Ok(WhipEndpoint { http, url })
    }

    /// Returns the endpoint with one more parameter in the query.
    #[must_use]
    pub fn with(mut self, key: &str, value: &str) -> WhipEndpoint {
        self.url.query_pairs_mut().append_pair(key, value);
        self
    }

    /// Whether the server is on this machine, so that media may use loopback.
    pub fn is_local(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
        host == "localhost"
            || host.ends_with(".localhost")
            || address.is_ok_and(|ip| ip.is_loopback())
    }

    /// Posts an offer; returns the session and the SDP answer.
    ///
    /// # Errors
    /// [`WhipError`] for every response that creates no session.
    pub async fn join(&self, offer: String) -> Result<(WhipSession, String), WhipError> {
        let response = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/sdp")
            .body(offer)
            .send()
            .await
            .map_err(|error| unreachable(&self.url, &error))?;
        if !matches!(response.status(), StatusCode::CREATED | StatusCode::OK) {
            return Err(refusal(&self.url, response).await);
        }
        let unexpected = |what| WhipError::Unexpected {
            host: host_of(&self.url),
            what,
        };
        let text = |headers: &HeaderMap, name: &str| {
            let value = headers.get(name)?.to_str().ok()?;
            Some(value.to_owned())
        };
        let location = text(response.headers(), LOCATION.as_str())
            .ok_or(unexpected("its answer has no Location header"))?;
        let session = WhipSession {
            http: self.http.clone(),
            url: response
                .url()
                .join(&location)
                .map_err(|_| unexpected("the Location header of its answer is not a valid URL"))?,
            participant: text(response.headers(), "participant-id"),
        };
        let answer = body_of(response).await;
        if !answer.starts_with("v=0") {
            return Err(unexpected("the body of its answer is not SDP"));
        }
        Ok((session, answer))
    }
}

/// The WHIP session of one participant.
#[derive(Debug, Clone)]
pub struct WhipSession {
    http: Client,
    url: Url,
    participant: Option<String>,
}

impl WhipSession {
    /// Returns the participant id, eight hexadecimal digits.
    pub fn participant(&self) -> Option<&str> {
        self.participant.as_deref()
    }

    /// Asks the server whether the session still exists; returns `None` if it does not say.
    ///
    /// - `fragment`: the ICE credentials of the connection. With these the request changes nothing.
    pub async fn exists(&self, fragment: &str) -> Option<bool> {
        let response = self
            .http
            .patch(self.url.clone())
            .header(CONTENT_TYPE, "application/trickle-ice-sdpfrag")
            .timeout(SHORT_TIMEOUT)
            .body(fragment.to_owned())
            .send()
            .await
            .ok()?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Some(false),
            status if status.is_success() => Some(true),
            _ => None,
        }
    }

    /// Requests the floor; a repeated request changes nothing.
    ///
    /// # Errors
    /// [`WhipError`] when there is no response, or one without a decision.
    pub async fn request_floor(&self) -> Result<FloorReply, WhipError> {
        let sent = self.floor(Method::PUT).send().await;
        let response = sent.map_err(|error| unreachable(&self.url, &error))?;
        let status = response.status();
        // A denial is a response to the floor request, too, with a problem document of its own
        // type.
        if !matches!(
            status,
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::CONFLICT
        ) {
            return Err(refusal(&self.url, response).await);
        }
        Ok(FloorReply {
            status: status.as_u16(),
            body: body_of(response).await,
        })
    }

    /// Releases the floor, or withdraws the request for it; does nothing if there is neither.
    ///
    /// # Errors
    /// [`WhipError`] when there is no response or an unexpected one.
    pub async fn release_floor(&self) -> Result<(), WhipError> {
        let sent = self.floor(Method::DELETE).send().await;
        let response = sent.map_err(|error| unreachable(&self.url, &error))?;
        match response.status() {
            status if status.is_success() => Ok(()),
            _ => Err(refusal(&self.url, response).await),
        }
    }

    fn floor(&self, method: Method) -> RequestBuilder {
        let mut url = self.url.clone();
        let path = format!("{}/floor", url.path());
        url.set_path(&path);
        self.http.request(method, url).timeout(SHORT_TIMEOUT)
    }

    /// Ends the session; returns whether the server knew it.
    ///
    /// # Errors
    /// [`WhipError`] when there is no response or an unexpected one.
    pub async fn leave(&self) -> Result<bool, WhipError> {
        let response = self
            .http
            .delete(self.url.clone())
            .timeout(SHORT_TIMEOUT)
            .send()
            .await
            .map_err(|error| unreachable(&self.url, &error))?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(false),
            status if status.is_success() => Ok(true),
            _ => Err(refusal(&self.url, response).await),
        }
    }
}

/// The response to a floor request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FloorReply {
    /// 200 granted, 202 queued, 409 denied.
    pub status: u16,
    /// The JSON body.
    pub body: String,
}

/// The parts of a problem document (RFC 9457) that are for people.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: Option<String>,
    detail: Option<String>,
}

async fn refusal(url: &Url, response: Response) -> WhipError {
    let status = response.status();
    let retry_after = response
        .headers()
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let is_json = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.contains("json"));
    let body = body_of(response).await;
    let problem = is_json.then_some(body.as_str());
    WhipError::Refused {
        status: status.as_u16(),
        sentence: sentence(&host_of(url), status, problem, retry_after),
        retry_after,
    }
}

/// Returns a sentence about a refusal, for a person: with the server's own words if it gives any.
fn sentence(
    host: &str,
    status: StatusCode,
    problem: Option<&str>,
    retry_after: Option<Duration>,
) -> String {
    let problem: Problem = problem
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let said = problem.detail.or(problem.title).map(|said| {
        let clean = said.chars().filter(|c| !c.is_control());
        clean.take(300).collect::<String>()
    });
    let reason = said.filter(|said| !said.is_empty()).unwrap_or_else(|| {
        let usual = match status.as_u16() {
            401 | 403 => "access is denied",
            404 => "there is no room at this URL",
            405 | 415 => "this URL does not accept joins",
            409 => "the room is full",
            413 | 422 => "the server cannot use this client's offer",
            429 => "too many requests",
            503 => "the server has no capacity left",
            _ => status.canonical_reason().unwrap_or("no reason given"),
        };
        usual.to_owned()
    });
    // The server's own words may already say when to try again.
    let untold = retry_after.filter(|_| !reason.contains("try again"));
    let again = untold.map_or(String::new(), |wait| {
        format!(" (try again in {} s)", wait.as_secs())
    });
    format!(
        "{host} refused the request with status {}: {reason}{again}",
        status.as_u16()
    )
}

fn unreachable(url: &Url, error: &reqwest::Error) -> WhipError {
    let mut reason: &dyn std::error::Error = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    let reason = reason.to_string();
    WhipError::Unreachable {
        host: host_of(url),
        reason: match error.is_timeout() {
            true => "no answer in time".to_owned(),
            false => advise(url.scheme(), reason),
        },
    }
}

/// Adds to a library's error text, or replaces it with, what the user can do.
fn advise(scheme: &str, reason: String) -> String {
    if reason.contains("certificate") {
        return format!("{reason} (--insecure accepts any certificate)");
    }
    match scheme {
        "https" if reason.contains("InvalidContentType") => {
            "the server does not speak TLS on this port; try http:// instead of https://".to_owned()
        }
        "http" if reason.contains("invalid HTTP version") => {
            "the server does not speak plain HTTP on this port; try https:// instead of http://"
                .to_owned()
        }
        _ => reason,
    }
}

/// Returns the body of a response as text, cut off at the largest permitted size.
async fn body_of(mut response: Response) -> String {
    let mut body = Vec::new();
    while let Ok(Some(part)) = response.chunk().await {
        let left = MAX_BODY_BYTES - body.len();
        body.extend_from_slice(&part[..part.len().min(left)]);
        if body.len() == MAX_BODY_BYTES {
            break;
        }
    }
    String::from_utf8_lossy(&body).into_owned()
}

fn host_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The time limit for a response, which usually takes a few milliseconds: a loaded server needs
/// more.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Timeout of requests at the end of a call, for which a person waits.
const SHORT_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest body that is read: no session description with one audio stream comes near it.
const MAX_BODY_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, problem: Option<&str>, retry_after: Option<u64>) -> String {
        let status = StatusCode::from_u16(status).unwrap();
        sentence("h:1", status, problem, retry_after.map(Duration::from_secs))
    }

    #[test]
    fn refusal_quotes_the_detail_of_the_servers_problem_document() {
        let problem = r#"{"type":"urn:mixminus:problem:room-full","title":"Room full","status":409,
            "detail":"The room lobby is full: it takes 50 participants.","limit":50}"#;
        assert_eq!(
            said(409, Some(problem), None),
            "h:1 refused the request with status 409: The room lobby is full: it takes 50 participants."
        );
        assert_eq!(
            said(409, Some(r#"{"title":"Room full"}"#), None),
            "h:1 refused the request with status 409: Room full"
        );
        let overloaded = r#"{"detail":"The server is shutting down; try again in 5 s."}"#;
        assert_eq!(
            said(503, Some(overloaded), Some(5)),
            "h:1 refused the request with status 503: The server is shutting down; try again in 5 s."
        );
    }

    #[test]
    fn refusal_without_a_problem_document_is_explained_by_its_status() {
        assert_eq!(
            said(404, None, None),
            "h:1 refused the request with status 404: there is no room at this URL"
        );
        assert_eq!(
            said(503, Some("<html>"), Some(7)),
            "h:1 refused the request with status 503: the server has no capacity left (try again in 7 s)"
        );
        assert_eq!(
            said(418, None, None),
            "h:1 refused the request with status 418: I'm a teapot"
        );
    }

    #[test]
    fn error_for_a_wrong_url_scheme_suggests_the_other_scheme() {
        let said = |scheme, reason: &str| advise(scheme, reason.to_owned());
        let corrupt = "received corrupt message of type InvalidContentType";
        assert!(said("https", corrupt).contains("try http://"));
        assert!(said("http", "invalid HTTP version parsed").contains("try https://"));
        assert_eq!(said("http", "Connection refused"), "Connection refused");
    }

    #[test]
    fn server_texts_are_stripped_of_control_characters() {
        let problem = format!(r#"{{"detail":"\u001b[2J{}"}}"#, "x".repeat(5_000));
        let said = said(400, Some(&problem), None);
        assert!(said.len() < 400 && !said.contains('\u{1b}'));
    }

    #[test]
    fn only_temporary_http_statuses_are_retried() {
        let refused = |status| WhipError::Refused {
            status,
            sentence: String::new(),
            retry_after: None,
        };
        for status in [408, 409, 429, 500, 502, 503] {
            assert!(!refused(status).is_permanent(), "{status}");
        }
        for status in [400, 401, 403, 404, 415, 422] {
            assert!(refused(status).is_permanent(), "{status}");
        }
    }

    #[test]
    fn loopback_hosts_are_recognised() {
        let room = |url: &str| {
            WhipEndpoint::new(url.parse().unwrap(), Some("Ann B"), Some("voice"), false).unwrap()
        };
        assert!(room("http://127.0.0.1:1/").is_local());
        assert!(room("http://[::1]:1/").is_local());
        assert!(room("http://localhost/").is_local());
        assert!(!room("http://192.0.2.1/").is_local());
        assert_eq!(
            room("http://h/p?x=1").url.query(),
            Some("x=1&name=Ann+B&profile=voice")
        );
    }
}
