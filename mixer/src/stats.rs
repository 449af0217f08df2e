//! What the engine counted: totals of its own, and the way of a strip's counts into the telemetry.

use std::sync::atomic::Ordering::Relaxed;

use crate::command::Telemetry;
use crate::listener::Heard;
use crate::strip::Strip;

/// Totals of one engine since it was made, and what it holds now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineStats {
    /// Rooms held now.
    pub rooms: usize,
    /// Participants held now.
    pub participants: usize,
    /// Ticks run, of all rooms.
    pub ticks_total: u64,
    /// Packets handed out.
    pub packets_total: u64,
    /// Packets encoded.
    pub encodes_total: u64,
    /// Packets left out because another thread had not encoded them in time.
    pub encodes_skipped_total: u64,
    /// Mixes the codec refused.
    pub encode_failures_total: u64,
    /// Packets for participants that are not here.
    pub strays_total: u64,
    /// Commands that named something that is not here, or for which there was no place.
    pub refused_total: u64,
    /// Rooms retired by a fault in their tick.
    pub faults_total: u64,
}

/// What one tick of one room did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TickStats {
    /// Strips on the bus.
    pub contributors: usize,
    /// Packets handed out, to each who gets one.
    pub packets: u64,
    /// Packets encoded.
    pub encodes: u64,
    /// Encodes offered to other threads.
    pub encodes_offered: u64,
    /// Packets left out because another thread had not encoded them in time.
    pub encodes_skipped: u64,
    /// Mixes the codec refused.
    pub encode_failures: u64,
    /// Further ticks would do nothing until the next packet or command.
    pub asleep: bool,
}

impl TickStats {
    /// Counts one encode.
    pub(crate) fn count(&mut self, heard: Heard) {
        match heard {
            Heard::Packet | Heard::Nothing => self.encodes += 1,
            Heard::Failed => self.encode_failures += 1,
        }
    }
}

impl EngineStats {
    /// Adds what one tick did.
    pub(crate) fn add(&mut self, tick: &TickStats) {
        self.packets_total += tick.packets;
        self.encodes_total += tick.encodes;
        self.encodes_skipped_total += tick.encodes_skipped;
        self.encode_failures_total += tick.encode_failures;
    }
}

/// Copies what a strip counted to where anyone can read it.
///
/// Real-time: safe.
pub(crate) fn publish(strip: &Strip, telemetry: &Telemetry) {
    publish_arrivals(strip, telemetry);
    let stats = strip.stats();
    telemetry.lost_total.store(stats.lost, Relaxed);
    telemetry.late_total.store(stats.late, Relaxed);
    telemetry.duplicate_total.store(stats.duplicate, Relaxed);
    telemetry
        .undecodable_total
        .store(stats.undecodable, Relaxed);
    telemetry
        .concealed_samples_total
        .store(stats.concealed_samples, Relaxed);
    telemetry
        .recovered_samples_total
        .store(stats.recovered_samples, Relaxed);
    telemetry
        .played_samples_total
        .store(stats.played_samples, Relaxed);
    let delay_us = stats.delay.as_micros().min(u128::from(u32::MAX)) as u32;
    telemetry.delay_us.store(delay_us, Relaxed);
}

/// The same of what changes even where nothing is played, and how far its permit has come.
///
/// Real-time: safe.
pub(crate) fn publish_arrivals(strip: &Strip, telemetry: &Telemetry) {
    let received = &telemetry.received_total;
    received.store(strip.stats().received, Relaxed);
    telemetry.voiced_total.store(strip.voiced(), Relaxed);
    telemetry.permit.store(strip.permit() as u8, Relaxed);
}
