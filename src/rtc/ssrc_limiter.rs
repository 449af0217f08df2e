//! Limits how many RTP and RTCP sources (SSRCs) of a peer reach SRTP.
//!
//! SRTP keeps a state per source and makes it before it has authenticated the packet, so whoever can spoof a peer's
//! address could grow it without bound. A source that has a state passes; new ones pass at a trickle, and end.

use crate::rate_limit::{Rate, RateLimit};
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// The limiter of one peer.
#[derive(Debug)]
pub(super) struct SsrcLimiter {
    known: HashSet<u32>,
    fresh: RateLimit,
}

impl SsrcLimiter {
    /// An empty gate.
    pub(super) fn new() -> SsrcLimiter {
        SsrcLimiter {
            known: HashSet::new(),
            fresh: RateLimit::new(Rate {
                burst: BURST,
                interval: REFILL,
            }),
        }
    }

    /// Whether a packet of `ssrc` may be decrypted.
    pub(super) fn admit(&mut self, ssrc: u32, now: Instant) -> bool {
        self.known.contains(&ssrc)
            || self.known.len() < MAX_SOURCES && self.fresh.passes(now) && self.known.insert(ssrc)
    }
}

/// New sources let through at once: more than any client has, few enough to cost nothing.
const BURST: u32 = 64;

/// One more may come this often. A client whose source changes while somebody sprays its address with 5,000 random
/// sources a second then gets through within seconds.
const REFILL: Duration = Duration::from_millis(50);

/// Sources a peer may ever have: about 8 MB of SRTP state.
const MAX_SOURCES: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_sources_pass_while_strangers_run_dry() {
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
    fn sources_end() {
        let mut now = Instant::now();
        let mut sources = SsrcLimiter::new();
        let admitted = (0..2 * MAX_SOURCES as u32).filter(|&ssrc| {
            now += REFILL;
            sources.admit(ssrc, now)
        });
        assert_eq!(admitted.count(), MAX_SOURCES);
    }
}
