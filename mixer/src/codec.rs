//! The codec interface of the engine: the traits [`Decode`] and [`Encode`], so that the engine
//! builds and is tested without Opus.

use core::any::Any;

use thiserror::Error;

use crate::packet::Payload;

mod encoding;
pub mod g711;
pub mod kind;
#[cfg(feature = "opus")]
pub mod opus;
pub mod opus_toc;
mod profile;

pub use self::encoding::{Application, Encoding, LITTLE_BPS, ReceiverLimits, loss_class};
pub use self::kind::Codec;
pub(crate) use self::kind::DTX_MAX_BYTES;
pub use self::profile::{Hangovers, Profile, UnknownProfile};

#[cfg(feature = "opus")]
use crate::format::Layout;

/// Creates a decoder for packets of `codec`.
///
/// Real-time: set-up only (allocates).
#[cfg(feature = "opus")]
pub fn decoder(codec: Codec, layout: Layout) -> Box<dyn Decode> {
    use g711::{G711Decoder, Law};
    match codec {
        Codec::Opus => Box::new(opus::OpusDecoder::new(layout)),
        Codec::Pcmu => Box::new(G711Decoder::new(Law::Mu, layout)),
        Codec::Pcma => Box::new(G711Decoder::new(Law::A, layout)),
    }
}

/// Creates an encoder with the settings of `encoding`, prepared for no packet loss.
///
/// Real-time: set-up only (allocates).
#[cfg(feature = "opus")]
pub fn encoder(encoding: &Encoding) -> Box<dyn Encode> {
    use g711::{G711Encoder, Law};
    match encoding.codec {
        Codec::Opus => Box::new(opus::OpusEncoder::new(encoding)),
        Codec::Pcmu => Box::new(G711Encoder::new(Law::Mu)),
        Codec::Pcma => Box::new(G711Encoder::new(Law::A)),
    }
}

/// Decodes payloads into PCM at 48 kHz, in the layout that the decoder was created for.
///
/// Every call is real-time safe: no allocation, no lock, no system call.
pub trait Decode: Send {
    /// Decodes one payload into `pcm` and returns the samples per channel that it held.
    ///
    /// # Errors
    /// [`DecodeError`] if the payload is not a packet of this codec; `pcm` is then unspecified.
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError>;

    /// Fills `pcm` from the in-band FEC that the payload *after* a lost packet carries.
    ///
    /// `pcm` has exactly the length of the lost packet. Without FEC in the payload, this conceals.
    ///
    /// # Errors
    /// [`DecodeError`] if the payload is not a packet of this codec.
    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError>;

    /// Fills `pcm` with concealment: sound predicted from the packets decoded so far, in place of
    /// lost packets.
    ///
    /// The length of `pcm` is a multiple of 2.5 ms.
    fn conceal(&mut self, pcm: &mut [f32]);

    /// Fills `pcm` with a prediction of the sound that starts `after` samples per channel after the
    /// last decoded sample, and returns whether the decoder's history is unchanged.
    ///
    /// The missing packets may only be late, or the sender silent; the next packet must then decode
    /// as if nothing had been predicted. `after` and the length of `pcm` are multiples of 2.5 ms,
    /// at most 240 ms together. A decoder that cannot predict without changing its history conceals
    /// instead.
    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        let _ = after;
        self.conceal(pcm);
        false
    }

    /// Makes `samples` predicted samples per channel part of the history: the packets in their
    /// place are lost, not late.
    ///
    /// The samples were [predicted](Decode::guess) without changing the history.
    fn miss(&mut self, samples: usize) {
        let _ = samples;
    }

    /// Forgets the decoder's history, as after a change of the sender's encoder.
    fn reset(&mut self);

    /// The codec of the packets to decode. [`Codec::samples`] tells the length of such a packet
    /// without decoding it.
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    /// Decodes one payload roughly, to mono at [`SKETCH_RATE_HZ`], to find out how loud it is.
    /// Returns the number of samples; `None` if this decoder or this payload does not allow it.
    ///
    /// The history is kept from one sketch to the next, but not between a sketch and any other
    /// call.
    fn sketch(&mut self, payload: &[u8], pcm: &mut [f32]) -> Option<usize> {
        let _ = (payload, pcm);
        None
    }
}

/// Sampling rate of a [rough decode](Decode::sketch). It costs half as much as 48 kHz and is enough
/// to tell a voice from noise.
pub const SKETCH_RATE_HZ: u32 = 16_000;

/// Encodes PCM into payloads.
///
/// Every call is real-time safe: no allocation, no lock, no system call.
pub trait Encode: Send {
    /// Encodes one packet of interleaved PCM.
    ///
    /// # Errors
    /// [`EncodeError`] if the codec has no packet of this length.
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError>;

    /// Applies the settings that can change in place: bitrate, complexity, loss, FEC, DTX, CBR,
    /// bandwidth.
    fn configure(&mut self, settings: &EncoderSettings);

    /// Forgets the encoder's history.
    fn reset(&mut self);

    /// Takes over the history and the settings of `other`, so that a decoder of `other`'s stream
    /// can go on with this encoder's stream without a seam. Returns `false`, and changes nothing,
    /// if `other` is another kind of encoder.
    fn follow(&mut self, other: &dyn Encode) -> bool;

    /// The encoder as [`Any`], for [`follow`](Encode::follow) to find out its type.
    fn as_any(&self) -> &dyn Any;
}

/// Settings that an encoder can change without being rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncoderSettings {
    /// Bitrate of the payload in bits per second, 6,000..=510,000.
    pub bitrate_bps: u32,
    /// libopus complexity, 0..=10.
    pub complexity: u8,
    /// Packet loss that the encoder should prepare for, in percent; FEC is sent only above zero.
    pub loss_percent: u8,
    /// In-band forward error correction (RFC 6716, 2.1.7).
    pub fec: bool,
    /// Discontinuous transmission under low-level sound (RFC 6716, 2.1.9).
    pub dtx: bool,
    /// Constant bitrate (RFC 7587, 7.1: `cbr`).
    pub cbr: bool,
    /// Widest audio bandwidth that the encoder may send.
    pub bandwidth: Bandwidth,
}

/// Audio bandwidth (RFC 6716, 2): the steps to which a listener's `maxplaybackrate` is rounded
/// down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Bandwidth {
    /// 4 kHz of audio, 8 kHz sampling.
    Narrow,
    /// 8 kHz of audio, 16 kHz sampling.
    Wide,
    /// 12 kHz of audio, 24 kHz sampling.
    SuperWide,
    /// 20 kHz of audio, 48 kHz sampling.
    #[default]
    Full,
}

/// The reason why a payload cannot be decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The payload is not a packet of this codec.
    #[error("the payload is not a packet of the decoder's codec")]
    Malformed,
    /// The packet holds more samples than fit into the buffer.
    #[error(
        "the packet has {got_samples} samples per channel; the buffer has space for {max_samples}"
    )]
    TooLong {
        /// Samples per channel in the packet.
        got_samples: usize,
        /// Samples per channel that fit into the buffer.
        max_samples: usize,
    },
}

/// The reason why PCM cannot be encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The codec has no packet of this length.
    #[error("the codec has no packet duration of {got_samples} samples")]
    Length {
        /// Number of samples given, over all channels.
        got_samples: usize,
    },
}
