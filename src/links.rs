//! Every link between threads, with its bound and what happens when it is full.
//!
//! Each mixer has links of its own, but for packets out and for what is to be freed, on which all send.
//!
//! | link | what | when full |
//! |---|---|---|
//! | [`COMMANDS`] -> mixer | add, remove, configure | the value comes back to the caller as an error |
//! | settings -> mixer | mute, gain, permit, tone, loss, most complexity: atomics, latest wins | cannot be full |
//! | [`EVENTS`] <- mixer | talking, stopped, fault | dropped and counted; the telemetry can always be read |
//! | [`RETIRED`] <- mixers | boxes to free off the mixer threads | kept by the mixer, which takes in no command meanwhile |
//! | [`PACKETS_IN`] net -> mixer | what clients sent | newest dropped and counted |
//! | [`PACKETS_OUT`] mixers -> net | what clients get | newest dropped and counted |
//! | [`JOBS`] mixer -> mixers | encodes that any of them may do | the encode comes back and is done at once |
//! | [`JOBS`] mixer <- mixers | encodes done | cannot be full: no more are out than it holds |
//! | [`NET_COMMANDS`] -> net | peers to add, close, restart | the value comes back to the caller as an error |
//! | [`NET_EVENTS`] <- net | connected, gone, data-channel text | dropped and counted |

use std::fmt;

use mixer::packet::{OutPacket, Packet};
use mixer::{ParticipantId, Time};

/// Bound of the command link: a burst of joins within one slot.
pub const COMMANDS: usize = 1_024;
/// Bound of the event link.
pub const EVENTS: usize = 4_096;
/// Bound of the link that carries boxes back to be freed.
pub const RETIRED: usize = 2_048;
/// Bound of the packets on their way in: 20 ms of 2,000 talkers.
pub const PACKETS_IN: usize = 2_048;
/// Bound of the packets on their way out: one slot's share of a large server.
pub const PACKETS_OUT: usize = 4_096;
/// Bound of the encodes one mixer may have out with others: more than fit into a tick of several cores, at 46 us each.
pub const JOBS: usize = 512;
/// Bound of the commands to the network thread.
pub const NET_COMMANDS: usize = 1_024;
/// Bound of the network thread's events.
pub const NET_EVENTS: usize = 4_096;

/// One of the mixer threads, counted from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MixerId(pub usize);

impl fmt::Display for MixerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A packet from a client, stamped when it left the socket.
#[derive(Debug)]
pub struct Inbound {
    /// Whose it is.
    pub from: ParticipantId,
    /// When it arrived.
    pub arrival: Time,
    /// The packet.
    pub packet: Packet,
}

/// A packet for the clients that hear the same.
#[derive(Debug)]
pub struct Outbound {
    /// Who gets it.
    pub to: Recipients,
    /// The packet.
    pub packet: OutPacket,
}

/// The clients one packet is for: as many as fit beside its payload without a heap.
#[derive(Debug, Clone, Copy)]
pub struct Recipients {
    count: u8,
    ids: [ParticipantId; MAX_RECIPIENTS],
}

impl Recipients {
    /// A single client.
    pub fn one(id: ParticipantId) -> Recipients {
        let mut recipients = Recipients::NONE;
        recipients.count = 1;
        recipients.ids[0] = id;
        recipients
    }

    /// Many clients, in as many portions as it takes.
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

    /// Everyone in it.
    pub fn as_slice(&self) -> &[ParticipantId] {
        &self.ids[..usize::from(self.count)]
    }

    const NONE: Recipients = Recipients {
        count: 0,
        ids: [ParticipantId(0); MAX_RECIPIENTS],
    };
}

/// Clients named with one payload: a room of 2,000 who hear the same takes 32 entries of the link, and a payload is
/// copied once for 64 of them.
pub const MAX_RECIPIENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_are_portioned_in_order() {
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
