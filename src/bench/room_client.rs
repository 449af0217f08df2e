//! A complete client in a target's room: it joins, connects and leaves.

use std::sync::Arc;

use thiserror::Error;

use super::relay::{self, Impairment, Relay};
use super::target::{Seat, Target, TargetError};
use crate::join::connection::{Connection, ConnectionError, Reach};
use crate::join::media::{Media, MediaOptions};
use crate::join::pcm::PcmError;
use crate::join::sdp;
use crate::join::uplink::Ptime;

/// A client that has joined a target's room.
pub struct RoomClient {
    media: Media,
    connection: Arc<Connection>,
    seat: Seat,
    _relay: Option<Relay>,
}

/// The room that a client joins, and the path over which it joins.
#[derive(Clone, Copy)]
pub struct Entrance<'a> {
    /// The server.
    pub target: &'a Target,
    /// The room.
    pub room: &'a str,
    /// The packet duration that the server is asked for, if any.
    pub asked_ptime: Option<Ptime>,
    /// The impairment of the path to the server, with its seed.
    pub way: Option<(Impairment, u64)>,
}

/// Why a client cannot join or leave.
#[derive(Debug, Error)]
pub enum RoomClientError {
    /// The server does not start or answer.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The client cannot talk, listen or record.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// The client cannot connect.
    #[error("cannot connect to {target}: {source}")]
    Connection {
        /// The name of the target.
        target: String,
        /// Why the connection failed.
        source: ConnectionError,
    },
    /// The relay for jitter and loss cannot be set up.
    #[error("cannot start the relay that loses and delays packets: {0}")]
    Relay(std::io::Error),
    /// The answer has no address that the relay can reach.
    #[error("the SDP answer of {target} has no UDP address that this machine can reach")]
    NoAddress {
        /// The target.
        target: String,
    },
}

impl RoomClient {
    /// Joins, through a relay if the path is impaired, and waits until media can flow.
    ///
    /// # Errors
    /// [`RoomClientError`] when no connection is established.
    pub async fn join(
        entrance: Entrance<'_>,
        name: &str,
        media: MediaOptions,
    ) -> Result<RoomClient, RoomClientError> {
        let target = entrance.target;
        let own_ip = target.local_ip();
        let failed = |source| RoomClientError::Connection {
            target: target.name().to_owned(),
            source,
        };
        let mut relay = match entrance.way {
            Some((way, seed)) => {
                let bound = Relay::bind(own_ip, way, seed).await;
                Some(bound.map_err(RoomClientError::Relay)?)
            }
            None => None,
        };
        let media = Media::start(media)?;
        let offered = Connection::offer(media.sockets().clone(), Reach::From(own_ip)).await;
        let (connection, mut offer) = offered.map_err(failed)?;
        if let Some(ptime) = entrance.asked_ptime {
            offer = sdp::with_ptime(&offer, ptime.ms());
        }
        if let Some(relay) = &relay {
            offer = relay::only_candidate(&offer, relay.back());
        }
        let (mut answer, seat) = target.join(entrance.room, name, &offer).await?;
        if let Some(relay) = &mut relay {
            let server = relay::first_address(&answer, own_ip);
            relay.lead_to(server.ok_or_else(|| RoomClientError::NoAddress {
                target: target.name().to_owned(),
            })?);
            answer = relay::only_candidate(&answer, relay.front());
        }
        connection.accept(answer).await.map_err(failed)?;
        connection.up().await.map_err(failed)?;
        Ok(RoomClient {
            media,
            connection: Arc::new(connection),
            seat,
            _relay: relay,
        })
    }

    /// Returns the connection to the server.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// Returns the client's media.
    pub fn media(&self) -> &Media {
        &self.media
    }

    /// Leaves and completes the recording, if there is one.
    ///
    /// # Errors
    /// [`PcmError`] when the recording could not be written.
    pub async fn leave(self, target: &Target) -> Result<(), PcmError> {
        self.connection.close().await;
        target.leave(self.seat).await;
        self.media.finish().await
    }
}
