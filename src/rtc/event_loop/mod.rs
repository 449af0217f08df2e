//! The network thread's event loop.
//!
//! Invariant: when the loop waits, every datagram, packet and command that had arrived is
//! processed, except ICE restarts, which another thread negotiates; all resulting output has been
//! sent, and the wait ends no later than 5 ms after the earliest deadline of any peer.
//!
//! 1. Wait for the socket, the wake-up or a deadline; under high load, leave the socket alone until
//!    the next slot.
//! 2. Take a bounded number of commands, so that datagrams do not wait for texts. Take back
//!    negotiated cores.
//! 3. In turns of 64: read datagrams, take the mixers' packets, send.
//! 4. Serve the peers whose deadline has come.
//! 5. Send, and pass on events.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mixer::ParticipantId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::control::{Closing, NetworkCommand, NewSession};
use super::datagram_batch::{BATCH, BatchReceiver, BatchSender};
use super::error::RestartError;
use super::handle::RtcEvent;
use super::metrics::{Dropped, RtcMetrics};
use super::negotiator::{Negotiator, Reply, refuse};
use super::peers::Peers;
use super::rx_batching::RxBatching;
use super::sdp::RestartAnswer;
use super::socket_writer::{PATIENCE, SocketWriter};
use crate::queues::{Consumer, NetworkEnds, Outbound, Producer, send, take_in_place};
use crate::sched;

/// The resources that the network thread owns or shares with other threads.
pub(super) struct Parts {
    pub(super) socket: UdpSocket,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) commands: Consumer<NetworkCommand>,
    /// Tells the network thread to end, which it does once no command waits.
    pub(super) stop: Arc<AtomicBool>,
    pub(super) mixers: NetworkEnds,
    pub(super) events: Producer<RtcEvent>,
    /// Eventfd of the conference, written after events were sent to it.
    pub(super) bell: Arc<OwnedFd>,
    pub(super) metrics: Arc<RtcMetrics>,
    /// The values of the server's `a=candidate` lines, for the answers to ICE restarts.
    pub(super) candidates: Vec<String>,
    pub(super) negotiator: Negotiator,
    pub(super) fifo_priority: Option<u8>,
}

/// Runs the network thread until it is told to stop.
pub(super) fn run(mut parts: Parts) {
    if let Some(Err(error)) = parts.fifo_priority.map(sched::raise_priority) {
        tracing::warn!(
            %error,
            "the network thread runs without real-time priority, so packets can be late on a busy \
             machine; allow it with CAP_SYS_NICE or `ulimit -r {}`",
            sched::NETWORK
        );
    }
    let mut peers = Peers::new(parts.metrics.clone());
    peers.out.to_mixers = std::mem::take(&mut parts.mixers.to_mixers);
    let mut event_loop = match parts.socket.local_addr() {
        Ok(bound) => EventLoop {
            transmitter: BatchSender::new(bound),
            writer: SocketWriter::default(),
            parts,
            peers,
            batching: RxBatching::new(Instant::now()),
            next_mixer: 0,
        },
        Err(error) => {
            return tracing::error!(%error, "cannot read the address of the media socket; the network thread ends");
        }
    };
    let mut datagrams = BatchReceiver::new();
    loop {
        event_loop.wait();
        event_loop.take_commands();
        event_loop.end_restarts();
        if event_loop.is_stopped() {
            break;
        }
        for _ in 0..MAX_TURNS {
            let received = event_loop.receive(&mut datagrams);
            let sent = event_loop.take_packets();
            event_loop.transmit();
            if received < BATCH && sent < BATCH {
                break;
            }
        }
        event_loop.peers.serve_deadlines(Instant::now());
        event_loop.transmit();
        event_loop.hand_on_events();
    }
    for participant in event_loop.peers.participants() {
        event_loop.peers.close(participant, Instant::now());
        event_loop.transmit();
    }
}

struct EventLoop {
    parts: Parts,
    peers: Peers,
    transmitter: BatchSender,
    writer: SocketWriter,
    batching: RxBatching,
    /// Index of the mixer whose packets are taken next.
    next_mixer: usize,
}

impl EventLoop {
    fn wait(&self) {
        let now = Instant::now();
        let (until, batches) = self.patience(now);
        let timeout = until.and_then(|until| Timespec::try_from(until).ok());
        let of_socket = match (batches, self.writer.is_full()) {
            (false, false) => PollFlags::IN,
            (false, true) => PollFlags::IN | PollFlags::OUT,
            (true, _) => PollFlags::OUT,
        };
        let mut ready = [
            PollFd::new(&*self.parts.wake, PollFlags::IN),
            PollFd::new(&self.parts.socket, of_socket),
        ];
        let watched = if batches && !self.writer.is_full() {
            1
        } else {
            2
        };
        // An error of `poll`, such as an interruption, only makes the thread look earlier.
        if poll(&mut ready[..watched], timeout.as_ref()).is_ok() && !ready[0].revents().is_empty() {
            let _ = rustix::io::read(&*self.parts.wake, &mut [0u8; 8]);
        }
    }

    /// Returns the longest time to wait, `None` for no limit, and whether to leave received
    /// datagrams in the socket meanwhile.
    fn patience(&self, now: Instant) -> (Option<Duration>, bool) {
        // Work left over from the last turn wakes the thread no second time, so do not wait.
        let from_mixers = &self.parts.mixers.from_mixers;
        let is_left = !self.parts.commands.is_empty() || self.parts.negotiator.has_next();
        if is_left || from_mixers.iter().any(|ring| !ring.is_empty()) {
            return (Some(Duration::ZERO), false);
        }
        let mut until = self
            .peers
            .next_deadline()
            .map(|at| at.saturating_duration_since(now).max(TIMER_SLACK));
        if self.writer.is_full() {
            until = Some(until.map_or(PATIENCE, |until| until.min(PATIENCE)));
        }
        if !self.peers.out.events.is_empty() {
            until = Some(until.map_or(EVENT_RETRY, |until| until.min(EVENT_RETRY)));
        }
        let batch = self.batching.length(now);
        if let Some(batch) = batch {
            until = Some(until.map_or(batch, |until| until.min(batch)));
        }
        (until, batch.is_some())
    }

    /// Whether the thread should end: it was told to, and no command waits.
    fn is_stopped(&self) -> bool {
        self.parts.stop.load(Ordering::Acquire) && self.parts.commands.is_empty()
    }

    /// Executes waiting commands until their cost reaches [`MOST_WORK`].
    fn take_commands(&mut self) {
        let mut work = 0;
        while work < MOST_WORK
            && let Ok(command) = self.parts.commands.pop()
        {
            let now = Instant::now();
            work += command.work();
            match command {
                NetworkCommand::Start(peer) => {
                    self.batching.disturb(now);
                    self.peers.start(peer, now);
                }
                NetworkCommand::Trickle(participant, candidates) => {
                    self.peers.with_participant(participant, now, |peer, turn| {
                        peer.trickle(&candidates, turn)
                    });
                }
                NetworkCommand::Restart(participant, session, reply) => {
                    self.begin_restart(participant, session, reply, now);
                }
                NetworkCommand::Text(participants, text) => {
                    self.send_text(&participants, &text, now)
                }
                NetworkCommand::Close(closing) => {
                    for Closing {
                        participant,
                        last_words,
                    } in closing
                    {
                        if let Some(text) = last_words {
                            self.send_text(&[participant], &text, now);
                        }
                        self.peers.close(participant, now);
                    }
                }
            }
        }
    }

    /// Sends one text to many participants, with writes to the socket in between, because there can
    /// be as many as a room has.
    fn send_text(&mut self, participants: &[ParticipantId], text: &str, now: Instant) {
        for participant in participants {
            self.peers
                .with_participant(*participant, now, |peer, turn| {
                    peer.send_text(text.to_owned(), turn);
                });
            if self.peers.out.datagrams.len() >= BATCH && !self.writer.is_full() {
                self.transmit();
            }
        }
    }

    fn begin_restart(
        &mut self,
        participant: ParticipantId,
        session: NewSession,
        reply: Reply,
        now: Instant,
    ) {
        if !self.parts.negotiator.has_room() {
            return refuse(reply, RestartError::Busy);
        }
        let begun = self.peers.begin_restart(participant, session, reply, now);
        if let Some((negotiation, reply)) = begun {
            self.parts.negotiator.begin(negotiation, reply);
        }
    }

    /// Takes at most [`MOST_RESTARTS`] negotiated peer connections back from the negotiator, and
    /// replies to the callers.
    fn end_restarts(&mut self) {
        for _ in 0..MOST_RESTARTS {
            let Some((negotiated, reply)) = self.parts.negotiator.next() else {
                return;
            };
            let now = Instant::now();
            self.batching.disturb(now);
            let participant = negotiated.participant;
            let restarted = self.peers.end_restart(negotiated, now);
            let answer = restarted.map(|local| RestartAnswer {
                ufrag: local.ufrag,
                pwd: local.pwd,
                candidates: self.parts.candidates.clone(),
            });
            // The caller may no longer wait for the answer.
            let _ = reply.send(answer);
            if let Some((negotiation, reply)) = self.peers.next_restart(participant, now) {
                self.parts.negotiator.begin(negotiation, reply);
            }
        }
    }

    /// Reads one batch of datagrams from the socket and processes it; returns their number.
    fn receive(&mut self, datagrams: &mut BatchReceiver) -> usize {
        let count = match datagrams.receive(&self.parts.socket) {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "cannot receive datagrams from the media socket");
                0
            }
        };
        // One arrival time for the batch, taken as soon as the system returns it.
        let now = Instant::now();
        self.batching.received(count, now);
        let metrics = self.parts.metrics.clone();
        metrics
            .datagrams_in_total
            .fetch_add(count as u64, Ordering::Relaxed);
        for index in 0..count {
            match datagrams.datagram(index) {
                Some((from, datagram)) => {
                    metrics
                        .bytes_in_total
                        .fetch_add(datagram.len() as u64, Ordering::Relaxed);
                    self.peers.dispatch(from, datagram, now);
                }
                None => metrics.count(Dropped::Oversize),
            }
        }
        count
    }

    /// Encrypts and queues one batch of the mixers' packets, taking one from each mixer in turn;
    /// returns the number of datagrams.
    fn take_packets(&mut self) -> usize {
        let now = Instant::now();
        let from_mixers = &mut self.parts.mixers.from_mixers;
        let mut count = 0;
        let mut empty = 0;
        while count < BATCH && empty < from_mixers.len() {
            let at = self.next_mixer;
            self.next_mixer = (at + 1) % from_mixers.len();
            let peers = &mut self.peers;
            let sent = take_in_place(&mut from_mixers[at], |outbound: &Outbound| {
                let to = outbound.to.as_slice();
                peers.send(to, &outbound.packet, now);
                to.len()
            });
            match sent {
                Some(datagrams) => {
                    empty = 0;
                    count += datagrams;
                }
                None => empty += 1,
            }
        }
        count
    }

    /// Sends queued datagrams, as many as the socket accepts.
    fn transmit(&mut self) {
        let (transmitter, socket) = (&mut self.transmitter, &self.parts.socket);
        let (datagrams, metrics) = (&mut self.peers.out.datagrams, &self.parts.metrics);
        self.writer
            .send(datagrams, metrics, Instant::now(), |datagrams| {
                transmitter.send(socket, datagrams.iter())
            });
    }

    /// Sends the collected events to the conference. State events (connected, disconnected, gone,
    /// data channel open) that find the ring full wait, in order; each peer has only a few. Other
    /// events are dropped and counted.
    fn hand_on_events(&mut self) {
        let (mut is_full, mut is_urgent) = (false, false);
        for event in std::mem::take(&mut self.peers.out.events) {
            // A loss report alone does not wake the conference: it does no harm if the encoder is
            // prepared slightly later.
            let waits_for_turn = matches!(event, RtcEvent::Loss(..));
            let back = match is_full {
                true => Some(event),
                false => send(&mut self.parts.events, event).err(),
            };
            is_full = back.is_some();
            match back {
                None => is_urgent |= !waits_for_turn,
                Some(event) if event.is_state() => self.peers.out.events.push_back(event),
                Some(_) => self.parts.metrics.count(Dropped::Event),
            }
        }
        if is_urgent {
            // The write fails only if the eventfd's counter is full, and then the conference has
            // been woken.
            let _ = rustix::io::write(&self.parts.bell, &1u64.to_ne_bytes());
        }
    }
}

/// Maximum number of turns of reading and sending before deadlines and commands are served.
const MAX_TURNS: usize = 32;

/// Most work per pass of the loop, in messages to one peer: as many as datagrams read in eight
/// turns, so that a text to a room of 500 fits into one pass.
pub(super) const MOST_WORK: usize = 8 * BATCH;

/// Most negotiated peer connections taken back per pass of the loop.
const MOST_RESTARTS: usize = 8;

/// Most by which a deadline is served late, so that several are served together: with thousands of
/// peers some deadline is always imminent, and each can wait this long.
const TIMER_SLACK: Duration = Duration::from_millis(5);

/// Interval at which events that found the ring full are sent again.
const EVENT_RETRY: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests;
