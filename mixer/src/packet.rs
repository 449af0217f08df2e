//! One payload, Opus or G.711, with the fields of its RTP header that the engine needs, inline and
//! without heap allocation.
//!
//! Used at both ends of the engine: the network thread hands in each [`Packet`] that it receives,
//! and gets back each [`OutPacket`] that it is to send.

use crate::format::{MAX_CSRCS, MAX_PAYLOAD_BYTES};
use crate::units::{Level, ParticipantId, RtpTime, Seq};

/// The bytes of one encoded packet, stored inline.
#[derive(Clone, Copy)]
pub struct Payload {
    len_bytes: u16,
    bytes: [u8; MAX_PAYLOAD_BYTES],
}

impl Payload {
    /// A payload without bytes.
    pub const EMPTY: Payload = Payload {
        len_bytes: 0,
        bytes: [0; MAX_PAYLOAD_BYTES],
    };

    /// Copies `bytes` into a payload; `None` if they are more than [`MAX_PAYLOAD_BYTES`].
    ///
    /// Real-time: safe.
    pub fn copy_from(bytes: &[u8]) -> Option<Payload> {
        let mut payload = Payload::EMPTY;
        payload.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        payload.len_bytes = bytes.len() as u16;
        Some(payload)
    }

    /// The bytes of the payload.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len_bytes)]
    }

    /// Lets `write` fill the whole buffer, and keeps as many bytes as `write` returns.
    ///
    /// Real-time: safe.
    pub fn fill_with<E>(
        &mut self,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        self.len_bytes = 0;
        let written_bytes = write(&mut self.bytes)?;
        self.len_bytes = written_bytes.min(MAX_PAYLOAD_BYTES) as u16;
        Ok(())
    }
}

impl core::fmt::Debug for Payload {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Payload({} bytes)", self.len_bytes)
    }
}

/// A packet received from a client.
#[derive(Debug, Clone, Copy)]
pub struct Packet {
    /// RTP sequence number.
    pub seq: Seq,
    /// RTP timestamp of the first sample.
    pub time: RtpTime,
    /// RTP synchronisation source (SSRC); a change means another encoder.
    pub ssrc: u32,
    /// RTP marker bit: the first packet of a talk-spurt (RFC 3551, 4.1).
    pub marker: bool,
    /// Audio level that the client measured, if it sends levels (RFC 6464).
    pub level: Option<Level>,
    /// The encoded audio.
    pub payload: Payload,
}

/// The participants heard in a packet, loudest first, never the listener.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sources {
    count: u8,
    ids: [u32; MAX_CSRCS],
    levels: [u8; MAX_CSRCS],
}

impl Sources {
    /// Adds a source; returns `false` and leaves the list unchanged if it holds [`MAX_CSRCS`]
    /// already.
    ///
    /// Real-time: safe.
    pub fn push(&mut self, id: ParticipantId, level: Level) -> bool {
        let at = usize::from(self.count);
        if at == MAX_CSRCS {
            return false;
        }
        self.ids[at] = id.0;
        self.levels[at] = level.wire();
        self.count += 1;
        true
    }

    /// Merges this list with `others`, whose levels are lowered by `quieter_db`; loudest first, at
    /// most [`MAX_CSRCS`] sources.
    ///
    /// Real-time: safe.
    #[must_use]
    pub(crate) fn with(&self, others: &Sources, quieter_db: f32) -> Sources {
        let heard = |at: usize| {
            let level = f32::from(*others.levels().get(at)?) + quieter_db;
            Some((
                ParticipantId(others.ids[at]),
                level.round().clamp(0.0, 126.0) as u8,
            ))
        };
        let mut both = Sources::default();
        let (mut own, mut other) = (0, 0);
        loop {
            let ours = self.levels().get(own).copied();
            let (id, level) = match (ours, heard(other)) {
                (Some(level), theirs) if theirs.is_none_or(|theirs| level <= theirs.1) => {
                    own += 1;
                    (ParticipantId(self.ids[own - 1]), level)
                }
                (_, Some(theirs)) => {
                    other += 1;
                    theirs
                }
                (_, None) => return both,
            };
            if !both.push(id, Level::from_wire(level)) {
                return both;
            }
        }
    }

    /// CSRC identifiers of the sources (RFC 3550, 5.1).
    pub fn ids(&self) -> &[u32] {
        &self.ids[..usize::from(self.count)]
    }

    /// Levels of the sources, in the order of [`ids`](Sources::ids) (RFC 6465).
    pub fn levels(&self) -> &[u8] {
        &self.levels[..usize::from(self.count)]
    }
}

/// A packet for one listener, without sequence number and SSRC.
///
/// The network thread assigns both.
#[derive(Debug, Clone, Copy)]
pub struct OutPacket {
    /// Media time of the first sample on the room's clock, at 48 kHz; the network thread adds a
    /// random offset.
    pub time: RtpTime,
    /// RTP marker bit: the first packet of a talk-spurt (RFC 3551, 4.1).
    pub marker: bool,
    /// The participants heard in the packet.
    pub sources: Sources,
    /// The encoded audio.
    pub payload: Payload,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(of: impl IntoIterator<Item = (u32, u8)>) -> Sources {
        let mut sources = Sources::default();
        for (id, level) in of {
            sources.push(ParticipantId(id), Level::from_wire(level));
        }
        sources
    }

    #[test]
    fn sources_merge_two_lists_loudest_first() {
        let one = sources([(1, 10), (2, 30)]);
        let other = sources([(3, 5), (4, 25)]);
        let both = one.with(&other, 6.0);
        assert_eq!(both.ids(), [1, 3, 2, 4]);
        assert_eq!(both.levels(), [10, 11, 30, 31]);
        assert_eq!(one.with(&Sources::default(), 0.0).ids(), [1, 2]);
        assert_eq!(Sources::default().with(&other, 0.0).ids(), [3, 4]);
        let many = sources((0..15).map(|id| (id, 2 * id as u8)));
        let more = sources((20..35).map(|id| (id, 2 * (id - 20) as u8 + 1)));
        let both = many.with(&more, 0.0);
        assert_eq!(both.ids().len(), MAX_CSRCS);
        assert_eq!(both.ids()[..4], [0, 20, 1, 21]);
    }
}
