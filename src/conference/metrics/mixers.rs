//! Metrics of the mixers, labelled by mixer.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use mixer::schedule::LoadGovernor;

use super::{MetricFamily, MetricKind, MetricSample};
use crate::audio::{Histogram, MixerHandle, MixerMetrics};
use crate::queues::MixerId;

/// Returns the metrics of all mixers.
///
/// - `governors`: the mixers' load governors, indexed by mixer id.
pub(super) fn of_mixers(governors: &[LoadGovernor], mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    let mut families = of_governors(governors);
    families.extend(of_slots(mixers));
    families.extend(of_slot_times(mixers));
    families.extend(of_time_spent(mixers));
    families.extend(of_rooms(mixers));
    families.extend(of_encodes(mixers));
    families.extend(of_losses(mixers));
    families
}

fn of_governors(governors: &[LoadGovernor]) -> Vec<MetricFamily> {
    let family = |name, help, of: fn(&LoadGovernor) -> f64| MetricFamily {
        name,
        help,
        kind: MetricKind::Gauge,
        samples: governors
            .iter()
            .enumerate()
            .map(|(at, governor)| MetricSample::of("mixer", MixerId(at), of(governor)))
            .collect(),
    };
    vec![
        family(
            "mixminus_mixer_load",
            "Share of the last second that a mixer was busy, 0 to 1.",
            |governor| f64::from(governor.load()),
        ),
        family(
            "mixminus_mixer_complexity",
            "Highest Opus encoder complexity that the mixer uses under its present load, 0 to 10; 10 means no limit.",
            |governor| f64::from(governor.max_complexity()),
        ),
        family(
            "mixminus_mixer_joins_refused",
            "1 while the mixer is overloaded and joins to its rooms are refused, otherwise 0.",
            |governor| f64::from(u8::from(governor.refuses_joins())),
        ),
    ]
}

/// Returns the counts of the mixers' slots (turns of their own clocks).
fn of_slots(mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    vec![
        counter(
            mixers,
            "mixminus_slots_total",
            "Slots of 2.5 ms that a mixer ran. A mixer whose rooms are all asleep runs few slots.",
            |metrics| &metrics.slots,
        ),
        counter(
            mixers,
            "mixminus_slots_late_total",
            "Slots with a room to mix that began more than 2.5 ms (one slot) late.",
            |metrics| &metrics.late_slots,
        ),
        counter(
            mixers,
            "mixminus_slots_overrun_total",
            "Slots with a room to mix that took longer than the time to the next slot.",
            |metrics| &metrics.overrun_slots,
        ),
        counter(
            mixers,
            "mixminus_slots_skipped_total",
            "Slots skipped because the mixer was more than 20 ms (one tick) late.",
            |metrics| &metrics.skipped_slots,
        ),
    ]
}

/// Returns the lateness of the mixers' slots, and the time that the work of a slot takes.
fn of_slot_times(mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    vec![
        histogram(
            mixers,
            "mixminus_slot_lateness_seconds",
            "Lateness of the beginning of slots with a room to mix.",
            |metrics| &metrics.lateness,
        ),
        longest(
            mixers,
            "mixminus_slot_lateness_max_seconds",
            "Largest lateness of the beginning of a slot with a room to mix, since the server started.",
            |metrics| &metrics.lateness,
        ),
        histogram(
            mixers,
            "mixminus_tick_seconds",
            "Duration of the work of a slot with a room to mix.",
            |metrics| &metrics.work,
        ),
        longest(
            mixers,
            "mixminus_tick_max_seconds",
            "Longest duration of the work of a slot with a room to mix, since the server started.",
            |metrics| &metrics.work,
        ),
    ]
}

/// Returns the time that the mixers spent on their own rooms, on waiting for each other's encodes,
/// and on encodes for other mixers.
fn of_time_spent(mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    let seconds = |name, help, of: fn(&MixerMetrics) -> u64| {
        each(mixers, name, help, MetricKind::Counter, |metrics| {
            of(metrics) as f64 / 1e9
        })
    };
    vec![
        seconds(
            "mixminus_mixer_busy_seconds_total",
            "Time that a mixer has spent on its own rooms.",
            |metrics| metrics.busy_ns.load(Relaxed),
        ),
        seconds(
            "mixminus_mixer_waiting_seconds_total",
            "Time that a mixer has waited for other mixers to finish encodes of its rooms.",
            |metrics| metrics.waiting_ns.load(Relaxed),
        ),
        seconds(
            "mixminus_mixer_helping_seconds_total",
            "Time that a mixer has spent on encodes of other mixers' rooms.",
            |metrics| metrics.helping_ns.load(Relaxed),
        ),
    ]
}

/// Returns the numbers of the mixers' rooms and participants, and of the rooms' ticks.
fn of_rooms(mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    let gauge = |name, help, of: fn(&MixerMetrics) -> &AtomicU64| {
        each(mixers, name, help, MetricKind::Gauge, |metrics| {
            of(metrics).load(Relaxed) as f64
        })
    };
    vec![
        gauge("mixminus_mixer_rooms", "Rooms on a mixer.", |metrics| {
            &metrics.rooms
        }),
        gauge(
            "mixminus_mixer_participants",
            "Participants in the rooms of a mixer.",
            |metrics| &metrics.participants,
        ),
        counter(
            mixers,
            "mixminus_ticks_total",
            "Ticks of all rooms of a mixer. A room that sleeps has no ticks.",
            |metrics| &metrics.room_ticks,
        ),
        counter(
            mixers,
            "mixminus_ticks_held_total",
            "Ticks that waited a few milliseconds for the late packet of a talker.",
            |metrics| &metrics.ticks_held,
        ),
    ]
}

/// Returns the counts of the packets that the mixers sent and encoded.
fn of_encodes(mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    let counter = |name, help, of| counter(mixers, name, help, of);
    vec![
        counter(
            "mixminus_packets_sent_total",
            "Audio packets passed to the network thread, counted once for each recipient.",
            |metrics| &metrics.packets_out,
        ),
        counter(
            "mixminus_encodes_total",
            "Audio packets encoded; listeners of the same mix share one encode.",
            |metrics| &metrics.encodes,
        ),
        counter(
            "mixminus_encodes_helped_total",
            "Audio packets of a mixer's rooms that another mixer encoded.",
            |metrics| &metrics.was_helped,
        ),
        counter(
            "mixminus_encodes_skipped_total",
            "Audio packets not sent because another mixer did not finish their encode in time.",
            |metrics| &metrics.encodes_skipped,
        ),
        counter(
            "mixminus_encode_failures_total",
            "Mixes that the encoder failed to encode.",
            |metrics| &metrics.encode_failures,
        ),
    ]
}

/// Returns the counts of the events, commands and packets that the mixers dropped or refused.
fn of_losses(mixers: &[MixerHandle]) -> Vec<MetricFamily> {
    let counter = |name, help, of| counter(mixers, name, help, of);
    vec![
        counter(
            "mixminus_mixer_events_dropped_total",
            "Events of a mixer lost because the queue to the conference was full.",
            |metrics| &metrics.events_dropped,
        ),
        counter(
            "mixminus_mixer_refused_total",
            "Commands that a mixer could not carry out.",
            |metrics| &metrics.refused,
        ),
        counter(
            "mixminus_mixer_packets_in_dropped_total",
            "Received audio packets dropped because their sender is not in a room of the mixer, or is listen-only.",
            |metrics| &metrics.packets_in_dropped,
        ),
        counter(
            "mixminus_mixer_packets_out_dropped_total",
            "Audio packets lost because the queue to the network thread was full.",
            |metrics| &metrics.packets_out_dropped,
        ),
    ]
}

fn each(
    mixers: &[MixerHandle],
    name: &'static str,
    help: &'static str,
    kind: MetricKind,
    of: impl Fn(&MixerMetrics) -> f64,
) -> MetricFamily {
    let samples = mixers
        .iter()
        .map(|mixer| MetricSample::of("mixer", mixer.id(), of(mixer.metrics())));
    MetricFamily {
        name,
        help,
        kind,
        samples: samples.collect(),
    }
}

fn counter(
    mixers: &[MixerHandle],
    name: &'static str,
    help: &'static str,
    of: fn(&MixerMetrics) -> &AtomicU64,
) -> MetricFamily {
    each(mixers, name, help, MetricKind::Counter, |metrics| {
        of(metrics).load(Relaxed) as f64
    })
}

fn longest(
    mixers: &[MixerHandle],
    name: &'static str,
    help: &'static str,
    of: fn(&MixerMetrics) -> &Histogram,
) -> MetricFamily {
    each(mixers, name, help, MetricKind::Gauge, |metrics| {
        of(metrics).longest().as_secs_f64()
    })
}

fn histogram(
    mixers: &[MixerHandle],
    name: &'static str,
    help: &'static str,
    of: fn(&MixerMetrics) -> &Histogram,
) -> MetricFamily {
    let mut samples = Vec::new();
    for mixer in mixers {
        let histogram = of(mixer.metrics());
        let id = mixer.id().to_string();
        let mut count = 0;
        for (bound, so_far) in histogram.cumulative() {
            let le = bound.map_or("+Inf".to_owned(), in_seconds);
            samples.push(MetricSample {
                suffix: "_bucket",
                labels: vec![("mixer", id.clone()), ("le", le)],
                value: so_far as f64,
            });
            count = so_far;
        }
        for (suffix, value) in [
            ("_sum", histogram.sum().as_secs_f64()),
            ("_count", count as f64),
        ] {
            samples.push(MetricSample {
                suffix,
                ..MetricSample::of("mixer", &id, value)
            });
        }
    }
    MetricFamily {
        name,
        help,
        kind: MetricKind::Histogram,
        samples,
    }
}

/// Formats the upper bound of a histogram bucket, a whole number of microseconds, in seconds.
fn in_seconds(bound: Duration) -> String {
    let text = format!("{:.6}", bound.as_secs_f64());
    text.trim_end_matches('0').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_bucket_bounds_are_written_to_the_microsecond() {
        for (us, text) in [(4, "0.000004"), (1_000, "0.001"), (131_072, "0.131072")] {
            assert_eq!(in_seconds(Duration::from_micros(us)), text);
        }
    }
}
