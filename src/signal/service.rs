//! What surrounds every route: requests that are refused before any, the CORS headers, the count, and an answer where a
//! handler panics.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use warp::http::{Method, Request, Version, header};
use warp::reply::Response;

use super::context::Context;
use super::problem::Problem;

/// The future of one answer.
pub(super) type Answering = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

/// Wraps the routes.
pub(super) fn outer<R>(routes: R, context: Arc<Context>) -> Outer<TowerToHyperService<R>> {
    Outer {
        routes: TowerToHyperService::new(routes),
        context,
    }
}

/// The routes with all that surrounds them.
#[derive(Clone)]
pub(super) struct Outer<R> {
    routes: R,
    context: Arc<Context>,
}

impl<R> Service<Request<Incoming>> for Outer<R>
where
    R: Service<Request<Incoming>, Response = Response, Error = Infallible>,
    R::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let context = self.context.clone();
        let origin = request.headers().get(header::ORIGIN).cloned();
        let refused = doubtful(&request);
        let answering = refused.is_none().then(|| self.routes.call(request));
        Box::pin(async move {
            let mut response = match (refused, answering) {
                (None, Some(answering)) => caught(answering).await,
                (refused, _) => refused.unwrap_or_else(Problem::internal).into(),
            };
            context.cors.decorate(origin.as_ref(), &mut response);
            context.metrics.count(response.status());
            Ok(response)
        })
    }
}

/// A panic ends its request, not its connection, and above all not in silence.
async fn caught(answering: impl Future<Output = Result<Response, Infallible>>) -> Response {
    match AssertUnwindSafe(answering).catch_unwind().await {
        Ok(Ok(response)) => response,
        Err(_) => Problem::internal().into(),
    }
}

/// Requests that two servers in a row could understand differently, which is how one is smuggled past the first, and
/// those that name no path, of which warp makes a panic. Two lengths hyper refuses by itself, and of a length beside a
/// transfer encoding it forgets the length (RFC 9112, 6.3).
fn doubtful<B>(request: &Request<B>) -> Option<Problem> {
    let hosts = request.headers().get_all(header::HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() >= Version::HTTP_11) {
        return Some(Problem::bad_request(
            "A request has exactly one Host header.",
        ));
    }
    let named = request.uri().path().starts_with('/') || request.method() == Method::OPTIONS;
    (!named).then(|| Problem::bad_request("A request names a path that begins with a slash."))
}
