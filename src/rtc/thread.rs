//! The network thread's loop.
//!
//! Invariant: when the loop waits, every datagram, packet and command that had arrived has been worked off, everything
//! that came of it has been sent, and the wait ends no later than the earliest deadline of any peer.
//!
//! 1. Wait for the socket, the wake-up or a deadline.
//! 2. Take commands.
//! 3. In turns of 64: read datagrams, take the mixer's packets, send.
//! 4. Serve the peers whose deadline has come.
//! 5. Send, and hand on events.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use mixer::ParticipantId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slab::Slab;
use socket2::{Domain, Protocol as SocketProtocol, Socket, Type};

use super::demux::{Protocol, StunClass, StunHead, classify};
use super::error::RestartError;
use super::handle::{Command, Reason, RtcEvent};
use super::metrics::{Dropped, RtcMetrics};
use super::mmsg::{BATCH, Receiver as Datagrams, Sender as Transmitter};
use super::outbox::Outbox;
use super::peer::{Check, Peer, Turn};
use super::routes::Routes;
use super::sdp::{Restart, RestartAnswer};
use super::timers::Timers;
use crate::links::Outbound;

/// What the thread is made of.
pub(super) struct Parts {
    pub(super) socket: UdpSocket,
    pub(super) wake: Arc<OwnedFd>,
    pub(super) commands: Receiver<Command>,
    pub(super) from_mixer: Receiver<Outbound>,
    pub(super) events: Sender<RtcEvent>,
    pub(super) metrics: Arc<RtcMetrics>,
    /// Values of our `a=candidate` lines, for restarts.
    pub(super) candidates: Vec<String>,
    pub(super) fifo_priority: Option<u8>,
}

/// Binds the media socket.
pub(super) fn bind(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::DGRAM,
        Some(SocketProtocol::UDP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_nonblocking(true)?;
    // The system cuts this down to what it allows; a burst that does not fit is lost like any other.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    socket.bind(&address.into())?;
    Ok(socket.into())
}

/// Runs until told to stop.
pub(super) fn run(parts: Parts) {
    if let Some(priority) = parts.fifo_priority {
        take_priority(priority);
    }
    let mut net = match parts.socket.local_addr() {
        Ok(bound) => Net {
            transmitter: Transmitter::new(bound),
            parts,
            peers: Slab::new(),
            keys: HashMap::new(),
            routes: Routes::default(),
            timers: Timers::default(),
            out: Outbox::default(),
        },
        Err(error) => return tracing::error!(%error, "the media socket is gone"),
    };
    let mut datagrams = Datagrams::new();
    loop {
        net.wait();
        if !net.take_commands() {
            break;
        }
        for _ in 0..MAX_TURNS {
            let received = net.receive(&mut datagrams);
            let sent = net.take_packets();
            net.transmit();
            if received < BATCH && sent < BATCH {
                break;
            }
        }
        net.serve_deadlines();
        net.transmit();
        net.hand_on_events();
    }
    net.close_all();
}

/// One peer, and the earliest entry it has among the deadlines.
struct Entry {
    peer: Box<Peer>,
    queued: Instant,
}

struct Net {
    parts: Parts,
    peers: Slab<Entry>,
    keys: HashMap<ParticipantId, usize>,
    routes: Routes,
    timers: Timers,
    out: Outbox,
    transmitter: Transmitter,
}

impl Net {
    fn wait(&self) {
        let now = Instant::now();
        let mut until = self
            .timers
            .next()
            .map(|at| at.saturating_duration_since(now));
        if !self.out.events.is_empty() {
            until = Some(until.map_or(EVENT_RETRY, |until| until.min(EVENT_RETRY)));
        }
        let timeout = until.and_then(|until| Timespec::try_from(until).ok());
        let mut ready = [
            PollFd::new(&self.parts.socket, PollFlags::IN),
            PollFd::new(&*self.parts.wake, PollFlags::IN),
        ];
        // An interrupted wait is a short one.
        if poll(&mut ready, timeout.as_ref()).is_ok() && !ready[1].revents().is_empty() {
            let _ = rustix::io::read(&*self.parts.wake, &mut [0u8; 8]);
        }
    }

    /// `false` when it is time to stop.
    fn take_commands(&mut self) -> bool {
        while let Ok(command) = self.parts.commands.try_recv() {
            let now = Instant::now();
            match command {
                Command::Start(peer) => self.start(peer, now),
                Command::Trickle(participant, lines) => {
                    self.with_participant(participant, now, |peer, turn| {
                        peer.trickle(&lines, turn)
                    });
                }
                Command::Restart(participant, restart, reply) => {
                    let _ = reply.send(self.restart(participant, &restart, now));
                }
                Command::Text(participant, text) => {
                    self.with_participant(participant, now, |peer, turn| {
                        peer.send_text(text, turn)
                    });
                }
                Command::Close(participant) => {
                    if let Some(&key) = self.keys.get(&participant) {
                        self.remove(key, now);
                    }
                }
                Command::Stop => return false,
            }
        }
        true
    }

    fn start(&mut self, peer: Box<Peer>, now: Instant) {
        if let Some(&key) = self.keys.get(&peer.participant()) {
            self.remove(key, now);
        }
        let entry = self.peers.vacant_entry();
        let key = entry.key();
        self.keys.insert(peer.participant(), key);
        self.routes.add_ufrag(peer.ufrag(), key);
        entry.insert(Entry { peer, queued: now });
        self.timers.add(now, key);
        self.parts
            .metrics
            .peers
            .store(self.peers.len() as u64, Ordering::Relaxed);
        self.with_peer(key, now, |peer, turn| {
            peer.start(turn.now, turn.key, turn.out)
        });
    }

    fn restart(
        &mut self,
        participant: ParticipantId,
        restart: &Restart,
        now: Instant,
    ) -> Result<RestartAnswer, RestartError> {
        let key = *self.keys.get(&participant).ok_or(RestartError::Unknown)?;
        let old = self.peers[key].peer.ufrag().to_owned();
        let local = self
            .with_peer(key, now, |peer, turn| peer.restart(restart, turn))
            .ok_or(RestartError::Refused)??;
        self.routes.remove_ufrag(&old);
        if self.peers.contains(key) {
            self.routes.add_ufrag(&local.ufrag, key);
        }
        Ok(RestartAnswer {
            ufrag: local.ufrag,
            pwd: local.pwd,
            candidates: self.parts.candidates.clone(),
        })
    }

    /// One batch of datagrams; says how many there were.
    fn receive(&mut self, datagrams: &mut Datagrams) -> usize {
        let count = match datagrams.receive(&self.parts.socket) {
            Ok(count) => count,
            Err(error) => {
                tracing::debug!(%error, "cannot receive");
                0
            }
        };
        // One stamp for the batch, taken as soon as the system gives it.
        let now = Instant::now();
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
                    self.dispatch(from, datagram, now);
                }
                None => metrics.count(Dropped::Oversize),
            }
        }
        count
    }

    fn dispatch(&mut self, from: SocketAddr, datagram: &[u8], now: Instant) {
        let Some(protocol) = classify(datagram) else {
            return self.parts.metrics.count(Dropped::Malformed);
        };
        if let Protocol::Stun(head) = protocol {
            return self.dispatch_check(&head, from, datagram, now);
        }
        let Some(key) = self.routes.peer_at(from) else {
            return self.parts.metrics.count(Dropped::Stranger);
        };
        self.with_peer(key, now, |peer, turn| match protocol {
            Protocol::Rtp { ssrc } => peer.media(from, ssrc, false, datagram, turn),
            Protocol::Rtcp { ssrc } => peer.media(from, ssrc, true, datagram, turn),
            Protocol::Dtls | Protocol::Stun(_) => peer.dtls(from, datagram, turn),
        });
    }

    /// A check is known by our user fragment, an answer by our transaction; the address only counts afterwards.
    fn dispatch_check(
        &mut self,
        head: &StunHead<'_>,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
    ) {
        let key = match head.class {
            StunClass::Request => head
                .username
                .and_then(|(ours, _)| self.routes.peer_of_ufrag(ours)),
            StunClass::Success => self.routes.peer_of_check(&head.transaction),
            StunClass::Error => None,
        };
        let known = key.and_then(|key| Some((key, self.peers.get_mut(key)?)));
        let Some((key, entry)) = known else {
            return self.parts.metrics.count(Dropped::Unauthenticated);
        };
        match entry.peer.authenticate(head, from, datagram) {
            Check::Refused => return self.parts.metrics.count(Dropped::Unauthenticated),
            Check::Known => {}
            Check::NewAddress => {
                if !entry.peer.add_address(from) {
                    return self.parts.metrics.count(Dropped::Addresses);
                }
                let before = self.routes.peer_at(from).filter(|&before| before != key);
                if let Some(before) = before.and_then(|before| self.peers.get_mut(before)) {
                    before.peer.remove_address(from);
                }
                self.routes.add_address(from, key);
            }
        }
        self.with_peer(key, now, |peer, turn| {
            peer.check(head, from, datagram, turn)
        });
    }

    /// One batch of the mixer's packets; says how many there were.
    fn take_packets(&mut self) -> usize {
        let now = Instant::now();
        let mut count = 0;
        while count < BATCH
            && let Ok(Outbound { to, packet }) = self.parts.from_mixer.try_recv()
        {
            count += 1;
            self.with_participant(to, now, |peer, turn| peer.send(&packet, turn));
        }
        count
    }

    fn serve_deadlines(&mut self) {
        let now = Instant::now();
        while let Some((at, key)) = self.timers.pop_due(now) {
            let Some(entry) = self.peers.get_mut(key).filter(|entry| entry.queued == at) else {
                continue;
            };
            let deadline = entry.peer.deadline();
            // Later than anything queued: with_peer or the next line queues it anew.
            entry.queued = now + NEVER;
            if deadline <= now {
                self.with_peer(key, now, |peer, turn| {
                    peer.timeout(turn.now, turn.key, turn.out)
                });
            } else {
                self.queue_deadline(key);
            }
        }
    }

    fn with_participant<R>(
        &mut self,
        participant: ParticipantId,
        now: Instant,
        act: impl FnOnce(&mut Peer, Turn<'_>) -> R,
    ) -> Option<R> {
        let key = *self.keys.get(&participant)?;
        self.with_peer(key, now, act)
    }

    /// Lets one peer act, and draws the consequences: checks to expect, the next deadline, its end.
    ///
    /// A panic of the core on one peer's input ends that peer only.
    fn with_peer<R>(
        &mut self,
        key: usize,
        now: Instant,
        act: impl FnOnce(&mut Peer, Turn<'_>) -> R,
    ) -> Option<R> {
        let peer = &mut self.peers.get_mut(key)?.peer;
        let out = &mut self.out;
        let result = catch_unwind(AssertUnwindSafe(|| act(peer, Turn { now, key, out })));
        for (transaction, key) in self.out.checks.drain(..) {
            self.routes.add_check(transaction, key, now);
        }
        let fate = if result.is_ok() {
            self.peers[key].peer.fate()
        } else {
            self.parts
                .metrics
                .faults_total
                .fetch_add(1, Ordering::Relaxed);
            Some(Reason::Fault)
        };
        match fate {
            None => self.queue_deadline(key),
            Some(reason) => {
                let participant = self.peers[key].peer.participant();
                self.remove(key, now);
                self.out
                    .events
                    .push_back(RtcEvent::Gone(participant, reason));
            }
        }
        result.ok()
    }

    fn queue_deadline(&mut self, key: usize) {
        let entry = &mut self.peers[key];
        let deadline = entry.peer.deadline();
        if deadline < entry.queued {
            entry.queued = deadline;
            self.timers.add(deadline, key);
        }
    }

    fn remove(&mut self, key: usize, now: Instant) {
        let Entry { mut peer, .. } = self.peers.remove(key);
        self.keys.remove(&peer.participant());
        self.routes.remove_ufrag(peer.ufrag());
        for &address in peer.addresses() {
            self.routes.remove_address(address, key);
        }
        self.parts
            .metrics
            .peers
            .store(self.peers.len() as u64, Ordering::Relaxed);
        let out = &mut self.out;
        // The peer may be the one that the core has just panicked on.
        let closed = catch_unwind(AssertUnwindSafe(move || peer.close(now, key, out)));
        if closed.is_err() {
            self.parts
                .metrics
                .faults_total
                .fetch_add(1, Ordering::Relaxed);
        }
        self.out.checks.clear();
    }

    fn close_all(&mut self) {
        let now = Instant::now();
        let keys: Vec<usize> = self.peers.iter().map(|(key, _)| key).collect();
        for key in keys {
            self.remove(key, now);
            self.transmit();
        }
    }

    /// Sends everything that waits. What the system does not take is dropped: late media is worth nothing, and ICE,
    /// DTLS and SCTP repeat themselves.
    fn transmit(&mut self) {
        let metrics = &self.parts.metrics;
        while !self.out.datagrams.is_empty() {
            let waiting = self
                .out
                .datagrams
                .iter()
                .map(|(to, bytes)| (*to, bytes.as_ref()));
            let sent = match self.transmitter.send(&self.parts.socket, waiting) {
                Ok(sent) if sent > 0 => {
                    let bytes: usize = self
                        .out
                        .datagrams
                        .iter()
                        .take(sent)
                        .map(|(_, bytes)| bytes.len())
                        .sum();
                    metrics
                        .datagrams_out_total
                        .fetch_add(sent as u64, Ordering::Relaxed);
                    metrics
                        .bytes_out_total
                        .fetch_add(bytes as u64, Ordering::Relaxed);
                    sent
                }
                // The error is the first datagram's own; the others get their try.
                _ => {
                    metrics.send_errors_total.fetch_add(1, Ordering::Relaxed);
                    1
                }
            };
            self.out.datagrams.drain(..sent);
        }
    }

    /// Events that find no room are dropped and counted, except that somebody is gone: that waits, and there can be
    /// no more of those than there were peers.
    fn hand_on_events(&mut self) {
        for event in std::mem::take(&mut self.out.events) {
            match self.parts.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event @ RtcEvent::Gone(..))) => {
                    self.out.events.push_back(event)
                }
                Err(_) => self.parts.metrics.count(Dropped::Event),
            }
        }
    }
}

fn take_priority(priority: u8) {
    use thread_priority::{
        RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
        set_thread_priority_and_policy, thread_native_id,
    };
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    let taken = ThreadPriorityValue::try_from(priority)
        .map(ThreadPriority::Crossplatform)
        .is_ok_and(|priority| {
            set_thread_priority_and_policy(thread_native_id(), priority, policy).is_ok()
        });
    if !taken {
        tracing::warn!(
            priority,
            "the network thread runs without real-time priority"
        );
    }
}

/// 20 ms of 2,000 talkers with the kernel's overhead, several times over.
const SOCKET_BUFFER_BYTES: usize = 4 * 1_024 * 1_024;

/// Turns of reading and sending before deadlines and commands get theirs.
const MAX_TURNS: usize = 32;

/// How soon events that found no room are tried again.
const EVENT_RETRY: Duration = Duration::from_millis(50);

/// Beyond every deadline.
const NEVER: Duration = Duration::from_secs(3_600);
