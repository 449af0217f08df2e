//! mixminus: an audio-only MCU.
pub mod clock;
pub mod links;
