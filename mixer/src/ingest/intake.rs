//! Where a participant's packets come in.

use core::time::Duration;

use super::admission::Admission;
use super::reception::{Pushed, Reception};
use crate::codec::Codec;
use crate::meter::LevelReading;
use crate::packet::Packet;
use crate::units::{Decibels, Time};

/// A decoder, as far as packets that are not played need one. Real-time: every call is safe.
pub(crate) trait UnheardDecoder {
    /// The codec of the packets it takes.
    fn codec(&self) -> Codec;

    /// How loud a packet is; `None` if only playing it can tell.
    fn decode_roughly(&mut self, payload: &[u8]) -> Option<LevelReading>;

    /// Decodes a packet that nobody hears, so that the next one is decoded as if nothing had been left out.
    ///
    /// - `has_new_encoder`: the packet comes from another encoder than the one before.
    fn warm_up(&mut self, payload: &[u8], has_new_encoder: bool);
}

/// The packets of one participant: what has arrived, and what decodes it.
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

/// Takes one participant's packets in.
pub(crate) struct Intake<'a> {
    pub admission: &'a mut Admission,
    pub network: Network<'a>,
    /// How loud the participant is shown to be.
    pub level: &'a mut Decibels,
}

impl Intake<'_> {
    /// Takes in one packet that arrived at `arrival`.
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
