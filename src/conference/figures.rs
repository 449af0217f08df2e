//! Everything that is counted or measured, as a flat list of families, ready to be written in any format.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use super::{Conference, Totals};
use crate::control::LeaveReason;
use crate::rtc::Dropped;

/// Numbers that belong together under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Name with its unit.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
    /// Its values.
    pub samples: Vec<Sample>,
}

/// How a number behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from zero at the start.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// One value, with what tells it from the others of its family.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Label and its value, if the family has one.
    pub label: Option<(&'static str, String)>,
    /// The value.
    pub value: f64,
}

impl Family {
    /// A family of one number that only grows.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Family {
        Family {
            name,
            help,
            kind: Kind::Counter,
            samples: vec![Sample {
                label: None,
                value: value as f64,
            }],
        }
    }

    /// A family of one number that goes up and down.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
        Family {
            name,
            help,
            kind: Kind::Gauge,
            samples: vec![Sample { label: None, value }],
        }
    }
}

impl Conference {
    /// The figures of the mixer, the network, the rooms and the participants.
    pub fn figures(&self) -> Vec<Family> {
        let mut families = self.of_rooms();
        families.extend(self.of_mixer());
        families.extend(self.of_rtc());
        families
    }

    fn of_rooms(&self) -> Vec<Family> {
        let (rooms, participants, talking, connected, totals) = {
            let state = self.lock();
            let members = || state.registry.rooms.values().flat_map(|room| &room.members);
            (
                state.registry.rooms.len(),
                members().count(),
                members().filter(|member| member.talking).count(),
                members().filter(|member| member.connected).count(),
                state.registry.totals(),
            )
        };
        let counts = &self.inner.counts;
        let left = Family {
            name: "mixminus_participants_left_total",
            help: "Participants who went, by reason.",
            kind: Kind::Counter,
            samples: LeaveReason::ALL
                .iter()
                .map(|reason| Sample {
                    label: Some(("reason", reason.word().to_owned())),
                    value: counts.left[*reason as usize].load(Relaxed) as f64,
                })
                .collect(),
        };
        let mut families = vec![
            Family::gauge("mixminus_rooms", "Rooms.", rooms as f64),
            Family::gauge(
                "mixminus_participants",
                "Participants in all rooms.",
                participants as f64,
            ),
            Family::gauge(
                "mixminus_participants_talking",
                "Participants heard now.",
                talking as f64,
            ),
            Family::gauge(
                "mixminus_participants_connected",
                "Participants whose peer connection is up.",
                connected as f64,
            ),
            Family::counter(
                "mixminus_joins_total",
                "Joins that succeeded.",
                counts.joins.load(Relaxed),
            ),
            Family::counter(
                "mixminus_joins_refused_total",
                "Joins that were refused.",
                counts.refused.load(Relaxed),
            ),
            left,
            Family::counter(
                "mixminus_room_faults_total",
                "Rooms that were closed after a fault.",
                counts.faults.load(Relaxed),
            ),
        ];
        families.extend(of_totals(&totals));
        families
    }

    fn of_mixer(&self) -> Vec<Family> {
        let metrics = self.inner.audio.metrics();
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let busy = Family {
            name: "mixminus_mixer_busy_seconds_total",
            help: "Time the mixer spent working.",
            kind: Kind::Counter,
            samples: vec![Sample {
                label: None,
                value: of(&metrics.busy_ns) as f64 / 1e9,
            }],
        };
        vec![
            Family::gauge(
                "mixminus_mixer_load_ratio",
                "Busy time over tick time, 0 to 1.",
                f64::from(self.inner.audio.load()),
            ),
            busy,
            Family::counter(
                "mixminus_mixer_slots_total",
                "Slots the mixer ran.",
                of(&metrics.slots),
            ),
            Family::counter(
                "mixminus_mixer_late_slots_total",
                "Slots that began late.",
                of(&metrics.late_slots),
            ),
            Family::counter(
                "mixminus_mixer_skipped_slots_total",
                "Slots left out because they came too late.",
                of(&metrics.skipped_slots),
            ),
            Family::counter(
                "mixminus_mixer_events_dropped_total",
                "Events that found their link full.",
                of(&metrics.events_dropped),
            ),
            Family::counter(
                "mixminus_mixer_refused_total",
                "Commands the mixer could not carry out.",
                of(&metrics.refused),
            ),
            Family::counter(
                "mixminus_mixer_packets_in_dropped_total",
                "Packets in from participants the mixer does not have, or who do not talk.",
                of(&metrics.packets_in_dropped),
            ),
            Family::counter(
                "mixminus_packets_sent_total",
                "Audio packets handed to the network, one for each who hears it.",
                of(&metrics.packets_out),
            ),
            Family::counter(
                "mixminus_encodes_total",
                "Audio packets encoded: one for all who hear the same.",
                of(&metrics.encodes),
            ),
            Family::counter(
                "mixminus_encodes_skipped_total",
                "Audio packets left out because another thread had not encoded them in time.",
                of(&metrics.encodes_skipped),
            ),
            Family::counter(
                "mixminus_mixer_packets_out_dropped_total",
                "Packets out that found the network's link full.",
                of(&metrics.packets_out_dropped),
            ),
        ]
    }

    fn of_rtc(&self) -> Vec<Family> {
        let metrics = self.inner.rtc.metrics();
        let of = |counter: &AtomicU64| counter.load(Relaxed);
        let dropped = Family {
            name: "mixminus_rtc_dropped_total",
            help: "Datagrams, packets and messages that were dropped, by reason.",
            kind: Kind::Counter,
            samples: Dropped::ALL
                .iter()
                .map(|reason| Sample {
                    label: Some(("reason", reason.label().to_owned())),
                    value: metrics.dropped_total(*reason) as f64,
                })
                .collect(),
        };
        vec![
            Family::gauge(
                "mixminus_rtc_peers",
                "Peers there are now, connected or not.",
                of(&metrics.peers) as f64,
            ),
            Family::counter(
                "mixminus_rtc_datagrams_in_total",
                "Datagrams received.",
                of(&metrics.datagrams_in_total),
            ),
            Family::counter(
                "mixminus_rtc_bytes_in_total",
                "Bytes received, UDP payload.",
                of(&metrics.bytes_in_total),
            ),
            Family::counter(
                "mixminus_rtc_datagrams_out_total",
                "Datagrams sent.",
                of(&metrics.datagrams_out_total),
            ),
            Family::counter(
                "mixminus_rtc_bytes_out_total",
                "Bytes sent, UDP payload.",
                of(&metrics.bytes_out_total),
            ),
            Family::counter(
                "mixminus_rtc_send_errors_total",
                "Datagrams the system did not take.",
                of(&metrics.send_errors_total),
            ),
            Family::counter(
                "mixminus_rtc_dtls_failures_total",
                "Peers that found a path but never finished DTLS.",
                of(&metrics.dtls_failures_total),
            ),
            Family::counter(
                "mixminus_rtc_faults_total",
                "Peers dropped because the core failed on them.",
                of(&metrics.faults_total),
            ),
            dropped,
        ]
    }
}

fn of_totals(totals: &Totals) -> Vec<Family> {
    const SAMPLES_PER_SECOND: f64 = 48_000.0;
    let seconds = |name, help, samples: u64| Family {
        name,
        help,
        kind: Kind::Counter,
        samples: vec![Sample {
            label: None,
            value: samples as f64 / SAMPLES_PER_SECOND,
        }],
    };
    vec![
        Family::counter(
            "mixminus_packets_received_total",
            "Audio packets taken in.",
            totals.received,
        ),
        Family::counter(
            "mixminus_packets_lost_total",
            "Audio packets that never came.",
            totals.lost,
        ),
        Family::counter(
            "mixminus_packets_late_total",
            "Audio packets that came after their time.",
            totals.late,
        ),
        Family::counter(
            "mixminus_packets_duplicate_total",
            "Audio packets that came twice.",
            totals.duplicate,
        ),
        Family::counter(
            "mixminus_packets_undecodable_total",
            "Audio packets that are not Opus.",
            totals.undecodable,
        ),
        seconds(
            "mixminus_concealed_seconds_total",
            "Audio made up because none was there.",
            totals.concealed_samples,
        ),
        seconds(
            "mixminus_recovered_seconds_total",
            "Audio recovered from in-band FEC.",
            totals.recovered_samples,
        ),
        seconds(
            "mixminus_played_seconds_total",
            "Audio played into mixes.",
            totals.played_samples,
        ),
    ]
}
