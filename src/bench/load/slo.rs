//! The service-level objective of a server, and whether the server meets it.

use crate::bench::harness::Figures;

/// The limits that a server must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Slo {
    /// The largest share of lost packets, in percent.
    pub(super) lost_percent: f64,
    /// How late 99 of 100 packets may be after the beat of their stream, in milliseconds.
    pub(super) off_beat_ms: f64,
}

impl Default for Slo {
    fn default() -> Slo {
        Slo {
            lost_percent: 0.1,
            off_beat_ms: 10.0,
        }
    }
}

impl Slo {
    /// Returns a phrase for each limit that the measurements exceed; none if the objective is met.
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::procfs::Usage;
    use crate::bench::swarm::SwarmStats;

    fn figures(tally: SwarmStats, says: &[(&str, f64)]) -> Figures {
        Figures {
            tally: Box::new(tally),
            server: None,
            own: Usage::default(),
            says: says
                .iter()
                .map(|(name, value)| ((*name).to_owned(), *value))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn slo_names_each_exceeded_limit() {
        let good = SwarmStats {
            expected: 10_000,
            received: 9_990,
            ..SwarmStats::new()
        };
        let kept = Slo::default().broken_by(&figures(good.clone(), &[]));
        assert_eq!(kept, Vec::<String>::new());
        let mut bad = SwarmStats {
            received: 9_980,
            skipped: 50,
            starved: 2,
            gone: 1,
            ..good
        };
        bad.off_beat_us.record_n(20_000, 5).expect("in range");
        let says = [("x_skipped_slots_total", 3.0)];
        let broken = Slo::default().broken_by(&figures(bad, &says));
        assert_eq!(broken.len(), 6, "{broken:?}");
        assert_eq!(broken[0], "0.20 % lost");
        assert!(broken.iter().any(|it| it == "3 deadlines missed"));
    }
}
