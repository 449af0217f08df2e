//! The swarm's thread: all sockets, all clients, one clock.
//!
//! The thread sleeps until it has a packet to send, at most a millisecond, and then handles
//! everything that has arrived. Datagrams carry the kernel's arrival time, so that handling them in
//! batches does not make them late.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use crossbeam_channel::{Receiver as Commands, TryRecvError};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::oneshot;

use super::client::{Client, Outgoing};
use super::labelled_datagrams::{Departure, LabelledReceiver, LabelledSender};
use super::sockets::Sockets;
use super::stats::SwarmStats;
use super::stream::Counts;
use crate::rtc::datagram_batch::BATCH;

/// A command to the thread.
pub(super) enum Command {
    /// Starts, in this slot, a client to which the server has sent its answer.
    Start(usize, Box<Client>),
    /// Removes the client in this slot.
    Remove(usize),
    /// Restarts the counters of all clients.
    Begin,
    /// Ends counting and returns the statistics.
    End(oneshot::Sender<Box<SwarmStats>>),
}

/// Runs the swarm's thread until its command queue is closed.
pub(super) fn run(sockets: Arc<Sockets>, watch: OwnedFd, commands: Commands<Command>) {
    let mut swarm = Swarm {
        clients: (0..sockets.slots()).map(|_| None).collect(),
        sockets,
        watch,
        commands,
        due: BinaryHeap::new(),
        generation: 0,
        out: VecDeque::new(),
        outgoing: Vec::new(),
        sender: LabelledSender::new(),
        tally: Box::new(SwarmStats::new()),
        began: Instant::now(),
    };
    let mut receiver = LabelledReceiver::new();
    let mut events = Vec::with_capacity(EVENTS);
    while swarm.take_commands() {
        swarm.sleep();
        swarm.receive(&mut receiver, &mut events);
        swarm.serve_due();
        swarm.transmit();
    }
}

/// What is to be done for a client at a deadline: send a packet, or call the core's timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Due {
    Packet,
    Core,
}

struct Entry {
    client: Box<Client>,
    /// Tells the deadlines of this client from those of an earlier client in the slot.
    generation: u64,
    /// The earliest deadline of the core that is queued.
    queued: Instant,
}

struct Swarm {
    sockets: Arc<Sockets>,
    watch: OwnedFd,
    commands: Commands<Command>,
    clients: Vec<Option<Entry>>,
    due: BinaryHeap<Reverse<(Instant, usize, Due, u64)>>,
    generation: u64,
    /// Datagrams to send, with the slots that they leave from.
    out: VecDeque<(usize, SocketAddr, BytesMut)>,
    outgoing: Outgoing,
    sender: LabelledSender,
    tally: Box<SwarmStats>,
    began: Instant,
}

impl Swarm {
    /// Handles commands; returns `false` when the thread is to end.
    fn take_commands(&mut self) -> bool {
        loop {
            match self.commands.try_recv() {
                Ok(Command::Start(slot, client)) => self.start(slot, client),
                Ok(Command::Remove(slot)) => self.remove(slot),
                Ok(Command::Begin) => self.begin(),
                Ok(Command::End(reply)) => {
                    // Sending the statistics fails if the caller has been interrupted.
                    let _ = reply.send(self.end());
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => {
                    for slot in 0..self.clients.len() {
                        self.remove(slot);
                    }
                    return false;
                }
            }
        }
    }

    fn start(&mut self, slot: usize, client: Box<Client>) {
        let now = Instant::now();
        self.generation += 1;
        if let Some(sending) = &client.sending {
            let packet = (sending.next(), slot, Due::Packet, self.generation);
            self.due.push(Reverse(packet));
        }
        self.due
            .push(Reverse((now, slot, Due::Core, self.generation)));
        self.clients[slot] = Some(Entry {
            client,
            generation: self.generation,
            queued: now,
        });
    }

    fn remove(&mut self, slot: usize) {
        if let Some(mut entry) = self.clients[slot].take() {
            entry.client.close(&mut self.outgoing);
            self.collect(slot);
            self.transmit();
        }
    }

    fn begin(&mut self) {
        *self.tally = SwarmStats::new();
        self.began = Instant::now();
        for entry in self.clients.iter_mut().flatten() {
            entry.client.stream.restart();
            if let Some(ear) = &mut entry.client.ear {
                ear.restart();
            }
        }
    }

    fn end(&mut self) -> Box<SwarmStats> {
        let mut tally = std::mem::replace(&mut self.tally, Box::new(SwarmStats::new()));
        tally.seconds = self.began.elapsed().as_secs_f64();
        let mut counts: Vec<Counts> = Vec::with_capacity(self.clients.len());
        for client in self.clients.iter().flatten().map(|entry| &entry.client) {
            let counted = client.stream.counts();
            if client.is_up() {
                tally.clients += 1;
                counts.push(counted);
            } else {
                tally.gone += 1;
            }
            if let Some(ear) = &client.ear {
                tally.heard.push(ear.heard(counted.sources));
            }
        }
        tally.add(&counts);
        tally
    }

    fn sleep(&self) {
        let now = Instant::now();
        let until = match self.due.peek() {
            Some(Reverse((at, ..))) => at.saturating_duration_since(now),
            None => IDLE_TURN,
        };
        let busy = self.clients.iter().any(Option::is_some);
        let most = if busy { TURN } else { IDLE_TURN };
        std::thread::sleep(until.min(most));
    }

    fn receive(&mut self, receiver: &mut LabelledReceiver, events: &mut Vec<epoll::Event>) {
        loop {
            events.clear();
            let at_once = rustix::event::Timespec::default();
            let spare = rustix::buffer::spare_capacity(events);
            if epoll::wait(&self.watch, spare, Some(&at_once)).is_err() || events.is_empty() {
                return;
            }
            let full = events.len() == EVENTS;
            for event in events.iter() {
                let socket = event.data.u64() as usize;
                while self.receive_from(socket, receiver) == BATCH {}
            }
            if !full {
                return;
            }
        }
    }

    fn receive_from(&mut self, socket: usize, receiver: &mut LabelledReceiver) -> usize {
        let count = receiver
            .receive(self.sockets.get(socket))
            .unwrap_or_else(|error| {
                tracing::debug!(%error, "cannot receive datagrams");
                0
            });
        let now = Instant::now();
        for index in 0..count {
            let Some(arrival) = receiver.datagram(index) else {
                continue;
            };
            let Some(slot) = self.sockets.slot(socket, arrival.to) else {
                continue;
            };
            let Some(entry) = &mut self.clients[slot] else {
                continue;
            };
            let kind = (
                arrival.bytes.first().copied(),
                arrival.bytes.get(1).copied(),
            );
            match kind {
                (Some(128..=191), Some(192..=223)) => {}
                (Some(128..=191), _) => {
                    let client = &mut entry.client;
                    if let Some(off_us) =
                        client.media(arrival.from, arrival.bytes, arrival.at_ns, now)
                    {
                        self.tally.off_beat_us.saturating_record(off_us);
                    }
                }
                _ => {
                    let client = &mut entry.client;
                    client.control(arrival.from, arrival.bytes, now, &mut self.outgoing);
                    self.queue(slot);
                    self.collect(slot);
                }
            }
        }
        count
    }

    fn serve_due(&mut self) {
        let now = Instant::now();
        while let Some(&Reverse((at, slot, due, generation))) = self.due.peek() {
            if at > now {
                break;
            }
            self.due.pop();
            let Some(entry) = self.clients[slot].as_mut() else {
                continue;
            };
            if entry.generation != generation {
                continue;
            }
            match due {
                Due::Packet => {
                    let now = Instant::now();
                    if let Some(late) = entry.client.send(now, &mut self.outgoing) {
                        self.tally.sent += 1;
                        let late_us = late.as_micros() as u64;
                        self.tally.send_late_us.saturating_record(late_us);
                    }
                    if let Some(sending) = &entry.client.sending {
                        let packet = (sending.next(), slot, Due::Packet, generation);
                        self.due.push(Reverse(packet));
                    }
                }
                // The core named an earlier deadline after this one was queued, and that one has
                // been handled.
                Due::Core if at < entry.queued => continue,
                Due::Core => {
                    entry.queued = now + FAR;
                    entry.client.timeout(now, &mut self.outgoing);
                    self.queue(slot);
                }
            }
            self.collect(slot);
            if self.out.len() >= BATCH {
                self.transmit();
            }
        }
    }

    /// Queues the core's next deadline if it is earlier than the queued one.
    fn queue(&mut self, slot: usize) {
        if let Some(entry) = &mut self.clients[slot] {
            let deadline = entry.client.deadline();
            if deadline < entry.queued {
                entry.queued = deadline;
                let core = (deadline, slot, Due::Core, entry.generation);
                self.due.push(Reverse(core));
            }
        }
    }

    fn collect(&mut self, slot: usize) {
        for (to, datagram) in self.outgoing.drain(..) {
            self.out.push_back((slot, to, datagram));
        }
    }

    /// Sends the queued datagrams. What the system does not accept is dropped, as on any network.
    fn transmit(&mut self) {
        while let Some((first, ..)) = self.out.front() {
            let socket = self.sockets.socket_of(*first);
            let sockets = &self.sockets;
            let together = self
                .out
                .iter()
                .take_while(|(slot, ..)| sockets.socket_of(*slot) == socket)
                .map(|(slot, to, bytes)| Departure {
                    from: sockets.address(*slot).ip(),
                    to: *to,
                    bytes,
                });
            let sent = match self.sender.send(sockets.get(socket), together) {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    tracing::debug!(%error, "cannot send datagrams");
                    1
                }
            };
            self.out.drain(..sent);
        }
    }
}

/// The longest sleep while there are clients. Their sockets can hold many times what arrives in it.
const TURN: Duration = Duration::from_millis(1);

/// The longest wait for a command while there are no clients.
const IDLE_TURN: Duration = Duration::from_millis(5);

const FAR: Duration = Duration::from_secs(3_600);

/// Sockets reported as ready in one call.
const EVENTS: usize = 256;
