//! An HTTP request as handlers receive it; its body is read within limits of size and time.

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

/// Maximum size of a request body. An offer has 2 to 6 kB, so this is ten times the largest real
/// one.
pub(super) const MAX_BODY_BYTES: usize = 64 * 1024;

/// Maximum size of an oversized body that is read and discarded. Without that, a client that is
/// still writing would see its connection reset and never receive the response.
const MAX_DISCARD_BYTES: usize = 1024 * 1024;

/// Longest time for a body to arrive, so that a client cannot hold a request open by sending
/// slowly.
const BODY_TIME: Duration = Duration::from_secs(10);

type Body = Pin<Box<dyn Stream<Item = Result<Bytes, warp::Error>> + Send>>;

/// One HTTP request, whose body has not been read yet.
pub(super) struct Request {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    /// The client's address, as found behind trusted proxies.
    pub(super) client: IpAddr,
    query: Vec<(String, String)>,
    body: Body,
}

/// Extracts the request; for use behind a filter for the path.
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

/// Extracts the client's address.
pub(super) fn client_address() -> BoxedFilter<(IpAddr,)> {
    // The middleware gives every request an address.
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
    /// Returns the first parameter called `name` in the query string.
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns whether the `Content-Type` is `media_type`; parameters such as `charset` are
    /// ignored.
    pub(super) fn is_of(&self, media_type: &str) -> bool {
        self.headers
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split(';').next())
            .is_some_and(|value| value.trim().eq_ignore_ascii_case(media_type))
    }

    /// Reads the whole body of the request.
    ///
    /// # Errors
    /// 413 above [`MAX_BODY_BYTES`], 408 after a timeout, 400 when the connection breaks.
    pub(super) async fn body(&mut self) -> Result<Bytes, Problem> {
        let read = timeout(BODY_TIME, collect(&mut self.body)).await;
        read.unwrap_or_else(|_| Err(Problem::body_timeout()))
    }

    /// Reads the whole body of the request as UTF-8 text.
    ///
    /// # Errors
    /// The errors of [`Request::body`], and 400 if the body is not UTF-8.
    pub(super) async fn text(&mut self) -> Result<String, Problem> {
        let body = self.body().await?;
        String::from_utf8(body.into())
            .map_err(|_| Problem::bad_request("The body is not UTF-8 text."))
    }

    /// Reads the body as an SDP description.
    ///
    /// A description that names a character set (`a=charset`; RFC 8866, 6.10) may have any bytes in
    /// its free text. The server does not use that text, so bytes that are not UTF-8 are replaced.
    ///
    /// # Errors
    /// The errors of [`Request::text`].
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

    /// Reads the body of a JSON request; an empty body stands for `{}`.
    ///
    /// # Errors
    /// The errors of [`Request::body`], and 415 for another media type.
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
        let piece = piece.map_err(|_| {
            Problem::bad_request("The connection ended before the whole body had arrived.")
        })?;
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
