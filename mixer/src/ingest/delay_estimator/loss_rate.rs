//! How much of what a sender sends is lost, and whether it adds copies.

/// Losses of the last few seconds, as a share of the packets, and whether the sender protects them.
#[derive(Debug)]
pub(super) struct LossRate {
    rate: f32,
    /// How many packets the rate is the mean of. It starts at the prior and ends at the memory.
    packets: f32,
    fec_seen: f32,
    /// The last loss may turn out to be a late packet.
    may_be_found: bool,
    /// The wait should include the packet that carries the copy of a lost one.
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

    /// Packets that follow on each other are missing. However many they are, the packet after them has a copy of one.
    pub(super) fn lost(&mut self) {
        self.note(1.0);
        self.may_be_found = true;
        self.decide();
    }

    /// A packet has come too late. It was counted as lost, if the last loss has not been taken back yet.
    pub(super) fn found(&mut self) {
        if core::mem::take(&mut self.may_be_found) {
            self.rate = (self.rate - 1.0 / self.packets).max(0.0);
            self.decide();
        }
    }

    /// At first the mean of all packets, later of the last ones.
    fn note(&mut self, lost: f32) {
        self.packets = (self.packets + 1.0).min(LOSS_MEMORY_PACKETS);
        self.rate += (lost - self.rate) / self.packets;
    }

    /// Every change of mind is a splice, so it needs a clear reason.
    fn decide(&mut self) {
        let least = if self.wants_fec {
            LOSS_RELEASE
        } else {
            LOSS_ENGAGE
        };
        self.wants_fec = self.rate > least && self.fec_seen > FEC_LEAST;
    }
}

/// About five seconds of packets of 20 ms.
const LOSS_MEMORY_PACKETS: f32 = 250.0;

/// So many packets count as received before the first. One loss at the beginning is then below what a wait is worth, and a
/// second one within a second is above it.
const LOSS_PRIOR_PACKETS: f32 = 100.0;

/// Above this a sender is one that adds copies: three packets with one are enough, and eleven seconds without any, pauses
/// included, are needed against one that was expected to.
const FEC_LEAST: f32 = 0.1;
const FEC_LEARNS: f32 = 0.04;
const FEC_FORGETS: f32 = 0.002;
const FEC_EXPECTED: f32 = 0.3;

/// Above one percent of loss a packet's wait is worth it. One lost packet is 0.4 percent of what is
/// remembered: at a loss of one percent the wait would come and go with each if it went as it came.
const LOSS_ENGAGE: f32 = 0.01;
const LOSS_RELEASE: f32 = 0.003;

#[cfg(test)]
mod tests {
    use super::*;

    /// So many packets, each with a copy or not; packets are lost before those that `loses`.
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
    fn second_loss_of_the_first_second_counts_and_a_single_one_does_not() {
        assert!(!rate(true, 50, false, |n| n == 10).wants_fec);
        assert!(rate(true, 50, false, |n| n == 10 || n == 40).wants_fec);
        assert!(!rate(true, 1_000, true, |n| n == 500).wants_fec);
    }

    #[test]
    fn only_who_sends_copies_is_waited_for() {
        let often = |n| n % 20 == 0;
        assert!(rate(false, 500, true, often).wants_fec);
        assert!(!rate(false, 500, false, often).wants_fec);
        assert!(rate(true, 500, false, often).wants_fec, "expected still");
        assert!(!rate(true, 1_000, false, often).wants_fec, "in vain");
        // Silence has no copies.
        let mut pauses = rate(true, 200, true, often);
        for _ in 0..500 {
            pauses.received(false);
        }
        assert!(pauses.fec_seen > FEC_LEAST);
    }

    #[test]
    fn wait_for_the_copy_does_not_come_and_go() {
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
