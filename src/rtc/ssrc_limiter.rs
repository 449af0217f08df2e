//! Limits how many SSRCs of one client's RTCP reach the core's SRTCP.
//!
//! The core creates state per SSRC before it has authenticated the packet, so an attacker that
//! spoofs the client's address could make this state grow without bound. Packets of known SSRCs
//! pass; new SSRCs pass at a low rate, up to a maximum number.

use crate::rate_limit::{Rate, RateLimit};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The SSRC limiter of one peer.
#[derive(Debug)]
pub(super) struct SsrcLimiter {
    known: HashSet<u32>,
    fresh: RateLimit,
}

impl SsrcLimiter {
    /// Builds a limiter that knows no SSRC.
    pub(super) fn new() -> SsrcLimiter {
        SsrcLimiter {
            known: HashSet::new(),
            fresh: RateLimit::new(Rate {
                burst: BURST,
                interval: REFILL,
            }),
        }
    }

    /// Whether a packet of `ssrc` may be passed to the core for decryption.
    pub(super) fn admit(&mut self, ssrc: u32, now: Instant) -> bool {
        self.known.contains(&ssrc)
            || self.known.len() < MAX_SOURCES && self.fresh.passes(now) && self.known.insert(ssrc)
    }
}

/// Number of new SSRCs admitted at once: more than any client has, and few enough to cost nothing.
const BURST: u32 = 64;

/// Interval at which one more new SSRC is admitted. Even while an attacker floods the server with
/// 5,000 random SSRCs a second from the client's address, a new SSRC of the client gets through
/// within seconds.
const REFILL: Duration = Duration::from_millis(50);

/// Most SSRCs admitted for one peer: about 8 MB of state in the core.
const MAX_SOURCES: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ssrc_limiter_admits_known_ssrcs_while_new_ssrcs_are_limited() {
        let now = Instant::now();
        let mut sources = SsrcLimiter::new();
        assert!(sources.admit(7, now));
        let strangers = (1_000..2_000).filter(|&s| sources.admit(s, now)).count();
        assert_eq!(strangers, BURST as usize - 1);
        assert!(sources.admit(7, now));
        assert!(!sources.admit(8, now));
        assert!(sources.admit(8, now + REFILL));
    }

    #[test]
    fn ssrc_limiter_bounds_the_total_number_of_ssrcs() {
        let mut now = Instant::now();
        let mut sources = SsrcLimiter::new();
        let admitted = (0..2 * MAX_SOURCES as u32).filter(|&ssrc| {
            now += REFILL;
            sources.admit(ssrc, now)
        });
        assert_eq!(admitted.count(), MAX_SOURCES);
    }
}
