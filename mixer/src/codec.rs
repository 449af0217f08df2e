//! The codec as the engine sees it: two traits, so that the engine builds and is tested without
//! Opus.

use core::any::Any;

use thiserror::Error;

use crate::packet::Payload;

mod encoding;
pub mod g711;
#[cfg(feature = "opus")]
pub mod opus;
pub mod opus_toc;
mod profile;
pub mod wire;

pub use self::encoding::{Application, LITTLE_BPS, ReceiverLimits, Recipe, loss_class};
pub use self::profile::{Hangovers, Profile, UnknownProfile};
pub use self::wire::Codec;
pub(crate) use self::wire::DTX_MAX_BYTES;

#[cfg(feature = "opus")]
use crate::format::Layout;

/// A decoder of what is sent in `codec`.
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

/// An encoder, set as `recipe` says and for no loss.
///
/// Real-time: set-up only (allocates).
#[cfg(feature = "opus")]
pub fn encoder(recipe: &Recipe) -> Box<dyn Encode> {
    use g711::{G711Encoder, Law};
    match recipe.codec {
        Codec::Opus => Box::new(opus::OpusEncoder::new(recipe)),
        Codec::Pcmu => Box::new(G711Encoder::new(Law::Mu)),
        Codec::Pcma => Box::new(G711Encoder::new(Law::A)),
    }
}

/// Turns payloads into PCM at 48 kHz in the layout it was made for.
///
/// Every call is real-time safe: no allocation, no lock, no system call.
pub trait Decode: Send {
    /// Decodes one payload into `pcm` and says how many samples per channel it held.
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is no packet of this codec; `pcm` is then unspecified.
    fn decode(&mut self, payload: &[u8], pcm: &mut [f32]) -> Result<usize, DecodeError>;

    /// Fills `pcm` with what the payload *after* a lost one carries of the lost one (in-band FEC).
    ///
    /// `pcm` holds exactly the lost duration; where the payload carries no such data, this
    /// conceals.
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is no packet of this codec.
    fn recover(&mut self, next_payload: &[u8], pcm: &mut [f32]) -> Result<(), DecodeError>;

    /// Fills `pcm` with a guess from what was decoded before. A multiple of 2.5 ms.
    fn conceal(&mut self, pcm: &mut [f32]);

    /// Fills `pcm` with a guess of what comes `after` samples per channel after what was decoded last,
    /// and says whether history is untouched: what is missing may only be late, or the sender silent,
    /// and then the next packet is to be decoded as if nobody had asked. Multiples of 2.5 ms, at most
    /// 240 ms together.
    ///
    /// A decoder that cannot guess without taking note conceals.
    fn guess(&mut self, after: usize, pcm: &mut [f32]) -> bool {
        let _ = after;
        self.conceal(pcm);
        false
    }

    /// Takes note that so many samples per channel, which were [guessed](Decode::guess) and left history
    /// untouched, have been lost indeed.
    fn miss(&mut self, samples: usize) {
        let _ = samples;
    }

    /// Forgets all history, as after a change of the sender's encoder.
    fn reset(&mut self);

    /// Whose packets it takes: how long they are is known before they are decoded.
    fn codec(&self) -> Codec {
        Codec::Opus
    }

    /// Decodes one payload roughly, in order to know how loud it is: to mono at
    /// [`SKETCH_RATE_HZ`]. Says how many samples it held; `None` if this decoder cannot, or not
    /// this payload.
    ///
    /// History is kept from one sketch to the next, and lost between a sketch and anything else.
    fn sketch(&mut self, payload: &[u8], pcm: &mut [f32]) -> Option<usize> {
        let _ = (payload, pcm);
        None
    }
}

/// Sampling rate of a sketch: half the cost of 48 kHz, and still what tells a voice from the noise it
/// is in.
pub const SKETCH_RATE_HZ: u32 = 16_000;

/// Turns PCM into payloads.
///
/// Every call is real-time safe: no allocation, no lock, no system call.
pub trait Encode: Send {
    /// Encodes one packet's worth of interleaved PCM.
    ///
    /// # Errors
    /// [`EncodeError`] when the codec refuses the length.
    fn encode(&mut self, pcm: &[f32], payload: &mut Payload) -> Result<(), EncodeError>;

    /// Takes over what can change in place: bitrate, complexity, loss, FEC, DTX, CBR, bandwidth.
    fn configure(&mut self, settings: &EncoderSettings);

    /// Forgets all history.
    fn reset(&mut self);

    /// Takes over the history and the settings of `other`, so that whoever decoded `other`'s stream
    /// can go on with this one and not notice; `false`, and nothing is changed, if that is an
    /// encoder of another kind.
    fn follow(&mut self, other: &dyn Encode) -> bool;

    /// Itself, for [`follow`](Encode::follow) to see what kind it is.
    fn as_any(&self) -> &dyn Any;
}

/// What an encoder can change without being rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EncoderSettings {
    /// Bits per second of payload, 6,000..=510,000.
    pub bitrate_bps: u32,
    /// libopus complexity, 0..=10.
    pub complexity: u8,
    /// Packet loss the encoder should prepare for, percent; FEC is spent only when above zero.
    pub loss_percent: u8,
    /// In-band forward error correction (RFC 6716, 2.1.7).
    pub fec: bool,
    /// Discontinuous transmission under low-level sound (RFC 6716, 2.1.9).
    pub dtx: bool,
    /// Constant bitrate (RFC 7587, 7.1: `cbr`).
    pub cbr: bool,
    /// Widest audio bandwidth sent.
    pub bandwidth: Bandwidth,
}

/// Audio bandwidth (RFC 6716, 2): the ladder a listener's `maxplaybackrate` is quantised to.
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

/// A payload that does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are no packet of this codec.
    #[error("not a packet of this codec")]
    Malformed,
    /// The packet holds more than fits.
    #[error("packet of {got_samples} samples is longer than {max_samples}")]
    TooLong {
        /// Samples per channel in the packet.
        got_samples: usize,
        /// Samples per channel that fit.
        max_samples: usize,
    },
}

/// PCM that does not encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The codec has no packet of this length.
    #[error("no packet holds {got_samples} samples")]
    Length {
        /// Samples of all channels offered.
        got_samples: usize,
    },
}
