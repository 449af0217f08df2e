//! Estimates how long a packet should wait before it is played.
//!
//! Stands beside the jitter buffer: it sees every arrival and decides how long to wait, but stores
//! and plays nothing. It estimates three values, all in samples at 48 kHz:
//!
//! 1. the *base*: the shortest recent transit, that is, the transit of a packet that nothing
//!    delays;
//! 2. the *target*: how much later than the base nearly all packets arrive (a high percentile of
//!    lateness), followed upward at once and downward over some seconds;
//! 3. the *drift*: how fast the base moves, which is the difference between the sender's clock and
//!    the server's clock.
//!
//! A transit is measured from a packet's *first* sample: a packet twice as long is complete that
//! much later, and a stream of mixed packet lengths must wait for its longest packet.

mod clock_drift;
mod loss_rate;

use self::clock_drift::DriftEstimator;
use self::loss_rate::LossRate;
use crate::format::SAMPLE_RATE_HZ;

/// Estimates base, target and drift of one sender's packets.
#[derive(Debug)]
pub struct DelayEstimator {
    base: Option<i64>,
    windows: [Window; WINDOWS],
    lateness: Histogram,
    /// Arrival and lateness of the packet before.
    before: Option<(i64, i64)>,
    /// Arrival and lateness of the packet before, if it came late after a pause and is not counted
    /// yet.
    suspect: Option<(i64, i64)>,
    drift: DriftEstimator,
    loss: LossRate,
    packet_samples: usize,
    least_samples: i64,
}

impl DelayEstimator {
    /// Creates an estimator that has seen no packet; its target is the minimum.
    ///
    /// - `expects_fec`: the sender's codec supports in-band FEC. The sender is assumed to add FEC
    ///   once packets are lost, until it is seen not to.
    pub fn new(expects_fec: bool) -> DelayEstimator {
        DelayEstimator {
            base: None,
            windows: [Window::EMPTY; WINDOWS],
            lateness: Histogram::new(),
            before: None,
            suspect: None,
            drift: DriftEstimator::default(),
            loss: LossRate::new(expects_fec),
            packet_samples: 960,
            least_samples: LEAST_SAMPLES,
        }
    }

    /// Sets the minimum target, which is higher where ticks do not wait for late packets.
    ///
    /// Real-time: safe.
    pub fn set_ticks_wait(&mut self, ticks_wait: bool) {
        self.least_samples = match ticks_wait {
            true => LEAST_SAMPLES,
            false => LEAST_UNWAITED_SAMPLES,
        };
    }

    /// Records the arrival of one packet.
    ///
    /// - `arrival`: on the caller's clock, in samples.
    /// - `time`: unwrapped media time of the packet's first sample.
    /// - `samples`: the packet's length.
    /// - `fec`: the packet carries a copy of the packet before.
    ///
    /// Real-time: safe.
    pub fn arrived(&mut self, arrival: i64, time: i64, samples: usize, fec: bool) {
        let transit = arrival - time;
        self.packet_samples = samples;
        self.loss.received(fec);
        if self
            .base
            .is_some_and(|base| self.has_moved(arrival, transit - base))
        {
            self.reanchor();
        }
        let base = self.observe(arrival, transit);
        let lateness = transit - base;
        self.suspect = self.is_first_and_late(arrival, lateness);
        if self.suspect.is_none() && !self.is_held_up_with_another(arrival, lateness, samples) {
            self.lateness.add(lateness, samples);
        }
        self.before = Some((arrival, lateness));
        self.drift.observe(arrival, transit);
    }

    /// Records that a packet, or several in a row, did not arrive.
    ///
    /// Real-time: safe.
    pub fn lost(&mut self) {
        self.loss.lost();
    }

    /// Records a packet that arrived after it was counted as lost. Its lateness is recorded by
    /// [`arrived`](DelayEstimator::arrived).
    ///
    /// Real-time: safe.
    pub fn found(&mut self) {
        self.loss.found();
    }

    /// Forgets the base but keeps the lateness: for a new timeline of the same sender on the same
    /// network.
    ///
    /// Real-time: safe.
    pub fn reanchor(&mut self) {
        self.base = None;
        self.windows = [Window::EMPTY; WINDOWS];
        self.drift = DriftEstimator::default();
    }

    /// The shortest recent transit, in samples; `None` before the first packet.
    pub fn base(&self) -> Option<i64> {
        self.base
    }

    /// How long after its earliest possible arrival a packet should be played, in samples.
    ///
    /// Above one percent of loss, if the sender adds FEC, the target includes one more packet: the
    /// copy of a lost packet travels in the next packet.
    pub fn target(&self) -> i64 {
        let fec_wait = if self.loss.wants_fec {
            self.packet_samples as i64
        } else {
            0
        };
        (self.lateness.percentile().max(self.least_samples) + fec_wait).min(MAX_TARGET_SAMPLES)
    }

    /// The part of the target that exceeds what the network needs, in samples.
    ///
    /// A wait may fall this far short of the target before time is inserted. So a talk-spurt that
    /// began while ticks waited is not stretched when ticks no longer wait.
    pub fn spare_samples(&self) -> i64 {
        let asked = self.lateness.percentile().max(LEAST_SAMPLES);
        (self.least_samples - asked).max(0)
    }

    /// How much faster the sender's clock runs than the server's, as a ratio (`0.001` is 1,000
    /// ppm); `None` unless the drift is certain and large enough to be worth resampling.
    pub fn drift(&self) -> Option<f64> {
        self.drift.ratio
    }

    /// Whether the lateness of a packet shows that the sender's timeline has moved. More than half
    /// a second is not jitter. More than 50 ms is not jitter either if the first packet after a
    /// pause was as late and this packet came at its regular pace: some senders' media clocks stand
    /// still in pauses.
    ///
    /// If the network turns out to have delayed that first packet, its lateness counts after all.
    fn has_moved(&mut self, arrival: i64, lateness: i64) -> bool {
        if lateness > SHIFT_SAMPLES {
            return true;
        }
        let Some((first, how_late)) = self.suspect.take() else {
            return false;
        };
        let has_pace = arrival - first > self.packet_samples as i64 / 2;
        let stood_still = has_pace && lateness > STOOD_STILL_SAMPLES;
        if !stood_still {
            self.lateness.add(how_late, self.packet_samples);
        }
        stood_still
    }

    /// Arrival and lateness of a packet, if it is the first after a pause and late.
    fn is_first_and_late(&self, arrival: i64, lateness: i64) -> Option<(i64, i64)> {
        let (before, _) = self.before?;
        let suspect = arrival - before > PAUSE_SAMPLES && lateness > STOOD_STILL_SAMPLES;
        suspect.then_some((arrival, lateness))
    }

    /// Whether a packet came together with the packet before and is less late. One delay then held
    /// up both, and the first packet shows how long it was.
    fn is_held_up_with_another(&self, arrival: i64, lateness: i64, samples: usize) -> bool {
        self.before.is_some_and(|(before, how_late)| {
            arrival - before < samples as i64 / 4 && lateness < how_late
        })
    }

    /// Updates the sliding minimum of the transits and returns it.
    fn observe(&mut self, arrival: i64, transit: i64) -> i64 {
        let index = arrival.div_euclid(WINDOW_SAMPLES);
        let window = &mut self.windows[index.rem_euclid(WINDOWS as i64) as usize];
        if window.index != index {
            *window = Window {
                index,
                shortest: transit,
                at: arrival,
                longest: transit,
            };
        }
        window.longest = window.longest.max(transit);
        if transit < window.shortest {
            window.shortest = transit;
            window.at = arrival;
        }
        let drift = self.drift.ratio.unwrap_or(0.0);
        let (mut shortest, mut recent, mut longest) = (transit, transit, transit);
        for window in &self.windows {
            if window.index <= index - WINDOWS as i64 {
                continue;
            }
            let drifted = (drift * (arrival - window.at) as f64) as i64;
            shortest = shortest.min(window.shortest - drifted);
            if window.index > index - RECENT_WINDOWS {
                recent = recent.min(window.shortest - drifted);
                longest = longest.max(window.longest);
            }
        }
        let base = match longest - recent < CALM_SAMPLES {
            true => recent,
            false => shortest,
        };
        self.base = Some(base);
        base
    }
}

/// The shortest transit within half a second, when it was measured, and the longest transit.
#[derive(Debug, Clone, Copy)]
struct Window {
    index: i64,
    shortest: i64,
    at: i64,
    longest: i64,
}

impl Window {
    const EMPTY: Window = Window {
        index: i64::MIN,
        shortest: i64::MAX,
        at: 0,
        longest: i64::MIN,
    };
}

/// Histogram of the packets' lateness in which recent packets weigh more: an exponentially
/// forgetting histogram.
///
/// Instead of shrinking every bucket at each packet, the weight of the next packet grows; the
/// buckets are scaled back when that weight has grown large.
#[derive(Debug)]
struct Histogram {
    bins: [f32; BINS],
    total: f32,
    weight: f32,
    percentile_samples: i64,
}

impl Histogram {
    /// Starts as after seconds without a late packet: the first late packet is an exception, the
    /// second counts.
    fn new() -> Histogram {
        let mut bins = [0.0; BINS];
        bins[0] = PRIOR_PACKETS;
        Histogram {
            bins,
            total: PRIOR_PACKETS,
            weight: 1.0,
            percentile_samples: BIN_SAMPLES,
        }
    }

    fn add(&mut self, lateness: i64, packet_samples: usize) {
        let bin = (lateness / BIN_SAMPLES).clamp(0, BINS as i64 - 1) as usize;
        self.weight *= (packet_samples as f32 / MEMORY_SAMPLES).exp();
        self.bins[bin] += self.weight;
        self.total += self.weight;
        if self.weight > MAX_WEIGHT {
            for bin in &mut self.bins {
                *bin /= MAX_WEIGHT;
            }
            self.total = self.bins.iter().sum();
            self.weight /= MAX_WEIGHT;
        }
        self.percentile_samples = self.find_percentile();
    }

    fn percentile(&self) -> i64 {
        self.percentile_samples
    }

    /// Upper edge of the histogram bucket above which at most the share [`TAIL`] of the packets
    /// lies.
    fn find_percentile(&self) -> i64 {
        let mut tail = 0.0;
        for (bin, weight) in self.bins.iter().enumerate().rev() {
            tail += weight;
            if tail > self.total * TAIL {
                return (bin as i64 + 1) * BIN_SAMPLES;
            }
        }
        BIN_SAMPLES
    }
}

/// Length of a window of the sliding minimum: half a second.
const WINDOW_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 2;

/// The base is the shortest transit of eight seconds. Under jitter of 60 ms, the shortest transit
/// of two seconds varies by 10 ms, and the wait would vary with it: PESQ 4.3 instead of 4.5. A
/// difference between the clocks is followed by the drift once that is known.
const WINDOWS: usize = 16;

/// Where the transits of the last 1.5 seconds lie within 12 ms, the network is calm, and their
/// shortest is the base: after a change of route, or when jitter has ended.
const RECENT_WINDOWS: i64 = 3;
const CALM_SAMPLES: i64 = 12 * SAMPLE_RATE_HZ as i64 / 1_000;

/// Lateness beyond half a second means a moved timeline, not a late packet.
const SHIFT_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 2;

/// A gap of more than 100 ms between arrivals is a pause. After a pause, lateness of more than 50
/// ms may mean that the sender's media clock stood still.
const PAUSE_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 10;
const STOOD_STILL_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 20;

/// Width of a histogram bucket: 1 ms. A loaded machine's network thread stamps arrivals no finer.
const BIN_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 1_000;
const BINS: usize = 300;

/// Two seconds of audio, after which a packet's weight has fallen to 1/e. With [`TAIL`], the jitter
/// of a network that has calmed down is forgotten after 2 ln(100) = 9.2 s, and two late packets
/// after 1.3 s.
const MEMORY_SAMPLES: f32 = 2.0 * SAMPLE_RATE_HZ as f32;

/// Initial weight of the histogram: about as many packets of 20 ms as [`MEMORY_SAMPLES`] holds.
const PRIOR_PACKETS: f32 = 100.0;

/// Share of packets that may be later than the target: little more than the weight of a single
/// packet of 20 ms. A single late packet is noticed too late to be saved, and a longer wait from
/// then on would delay everybody for nothing unless another late packet follows.
const TAIL: f32 = 0.010_5;

/// Weight at which the buckets are scaled back: keeps their sums well inside the precision of
/// `f32`.
const MAX_WEIGHT: f32 = 1e4;

/// The minimum target where ticks wait for late packets: 3 ms, most of which covers the jitter of
/// the threads that send and stamp packets.
const LEAST_SAMPLES: i64 = 3 * BIN_SAMPLES;

/// The minimum target where ticks do not wait: 6 ms. On a shared machine, the threads of a clean
/// call stamp a packet 3 to 8 ms late about every half minute. A single packet that misses its tick
/// costs a voice up to a tenth of a PESQ point, and a longer wait from then on is a splice.
const LEAST_UNWAITED_SAMPLES: i64 = 6 * BIN_SAMPLES;

/// The maximum target: beyond a quarter of a second, people stop conversing.
const MAX_TARGET_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 4;

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: i64 = 960;

    /// Feeds `packets` packets; `late_ms` gives each one's extra transit in milliseconds.
    fn feed(
        estimator: &mut DelayEstimator,
        from: i64,
        packets: i64,
        mut late_ms: impl FnMut(i64) -> f64,
    ) {
        for n in from..from + packets {
            let end = (n + 1) * PACKET;
            let arrival = 1_000_000 + end + (late_ms(n) * 48.0) as i64;
            estimator.arrived(arrival, end, PACKET as usize, false);
        }
    }

    #[test]
    fn delay_estimator_keeps_the_minimum_target_on_a_clean_network() {
        let mut estimator = DelayEstimator::new(false);
        feed(&mut estimator, 0, 500, |_| 0.0);
        assert_eq!(estimator.target(), LEAST_SAMPLES);
        assert_eq!(estimator.base(), Some(1_000_000));
        assert_eq!(estimator.drift(), None);
    }

    #[test]
    fn delay_target_follows_jitter_at_once_and_forgets_it_within_ten_seconds() {
        let mut estimator = DelayEstimator::new(false);
        feed(&mut estimator, 0, 499, |_| 0.0);
        feed(&mut estimator, 499, 1, |_| 40.0);
        assert_eq!(estimator.target(), LEAST_SAMPLES, "one is an exception");
        feed(&mut estimator, 500, 10, |_| 0.0);
        feed(&mut estimator, 510, 1, |_| 40.0);
        assert!(estimator.target() >= 40 * 48, "upward at once");
        feed(&mut estimator, 511, 490, |n| (n * 37 % 60) as f64);
        assert!(
            (58..=61).contains(&(estimator.target() / 48)),
            "{}",
            estimator.target() / 48
        );
        feed(&mut estimator, 1_001, 460, |_| 0.0);
        assert_eq!(estimator.target(), LEAST_SAMPLES, "nine seconds later");
    }

    #[test]
    fn delay_estimator_counts_packets_delayed_together_once() {
        let mut estimator = DelayEstimator::new(false);
        feed(&mut estimator, 0, 500, |_| 0.0);
        // A machine stood still for 45 ms: three packets come at once.
        feed(&mut estimator, 500, 3, |n| 45.0 - 20.0 * (n - 500) as f64);
        assert_eq!(estimator.target(), LEAST_SAMPLES);
        // A network that delivers ten bursts a second makes each burst wait for its last packet:
        // compared with that packet, four in five are early.
        feed(&mut estimator, 503, 500, |n| 20.0 * (4 - n % 5) as f64);
        assert!((80..=82).contains(&(estimator.target() / 48)));
    }

    #[test]
    fn delay_target_is_limited_and_ignores_a_moved_timeline() {
        let mut estimator = DelayEstimator::new(false);
        feed(&mut estimator, 0, 200, |n| (n * 53 % 450) as f64);
        assert_eq!(estimator.target(), MAX_TARGET_SAMPLES);
        let mut estimator = DelayEstimator::new(false);
        feed(&mut estimator, 0, 200, |_| 0.0);
        feed(&mut estimator, 200, 5, |_| 3_000.0);
        assert_eq!(estimator.target(), LEAST_SAMPLES);
        assert_eq!(estimator.base(), Some(1_000_000 + 3_000 * 48));
    }

    #[test]
    fn delay_estimator_reports_large_drift_and_ignores_small_drift() {
        for (ppm, found) in [
            (5_000.0, true),
            (-5_000.0, true),
            (600.0, true),
            (200.0, false),
            (0.0, false),
        ] {
            let mut estimator = DelayEstimator::new(false);
            feed(&mut estimator, 0, 1_000, |n| {
                -ppm * 1e-6 * 20.0 * n as f64 + (n * 37 % 5) as f64
            });
            match estimator.drift() {
                Some(ratio) => assert!(
                    found && (ratio * 1e6 - ppm).abs() < 100.0,
                    "{ppm}: {}",
                    ratio * 1e6
                ),
                None => assert!(!found, "{ppm}"),
            }
        }
    }

    #[test]
    fn delay_estimator_reports_no_drift_under_jitter_alone() {
        for seed in 1..40i64 {
            let mut estimator = DelayEstimator::new(false);
            let mut state = seed * 7_919;
            feed(&mut estimator, 0, 1_500, |_| {
                state = (state * 1_103_515_245 + 12_345) & 0x7fff_ffff;
                (state % 60_000) as f64 / 1_000.0
            });
            assert_eq!(estimator.drift(), None, "seed {seed}");
        }
    }

    #[test]
    fn delay_target_grows_by_one_packet_under_loss_only_with_fec() {
        for (fec, extra) in [(true, PACKET), (false, 0)] {
            let mut estimator = DelayEstimator::new(false);
            for n in 0..500 {
                estimator.arrived(n * PACKET, n * PACKET, PACKET as usize, fec);
                if n % 20 == 0 {
                    estimator.lost();
                }
            }
            assert_eq!(estimator.target(), LEAST_SAMPLES + extra);
        }
    }
}
