//! Rate limiters: all limits of this server on how often an operation may be done.
//!
//! A rate limiter is a token bucket, stored as the time at which the bucket is full again (the
//! generic cell rate algorithm), so that no fraction of a refill is lost. Every call passes the
//! present time. [`RateLimit`] is one limiter, for a peer, session or socket. [`KeyedLimits`] has
//! one limiter per key, with bounded memory. [`Limiter`] has the limiters of the HTTP interface,
//! keyed by client address, and counts refusals.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A rate: the number of operations allowed at once (burst), and the interval at which one more is
/// allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Maximum number of operations at once.
    pub burst: u32,
    /// Time until one more operation is allowed.
    pub interval: Duration,
}

impl Rate {
    /// Creates a rate from a burst and a long-term number of operations per second.
    ///
    /// - `per_second`: at least 1.
    pub const fn new(burst: u32, per_second: u32) -> Rate {
        Rate {
            burst,
            interval: Duration::from_nanos(1_000_000_000 / per_second as u64),
        }
    }

    /// Returns the long-term number of operations per second.
    pub fn per_second(&self) -> u32 {
        (Duration::from_secs(1).as_nanos() / self.interval.as_nanos().max(1)) as u32
    }

    /// Returns how long an empty token bucket takes to fill.
    fn fill_time(&self) -> Duration {
        self.interval * self.burst
    }

    /// Takes one token out of a bucket that is full again at `full_at`; returns the time at which
    /// the bucket is full again after that.
    fn take(&self, full_at: Option<Instant>, now: Instant) -> Result<Instant, RetryAfter> {
        let full_at = full_at.map_or(now, |full_at| full_at.max(now)) + self.interval;
        let missing = full_at.saturating_duration_since(now);
        match missing.checked_sub(self.fill_time()) {
            None | Some(Duration::ZERO) => Ok(full_at),
            Some(wait) => Err(RetryAfter(wait)),
        }
    }
}

/// A rate limit was reached. Contains the time until one more operation is allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryAfter(pub Duration);

impl RetryAfter {
    /// Returns the time in whole seconds, at least one, for the `Retry-After` header.
    pub fn seconds(self) -> u64 {
        let partial = u64::from(self.0.subsec_nanos() > 0);
        (self.0.as_secs() + partial).max(1)
    }
}

/// A rate limiter with one token bucket.
#[derive(Debug, Clone, Copy)]
pub struct RateLimit {
    rate: Rate,
    /// Time at which the bucket is full again; `None` if it is full.
    full_at: Option<Instant>,
}

impl RateLimit {
    /// Creates a rate limiter with a full bucket.
    pub const fn new(rate: Rate) -> RateLimit {
        RateLimit {
            rate,
            full_at: None,
        }
    }

    /// Takes one token from the bucket for an operation.
    ///
    /// # Errors
    /// [`RetryAfter`] if the bucket is empty; the limiter is then unchanged.
    pub fn take(&mut self, now: Instant) -> Result<(), RetryAfter> {
        self.full_at = Some(self.rate.take(self.full_at, now)?);
        Ok(())
    }

    /// Takes one token from the bucket for an operation; returns whether the operation is allowed.
    pub fn passes(&mut self, now: Instant) -> bool {
        self.take(now).is_ok()
    }

    /// Returns how many operations the bucket allows at once now.
    fn available(&self, now: Instant) -> u32 {
        let missing = self.full_at.map_or(Duration::ZERO, |full_at| {
            full_at.saturating_duration_since(now)
        });
        let interval = self.rate.interval.as_nanos().max(1);
        let taken = missing.as_nanos().div_ceil(interval) as u32;
        self.rate.burst.saturating_sub(taken)
    }
}

/// A message rate limiter's decision on one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Process the message.
    Pass,
    /// Drop the message and warn the sender: the bucket is empty, and the sender has not been
    /// warned since it last slowed down.
    Warn,
    /// Drop the message and treat the sender as abusive: it was warned and did not slow down.
    Abuse,
}

/// A rate limiter for messages, which warns the sender once before further messages count as abuse.
#[derive(Debug, Clone, Copy)]
pub struct MessageLimit {
    limit: RateLimit,
    warned: bool,
}

impl MessageLimit {
    /// Creates a message limiter with a full bucket.
    pub const fn new(rate: Rate) -> MessageLimit {
        MessageLimit {
            limit: RateLimit::new(rate),
            warned: false,
        }
    }

    /// Takes one token from the bucket for a message, and decides what to do with the message.
    pub fn take(&mut self, now: Instant) -> Verdict {
        if self.limit.take(now).is_ok() {
            // Forget the warning once the sender has slowed down for a second.
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

/// Rate limiters keyed by address or other id, with bounded memory.
///
/// At most [`MAX_KEYS`] keys have a bucket of their own; all other keys share one bucket. When that
/// number is reached, buckets that are full again are dropped to make room.
#[derive(Debug)]
pub struct KeyedLimits<K> {
    rate: Rate,
    full_at: HashMap<K, Instant>,
    others: RateLimit,
    /// Earliest time of the next search for full buckets.
    prune_after: Option<Instant>,
}

impl<K: Eq + Hash + Copy> KeyedLimits<K> {
    /// Creates keyed rate limiters, all with full buckets.
    pub fn new(rate: Rate) -> KeyedLimits<K> {
        KeyedLimits {
            rate,
            full_at: HashMap::new(),
            others: RateLimit::new(rate),
            prune_after: None,
        }
    }

    /// Takes one token from the bucket of `key` for an operation.
    ///
    /// # Errors
    /// [`RetryAfter`] if the bucket of the key is empty.
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

/// Maximum number of keys with a bucket of their own; together these take about 400 kB.
pub const MAX_KEYS: usize = 10_000;

/// Shortest interval between two searches for full buckets. A search takes a tenth of a
/// millisecond, so a flood of new keys must not cause one search per key.
const PRUNE_INTERVAL: Duration = Duration::from_secs(1);

/// The key of the HTTP rate limiters: an IPv4 address, or the /64 network of an IPv6 address,
/// because every subscriber can choose addresses from at least one /64.
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

/// An operation with a rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// Joins, per client address.
    Join,
    /// Creating, configuring and ending rooms, per client address.
    RoomChange,
    /// Changes of participants over HTTP, per client address.
    ParticipantChange,
    /// Floor requests over HTTP, per session.
    FloorRequest,
    /// Messages over WebSocket and data channel, per connection and session.
    Message,
}

impl Limited {
    /// All operations with a rate limit.
    pub const ALL: [Limited; 5] = [
        Limited::Join,
        Limited::RoomChange,
        Limited::ParticipantChange,
        Limited::FloorRequest,
        Limited::Message,
    ];

    /// Returns the label of the operation in metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Limited::Join => "join",
            Limited::RoomChange => "room change",
            Limited::ParticipantChange => "participant change",
            Limited::FloorRequest => "floor request",
            Limited::Message => "message",
        }
    }

    /// Returns the operation and where it comes from, in words that follow "too many".
    const fn described(self) -> &'static str {
        match self {
            Limited::Join => "joins from this address",
            Limited::RoomChange => "room changes from this address",
            Limited::ParticipantChange => "participant changes from this address",
            Limited::FloorRequest | Limited::Message => {
                "messages and floor requests from this session"
            }
        }
    }
}

/// The rates of all rate limiters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rates {
    /// Rate of joins per client address.
    pub joins: Rate,
    /// Rate of room changes per client address.
    pub room_changes: Rate,
    /// Rate of participant changes per client address.
    pub participant_changes: Rate,
    /// Rate of messages per connection or session, including floor requests over HTTP.
    pub messages: Rate,
}

impl Default for Rates {
    /// Returns the default rates. They let an office of 2,500 participants behind one address
    /// return at once after a restart. The long-term join rate is a tenth of the rate that would
    /// keep the default of 2,000 sessions filled with sessions that never connect.
    fn default() -> Rates {
        Rates {
            joins: Rate::new(2_500, 20),
            room_changes: Rate::new(1_500, 10),
            participant_changes: Rate::new(200, 20),
            messages: Rate::new(20, 10),
        }
    }
}

/// The rate limiters per client address, and the number of refusals of all rate limiters.
#[derive(Debug)]
pub struct Limiter {
    joins: Mutex<KeyedLimits<ClientNetwork>>,
    room_changes: Mutex<KeyedLimits<ClientNetwork>>,
    participant_changes: Mutex<KeyedLimits<ClientNetwork>>,
    refused: [AtomicU64; Limited::ALL.len()],
}

/// An operation was refused by its rate limiter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many {}", what.described())]
pub struct TooMany {
    /// The refused operation.
    pub what: Limited,
    /// Time until the operation is allowed again.
    pub retry_after: RetryAfter,
}

impl Limiter {
    /// Creates all rate limiters with full buckets.
    pub fn new(rates: &Rates) -> Limiter {
        Limiter {
            joins: Mutex::new(KeyedLimits::new(rates.joins)),
            room_changes: Mutex::new(KeyedLimits::new(rates.room_changes)),
            participant_changes: Mutex::new(KeyedLimits::new(rates.participant_changes)),
            refused: Default::default(),
        }
    }

    /// Counts a join from a client address.
    ///
    /// # Errors
    /// [`TooMany`] if the address exceeds its rate of joins.
    pub fn join(&self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        self.take(&self.joins, Limited::Join, from, now)
    }

    /// Counts a room change from a client address.
    ///
    /// # Errors
    /// [`TooMany`] if the address exceeds its rate of room changes.
    pub fn room_change(&self, from: IpAddr, now: Instant) -> Result<(), TooMany> {
        self.take(&self.room_changes, Limited::RoomChange, from, now)
    }

    /// Counts a participant change from a client address.
    ///
    /// # Errors
    /// [`TooMany`] if the address exceeds its rate of participant changes.
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

    /// Counts a refusal by a rate limiter outside of this struct, for the metrics.
    pub fn count(&self, what: Limited) {
        self.refused[what as usize].fetch_add(1, Relaxed);
    }

    /// Returns how often an operation was refused.
    pub fn refused(&self, what: Limited) -> u64 {
        self.refused[what as usize].load(Relaxed)
    }
}

#[cfg(test)]
mod tests;
