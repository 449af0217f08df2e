//! The load of a benchmark: many light WebRTC clients on one thread.
//!
//! ```text
//! join (any thread)   offer -> target's signalling -> answer -> Client
//! thread (one)        datagram -> Client -> Stream: what is missing, what is off its beat
//!                     Sound -> Sending -> Client -> datagram
//! ```
//!
//! Each client uses the server's WebRTC core for its connection, so that ICE, DTLS and SRTP are
//! real. The results rest only on what the clients receive; the server's own metrics are shown
//! beside them.

mod audio_check;
mod client;
mod labelled_datagrams;
mod offer;
mod sending;
mod sockets;
mod sources;
mod stats;
mod stream;
mod thread;

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use thiserror::Error;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub use audio_check::Heard;
pub use sources::{ListenerKind, SoundError, Speech, tone_hz};
pub use stats::SwarmStats;

use super::target::{Seat, Target, TargetError};
use crate::join::sdp::SendLimits;
use crate::rtc::sdp::{AnswerError, RemoteAnswer};
use audio_check::AudioCheck;
use client::{Client, ClientParts};
use offer::Offerer;
use sending::{FRAME_TIME, Sending};
use sockets::Sockets;
use sources::{GOLDEN, Sources};
use thread::Command;

/// Why a swarm cannot start, or a client cannot join.
#[derive(Debug, Error)]
pub enum SwarmError {
    /// The sockets or the thread cannot be created.
    #[error("cannot create the sockets or the thread of the benchmark's clients: {0}")]
    System(#[from] io::Error),
    /// The sounds cannot be encoded.
    #[error(transparent)]
    Sound(#[from] SoundError),
    /// The WebRTC core reported an error.
    #[error("the WebRTC stack failed: {0}")]
    Core(#[from] rtc::shared::error::Error),
    /// The server refuses the client.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The answer cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// No path was found, or the handshake failed.
    #[error("a client did not connect within {} s", CONNECT_TIME.as_secs())]
    NoPath,
    /// The swarm has no space for another client.
    #[error("the benchmark can connect at most {limit} clients")]
    Full {
        /// The largest number of clients.
        limit: usize,
    },
    /// The swarm's thread has ended.
    #[error("the thread that runs the benchmark's clients has ended")]
    Gone,
}

/// The role of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The client talks; the number tells talkers apart.
    Talker(usize),
    /// The client listens.
    Listener(ListenerKind),
}

/// The role of a client that joins, and whether its audio is checked.
#[derive(Debug, Clone)]
pub struct Joining {
    /// The role of the client.
    pub role: Role,
    /// The tones to look for in the received audio; without them it is not decoded.
    pub ear: Option<Vec<u32>>,
}

/// A client that is connected.
pub struct Member {
    slot: usize,
    seat: Seat,
}

/// A running swarm: many light clients on one thread.
///
/// Dropping it closes the connections of all clients. [`Swarm::leave`] also ends a client's session
/// at the server.
pub struct Swarm {
    offerer: Offerer,
    sounds: Sources,
    sockets: Arc<Sockets>,
    free: Mutex<Vec<usize>>,
    joined: Mutex<usize>,
    commands: Option<Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl Swarm {
    /// Starts a swarm without clients, with space for `capacity` clients on these addresses of this
    /// machine.
    ///
    /// # Errors
    /// [`SwarmError`] when the system cannot provide enough sockets.
    pub fn start(ips: &[IpAddr], capacity: usize, speech: Speech) -> Result<Swarm, SwarmError> {
        let sounds = Sources::new(speech)?;
        let sockets = Arc::new(Sockets::open(ips, capacity)?);
        let watch = sockets.watch()?;
        let (commands, taken) = bounded(COMMANDS);
        let theirs = sockets.clone();
        let thread = std::thread::Builder::new()
            .name("swarm".to_owned())
            .spawn(move || thread::run(theirs, watch, taken))?;
        Ok(Swarm {
            offerer: Offerer::new()?,
            sounds,
            free: Mutex::new((0..sockets.slots()).rev().collect()),
            sockets,
            joined: Mutex::new(0),
            commands: Some(commands),
            thread: Some(thread),
        })
    }

    /// Joins one client to a room and waits until its media flows.
    ///
    /// # Errors
    /// [`SwarmError`] when the server refuses it or no path is found.
    pub async fn join(
        &self,
        target: &Target,
        room: &str,
        joining: Joining,
    ) -> Result<Member, SwarmError> {
        let slot = self.take_slot()?;
        let joined = self.join_at(slot, target, room, joining).await;
        if joined.is_err() {
            let _ = self.tell(Command::Remove(slot));
            self.free().push(slot);
        }
        joined
    }

    /// Removes a client from its room.
    pub async fn leave(&self, target: &Target, member: Member) {
        target.leave(member.seat).await;
        if self.tell(Command::Remove(member.slot)).is_ok() {
            self.free().push(member.slot);
        }
    }

    /// Restarts all counters, waits for `time`, and returns the statistics of that time.
    ///
    /// # Errors
    /// [`SwarmError::Gone`] when the thread has ended.
    pub async fn measure(&self, time: Duration) -> Result<Box<SwarmStats>, SwarmError> {
        self.tell(Command::Begin)?;
        tokio::time::sleep(time).await;
        let (reply, tally) = oneshot::channel();
        self.tell(Command::End(reply))?;
        tally.await.map_err(|_| SwarmError::Gone)
    }

    async fn join_at(
        &self,
        slot: usize,
        target: &Target,
        room: &str,
        joining: Joining,
    ) -> Result<Member, SwarmError> {
        let local = self.sockets.address(slot);
        let sends = joining.role != Role::Listener(ListenerKind::Recvonly);
        let mut offered = self.offerer.offer(local, sends)?;
        let name = match joining.role {
            Role::Talker(number) => format!("talker {number}"),
            Role::Listener(_) => format!("listener {slot}"),
        };
        let (answer, seat) = target.join(room, &name, &offered.sdp).await?;
        let prepared = self.sending(&joining, offered.ssrc, &answer);
        let taken = prepared.and_then(|sending| {
            offer::accept(&mut offered.pc, &answer)?;
            Ok(sending)
        });
        let connected = match taken {
            Ok(sending) => {
                let (up, comes_up) = oneshot::channel();
                let parts = ClientParts {
                    pc: offered.pc,
                    local,
                    ssrc: offered.ssrc,
                    sending,
                    ear: joining.ear.map(AudioCheck::new),
                    up,
                };
                let client = Box::new(Client::new(parts, Instant::now()));
                self.tell(Command::Start(slot, client))?;
                match timeout(CONNECT_TIME, comes_up).await {
                    Ok(Ok(true)) => Ok(()),
                    _ => Err(SwarmError::NoPath),
                }
            }
            Err(error) => Err(error),
        };
        match connected {
            Ok(()) => Ok(Member { slot, seat }),
            Err(error) => {
                target.leave(seat).await;
                Err(error)
            }
        }
    }

    /// Returns the stream that the client will send, within the limits of the answer.
    fn sending(
        &self,
        joining: &Joining,
        ssrc: u32,
        answer: &str,
    ) -> Result<Option<Sending>, SwarmError> {
        let limits = SendLimits::of(&RemoteAnswer::read(answer)?);
        let (sound, at) = match joining.role {
            Role::Talker(number) => {
                let (sound, at) = self.sounds.talker(number, limits.dtx)?;
                (sound, at)
            }
            Role::Listener(kind) => match self.sounds.listener(kind) {
                Some(sound) => (sound, 0),
                None => return Ok(None),
            },
        };
        // The packets of different clients must not coincide: their phases are spread over the
        // packet time.
        let number = {
            let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
            *joined += 1;
            *joined
        };
        let round = FRAME_TIME * sound.next_after(at).max(1) as u32;
        let phase = round.mul_f64((number as f64 * GOLDEN).fract());
        let start = Instant::now() + phase;
        Ok(Some(Sending::new(
            sound,
            at,
            ssrc,
            limits.level_extension,
            start,
        )))
    }

    fn take_slot(&self) -> Result<usize, SwarmError> {
        let limit = self.sockets.slots();
        self.free().pop().ok_or(SwarmError::Full { limit })
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<usize>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, command: Command) -> Result<(), SwarmError> {
        let commands = self.commands.as_ref().ok_or(SwarmError::Gone)?;
        commands.send(command).map_err(|_| SwarmError::Gone)
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        // The thread ends when its command queue is closed.
        self.commands = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the clients panicked");
        }
    }
}

/// The time limit for a connection: ten round trips on a loaded machine, and a repeated handshake.
const CONNECT_TIME: Duration = Duration::from_secs(15);

/// Bound of the command queue: sixteen joins run at a time.
const COMMANDS: usize = 256;
