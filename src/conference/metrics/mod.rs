//! Metrics: all counters and measurements as a flat list of families, independent of the output
//! format.

mod mixers;

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use mixer::schedule::LoadGovernor;

use super::counters::Counters;
use super::error::Refusal;
use super::handle::Request;
use super::machine::Machine;
use super::{Conference, ParticipantTotals};
use crate::protocol::LeaveReason;
use crate::rate_limit::Limited;
use crate::rtc::{Dropped, RtcMetrics};

/// A metric family: samples under one name.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricFamily {
    /// Name of the metric, with its unit.
    pub name: &'static str,
    /// Description of the metric, in one sentence.
    pub help: &'static str,
    /// Type of the metric.
    pub kind: MetricKind,
    /// Values of the metric.
    pub samples: Vec<MetricSample>,
}

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// A count that only grows, from zero at the start.
    Counter,
    /// A value that rises and falls.
    Gauge,
    /// Cumulative counts of values up to each bucket's bound.
    Histogram,
}

/// One value of a metric, with the labels that distinguish it within its family.
#[derive(Debug, Clone, PartialEq)]
pub struct MetricSample {
    /// Suffix of the family's name, such as `_bucket`; only histogram samples have one.
    pub suffix: &'static str,
    /// Names and values of the labels.
    pub labels: Vec<(&'static str, String)>,
    /// Value of the sample.
    pub value: f64,
}

impl MetricSample {
    /// Creates a sample without labels.
    pub fn only(value: f64) -> MetricSample {
        MetricSample {
            suffix: "",
            labels: Vec::new(),
            value,
        }
    }

    /// Creates a sample with one label.
    pub fn of(label: &'static str, is: impl ToString, value: f64) -> MetricSample {
        MetricSample {
            suffix: "",
            labels: vec![(label, is.to_string())],
            value,
        }
    }
}

impl MetricFamily {
    /// Creates a family of one counter without labels.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> MetricFamily {
        MetricFamily {
            name,
            help,
            kind: MetricKind::Counter,
            samples: vec![MetricSample::only(value as f64)],
        }
    }

    /// Creates a family of counters that one label tells apart.
    ///
    /// - `counts`: each value of the label with its count.
    pub(super) fn counters(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (&'static str, u64)>,
    ) -> MetricFamily {
        let counts = counts.into_iter();
        let samples = counts.map(|(value, count)| MetricSample::of(label, value, count as f64));
        MetricFamily {
            name,
            help,
            kind: MetricKind::Counter,
            samples: samples.collect(),
        }
    }

    /// Creates a family of one gauge without labels.
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> MetricFamily {
        MetricFamily {
            name,
            help,
            kind: MetricKind::Gauge,
            samples: vec![MetricSample::only(value)],
        }
    }
}

/// All counters and measurements of the conference.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// The metrics of the mixers, the network, the rooms and the participants.
    pub families: Vec<MetricFamily>,
    /// Refusals by the conference's rate limiters, indexed by [`Limited`].
    pub limited: [u64; Limited::ALL.len()],
}

/// Counters and measurements that the machine holds.
#[derive(Debug)]
struct MachineFigures {
    rooms: usize,
    participants: usize,
    talking: usize,
    connected: usize,
    /// Greatest playout delay of a talking participant, microseconds.
    delay_us: u32,
    totals: ParticipantTotals,
    counters: Counters,
    /// The mixers' load governors, indexed by mixer id.
    governors: Vec<LoadGovernor>,
}

/// Reads the counters and measurements that the machine holds.
#[derive(Debug)]
struct ReadFigures;

impl Request for ReadFigures {
    type Answer = MachineFigures;

    fn handle(self, machine: &mut Machine, _: Instant) -> MachineFigures {
        let members = || {
            machine
                .registry
                .rooms
                .values()
                .flat_map(|room| &room.members)
        };
        let delays = members()
            .filter(|member| member.talking)
            .map(|member| member.shared.telemetry.delay_us.load(Relaxed));
        let mixers = machine.placement.mixers().iter();
        MachineFigures {
            rooms: machine.registry.rooms.len(),
            participants: members().count(),
            talking: members().filter(|member| member.talking).count(),
            connected: members().filter(|member| member.connected).count(),
            delay_us: delays.max().unwrap_or(0),
            totals: machine.registry.totals(),
            counters: machine.counters.clone(),
            governors: mixers.map(|mixer| mixer.governor.clone()).collect(),
        }
    }
}

impl Conference {
    /// Returns all counters and measurements of the conference.
    pub async fn figures(&self) -> Figures {
        let machine = self.ask(ReadFigures).await;
        let mut families = machine.of_rooms();
        families.extend(mixers::of_mixers(&machine.governors, self.audio.mixers()));
        families.extend(of_rtc(self.rtc.metrics()));
        Figures {
            families,
            limited: machine.counters.limited,
        }
    }
}

impl MachineFigures {
    fn of_rooms(&self) -> Vec<MetricFamily> {
        let counts = &self.counters;
        let left = LeaveReason::ALL.iter();
        let left = MetricFamily::counters(
            "mixminus_participants_left_total",
            "Participants who left, by reason.",
            "reason",
            left.map(|reason| (reason.word(), counts.left[*reason as usize])),
        );
        let refused = Refusal::ALL.iter();
        let refused = MetricFamily::counters(
            "mixminus_joins_refused_total",
            "Joins refused, by reason.",
            "reason",
            refused.map(|reason| (reason.word(), counts.refused[*reason as usize])),
        );
        let mut families = vec![
            MetricFamily::gauge("mixminus_rooms", "Rooms on this server.", self.rooms as f64),
            MetricFamily::gauge(
                "mixminus_participants",
                "Participants in all rooms.",
                self.participants as f64,
            ),
            MetricFamily::gauge(
                "mixminus_participants_talking",
                "Participants who are heard now.",
                self.talking as f64,
            ),
            MetricFamily::gauge(
                "mixminus_playout_delay_seconds",
                "Longest playout delay of a participant who is heard now: how long their packets wait in the server.",
                f64::from(self.delay_us) / 1e6,
            ),
            MetricFamily::gauge(
                "mixminus_participants_connected",
                "Participants whose WebRTC connection is established.",
                self.connected as f64,
            ),
            MetricFamily::counter(
                "mixminus_joins_total",
                "Joins that succeeded.",
                counts.joins,
            ),
            refused,
            left,
            MetricFamily::counter(
                "mixminus_room_faults_total",
                "Rooms closed because of an internal error.",
                counts.faults,
            ),
        ];
        families.extend(counts.floor.families());
        families.extend(of_totals(&self.totals));
        families
    }
}

fn of_rtc(metrics: &RtcMetrics) -> Vec<MetricFamily> {
    let of = |counter: &AtomicU64| counter.load(Relaxed);
    let dropped = Dropped::ALL.iter();
    let dropped = MetricFamily::counters(
        "mixminus_rtc_dropped_total",
        "Datagrams, packets and messages that the network thread dropped, by reason.",
        "reason",
        dropped.map(|reason| (reason.label(), metrics.dropped_total(*reason))),
    );
    vec![
        MetricFamily::gauge(
            "mixminus_rtc_peers",
            "Peers on the network thread, connected or still connecting.",
            of(&metrics.peers) as f64,
        ),
        MetricFamily::counter(
            "mixminus_rtc_datagrams_in_total",
            "Datagrams received on the media port.",
            of(&metrics.datagrams_in_total),
        ),
        MetricFamily::counter(
            "mixminus_rtc_bytes_in_total",
            "Bytes of UDP payload received on the media port.",
            of(&metrics.bytes_in_total),
        ),
        MetricFamily::counter(
            "mixminus_rtc_datagrams_out_total",
            "Datagrams sent from the media port.",
            of(&metrics.datagrams_out_total),
        ),
        MetricFamily::counter(
            "mixminus_rtc_bytes_out_total",
            "Bytes of UDP payload sent from the media port.",
            of(&metrics.bytes_out_total),
        ),
        MetricFamily::counter(
            "mixminus_rtc_send_errors_total",
            "Datagrams that the operating system refused to send.",
            of(&metrics.send_errors_total),
        ),
        MetricFamily::counter(
            "mixminus_rtc_dtls_failures_total",
            "Peers whose ICE connection was established but whose DTLS handshake was not completed.",
            of(&metrics.dtls_failures_total),
        ),
        MetricFamily::counter(
            "mixminus_rtc_faults_total",
            "Peers closed because of an internal error of the WebRTC stack.",
            of(&metrics.faults_total),
        ),
        dropped,
    ]
}

/// Returns the counts of the packets and samples of all participants.
fn of_totals(totals: &ParticipantTotals) -> Vec<MetricFamily> {
    let mut families = of_packets(totals);
    families.extend(of_samples(totals));
    families
}

fn of_packets(totals: &ParticipantTotals) -> Vec<MetricFamily> {
    vec![
        MetricFamily::counter(
            "mixminus_packets_received_total",
            "Audio packets received from participants.",
            totals.received,
        ),
        MetricFamily::counter(
            "mixminus_packets_lost_total",
            "Audio packets of participants that never arrived.",
            totals.lost,
        ),
        MetricFamily::counter(
            "mixminus_packets_late_total",
            "Audio packets of participants that arrived after their playout time.",
            totals.late,
        ),
        MetricFamily::counter(
            "mixminus_packets_duplicate_total",
            "Audio packets of participants that arrived more than once.",
            totals.duplicate,
        ),
        MetricFamily::counter(
            "mixminus_packets_undecodable_total",
            "Audio packets of participants that could not be decoded.",
            totals.undecodable,
        ),
    ]
}

fn of_samples(totals: &ParticipantTotals) -> Vec<MetricFamily> {
    vec![
        MetricFamily::counter(
            "mixminus_concealed_samples_total",
            "Samples synthesized in place of lost or late packets, at 48 kHz.",
            totals.concealed_samples,
        ),
        MetricFamily::counter(
            "mixminus_recovered_samples_total",
            "Samples recovered from in-band FEC, at 48 kHz.",
            totals.recovered_samples,
        ),
        MetricFamily::counter(
            "mixminus_inserted_samples_total",
            "Samples inserted by time stretching to lengthen the playout delay, at 48 kHz.",
            totals.inserted_samples,
        ),
        MetricFamily::counter(
            "mixminus_removed_samples_total",
            "Samples removed by time stretching to shorten the playout delay, at 48 kHz.",
            totals.removed_samples,
        ),
        MetricFamily::counter(
            "mixminus_resampling_inserted_samples_total",
            "Samples added by resampling to follow slower sender clocks, at 48 kHz.",
            totals.resampling_inserted_samples,
        ),
        MetricFamily::counter(
            "mixminus_resampling_removed_samples_total",
            "Samples removed by resampling to follow faster sender clocks, at 48 kHz.",
            totals.resampling_removed_samples,
        ),
        MetricFamily::counter(
            "mixminus_covered_samples_total",
            "Samples of late packets not played because concealment had already covered their time, at 48 kHz.",
            totals.covered_samples,
        ),
        MetricFamily::counter(
            "mixminus_played_samples_total",
            "Samples of participants' audio played into mixes, at 48 kHz.",
            totals.played_samples,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use mixer::room::Telemetry;

    use super::*;

    #[test]
    fn every_playout_counter_is_exported_under_its_own_name() {
        let telemetry = Telemetry::default();
        let expected = [
            (&telemetry.received_total, "packets_received", 1),
            (&telemetry.lost_total, "packets_lost", 2),
            (&telemetry.late_total, "packets_late", 3),
            (&telemetry.duplicate_total, "packets_duplicate", 4),
            (&telemetry.undecodable_total, "packets_undecodable", 5),
            (&telemetry.concealed_samples_total, "concealed_samples", 6),
            (&telemetry.recovered_samples_total, "recovered_samples", 7),
            (&telemetry.inserted_samples_total, "inserted_samples", 8),
            (&telemetry.removed_samples_total, "removed_samples", 9),
            (
                &telemetry.resampling_inserted_samples_total,
                "resampling_inserted_samples",
                10,
            ),
            (
                &telemetry.resampling_removed_samples_total,
                "resampling_removed_samples",
                11,
            ),
            (&telemetry.covered_samples_total, "covered_samples", 12),
            (&telemetry.played_samples_total, "played_samples", 13),
        ];
        for (total, _, count) in expected {
            total.store(count, Relaxed);
        }
        let mut totals = ParticipantTotals::default();
        totals.add(&telemetry);
        let families = of_totals(&totals);
        assert_eq!(families.len(), expected.len());
        for (_, name, count) in expected {
            let name = format!("mixminus_{name}_total");
            let family = families.iter().find(|family| family.name == name);
            let family = family.unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(family.kind, MetricKind::Counter);
            assert_eq!(family.samples, [MetricSample::only(count as f64)], "{name}");
        }
    }
}
