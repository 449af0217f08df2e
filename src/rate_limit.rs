//! How often something may be done: every limit of this kind that the server has, in one place.
//!
//! A limit is a token bucket, kept as the time at which it is full again (the generic cell rate algorithm), so that no
//! fraction of a refill is ever lost. Time is passed in. [`RateLimit`] is one bucket, for one peer, session or socket.
//! [`KeyedLimits`] is one for each key and bounded in memory. [`Limiter`] holds those of the HTTP interface, counted by
//! the address of the client, and counts what was refused.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many at once, and one more each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many may come at once.
    pub burst: u32,
    /// How long it takes until one more may come.
    pub interval: Duration,
}

impl Rate {
    /// A burst, and so many a second in the long run.
    ///
    /// - `per_second`: 1 or more.
    pub const fn new(burst: u32, per_second: u32) -> Rate {
        Rate {
            burst,
            interval: Duration::from_nanos(1_000_000_000 / per_second as u64),
        }
    }

    /// How many may come each second in the long run.
    pub fn per_second(&self) -> u32 {
        (Duration::from_secs(1).as_nanos() / self.interval.as_nanos().max(1)) as u32
    }

    /// How long an empty bucket takes to fill.
    fn fill_time(&self) -> Duration {
        self.interval * self.burst
    }

    /// Takes one out of the bucket that is full again at `full_at`.
    fn take(&self, full_at: Option<Instant>, now: Instant) -> Result<Instant, RetryAfter> {
        let full_at = full_at.map_or(now, |full_at| full_at.max(now)) + self.interval;
        let missing = full_at.saturating_duration_since(now);
        match missing.checked_sub(self.fill_time()) {
            None | Some(Duration::ZERO) => Ok(full_at),
            Some(wait) => Err(RetryAfter(wait)),
        }
    }
}

/// A limit is reached; after this time one more may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// The time in whole seconds, at least one: what the header of that name takes.
    pub fn seconds(self) -> u64 {
        let partial = u64::from(self.0.subsec_nanos() > 0);
        (self.0.as_secs() + partial).max(1)
    }
}

/// One bucket.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    rate: Rate,
    /// `None` is full.
    full_at: Option<Instant>,
}

impl RateLimit {
    /// A full bucket.
    pub const fn new(rate: Rate) -> RateLimit {
        RateLimit {
            rate,
            full_at: None,
        }
    }

    /// Counts one.
    ///
    /// # Errors
    /// [`RetryAfter`] when the bucket is empty; it is then as it was.
    pub fn take(&mut self, now: Instant) -> Result<(), RetryAfter> {
        self.full_at = Some(self.rate.take(self.full_at, now)?);
        Ok(())
    }

    /// Counts one; whether the bucket had it.
    pub fn passes(&mut self, now: Instant) -> bool {
        self.take(now).is_ok()
    }

    /// How many may come at once now.
    fn available(&self, now: Instant) -> u32 {
        let missing = self.full_at.map_or(Duration::ZERO, |full_at| {
            full_at.saturating_duration_since(now)
        });
        let interval = self.rate.interval.as_nanos().max(1);
        let taken = missing.as_nanos().div_ceil(interval) as u32;
        self.rate.burst.saturating_sub(taken)
    }
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Carry it out.
    Pass,
    /// Drop it and tell the sender; said once each time the bucket runs empty.
    Warn,
    /// Drop it; the sender was told and went on.
    Abuse,
}

/// A bucket for messages, whose sender is warned once before what is too much counts as abuse.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimit {
    limit: RateLimit,
    warned: bool,
}

impl MessageLimit {
    /// A full bucket.
    pub const fn new(rate: Rate) -> MessageLimit {
        MessageLimit {
            limit: RateLimit::new(rate),
            warned: false,
        }
    }

    /// Counts one message.
    pub fn take(&mut self, now: Instant) -> Verdict {
        if self.limit.take(now).is_ok() {
            // Forgiven once the sender has slowed down for a second.
            let rate = &self.limit.rate;
            let rested = rate.per_second().min(rate.burst.saturating_sub(1));
            self.warned &= self.limit.available(now) < rested;
            Verdict::Pass
        } else if self.warned {
            Verdict::Abuse
        } else {
            self.warned = true;
            Verdict::Warn
        }
    }
}

/// One bucket for each key.
///
/// A bucket that is full again is forgotten, so only those are kept who did something lately; and of these at most
/// [`MAX_KEYS`]. Beyond that all other keys share one bucket.
#[derive(Debug)]
pub struct KeyedLimits<K> {
    rate: Rate,
    full_at: HashMap<K, Instant>,
    others: RateLimit,
    /// Before this time it is not worth looking for full buckets again.
    prune_after: Option<Instant>,
}

impl<K: Eq + Hash + Copy> KeyedLimits<K> {
    /// Full buckets of `rate`.
    pub fn new(rate: Rate) -> KeyedLimits<K> {
        KeyedLimits {
            rate,
            full_at: HashMap::new(),
            others: RateLimit::new(rate),
            prune_after: None,
        }
    }

    /// Counts one of a key's.
    ///
    /// # Errors
    /// [`RetryAfter`] when its bucket is empty.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), RetryAfter> {
        let full_at = self.full_at.get(&key).copied();
        if full_at.is_none() && !self.has_place(now) {
            return self.others.take(now);
        }
        let full_at = self.rate.take(full_at, now)?;
        self.full_at.insert(key, full_at);
        Ok(())
    }

    fn has_place(&mut self, now: Instant) -> bool {
        if self.full_at.len() < MAX_KEYS {
            return true;
        }
        if self.prune_after.is_none_or(|after| after <= now) {
            self.full_at.retain(|_, full_at| *full_at > now);
            self.prune_after = Some(now + PRUNE_INTERVAL);
        }
        self.full_at.len() < MAX_KEYS
    }
}

/// Most keys with a bucket of their own: some 400 kB.
pub const MAX_KEYS: usize = 10_000;

/// Looking through all buckets takes a tenth of a millisecond, so a flood of new keys must not cause it each time.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// Whom the limits of the HTTP interface count: an IPv4 address, or the /64 network of an IPv6 address, since every
/// subscriber has at least one of those to choose addresses from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientNetwork(IpAddr);

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> ClientNetwork {
        ClientNetwork(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let network = address.to_bits() & !u128::from(u64::MAX);
                Ipv6Addr::from_bits(network).into()
            }
        })
    }
}

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Joins, by address.
    Join,
    /// Room settings and the making and ending of rooms, by address.
    RoomChange,
    /// Changes of participants over HTTP, by address.
    ParticipantChange,
    /// Requests for the floor over HTTP, by session.
    FloorRequest,
    /// Messages over WebSocket and data channel, by connection and session.
    Message,
}

impl Limited {
    /// Everything that is limited.
    pub const ALL: [Limited; 5] = [
        Limited::Join,
        Limited::RoomChange,
        Limited::ParticipantChange,
        Limited::FloorRequest,
        Limited::Message,
    ];

    /// The word it is counted under.
    pub const fn word(self) -> &'static str {
        match self {
            Limited::Join => "join",
            Limited::RoomChange => "room change",
            Limited::ParticipantChange => "participant change",
            Limited::FloorRequest => "floor request",
            Limited::Message => "message",
        }
    }
}

/// The rates of everything that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Joins from one address.
    pub joins: Rate,
    /// Changes of rooms from one address.
    pub room_changes: Rate,
    /// Changes of participants from one address.
    pub participant_changes: Rate,
    /// Messages of one connection or session, requests for the floor over HTTP included.
    pub messages: Rate,
}

impl Default for Rates {
    /// An office of 2,500 behind one address comes back at once after a restart. What comes afterwards is a tenth of
    /// what it would take to keep the default of 2,000 places taken by sessions that never connect.
    fn default() -> Rates {
        Rates {
            joins: Rate::new(2_500, 20),
            room_changes: Rate::new(1_500, 10),
            participant_changes: Rate::new(200, 20),
            messages: Rate::new(20, 10),
        }
    }
}

/// The limits that are counted by address, and how often any limit was reached.
#[derive(Debug)]
pub struct Limiter {
    joins: Mutex<KeyedLimits<ClientNetwork>>,
    room_changes: Mutex<KeyedLimits<ClientNetwork>>,
    participant_changes: Mutex<KeyedLimits<ClientNetwork>>,
    refused: [AtomicU64; Limited::ALL.len()],
}

/// Somebody does something more often than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many: {what:?}")]
pub struct TooMany {
    /// What.
    pub what: Limited,
    /// When it may be done again.
    pub retry_after: RetryAfter,
}

impl Limiter {
    /// Full buckets.
    pub fn new(rates: &Rates) -> Limiter {
        Limiter {
            joins: Mutex::new(KeyedLimits::new(rates.joins)),
            room_changes: Mutex::new(KeyedLimits::new(rates.room_changes)),
            participant_changes: Mutex::new(KeyedLimits::new(rates.participant_changes)),
            refused: Default::default(),
        }
    }

    /// Counts a join from an address.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn join(&self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        self.take(&self.joins, Limited::Join, from, now)
    }

    /// Counts the change of a room from an address.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn room_change(&self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        self.take(&self.room_changes, Limited::RoomChange, from, now)
    }

    /// Counts the change of a participant from an address.
    ///
    /// # Errors
    /// [`TooMany`].
    pub fn participant_change(&self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        let limits = &self.participant_changes;
        self.take(limits, Limited::ParticipantChange, from, now)
    }

    fn take(
        &self,
        limits: &Mutex<KeyedLimits<ClientNetwork>>,
        what: Limited,
        from: IpAddr,
        now: Instant,
    ) -> Result<(), TooMany> {
        let mut limits = limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.take(from.into(), now).map_err(|retry_after| {
            self.count(what);
            TooMany { what, retry_after }
        })
    }

    /// Counts a refusal by a limit that is kept elsewhere.
    pub fn count(&self, what: Limited) {
        self.refused[what as usize].fetch_add(1, Relaxed);
    }

    /// How often a limit was reached.
    pub fn refused(&self, what: Limited) -> u64 {
        self.refused[what as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn passed(limit: &mut RateLimit, at: impl Iterator<Item = Instant>) -> usize {
        at.filter(|at| limit.take(*at).is_ok()).count()
    }

    #[test]
    fn bucket_gives_a_burst_and_then_the_rate() {
        let start = Instant::now();
        let mut limit = RateLimit::new(Rate::new(3, 100));
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(passed(&mut limit, (0..9).map(|_| start)), 3);
        assert_eq!(limit.take(at(9)), Err(RetryAfter(Duration::from_millis(1))));
        assert!(limit.take(at(10)).is_ok() && limit.take(at(10)).is_err());
        assert_eq!(
            passed(&mut limit, (0..9).map(|_| at(1_000))),
            3,
            "no more than the burst"
        );
    }

    #[test]
    fn fractions_of_an_interval_are_not_forgotten() {
        let start = Instant::now();
        // One each 100 ms, asked for each 60 ms: ten a second in the long run, whatever the steps.
        let mut limit = RateLimit::new(Rate::new(3, 10));
        let asked = (0..1_000).map(|n| start + n * Duration::from_millis(60));
        let passed = passed(&mut limit, asked);
        assert!((600..=604).contains(&passed), "{passed} in 60 s");
    }

    #[test]
    fn time_that_goes_backwards_gives_nothing() {
        let start = Instant::now() + SECOND;
        let mut limit = RateLimit::new(Rate::new(1, 1));
        assert!(limit.take(start).is_ok());
        assert!(limit.take(start - SECOND / 2).is_err());
    }

    #[test]
    fn messages_pass_then_warn_then_are_abuse() {
        let mut limit = MessageLimit::new(Rates::default().messages);
        let now = Instant::now();
        for _ in 0..20 {
            assert_eq!(limit.take(now), Verdict::Pass);
        }
        assert_eq!(limit.take(now), Verdict::Warn);
        assert_eq!(limit.take(now), Verdict::Abuse);
    }

    #[test]
    fn ten_messages_a_second_pass_for_ever() {
        let mut limit = MessageLimit::new(Rates::default().messages);
        let start = Instant::now();
        for n in 0..1_000 {
            let now = start + n * Duration::from_millis(100);
            assert_eq!(limit.take(now), Verdict::Pass);
        }
    }

    #[test]
    fn pause_forgives_a_warning() {
        let mut limit = MessageLimit::new(Rates::default().messages);
        let mut now = Instant::now();
        for _ in 0..21 {
            limit.take(now);
        }
        now += 2 * SECOND;
        for _ in 0..20 {
            assert_eq!(limit.take(now), Verdict::Pass);
        }
        assert_eq!(limit.take(now), Verdict::Warn);
    }

    #[test]
    fn sender_who_goes_on_at_the_limit_is_not_forgiven() {
        let mut limit = MessageLimit::new(Rates::default().messages);
        let mut now = Instant::now();
        for _ in 0..21 {
            limit.take(now);
        }
        now += SECOND / 10;
        assert_eq!(limit.take(now), Verdict::Pass);
        assert_eq!(limit.take(now), Verdict::Abuse);
    }

    #[test]
    fn keys_do_not_share_a_bucket() {
        let now = Instant::now();
        let mut limits = KeyedLimits::new(Rate::new(2, 1));
        for key in [1, 2] {
            assert!(limits.take(key, now).is_ok() && limits.take(key, now).is_ok());
            assert!(limits.take(key, now).is_err());
        }
    }

    #[test]
    fn keys_are_bounded_and_forgotten_when_their_bucket_is_full() {
        let now = Instant::now();
        let mut limits = KeyedLimits::new(Rate::new(2, 1));
        for key in 0..3 * MAX_KEYS {
            let _ = limits.take(key, now);
        }
        assert_eq!(limits.full_at.len(), MAX_KEYS);
        // The surplus shares one bucket; those who had one before keep it.
        assert!(limits.take(3 * MAX_KEYS, now).is_err());
        assert!(limits.take(0, now).is_ok());
        let later = now + 3 * SECOND;
        assert!(limits.take(3 * MAX_KEYS, later).is_ok());
        assert_eq!(limits.full_at.len(), 1);
    }

    #[test]
    fn defaults_admit_a_returning_office_and_stop_a_flood() {
        let limiter = Limiter::new(&Rates::default());
        let now = Instant::now();
        let office = IpAddr::from([192, 0, 2, 1]);
        let joins = (0..10_000).filter(|_| limiter.join(office, now).is_ok());
        assert_eq!(joins.count(), 2_500);
        let changes = (0..10_000).filter(|_| limiter.room_change(office, now).is_ok());
        assert_eq!(changes.count(), 1_500);
        assert_eq!(limiter.refused(Limited::Join), 7_500);
        let refused = limiter.join(office, now).expect_err("too many");
        assert_eq!(refused.retry_after.seconds(), 1);
        assert!(limiter.join(IpAddr::from([192, 0, 2, 2]), now).is_ok());
    }

    #[test]
    fn ipv6_is_counted_by_its_64_bit_network() {
        let network = |text: &str| ClientNetwork::from(text.parse::<IpAddr>().expect("good"));
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff:1:2:3"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }

    #[test]
    fn retry_after_is_in_whole_seconds_and_never_too_early() {
        for (ms, seconds) in [(0, 1), (1, 1), (1_000, 1), (1_001, 2), (9_999, 10)] {
            let after = RetryAfter(Duration::from_millis(ms));
            assert_eq!(after.seconds(), seconds, "{ms} ms");
        }
    }
}
