//! Why an offer cannot be answered.
//!
//! No variant carries a message of the WebRTC core: those contain memory addresses and are not for
//! clients.

/// Why an offer was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The offer is not SDP.
    #[error("the offer is not SDP")]
    Unparsable,
    /// The offer has no audio section, or only rejected ones.
    #[error("the offer has no audio section that could be answered")]
    NoAudio,
    /// The offer's audio has neither Opus nor G.711.
    #[error("the offer's audio section offers neither opus/48000 nor PCMU/8000 or PCMA/8000")]
    NoCodec,
    /// The offer is well-formed, but this server cannot serve it.
    #[error("the offer cannot be served: {what}")]
    Unsupported {
        /// The reason, as half a sentence for a person.
        what: &'static str,
    },
}
