//! A histogram of durations: written by one thread without a lock, readable by any thread.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::metrics::add;

/// Numbers of durations by size. Each bucket is an eighth to a fifth of its upper bound wide, from
/// 4 us to 131 ms: precise enough for any percentile, and few enough buckets to be read over HTTP.
#[derive(Debug)]
pub struct Histogram {
    counts: [AtomicU64; BUCKETS],
    sum_ns: AtomicU64,
    longest_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram {
            counts: [const { AtomicU64::new(0) }; BUCKETS],
            sum_ns: AtomicU64::new(0),
            longest_ns: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts one duration. Only one thread may call this.
    ///
    /// Real-time: safe.
    pub(super) fn record_ns(&self, ns: u64) {
        add(&self.counts[bucket_of(ns)], 1);
        add(&self.sum_ns, ns);
        if ns > self.longest_ns.load(Relaxed) {
            self.longest_ns.store(ns, Relaxed);
        }
    }

    /// Returns each bucket's upper bound with the number of durations up to it; `None` stands for
    /// the last bucket, which has no bound.
    pub fn cumulative(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        let bounds = (0..BUCKETS - 1).map(|bucket| Some(Duration::from_micros(bound_us(bucket))));
        let counts = self.counts.iter().scan(0, |total, count| {
            *total += count.load(Relaxed);
            Some(*total)
        });
        bounds.chain([None]).zip(counts)
    }

    /// Sum of all counted durations.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns.load(Relaxed))
    }

    /// The longest counted duration.
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest_ns.load(Relaxed))
    }
}

/// Upper bound of the first bucket, in microseconds.
const LEAST_US: u64 = 4;

/// Number of histogram buckets: the first, four for each of 15 doublings from [`LEAST_US`], and one
/// for longer durations.
const BUCKETS: usize = 4 * 15 + 2;

fn bucket_of(ns: u64) -> usize {
    let us = ns.div_ceil(1_000);
    if us <= LEAST_US {
        return 0;
    }
    // A duration equal to a bound belongs to the bucket that ends there.
    let below = us - 1;
    let doubling = below.ilog2() as usize;
    let quarter = (below >> (doubling - 2)) as usize & 3;
    ((doubling - 2) * 4 + quarter + 1).min(BUCKETS - 1)
}

fn bound_us(bucket: usize) -> u64 {
    match bucket.checked_sub(1) {
        None => LEAST_US,
        Some(above) => (5 + above as u64 % 4) << (above / 4),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn histogram_has_four_buckets_for_each_doubling_of_the_duration() {
        let bounds: Vec<u64> = (0..10).map(bound_us).collect();
        assert_eq!(bounds, [4, 5, 6, 7, 8, 10, 12, 14, 16, 20]);
        assert_eq!(bound_us(BUCKETS - 2), 131_072);
    }

    #[test]
    fn histogram_returns_counts_sum_and_longest_of_recorded_durations() {
        let histogram = Histogram::default();
        for us in [1, 4, 5, 100, 1_000_000] {
            histogram.record_ns(us * 1_000);
        }
        let counts: Vec<_> = histogram.cumulative().collect();
        assert_eq!(counts.len(), BUCKETS);
        assert_eq!(counts[0], (Some(Duration::from_micros(4)), 2));
        assert_eq!(counts[1], (Some(Duration::from_micros(5)), 3));
        assert_eq!(counts[BUCKETS - 2].1, 4);
        assert_eq!(counts[BUCKETS - 1], (None, 5));
        assert_eq!(histogram.longest(), Duration::from_secs(1));
        assert_eq!(histogram.sum(), Duration::from_micros(1_000_110));
    }

    proptest! {
        #[test]
        fn histogram_counts_each_duration_in_the_bucket_that_encloses_it(ns in 0u64..200_000_000) {
            let bucket = bucket_of(ns);
            if bucket < BUCKETS - 1 {
                prop_assert!(ns <= bound_us(bucket) * 1_000);
            }
            if bucket > 0 {
                prop_assert!(ns > bound_us(bucket - 1) * 1_000);
            }
        }
    }
}
