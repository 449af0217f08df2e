//! mixminus: an audio-only MCU.
pub mod audio;
pub mod cli;
pub mod clock;
pub mod conference;
pub mod config;
pub mod control;
pub mod join;
pub mod links;
pub mod rtc;
pub mod server;
pub mod signal;
