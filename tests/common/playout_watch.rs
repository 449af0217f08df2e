//! Watches a server's metrics of its playouts: when they concealed, recovered or stretched sound.
//! Such a repair is heard as a short noise at all frequencies, whatever caused it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;

use super::test_server::metric_in;

/// A task that reads the repair counters in the server's `/metrics` until it is stopped.
pub struct PlayoutWatch {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Repairs>,
}

/// The intervals between two readings of the counters in which a counter increased.
#[derive(Default)]
pub struct Repairs {
    intervals: Vec<(Instant, Instant)>,
    readings: usize,
}

impl PlayoutWatch {
    /// Starts reading the counters of the server at this address.
    pub fn start(http: SocketAddr) -> PlayoutWatch {
        let stop = Arc::<AtomicBool>::default();
        let task = tokio::spawn(watch(http, Arc::clone(&stop)));
        PlayoutWatch { stop, task }
    }

    /// Stops reading and returns the repairs seen.
    pub async fn stop(self) -> Repairs {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("the task does not panic")
    }
}

impl Repairs {
    /// Whether a repair may be heard between two instants. A repair made up to `reach` before
    /// `from` counts too.
    pub fn are_heard(&self, from: Instant, until: Instant, reach: Duration) -> bool {
        let mut repairs = self.intervals.iter();
        repairs.any(|(begun, ended)| *begun < until && from < *ended + reach)
    }

    /// The number of intervals between two readings in which a repair was made, for printing.
    pub fn count(&self) -> usize {
        self.intervals.len()
    }

    /// The number of intervals between two readings, for printing.
    pub fn readings(&self) -> usize {
        self.readings
    }
}

async fn watch(http: SocketAddr, stop: Arc<AtomicBool>) -> Repairs {
    let client = reqwest::Client::new();
    let mut repairs = Repairs::default();
    let mut before = (Instant::now(), read(&client, http).await);
    // The counters are read once more after the stop, for repairs made since the previous reading.
    let mut is_last = false;
    while !is_last {
        is_last = stop.load(Ordering::Relaxed);
        tokio::time::sleep(BETWEEN_READINGS).await;
        let asked = Instant::now();
        let counters = read(&client, http).await;
        repairs.readings += 1;
        if counters != before.1 {
            repairs.intervals.push((before.0, Instant::now()));
        }
        before = (asked, counters);
    }
    repairs
}

async fn read(client: &reqwest::Client, http: SocketAddr) -> [f64; COUNTERS.len()] {
    let url = format!("http://{http}/metrics");
    let answer = client.get(url).send().await.expect("the server answers");
    let page = answer.text().await.expect("metrics are text");
    COUNTERS.map(|name| metric_in(&page, name))
}

/// The counters of repairs. Those of the resampler are left out: it works all the time, and makes
/// no noise.
const COUNTERS: [&str; 6] = [
    "mixminus_concealed_samples_total",
    "mixminus_recovered_samples_total",
    "mixminus_inserted_samples_total",
    "mixminus_removed_samples_total",
    "mixminus_covered_samples_total",
    "mixminus_slots_skipped_total{mixer=\"0\"}",
];

const BETWEEN_READINGS: Duration = Duration::from_millis(50);
