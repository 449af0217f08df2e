//! Connects two clients to each other without a server. They have the same media and the same kind
//! of connection as with a server, so a measurement through a server minus the same measurement
//! here is what the server adds.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use super::connection::{Connection, Reach};
use super::error::JoinError;
use super::media::{Media, MediaOptions};
use super::stats::Stats;

/// One of two clients that are connected to each other.
pub struct PeerToPeer {
    /// The client's media.
    pub media: Media,
    /// The client's connection.
    pub connection: Connection,
    since: Instant,
}

/// Connects two clients over loopback and waits until media can flow.
///
/// # Errors
/// [`JoinError`] when either side fails.
pub async fn connect(
    caller: MediaOptions,
    callee: MediaOptions,
) -> Result<(PeerToPeer, PeerToPeer), JoinError> {
    let (caller, callee) = (Media::start(caller)?, Media::start(callee)?);
    let (offering, offer) = Connection::offer(caller.sockets().clone(), LOOPBACK).await?;
    let (answering, answer) = Connection::answer(callee.sockets().clone(), LOOPBACK, offer).await?;
    offering.accept(answer).await?;
    tokio::try_join!(offering.up(), answering.up())?;
    let since = Instant::now();
    let direct = |media, connection| PeerToPeer {
        media,
        connection,
        since,
    };
    Ok((direct(caller, offering), direct(callee, answering)))
}

impl PeerToPeer {
    /// Returns the statistics so far.
    pub async fn stats(&self) -> Stats {
        let rtt = self.connection.rtt().await;
        let counters = &self.media.sockets().counters;
        counters.snapshot(self.since.elapsed(), rtt)
    }

    /// Closes the connection and completes the recording.
    ///
    /// # Errors
    /// [`JoinError`] when the recording could not be written.
    pub async fn finish(self) -> Result<(), JoinError> {
        self.connection.close().await;
        Ok(self.media.finish().await?)
    }
}

/// The address that both clients use, whatever networks the machine is connected to.
const LOOPBACK: Reach = Reach::From(IpAddr::V4(Ipv4Addr::LOCALHOST));
