//! A whole client in a target's room: joins, connects, and leaves.

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

/// Where a client is to come in, and how.
#[derive(Clone, Copy)]
pub struct Entrance<'a> {
    /// Through what.
    pub target: &'a Target,
    /// In which room.
    pub room: &'a str,
    /// What the server is asked to put into a packet, if anything.
    pub asked_ptime: Option<Ptime>,
    /// What is wrong with the way to the server, and what decides which packets that hits.
    pub way: Option<(Impairment, u64)>,
}

/// Why a client could not join or leave.
#[derive(Debug, Error)]
pub enum RoomClientError {
    /// The server does not do its part.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// It cannot talk, listen or record.
    #[error(transparent)]
    Pcm(#[from] PcmError),
    /// It cannot be connected.
    #[error("cannot connect to {target}: {source}")]
    Connection {
        /// Through what.
        target: String,
        /// Why.
        source: ConnectionError,
    },
    /// The relay for jitter and loss has no port.
    #[error("cannot relay packets: {0}")]
    Relay(std::io::Error),
    /// The answer names no address that the relay can reach.
    #[error("the SDP answer of {target} has no UDP address that this machine can reach")]
    NoAddress {
        /// Which target.
        target: String,
    },
}

impl RoomClient {
    /// Joins, through a relay if the way is to be bad, and waits until media can flow.
    ///
    /// # Errors
    /// [`RoomClientError`] when it does not come to that.
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

    /// The way to the server.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.connection
    }

    /// What goes out and comes in.
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
