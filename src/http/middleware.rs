//! The middleware around every route: finds the client's address, refuses dangerous requests, adds
//! the CORS headers, counts responses, and answers for a handler that panics.

use std::convert::Infallible;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::http::uri::Authority;
use warp::http::{Method, Request, Uri, Version, header};
use warp::reply::Response;

use super::client_address::ClientAddress;
use super::cors::Cors;
use super::hosts::Hosts;
use super::listener::ConnectionPermit;
use super::problem::Problem;
use super::state::HttpState;

/// The future of the response to one request, as the middleware service returns it.
pub(super) type ResponseFuture = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Wraps the routes in the middleware.
pub(super) fn wrap<R>(routes: R, state: Arc<HttpState>) -> Middleware<TowerToHyperService<R>> {
    Middleware {
        routes: TowerToHyperService::new(routes),
        state,
    }
}

/// The middleware service around the routes `R`.
#[derive(Clone)]
pub(super) struct Middleware<R> {
    routes: R,
    state: Arc<HttpState>,
}

impl<R> Service<Request<Incoming>> for Middleware<R>
where
    R: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    R::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = ResponseFuture;

    fn call(&self, mut request: Request<Incoming>) -> ResponseFuture {
        let state = self.state.clone();
        let origin = request.headers().get(header::ORIGIN).cloned();
        if let Some(uri) = normalised(request.uri()) {
            *request.uri_mut() = uri;
        }
        let permit = request.extensions().get::<Arc<ConnectionPermit>>();
        let peer = permit.map_or(IpAddr::from([0; 4]), |permit| permit.address());
        let client = state.proxies.client_of(peer, request.headers());
        request.extensions_mut().insert(ClientAddress(client));
        let refused = doubtful(&request)
            .or_else(|| misdirected(&request, &state.hosts))
            .or_else(|| foreign(&request, &state.cors));
        let answering = refused.is_none().then(|| self.routes.call(request));
        Box::pin(async move {
            let mut response = match (refused, answering) {
                (None, Some(answering)) => caught(answering).await,
                (refused, _) => refused.unwrap_or_else(Problem::internal).into(),
            };
            state.cors.decorate(origin.as_ref(), &mut response);
            state.metrics.count(response.status());
            Ok(response)
        })
    }
}

/// Turns a panic of a handler into an error response, so that its connection survives.
async fn caught(answering: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => Problem::internal().into(),
    }
}

/// Refuses a request that was sent to a host name that is not this server's, as in DNS rebinding.
fn misdirected<B>(request: &Request<B>, hosts: &Hosts) -> Option<Problem> {
    let header = request.headers().get(header::HOST);
    let header = header.map(|host| host.to_str().unwrap_or_default());
    let target = request.uri().authority().map(Authority::as_str);
    let mut named = header.into_iter().chain(target);
    named
        .any(|host| !hosts.admit(host))
        .then(Problem::misdirected)
}

/// Refuses a change that comes from a page of an origin that is neither the server's own nor
/// listed. Browsers ask before they send most such requests (CORS preflight); this refuses the
/// others.
fn foreign<B>(request: &Request<B>, cors: &Cors) -> Option<Problem> {
    let only_reads = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    (!only_reads && !cors.admits(request.headers())).then(Problem::origin_refused)
}

/// Decodes percent-encoded unreserved characters in the path (RFC 3986, 6.2.2.2), so that
/// `/v1/rooms/%61` becomes `/v1/rooms/a`; `None` if the path has no percent sign. Other encoded
/// characters stay encoded; no name of this server contains one.
fn normalised(uri: &Uri) -> Option<Uri> {
    if !uri.path().contains('%') {
        return None;
    }
    let mut target = decoded_unreserved(uri.path());
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(target.parse().ok()?);
    Uri::from_parts(parts).ok()
}

fn decoded_unreserved(path: &str) -> String {
    let mut pieces = path.split('%');
    let mut decoded = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let code = piece
            .get(..2)
            .filter(|code| code.bytes().all(|it| it.is_ascii_hexdigit()));
        let byte = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        let unreserved = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
        match byte.filter(unreserved) {
            Some(byte) => {
                decoded.push(char::from(byte));
                decoded.push_str(&piece[2..]);
            }
            None => {
                decoded.push('%');
                decoded.push_str(piece);
            }
        }
    }
    decoded
}

/// Refuses a request that two servers in a row could understand differently, which request
/// smuggling exploits, and a request without a path, on which warp panics. hyper itself refuses a
/// request with two different lengths, and ignores a length beside a transfer encoding (RFC 9112,
/// 6.3).
fn doubtful<B>(request: &Request<B>) -> Option<Problem> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() >= Version::HTTP_11) {
        return Some(Problem::bad_request(
            "The request must have exactly one Host header.",
        ));
    }
    let named = request.uri().path().starts_with('/') || request.method() == Method::OPTIONS;
    (!named).then(|| Problem::bad_request("The request must have a path that starts with a slash."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needless_percent_encoding_in_request_paths_is_decoded() {
        for (path, expected) in [
            ("/v1/rooms/lobb%79", "/v1/rooms/lobby"),
            (
                "/v1/%72ooms/a%2Db%5Fc%2e?name=%41",
                "/v1/rooms/a-b_c.?name=%41",
            ),
            ("/v1/rooms/a%20b%2Fc", "/v1/rooms/a%20b%2Fc"),
            ("/v1/rooms/%2575", "/v1/rooms/%2575"),
            ("/v1/rooms/%zz%4", "/v1/rooms/%zz%4"),
            ("/v1/rooms/%+1", "/v1/rooms/%+1"),
        ] {
            let uri: Uri = path.parse().expect("a target");
            assert_eq!(normalised(&uri).expect("encoded").to_string(), expected);
        }
        assert_eq!(normalised(&Uri::from_static("/v1/rooms/a")), None);
    }
}
