//! What a server promises its clients, and whether it keeps it.

use crate::bench::stage::Figures;

/// The most that may go wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Promise {
    /// Packets that never come, percent.
    pub(super) lost_percent: f64,
    /// 99 of 100 packets are no more than this off their beat, milliseconds.
    pub(super) off_beat_ms: f64,
}

impl Default for Promise {
    fn default() -> Promise {
        Promise {
            lost_percent: 0.1,
            off_beat_ms: 10.0,
        }
    }
}

impl Promise {
    /// What is wrong, in words; nothing if the promise is kept.
    pub(super) fn broken_by(&self, figures: &Figures) -> Vec<String> {
        let tally = &figures.tally;
        let mut broken = Vec::new();
        let lost = tally.lost_percent();
        if lost > self.lost_percent {
            broken.push(format!("{lost:.2} % lost"));
        }
        let skipped = tally.skipped_percent();
        if skipped > self.lost_percent {
            broken.push(format!("{skipped:.2} % left out"));
        }
        let off_beat = tally.off_beat_ms(99.0);
        if off_beat > self.off_beat_ms {
            broken.push(format!("p99 {off_beat:.1} ms off the beat"));
        }
        if figures.misses() > 0.0 {
            broken.push(format!("{} deadlines missed", figures.misses()));
        }
        if tally.starved > 0 {
            broken.push(format!("{} clients starved", tally.starved));
        }
        if tally.gone > 0 {
            broken.push(format!("{} clients gone", tally.gone));
        }
        broken
    }
}
