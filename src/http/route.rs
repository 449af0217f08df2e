//! Types and functions with which each resource declares its own routes.

use std::future::Future;
use std::sync::Arc;

use warp::Filter;
use warp::filters::BoxedFilter;
use warp::http::Method;
use warp::reply::Response;

use super::problem::Problem;
use super::state::HttpState;

/// The routes of a resource: a filter that rejects the paths of all other resources.
pub(super) type Routes = BoxedFilter<(Response,)>;

/// Extracts the state that all HTTP handlers share.
pub(super) fn with(state: &Arc<HttpState>) -> BoxedFilter<(Arc<HttpState>,)> {
    let state = state.clone();
    warp::any().map(move || state.clone()).boxed()
}

/// Runs a handler; if it returns a problem, the problem becomes the response.
pub(super) async fn answered(handled: impl Future<Output = Result<Response, Problem>>) -> Response {
    handled.await.unwrap_or_else(Response::from)
}

/// Answers GET and HEAD with the response of `read`, and other methods with 405.
pub(super) fn read_only(method: &Method, read: impl FnOnce() -> Response) -> Response {
    if matches!(*method, Method::GET | Method::HEAD) {
        read()
    } else {
        Problem::method_not_allowed("GET, HEAD, OPTIONS").into()
    }
}
