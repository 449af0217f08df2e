//! Why an offer cannot be answered.
//!
//! No variant carries an error text of the WebRTC core: those contain memory addresses and are not
//! meant for clients.

/// Why an offer was not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// The offer is not valid SDP.
    #[error("the offer is not valid SDP (RFC 8866)")]
    Unparsable,
    /// The offer has no audio section, or only rejected ones.
    #[error("the offer has no audio section, or only rejected ones (port 0)")]
    NoAudio,
    /// The offer's audio has neither Opus nor G.711.
    #[error(
        "the offer's audio section has none of the codecs opus/48000/2, PCMU/8000 and PCMA/8000"
    )]
    NoCodec,
    /// The offer is valid SDP, but this server does not support something in it.
    #[error("the offer cannot be answered: {what}")]
    Unsupported {
        /// The reason, as a clause that follows a colon.
        what: &'static str,
    },
}
