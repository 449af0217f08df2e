//! Hashes of everything an engine outputs, so that two builds can be compared.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use mixer::engine::EngineStats;
use mixer::mix::gains::GainChange;
use mixer::mix::links::LinkChange;
use mixer::monitor::{Feed, MonitorChange};
use mixer::output::{Event, OutputStream, Refused, Retired};
use mixer::packet::OutPacket;
use mixer::room::{Members, Participant, Room, Telemetry};
use mixer::source::PlayoutStats;
use mixer::units::ParticipantId;

/// FNV-1a hash of 64 bits.
#[derive(Clone, Copy)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    pub fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    pub fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Hashes the bits of each sample.
    pub fn samples(&mut self, pcm: &[f32]) {
        for sample in pcm {
            self.bytes(&sample.to_bits().to_le_bytes());
        }
    }
}

/// Hashes of the output of one scene so far.
#[derive(Default)]
pub struct Print {
    /// Packets: recipients, media times, contributors, and every bit of the sound.
    packets: Fnv,
    packets_total: u64,
    /// Events in their order.
    events: Fnv,
    events_total: u64,
    /// Kinds of the boxes that came back to be freed.
    retired: Fnv,
    retired_total: u64,
    /// Telemetry and statistics, sampled repeatedly.
    measured: Fnv,
}

impl Print {
    pub fn packet(&mut self, to: ParticipantId, packet: &OutPacket) {
        self.packets_total += 1;
        let print = &mut self.packets;
        print.number(to.0.into());
        print.number(packet.time.0.into());
        print.number(packet.marker.into());
        for (id, level) in packet.sources.ids().iter().zip(packet.sources.levels()) {
            print.number(u64::from(*id) << 8 | u64::from(*level));
        }
        print.number(packet.payload.as_slice().len() as u64);
        print.bytes(packet.payload.as_slice());
    }

    pub fn pcm(&mut self, pcm: &[f32]) {
        self.packets.samples(pcm);
    }

    pub fn event(&mut self, event: Event) {
        self.events_total += 1;
        let (kind, room, id) = match event {
            Event::Talking { room, participant } => (1, room.0, participant.0),
            Event::Stopped { room, participant } => (2, room.0, participant.0),
            Event::RoomFault { room } => (3, room.0, 0),
            Event::Refused(Refused::Room(room)) => (4, room.0, 0),
            Event::Refused(Refused::Participant(participant)) => (5, 0, participant.0),
        };
        for number in [kind, room, id] {
            self.events.number(number.into());
        }
    }

    pub fn retired(&mut self, retired: &Retired) {
        self.retired_total += 1;
        let kinds = [
            retired.is::<Room>(),
            retired.is::<Participant>(),
            retired.is::<OutputStream>(),
            retired.is::<Members>(),
            // Both kinds have one number, since links once crossed in a `MonitorChange`: hashes
            // stay comparable with older builds.
            retired.is::<MonitorChange>() || retired.is::<LinkChange>(),
            retired.is::<Feed>(),
            retired.is::<GainChange>(),
        ];
        let kind = (1..).zip(kinds).find(|(_, is_of)| *is_of);
        self.retired.number(kind.expect("one of these").0);
    }

    /// Hashes further numbers into the measurements.
    pub fn measured(&mut self, numbers: impl IntoIterator<Item = u64>) {
        for number in numbers {
            self.measured.number(number);
        }
    }

    pub fn telemetry(&mut self, of: &Telemetry) {
        self.measured([
            of.refused.load(Relaxed).into(),
            of.talking.load(Relaxed).into(),
            of.level.load(Relaxed).into(),
            of.permit.load(Relaxed).into(),
            of.received_total.load(Relaxed),
            of.voiced_total.load(Relaxed),
            of.lost_total.load(Relaxed),
            of.late_total.load(Relaxed),
            of.duplicate_total.load(Relaxed),
            of.undecodable_total.load(Relaxed),
            of.concealed_samples_total.load(Relaxed),
            of.recovered_samples_total.load(Relaxed),
            of.inserted_samples_total.load(Relaxed),
            of.removed_samples_total.load(Relaxed),
            of.resampling_inserted_samples_total.load(Relaxed),
            of.resampling_removed_samples_total.load(Relaxed),
            of.covered_samples_total.load(Relaxed),
            of.played_samples_total.load(Relaxed),
            of.delay_us.load(Relaxed).into(),
        ]);
    }

    pub fn engine(&mut self, stats: &EngineStats) {
        self.measured([
            stats.rooms as u64,
            stats.participants as u64,
            stats.ticks_total,
            stats.ticks_held_total,
            stats.packets_total,
            stats.encodes_total,
            stats.encodes_skipped_total,
            stats.encode_failures_total,
            stats.strays_total,
            stats.refused_total,
            stats.faults_total,
        ]);
    }

    pub fn playout(&mut self, stats: &PlayoutStats) {
        self.measured([
            stats.received,
            stats.lost,
            stats.late,
            stats.duplicate,
            stats.undecodable,
            stats.discarded,
            stats.decoded_samples,
            stats.concealed_samples,
            stats.recovered_samples,
            stats.played_samples,
            stats.inserted_samples,
            stats.removed_samples,
            stats.resampling_inserted_samples,
            stats.resampling_removed_samples,
            stats.covered_samples,
            stats.delay.as_nanos() as u64,
            stats.target.as_nanos() as u64,
        ]);
    }
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [self.packets, self.events, self.retired, self.measured];
        let mut all = Fnv::default();
        parts.iter().for_each(|part| all.number(part.0));
        write!(
            f,
            "{:016x} packets {} {:016x} events {} {:016x} retired {} {:016x} measured {:016x}",
            all.0,
            self.packets_total,
            self.packets.0,
            self.events_total,
            self.events.0,
            self.retired_total,
            self.retired.0,
            self.measured.0,
        )
    }
}
