//! What every handler may use.

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};

use super::cors::Cors;
use super::metrics::HttpMetrics;
use crate::conference::Conference;
use crate::config::{Config, IceServer};

/// Shared by all requests.
pub(super) struct Context {
    pub(super) conference: Conference,
    pub(super) cors: Cors,
    pub(super) ice_servers: Vec<IceServer>,
    pub(super) metrics: Arc<HttpMetrics>,
    /// One permit for each offer that may be worked on at the same time.
    pub(super) turns: Arc<Semaphore>,
    /// Turns true when the server goes down.
    pub(super) stop: watch::Receiver<bool>,
}

impl Context {
    pub(super) fn new(
        config: &Config,
        conference: Conference,
        stop: watch::Receiver<bool>,
    ) -> Context {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Context {
            conference,
            cors: Cors::new(config.cors_origins.clone()),
            ice_servers: config.ice_servers.clone(),
            metrics: Arc::default(),
            turns: Arc::new(Semaphore::new(cores)),
            stop,
        }
    }
}
