//! Which RTP and RTCP sources of a peer may reach SRTP.
//!
//! SRTP keeps a state per SSRC and makes it before it has authenticated the packet, so whoever can spoof a peer's
//! address could grow it without bound. A source that once authenticated passes; others pass at a trickle.

use std::time::{Duration, Instant};

/// The gate of one peer.
#[derive(Debug)]
pub(super) struct Sources {
    proven: [u32; PROVEN],
    count: usize,
    tokens: u32,
    refilled: Instant,
    attempts: u32,
}

impl Sources {
    /// An empty gate.
    pub(super) fn new(now: Instant) -> Sources {
        Sources {
            proven: [0; PROVEN],
            count: 0,
            tokens: BURST,
            refilled: now,
            attempts: 0,
        }
    }

    /// Whether a packet of `ssrc` may be decrypted.
    pub(super) fn admit(&mut self, ssrc: u32, now: Instant) -> bool {
        if self.is_proven(ssrc) {
            return true;
        }
        let seconds = now.saturating_duration_since(self.refilled).as_secs();
        if seconds > 0 {
            self.tokens = BURST.min(self.tokens.saturating_add(seconds as u32));
            self.refilled += Duration::from_secs(seconds);
        }
        if self.tokens == 0 || self.attempts == MAX_ATTEMPTS {
            return false;
        }
        self.tokens -= 1;
        self.attempts += 1;
        true
    }

    /// Remembers that a packet of `ssrc` was authentic; the oldest source is forgotten for it.
    pub(super) fn prove(&mut self, ssrc: u32) {
        if !self.is_proven(ssrc) {
            self.proven[self.count % PROVEN] = ssrc;
            self.count += 1;
        }
    }

    fn is_proven(&self, ssrc: u32) -> bool {
        self.proven[..self.count.min(PROVEN)].contains(&ssrc)
    }
}

/// A client has one source, two while it changes its microphone, and one for its receiver reports.
const PROVEN: usize = 8;

/// Unknown sources let through at once; refilled at one per second.
const BURST: u32 = 32;

/// Unknown sources ever let through: about 2 MB of SRTP state.
const MAX_ATTEMPTS: u32 = 10_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proven_sources_pass_while_strangers_run_dry() {
        let now = Instant::now();
        let mut sources = Sources::new(now);
        assert!(sources.admit(7, now));
        sources.prove(7);
        let strangers = (1_000..2_000).filter(|&s| sources.admit(s, now)).count();
        assert_eq!(strangers, BURST as usize - 1);
        assert!(sources.admit(7, now));
        assert!(!sources.admit(8, now));
        assert!(sources.admit(8, now + Duration::from_secs(1)));
    }

    #[test]
    fn attempts_end() {
        let mut now = Instant::now();
        let mut sources = Sources::new(now);
        let mut admitted = 0;
        for ssrc in 0..2 * MAX_ATTEMPTS {
            now += Duration::from_secs(1);
            admitted += u32::from(sources.admit(ssrc, now));
        }
        assert_eq!(admitted, MAX_ATTEMPTS);
    }
}
