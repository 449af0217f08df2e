//! All queues between threads that carry audio, with their content, bound and overflow rule.
//!
//! Each of these queues has a mixer or the network thread at one end. A real-time thread must never
//! wait for a thread that it has preempted, so each queue is a [`ring()`] with one producer and one
//! consumer, in which neither end ever waits: a value that is being written is not yet visible, and
//! a value that is being read still occupies its place. Mixers share no ring, so that a stalled
//! mixer delays no other. Where several threads send or receive, they share their end through a
//! mutex, which the real-time thread never touches.
//!
//! | ring | one per | what | when full |
//! |---|---|---|---|
//! | [`COMMANDS`] conference -> mixer | mixer | add, remove, configure | the value comes back to the caller as an error |
//! | [`EVENTS`] mixer -> conference | mixer | talking, stopped, fault, refusal | dropped and counted; all of it is state that the conference reads again |
//! | [`RETIRED`] mixer -> reaper | mixer | boxes to free off the mixer thread | kept by the mixer, which applies no command meanwhile |
//! | [`PACKETS_IN`] network -> mixer | mixer | packets of clients | newest dropped and counted |
//! | [`PACKETS_OUT`] mixer -> network | mixer | packets for clients | newest dropped and counted |
//! | [`NET_COMMANDS`] conference -> network | - | peers to add, close, restart | the value comes back to the caller as an error; a close waits in the conference and is sent again |
//! | [`NEGOTIATIONS`] network -> negotiator, and back | - | cores that negotiate an ICE restart | the restart is refused; the way back always has room |
//! | [`NET_EVENTS`] network -> conference | - | connected, gone, data-channel text; an eventfd signals new events | text and loss are dropped and counted; connected, disconnected, channel open and gone are kept and sent again |
//!
//! The [`CONFERENCE_REQUESTS`] from the HTTP tasks to the conference are not a ring, because
//! neither end carries audio. When that queue is full, the HTTP tasks wait.
//!
//! Settings and encodes are shared without a ring. Settings (mute, gain, permit, tone, loss,
//! highest complexity) are atomics: only the latest value counts, so they cannot be full. Each
//! mixer has a board with [`JOBS`] places, on which it offers encodes that any mixer may run (see
//! `audio::board`); when all places are taken, the mixer runs an encode at once itself.

use std::fmt;
use std::hint::black_box;
use std::mem::MaybeUninit;

use mixer::packet::{OutPacket, Packet};
use mixer::{ParticipantId, Time};
use rtrb::RingBuffer;

pub use rtrb::{Consumer, Producer};

/// Bound of the commands to one mixer: a burst of joins within one slot of 2.5 ms.
pub const COMMANDS: usize = 1_024;
/// Bound of the events from one mixer to the conference.
pub const EVENTS: usize = 4_096;
/// Bound of the boxes that one mixer sends to the reaper to be freed.
pub const RETIRED: usize = 2_048;
/// Bound of the packets to one mixer: 20 ms of 2,000 talkers.
pub const PACKETS_IN: usize = 2_048;
/// Bound of the packets from one mixer: more than it encodes in four ticks, at 46 us per encode.
pub const PACKETS_OUT: usize = 2_048;
/// Bound of the encodes that one mixer offers to other mixers: more than fit into a tick of several
/// cores, at 46 us per encode.
pub const JOBS: usize = 512;
/// Bound of the commands to the network thread.
pub const NET_COMMANDS: usize = 1_024;
/// Bound of the ICE restarts under negotiation: about a second of work for one thread.
pub const NEGOTIATIONS: usize = 1_024;
/// Bound of the requests from the HTTP tasks to the conference.
pub const CONFERENCE_REQUESTS: usize = 1_024;
/// Bound of the events from the network thread to the conference.
pub const NET_EVENTS: usize = 4_096;

/// Creates a ring of `bound` places; returns its producer and its consumer.
///
/// The ring's memory is touched by this call, so that neither end takes a page fault later.
///
/// Real-time: set-up only (allocates).
pub fn ring<T>(bound: usize) -> (Producer<T>, Consumer<T>) {
    let (producer, consumer) = RingBuffer::new(bound);
    // Without the black box, the compiler could turn the allocation and the zeroes into memory that
    // the system zeroes only when it is first touched.
    let mut producer: Producer<T> = black_box(producer);
    if let Ok(mut places) = producer.write_chunk_uninit(bound) {
        // No value is committed, so the ring stays empty.
        let (all, _) = places.as_mut_slices();
        all.fill_with(MaybeUninit::zeroed);
    }
    (producer, consumer)
}

/// Puts a value into a ring.
///
/// Real-time: safe.
///
/// # Errors
/// The value itself, if the ring is full or its consumer is gone.
pub fn send<T>(to: &mut Producer<T>, value: T) -> Result<(), T> {
    if to.is_abandoned() {
        return Err(value);
    }
    to.push(value).map_err(|rtrb::PushError::Full(value)| value)
}

/// Lets `take` read the oldest value in place, then removes the value; `None` if the ring is empty.
///
/// Meant for packets, which are 1.3 kB or larger and mostly empty: moving one out of the ring would
/// copy all of it.
///
/// Real-time: safe.
pub fn take_in_place<T, R>(from: &mut Consumer<T>, take: impl FnOnce(&T) -> R) -> Option<R> {
    let chunk = from.read_chunk(1).ok()?;
    let taken = chunk.as_slices().0.first().map(take);
    chunk.commit_all();
    taken
}

/// The network thread's ends of the rings between it and the mixers, indexed by mixer id.
#[derive(Debug, Default)]
pub struct NetworkEnds {
    /// Packets to each mixer.
    pub to_mixers: Vec<Producer<Inbound>>,
    /// Packets from each mixer.
    pub from_mixers: Vec<Consumer<Outbound>>,
}

/// One mixer's ends of the rings between it and the network thread.
#[derive(Debug)]
pub struct MixerEnds {
    /// Packets from the network thread.
    pub packets_in: Consumer<Inbound>,
    /// Packets to the network thread.
    pub packets_out: Producer<Outbound>,
}

/// Creates the rings for packets between the network thread and `mixers` mixers.
///
/// Real-time: set-up only (allocates).
pub fn media(mixers: usize) -> (NetworkEnds, Vec<MixerEnds>) {
    let mut network = NetworkEnds::default();
    let ends = (0..mixers).map(|_| {
        let (to_mixer, packets_in) = ring(PACKETS_IN);
        let (packets_out, from_mixer) = ring(PACKETS_OUT);
        network.to_mixers.push(to_mixer);
        network.from_mixers.push(from_mixer);
        MixerEnds {
            packets_in,
            packets_out,
        }
    });
    let ends = ends.collect();
    (network, ends)
}

/// Id of a mixer thread, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MixerId(pub usize);

impl fmt::Display for MixerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A packet from a client, with the time at which it was read from the socket.
#[derive(Debug)]
pub struct Inbound {
    /// The participant that sent the packet.
    pub from: ParticipantId,
    /// Time of arrival.
    pub arrival: Time,
    /// The received packet.
    pub packet: Packet,
}

/// A packet for all clients that hear the same mix.
#[derive(Debug)]
pub struct Outbound {
    /// The clients that receive the packet.
    pub to: Recipients,
    /// The packet to send.
    pub packet: OutPacket,
}

/// The recipients of one packet, stored without a heap allocation.
#[derive(Debug, Clone, Copy)]
pub struct Recipients {
    count: u8,
    ids: [ParticipantId; MAX_RECIPIENTS],
}

impl Recipients {
    /// Creates a list with a single recipient.
    pub fn one(id: ParticipantId) -> Recipients {
        let mut recipients = Recipients::NONE;
        recipients.count = 1;
        recipients.ids[0] = id;
        recipients
    }

    /// Splits a list of clients into as many recipient lists as it needs.
    ///
    /// Real-time: safe.
    pub fn portions(ids: &[ParticipantId]) -> impl Iterator<Item = Recipients> {
        ids.chunks(MAX_RECIPIENTS).map(|portion| {
            let mut recipients = Recipients::NONE;
            recipients.count = portion.len() as u8;
            recipients.ids[..portion.len()].copy_from_slice(portion);
            recipients
        })
    }

    /// Returns the recipients as a slice.
    pub fn as_slice(&self) -> &[ParticipantId] {
        &self.ids[..usize::from(self.count)]
    }

    const NONE: Recipients = Recipients {
        count: 0,
        ids: [ParticipantId(0); MAX_RECIPIENTS],
    };
}

/// Maximum number of recipients of one payload: 2,000 listeners of the same mix take 32 entries of
/// the ring, and the payload is copied once for every 64 listeners.
pub const MAX_RECIPIENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_consumer_does_not_wait_for_a_value_being_written() {
        let (mut producer, mut consumer) = ring(4);
        // The producer is suspended after it has reserved a place and before it has published the
        // value.
        let mut reserved = producer.write_chunk(1).expect("there is room");
        reserved.as_mut_slices().0[0] = 7;
        assert!(consumer.pop().is_err(), "it is not there yet");
        reserved.commit_all();
        assert_eq!(consumer.pop(), Ok(7));
    }

    #[test]
    fn ring_producer_does_not_wait_for_a_value_being_read() {
        let (mut producer, mut consumer) = ring(2);
        assert_eq!(send(&mut producer, 1), Ok(()));
        assert_eq!(send(&mut producer, 2), Ok(()));
        // The consumer is suspended while it reads.
        let read = consumer.read_chunk(1).expect("it is there");
        assert_eq!(
            send(&mut producer, 3),
            Err(3),
            "full, which is known at once"
        );
        read.commit_all();
        assert_eq!(send(&mut producer, 3), Ok(()));
        drop(consumer);
        assert_eq!(send(&mut producer, 4), Err(4), "nobody receives any more");
    }

    #[test]
    fn ring_values_are_read_in_place_and_in_order_across_the_wraparound() {
        let (mut producer, mut consumer) = ring(2);
        for value in 0..5 {
            assert_eq!(send(&mut producer, value), Ok(()));
            assert_eq!(take_in_place(&mut consumer, |it| *it), Some(value));
        }
        assert_eq!(take_in_place(&mut consumer, |it| *it), None);
    }

    #[test]
    fn recipients_are_split_into_portions_in_order() {
        let ids: Vec<ParticipantId> = (1..=130).map(ParticipantId).collect();
        let portions: Vec<Recipients> = Recipients::portions(&ids).collect();
        let lengths: Vec<usize> = portions.iter().map(|it| it.as_slice().len()).collect();
        assert_eq!(lengths, [64, 64, 2]);
        let again: Vec<ParticipantId> = portions
            .iter()
            .flat_map(|it| it.as_slice())
            .copied()
            .collect();
        assert_eq!(again, ids);
        assert_eq!(Recipients::one(ids[4]).as_slice(), [ids[4]]);
        assert_eq!(Recipients::portions(&[]).count(), 0);
    }
}
