//! The engine's tests from outside, in virtual time. One binary holds them all: each further binary
//! would compile and link the shared test support once more.
//!
//! Tests that count allocations or measure memory are binaries of their own.
#![cfg(feature = "opus")]

mod common;
mod recordings;
#[path = "../stage/mod.rs"]
mod stage;
mod world;

mod announcements;
mod any_opus;
mod contributors;
mod crew;
mod crowds;
mod destinations;
mod fingerprint;
mod golden;
mod hangover;
mod late_ticks;
mod level_hints;
mod listeners;
mod minus_one;
mod monitoring;
mod monitoring_groups;
mod moves;
mod parked;
mod pauses;
mod permit_holder;
mod permit_isolation;
mod permit_words;
mod personal_gains;
mod phase;
mod playout_delay;
mod playout_loss;
mod spurts;
mod stalls;
mod switching;
mod thin;
mod tones;
mod traces;
mod uplinks;
