//! A participant's packets, with the decoder for them.

use super::reception::Reception;
use crate::meter::LevelReading;

/// Decoder interface for packets that are not played.
///
/// Real-time: every call is safe.
pub(crate) trait UnheardDecoder {
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
    /// Decodes a packet that nobody hears; see [`UnheardDecoder::warm_up`].
    pub fn warm_up(&mut self, payload: &[u8]) {
        let has_new_encoder = self.reception.take_new_encoder();
        self.decoder.warm_up(payload, has_new_encoder);
    }
}
