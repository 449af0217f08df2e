//! The state shared by all HTTP handlers.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::client_address::Proxies;
use super::cors::Cors;
use super::hosts::Hosts;
use super::listener::ConnectionLimit;
use super::metrics::HttpMetrics;
use crate::conference::Conference;
use crate::config::{Config, IceServer};
use crate::rate_limit::Limiter;

/// The state shared by all HTTP requests.
pub(super) struct HttpState {
    pub(super) conference: Conference,
    /// Rate limiters of the requests of each client address.
    pub(super) limiter: Limiter,
    pub(super) cors: Cors,
    /// The host names that requests may be sent to.
    pub(super) hosts: Hosts,
    pub(super) proxies: Proxies,
    /// Limit on the number of open connections, in total and per client address.
    pub(super) connection_limit: Arc<ConnectionLimit>,
    pub(super) ice_servers: Vec<IceServer>,
    pub(super) metrics: Arc<HttpMetrics>,
    /// One permit for each offer that may be processed at the same time: as many as there are
    /// cores.
    pub(super) turns: Arc<Semaphore>,
    /// Becomes true when the server shuts down.
    pub(super) stop: watch::Receiver<bool>,
}

impl HttpState {
    pub(super) fn new(
        config: &Config,
        certificate_names: &[String],
        conference: Conference,
        stop: watch::Receiver<bool>,
    ) -> HttpState {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let hosts = Hosts::new(&config.hosts, certificate_names);
        let proxies = Proxies::new(config.trusted_proxies.clone());
        let metrics = Arc::<HttpMetrics>::default();
        let per_address = config.max_connections_per_address;
        let connection_limit = ConnectionLimit::new(metrics.clone(), per_address, proxies.clone());
        HttpState {
            conference,
            limiter: Limiter::new(&config.rates),
            cors: Cors::new(config.cors_origins.clone(), hosts.clone()),
            hosts,
            proxies,
            connection_limit: Arc::new(connection_limit),
            ice_servers: config.ice_servers.clone(),
            metrics,
            turns: Arc::new(Semaphore::new(cores)),
            stop,
        }
    }
}
