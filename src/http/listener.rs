//! The accept loop of the HTTP server, with TLS, timeouts, a limit on connections and graceful
//! shutdown, which warp's own server lacks.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use warp::http::Request;
use warp::reply::Response;

use super::client_address::Proxies;
use super::metrics::HttpMetrics;
use super::write_timeout::WriteTimeout;
use crate::rate_limit::ClientNetwork;

/// Maximum number of connections at one time, including WebSockets. It is well below the usual
/// maximum of file descriptors, to which the server raises its limit.
const MAX_CONNECTIONS: usize = 8_192;
/// Longest time for a TLS handshake, and for the head of a request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Maximum size of the head of a request.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// Size of the system's send buffer for one connection.
const SEND_BUFFER_BYTES: usize = 64 * 1024;
/// Longest time that the shutdown waits for requests in flight.
const GRACE: Duration = Duration::from_secs(3);
/// Wait after the first failed accept; doubled with each further failure, up to a second.
const FIRST_WAIT: Duration = Duration::from_millis(10);

/// Accepts and serves connections until `stop` changes, then waits for the requests in flight.
pub(super) async fn run<S>(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    service: S,
    gate: Arc<ConnectionLimit>,
    mut stop: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    let mut connections = JoinSet::new();
    let mut wait = FIRST_WAIT;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
            _ = stop.changed() => break,
        };
        match accepted {
            Ok((stream, address)) => {
                wait = FIRST_WAIT;
                if let Some(permit) = gate.admit(address.ip()) {
                    connections.spawn(connection(
                        stream,
                        tls.clone(),
                        service.clone(),
                        permit,
                        stop.clone(),
                    ));
                }
            }
            Err(error) if is_the_client_s(&error) => {}
            // Most likely no file descriptors are left. Trying again at once would only use up CPU
            // time.
            Err(error) => {
                gate.metrics.accept_errors.fetch_add(1, Relaxed);
                tracing::warn!(
                    %error,
                    wait_ms = wait.as_millis(),
                    "cannot accept an HTTP connection; trying again after a wait"
                );
                sleep(wait).await;
                wait = (wait * 2).min(Duration::from_secs(1));
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if timeout(GRACE, finished).await.is_err() {
        connections.shutdown().await;
    }
}

/// Serves one connection, from the TLS handshake until it is closed.
async fn connection<S>(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    service: S,
    permit: Arc<ConnectionPermit>,
    stop: watch::Receiver<bool>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    // Responses are small and should be sent at once. By default the system would buffer megabytes
    // for a client that does not read.
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
    let metrics = permit.gate.metrics.clone();
    let stream = WriteTimeout::new(stream, metrics);
    let service = WithPermit { service, permit };
    match tls {
        None => serve(stream, service, stop).await,
        Some(tls) => match timeout(HEAD_TIME, tls.accept(stream)).await {
            Ok(Ok(stream)) => serve(stream, service, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
            Err(_) => tracing::debug!("the TLS handshake timed out"),
        },
    }
}

async fn serve<I, S>(stream: I, service: S, mut stop: watch::Receiver<bool>)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Service<Request<Incoming>, Response = Response, Error = Infallible> + Send + 'static,
    S::Future: Send,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stop.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended with an error");
    }
}

/// Returns whether an accept failed because of the client and not because of this server.
fn is_the_client_s(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// The limit on open connections, in total and per client address.
#[derive(Debug)]
pub(super) struct ConnectionLimit {
    open: Mutex<OpenConnections>,
    metrics: Arc<HttpMetrics>,
    /// Maximum number of connections per address at one time. Loopback addresses and trusted
    /// proxies have no such limit.
    max_per_address: u32,
    proxies: Proxies,
}

/// A client address already has the maximum number of connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooManyConnections;

#[derive(Debug, Default)]
struct OpenConnections {
    all: usize,
    by_address: HashMap<ClientNetwork, u32>,
}

impl OpenConnections {
    /// Counts a connection of `address`, unless the address already has `limit` connections.
    fn count(&mut self, address: ClientNetwork, limit: u32) -> Result<(), TooManyConnections> {
        let count = self.by_address.entry(address).or_default();
        if *count >= limit {
            return Err(TooManyConnections);
        }
        *count += 1;
        Ok(())
    }
}

impl ConnectionLimit {
    pub(super) fn new(
        metrics: Arc<HttpMetrics>,
        max_per_address: u32,
        proxies: Proxies,
    ) -> ConnectionLimit {
        ConnectionLimit {
            open: Mutex::default(),
            metrics,
            max_per_address,
            proxies,
        }
    }

    /// Admits a connection from `address`; `None` if a limit is reached.
    fn admit(self: &Arc<ConnectionLimit>, address: IpAddr) -> Option<Arc<ConnectionPermit>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = self.counts(address).then(|| address.into());
        let is_full = open.all >= MAX_CONNECTIONS;
        let counts = |network| open.count(network, self.max_per_address);
        if is_full || counted.map_or(Ok(()), counts).is_err() {
            self.metrics.refused.fetch_add(1, Relaxed);
            return None;
        }
        open.all += 1;
        self.metrics.connections.fetch_add(1, Relaxed);
        Some(Arc::new(ConnectionPermit {
            gate: self.clone(),
            address,
            counted,
        }))
    }

    /// Counts a long-lived request of a client whose connection comes through a trusted proxy.
    ///
    /// # Errors
    /// [`TooManyConnections`] if the client's address is at its limit.
    pub(super) fn admit_client(
        self: &Arc<ConnectionLimit>,
        client: IpAddr,
        connection: Option<&ConnectionPermit>,
    ) -> Result<Option<ClientPermit>, TooManyConnections> {
        let is_counted = connection.is_some_and(|permit| permit.counted.is_some());
        if is_counted || !self.counts(client) {
            return Ok(None);
        }
        let network = client.into();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = open.count(network, self.max_per_address);
        counted.inspect_err(|_| {
            self.metrics.refused.fetch_add(1, Relaxed);
        })?;
        Ok(Some(ClientPermit {
            gate: self.clone(),
            network,
        }))
    }

    /// Returns whether connections of this address count towards the limit per address.
    fn counts(&self, address: IpAddr) -> bool {
        !address.to_canonical().is_loopback() && !self.proxies.trust(address)
    }

    fn forget(&self, network: ClientNetwork, open: &mut OpenConnections) {
        if let Some(count) = open.by_address.get_mut(&network) {
            *count -= 1;
            if *count == 0 {
                open.by_address.remove(&network);
            }
        }
    }
}

/// The permit for one open connection; held by the connection and, after an upgrade, by its
/// WebSocket.
#[derive(Debug)]
pub(super) struct ConnectionPermit {
    gate: Arc<ConnectionLimit>,
    address: IpAddr,
    /// The network under which the connection is counted; `None` if the limit per address does not
    /// apply.
    counted: Option<ClientNetwork>,
}

impl ConnectionPermit {
    /// Returns the peer address of the connection.
    pub(super) fn address(&self) -> IpAddr {
        self.address
    }
}

/// The permit for a long-lived request of a client behind a trusted proxy.
#[derive(Debug)]
pub(super) struct ClientPermit {
    gate: Arc<ConnectionLimit>,
    network: ClientNetwork,
}

impl Drop for ClientPermit {
    fn drop(&mut self) {
        let gate = &self.gate;
        let mut open = gate.open.lock().unwrap_or_else(PoisonError::into_inner);
        gate.forget(self.network, &mut open);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let mut open = self
            .gate
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(network) = self.counted {
            self.gate.forget(network, &mut open);
        }
        self.gate.metrics.connections.fetch_sub(1, Relaxed);
    }
}

/// A service that inserts the connection's permit into each request, where a WebSocket upgrade
/// finds it.
#[derive(Clone)]
struct WithPermit<S> {
    service: S,
    permit: Arc<ConnectionPermit>,
}

impl<S: Service<Request<Incoming>>> Service<Request<Incoming>> for WithPermit<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn call(&self, mut request: Request<Incoming>) -> S::Future {
        request.extensions_mut().insert(self.permit.clone());
        self.service.call(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_PER_ADDRESS: u32 = 256;

    fn gate() -> Arc<ConnectionLimit> {
        let proxies = Proxies::new(vec!["10.0.0.1/32".parse().expect("a network")]);
        Arc::new(ConnectionLimit::new(
            Arc::default(),
            MAX_PER_ADDRESS,
            proxies,
        ))
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connection_limit_counts_an_ipv6_network_as_one_address() {
        let gate = gate();
        let of_network = |n: u32| address(&format!("2001:db8::{n:x}"));
        let permits: Vec<_> = (0..MAX_PER_ADDRESS)
            .map(|n| gate.admit(of_network(n)))
            .collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(gate.admit(of_network(1_000)).is_none());
        assert!(gate.admit(address("2001:db8:0:1::1")).is_some());
        drop(permits);
        assert!(gate.admit(of_network(1_000)).is_some());
        assert!(gate.open.lock().expect("whole").by_address.is_empty());
    }

    #[test]
    fn connection_limit_counts_clients_of_a_trusted_proxy_not_the_proxy() {
        let gate = gate();
        let proxy = address("10.0.0.1");
        let connections: Vec<_> = (0..2 * MAX_PER_ADDRESS)
            .map(|_| gate.admit(proxy).expect("not counted"))
            .collect();
        let ann = address("192.0.2.1");
        let open = |client, at: usize| gate.admit_client(client, Some(&*connections[at]));
        let sockets: Vec<_> = (0..MAX_PER_ADDRESS as usize)
            .map(|at| open(ann, at).expect("there is room").expect("counted"))
            .collect();
        assert_eq!(open(ann, 0).err(), Some(TooManyConnections));
        assert!(open(address("192.0.2.2"), 0).is_ok());
        drop(sockets);
        assert!(open(ann, 0).is_ok());
        // A connection without a proxy is already counted by itself.
        let direct = gate.admit(ann).expect("there is room");
        let counted = gate.admit_client(ann, Some(&*direct));
        assert!(counted.expect("there is room").is_none());
    }

    #[test]
    fn connection_limit_refuses_an_address_above_its_maximum() {
        let gate = gate();
        let stranger = IpAddr::from([192, 0, 2, 1]);
        let permits: Vec<_> = (0..MAX_PER_ADDRESS).map(|_| gate.admit(stranger)).collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(gate.admit(stranger).is_none());
        assert!(gate.admit(IpAddr::from([192, 0, 2, 2])).is_some());
        drop(permits);
        assert!(gate.admit(stranger).is_some());
        assert_eq!(gate.metrics.refused.load(Relaxed), 1);
    }

    #[test]
    fn connection_limit_lets_loopback_clients_use_all_connections() {
        let gate = gate();
        let host = IpAddr::from([127, 0, 0, 1]);
        let permits: Vec<_> = (0..MAX_CONNECTIONS).map(|_| gate.admit(host)).collect();
        assert!(permits.iter().all(Option::is_some));
        assert!(gate.admit(host).is_none());
        drop(permits);
        assert_eq!(gate.metrics.connections.load(Relaxed), 0);
    }
}
