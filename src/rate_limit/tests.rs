//! Tests of the rate limiters: token buckets, bounds on keys, and the default rates.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn passed(limit: &mut RateLimit, at: impl Iterator<Item = Instant>) -> usize {
    at.filter(|at| limit.take(*at).is_ok()).count()
}

#[test]
fn rate_limiter_allows_a_burst_and_then_its_rate() {
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
fn rate_limiter_loses_no_fraction_of_an_interval() {
    let start = Instant::now();
    // Rate of one per 100 ms, tried every 60 ms: ten per second in the long run.
    let mut limit = RateLimit::new(Rate::new(3, 10));
    let asked = (0..1_000).map(|n| start + n * Duration::from_millis(60));
    let passed = passed(&mut limit, asked);
    assert!((600..=604).contains(&passed), "{passed} in 60 s");
}

#[test]
fn rate_limiter_allows_nothing_when_time_goes_backwards() {
    let start = Instant::now() + SECOND;
    let mut limit = RateLimit::new(Rate::new(1, 1));
    assert!(limit.take(start).is_ok());
    assert!(limit.take(start - SECOND / 2).is_err());
}

#[test]
fn message_limiter_passes_then_warns_then_reports_abuse() {
    let mut limit = MessageLimit::new(Rates::default().messages);
    let now = Instant::now();
    for _ in 0..20 {
        assert_eq!(limit.take(now), Verdict::Pass);
    }
    assert_eq!(limit.take(now), Verdict::Warn);
    assert_eq!(limit.take(now), Verdict::Abuse);
}

#[test]
fn message_limiter_never_rejects_a_steady_ten_messages_a_second() {
    let mut limit = MessageLimit::new(Rates::default().messages);
    let start = Instant::now();
    for n in 0..1_000 {
        let now = start + n * Duration::from_millis(100);
        assert_eq!(limit.take(now), Verdict::Pass);
    }
}

#[test]
fn message_limiter_forgets_its_warning_after_a_pause() {
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
fn message_limiter_keeps_its_warning_for_a_sender_at_the_limit() {
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
fn keyed_rate_limiters_do_not_share_a_bucket() {
    let now = Instant::now();
    let mut limits = KeyedLimits::new(Rate::new(2, 1));
    for key in [1, 2] {
        assert!(limits.take(key, now).is_ok() && limits.take(key, now).is_ok());
        assert!(limits.take(key, now).is_err());
    }
}

#[test]
fn keyed_rate_limiters_are_bounded_in_number_and_dropped_once_their_bucket_is_full() {
    let now = Instant::now();
    let mut limits = KeyedLimits::new(Rate::new(2, 1));
    for key in 0..3 * MAX_KEYS {
        let _ = limits.take(key, now);
    }
    assert_eq!(limits.full_at.len(), MAX_KEYS);
    // The surplus keys share one bucket; keys that had a bucket before keep it.
    assert!(limits.take(3 * MAX_KEYS, now).is_err());
    assert!(limits.take(0, now).is_ok());
    let later = now + 3 * SECOND;
    assert!(limits.take(3 * MAX_KEYS, later).is_ok());
    assert_eq!(limits.full_at.len(), 1);
}

#[test]
fn default_join_rate_admits_a_returning_office_and_stops_a_flood() {
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
fn client_network_of_an_ipv6_address_is_its_64_bit_network() {
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
