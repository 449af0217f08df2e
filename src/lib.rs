//! mixminus: an audio-only MCU.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

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
