//! Entry point of a participant's packets.

use core::time::Duration;

use super::admission::Admission;
use super::reception::{Pushed, Reception};
use crate::codec::Codec;
use crate::meter::LevelReading;
use crate::packet::Packet;
use crate::units::{Decibels, Time};

/// Decoder interface for packets that are not played.
///
/// Real-time: every call is safe.
pub(crate) trait UnheardDecoder {
    /// The codec of the packets that the decoder takes.
    fn codec(&self) -> Codec;

    /// The level of a packet, from a rough decode; `None` if only playing the packet can tell.
    fn decode_roughly(&mut self, payload: &[u8]) -> Option<LevelReading>;

    /// Decodes a packet that nobody hears, so that the next packet is decoded as if none had been
    /// skipped.
    ///
    /// - `has_new_encoder`: the packet comes from another encoder than the packet before.
    fn warm_up(&mut self, payload: &[u8], has_new_encoder: bool);
}

/// The received packets of one participant, with the decoder for them.
pub(crate) struct Network<'a> {
    pub reception: &'a mut Reception,
    pub decoder: &'a mut dyn UnheardDecoder,
}

impl Network<'_> {
    pub fn codec(&self) -> Codec {
        self.decoder.codec()
    }

    pub fn target(&self) -> Duration {
        self.reception.target()
    }

    pub fn holds_packets(&self) -> bool {
        !self.reception.is_empty()
    }

    pub fn push(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.push(packet, self.decoder.codec(), arrival)
    }

    pub fn pass(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.pass(packet, self.decoder.codec(), arrival)
    }

    pub fn refuse(&mut self, packet: &Packet, arrival: Time) -> Pushed {
        self.reception.refuse(packet, self.decoder.codec(), arrival)
    }

    pub fn warm_up(&mut self, payload: &[u8]) {
        let has_new_encoder = self.reception.take_new_encoder();
        self.decoder.warm_up(payload, has_new_encoder);
    }
}

/// Takes in one participant's packets.
pub(crate) struct Intake<'a> {
    pub admission: &'a mut Admission,
    pub network: Network<'a>,
    /// The level shown for the participant.
    pub level: &'a mut Decibels,
}

impl Intake<'_> {
    /// Takes in one packet that arrived at the time `arrival`.
    ///
    /// Real-time: safe.
    pub fn push(self, packet: &Packet, arrival: Time) -> Pushed {
        let mut network = self.network;
        let (pushed, level) = self.admission.push(packet, arrival, &mut network);
        if let Some(level) = level {
            *self.level = level;
        }
        pushed
    }
}
