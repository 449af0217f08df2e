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
mod tests;
