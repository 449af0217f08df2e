//! Estimates the packet loss of one sender, and whether the sender protects its packets with FEC.

/// Loss rate over the last few seconds, and whether the sender adds FEC.
#[derive(Debug)]
pub(super) struct LossRate {
    rate: f32,
    /// Number of packets that the rate is averaged over, from [`LOSS_PRIOR_PACKETS`] to
    /// [`LOSS_MEMORY_PACKETS`].
    packets: f32,
    fec_seen: f32,
    /// The last loss may turn out to be a late packet.
    may_be_found: bool,
    /// The wait should include the packet that carries the copy of a lost packet.
    pub(super) wants_fec: bool,
}

impl LossRate {
    pub(super) fn new(expects_fec: bool) -> LossRate {
        LossRate {
            rate: 0.0,
            packets: LOSS_PRIOR_PACKETS,
            fec_seen: if expects_fec { FEC_EXPECTED } else { 0.0 },
            may_be_found: false,
            wants_fec: false,
        }
    }

    pub(super) fn received(&mut self, fec: bool) {
        self.note(0.0);
        match fec {
            true => self.fec_seen += FEC_LEARNS * (1.0 - self.fec_seen),
            false => self.fec_seen -= FEC_FORGETS * self.fec_seen,
        }
        self.decide();
    }

    /// Counts one or several consecutive missing packets as a single loss: the next packet carries
    /// a copy of only one.
    pub(super) fn lost(&mut self) {
        self.note(1.0);
        self.may_be_found = true;
        self.decide();
    }

    /// Takes back the last loss, unless it was taken back before: a packet arrived too late.
    pub(super) fn found(&mut self) {
        if core::mem::take(&mut self.may_be_found) {
            self.rate = (self.rate - 1.0 / self.packets).max(0.0);
            self.decide();
        }
    }

    /// Updates the rate: at first the mean over all packets, later over the last ones.
    fn note(&mut self, lost: f32) {
        self.packets = (self.packets + 1.0).min(LOSS_MEMORY_PACKETS);
        self.rate += (lost - self.rate) / self.packets;
    }

    /// Decides whether packets should wait for FEC. Every change of the wait is a splice in the
    /// sound, so the decision has hysteresis.
    fn decide(&mut self) {
        let least = if self.wants_fec {
            LOSS_RELEASE
        } else {
            LOSS_ENGAGE
        };
        self.wants_fec = self.rate > least && self.fec_seen > FEC_LEAST;
    }
}

/// Packets that the rate is averaged over: five seconds in packets of 20 ms.
const LOSS_MEMORY_PACKETS: f32 = 250.0;

/// Packets that count as received before the first one. A single loss at the beginning then does
/// not lengthen the wait, but a second loss within a second does.
const LOSS_PRIOR_PACKETS: f32 = 100.0;

/// Share of packets with FEC above which a sender is taken to add it. Three packets with FEC reach
/// it; a sender that was expected to add FEC falls below it after eleven seconds without, pauses
/// included.
const FEC_LEAST: f32 = 0.1;
const FEC_LEARNS: f32 = 0.04;
const FEC_FORGETS: f32 = 0.002;
const FEC_EXPECTED: f32 = 0.3;

/// Loss above one percent makes it worth waiting for another packet. One lost packet is 0.4 percent
/// of those remembered: with equal thresholds, the wait would come and go with each packet lost at
/// a loss of one percent.
const LOSS_ENGAGE: f32 = 0.01;
const LOSS_RELEASE: f32 = 0.003;

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `packets` packets with or without FEC; a packet is lost before each one that `loses`
    /// picks.
    fn rate(expects_fec: bool, packets: u32, fec: bool, loses: impl Fn(u32) -> bool) -> LossRate {
        let mut rate = LossRate::new(expects_fec);
        for n in 0..packets {
            if loses(n) {
                rate.lost();
            }
            rate.received(fec);
        }
        rate
    }

    #[test]
    fn loss_rate_ignores_a_single_early_loss_but_not_a_second() {
        assert!(!rate(true, 50, false, |n| n == 10).wants_fec);
        assert!(rate(true, 50, false, |n| n == 10 || n == 40).wants_fec);
        assert!(!rate(true, 1_000, true, |n| n == 500).wants_fec);
    }

    #[test]
    fn loss_rate_waits_for_fec_only_if_the_sender_adds_fec() {
        let often = |n| n % 20 == 0;
        assert!(rate(false, 500, true, often).wants_fec);
        assert!(!rate(false, 500, false, often).wants_fec);
        assert!(rate(true, 500, false, often).wants_fec, "expected still");
        assert!(!rate(true, 1_000, false, often).wants_fec, "in vain");
        // Silence carries no FEC.
        let mut pauses = rate(true, 200, true, often);
        for _ in 0..500 {
            pauses.received(false);
        }
        assert!(pauses.fec_seen > FEC_LEAST);
    }

    #[test]
    fn loss_rate_does_not_toggle_the_wait_for_fec() {
        let mut rate = LossRate::new(false);
        let mut changes = 0;
        for n in 0..6_000 {
            let before = rate.wants_fec;
            rate.received(true);
            if n % 110 == 0 {
                rate.lost();
            }
            changes += u32::from(rate.wants_fec != before);
        }
        assert!(changes <= 1, "{changes} changes in two minutes");
    }
}
