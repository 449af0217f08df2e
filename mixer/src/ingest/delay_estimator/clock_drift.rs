//! Estimates how fast a sender's clock runs compared with the server's clock.

use crate::format::SAMPLE_RATE_HZ;

/// Least-squares slope of the shortest transits over about twelve seconds.
#[derive(Debug, Default)]
pub(super) struct DriftEstimator {
    points: [(f64, f64); DRIFT_POINTS],
    count: usize,
    current: Option<(i64, i64, u32)>,
    /// How much faster the sender's clock runs, as a ratio; `None` unless the estimate is certain.
    pub(super) ratio: Option<f64>,
}

impl DriftEstimator {
    pub(super) fn observe(&mut self, arrival: i64, transit: i64) {
        let index = arrival.div_euclid(DRIFT_WINDOW_SAMPLES);
        match &mut self.current {
            Some((window, shortest, packets)) if *window == index => {
                *shortest = (*shortest).min(transit);
                *packets += 1;
            }
            current => {
                let finished = current.replace((index, transit, 1));
                if let Some((window, shortest, packets)) = finished {
                    self.close(window, shortest, packets, index);
                }
            }
        }
    }

    fn close(&mut self, window: i64, shortest: i64, packets: u32, now: i64) {
        if now - window > 1 {
            // After a pause, earlier transits no longer tell how fast the clock runs now.
            self.count = 0;
        }
        if packets >= 4 {
            if self.count == DRIFT_POINTS {
                self.points.copy_within(1.., 0);
                self.count -= 1;
            }
            self.points[self.count] = ((window * DRIFT_WINDOW_SAMPLES) as f64, shortest as f64);
            self.count += 1;
        }
        self.ratio = self.estimate();
    }

    /// The drift ratio, positive if the sender's clock is faster: its transits shrink. `None`
    /// unless the slope exceeds five standard errors.
    fn estimate(&self) -> Option<f64> {
        let points = &self.points[..self.count];
        if points.len() < DRIFT_POINTS / 2 {
            return None;
        }
        let n = points.len() as f64;
        let (origin_x, origin_y) = points[0];
        let mean_x = points.iter().map(|(x, _)| x - origin_x).sum::<f64>() / n;
        let mean_y = points.iter().map(|(_, y)| y - origin_y).sum::<f64>() / n;
        let centred = points
            .iter()
            .map(|(x, y)| (x - origin_x - mean_x, y - origin_y - mean_y));
        let (xx, xy) = centred
            .clone()
            .fold((0.0, 0.0), |(xx, xy), (x, y)| (xx + x * x, xy + x * y));
        let slope = xy / xx;
        let residual = centred.map(|(x, y)| (y - slope * x).powi(2)).sum::<f64>();
        let error = (residual / (n - 2.0) / xx).sqrt();
        let threshold = if self.ratio.is_some() {
            RELEASE_DRIFT
        } else {
            ENGAGE_DRIFT
        };
        (slope.abs() > threshold && slope.abs() > 5.0 * error).then_some(-slope)
    }
}

/// Twelve seconds in windows of half a second.
const DRIFT_WINDOW_SAMPLES: i64 = SAMPLE_RATE_HZ as i64 / 2;
const DRIFT_POINTS: usize = 24;

/// Drift below which resampling is not worth its cost: at 300 ppm the packets drift by one 20 ms
/// tick in 67 s, and an occasional correction costs less than constant resampling.
const ENGAGE_DRIFT: f64 = 300e-6;
const RELEASE_DRIFT: f64 = 150e-6;
