//! A request as handlers take it, its body read within bounds of size and time.

use std::net::IpAddr;
use std::pin::Pin;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use warp::filters::BoxedFilter;
use warp::http::{HeaderMap, Method, header};
use warp::{Filter, Rejection};

use super::client_address::ClientAddress;
use super::problem::Problem;

/// Largest body: an offer is 2 to 6 kB, so this is ten times the largest honest one.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// What is still read of a body that is too large, and thrown away: a client that is still writing would otherwise see
/// its connection reset and never the answer.
const MAX_DISCARD_BYTES: usize = 1024 * 1024;

/// How long a body may take: one byte at a time is no way to send an offer.
const BODY_TIME: Duration = Duration::from_secs(10);

type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// One request.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// Where it came from.
    pub(super) client: IpAddr,
    query: Vec<(String, String)>,
    body: Body,
}

/// Takes any request; to stand behind a path.
pub(super) fn request() -> BoxedFilter<(Request,)> {
    let query = warp::query::<Vec<(String, String)>>();
    warp::method()
        .and(warp::header::headers_cloned())
        .and(client_address())
        .and(query)
        .and(body())
        .map(|method, headers, client, query, body| Request {
            method,
            headers,
            client,
            query,
            body,
        })
        .boxed()
}

/// The address of the client.
pub(super) fn client_address() -> BoxedFilter<(IpAddr,)> {
    // Every request that comes through the accept loop has one.
    warp::ext::optional::<ClientAddress>()
        .map(|client: Option<ClientAddress>| client.map_or(IpAddr::from([0; 4]), |it| it.0))
        .boxed()
}

fn body() -> impl Filter<Extract = (Body,), Error = Rejection> + Clone {
    warp::body::stream().map(|stream| -> Body { Box::pin(pieces(stream)) })
}

fn pieces<S, B>(stream: S) -> impl Stream<Item = Result<Bytes, warp::Error>> + Send
where
    S: Stream<Item = Result<B, warp::Error>> + Send,
    B: Buf,
{
    stream.map(|piece| piece.map(|mut piece| piece.copy_to_bytes(piece.remaining())))
}

impl Request {
    /// A parameter of the query string; the first one of its name.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether the body is said to be of this type; parameters such as `charset` do not matter.
    pub(super) fn is_of(&self, media_type: &str) -> bool {
        self.headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
    }

    /// The body.
    ///
    /// # Errors
    /// 413 over [`MAX_BODY_BYTES`], 408 when it takes too long, 400 when the connection breaks.
    pub(super) async fn body(&mut self) -> Result<Bytes, Problem> {
        let read = timeout(BODY_TIME, collect(&mut self.body)).await;
        read.unwrap_or_else(|_| Err(Problem::body_timeout()))
    }

    /// The body as text.
    ///
    /// # Errors
    /// Those of [`Request::body`], and 400 when it is not UTF-8.
    pub(super) async fn text(&mut self) -> Result<String, Problem> {
        let body = self.body().await?;
        String::from_utf8(body.into())
            .map_err(|_| Problem::bad_request("The body is not UTF-8 text."))
    }

    /// The body as an SDP description.
    ///
    /// A description that names another character set than UTF-8 (`a=charset`; RFC 8866, 6.10) may hold any bytes in its
    /// free text. Nobody reads that here, so they are replaced.
    ///
    /// # Errors
    /// Those of [`Request::text`].
    pub(super) async fn description(&mut self) -> Result<String, Problem> {
        let body = self.body().await?;
        let names_charset = body
            .split(|byte| *byte == b'\n')
            .any(|line| line.starts_with(b"a=charset:"));
        match String::from_utf8(body.into()) {
            Ok(text) => Ok(text),
            Err(error) if names_charset => {
                Ok(String::from_utf8_lossy(error.as_bytes()).into_owned())
            }
            Err(_) => Err(Problem::bad_request("The body is not UTF-8 text.")),
        }
    }

    /// The body of a JSON request, nothing standing for `{}`.
    ///
    /// # Errors
    /// Those of [`Request::body`], and 415 for another type.
    pub(super) async fn json(&mut self) -> Result<Bytes, Problem> {
        let body = self.body().await?;
        if body.is_empty() {
            return Ok(Bytes::from_static(b"{}"));
        }
        if !self.is_of("application/json") {
            return Err(Problem::wrong_type("application/json"));
        }
        Ok(body)
    }
}

async fn collect(body: &mut Body) -> Result<Bytes, Problem> {
    let mut collected = BytesMut::new();
    let mut read_bytes = 0;
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|_| Problem::bad_request("The body broke off."))?;
        read_bytes += piece.len();
        if read_bytes <= MAX_BODY_BYTES {
            collected.extend_from_slice(&piece);
        } else if read_bytes > MAX_DISCARD_BYTES {
            break;
        }
    }
    if read_bytes > MAX_BODY_BYTES {
        return Err(Problem::body_too_large());
    }
    Ok(collected.freeze())
}
