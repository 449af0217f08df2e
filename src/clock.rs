//! The one clock of the server: monotonic time in the engine's units. Its origin lies one second
//! before its first reading.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mixer::Time;

static ORIGIN: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_secs(1));

/// Returns the present time. Packet arrival times and mixer deadlines both come from this clock, so
/// they can be compared.
pub fn now() -> Time {
    at(Instant::now())
}

/// Converts an instant of the standard library into engine time.
pub fn at(instant: Instant) -> Time {
    Time::from_us(instant.saturating_duration_since(*ORIGIN).as_micros() as u64)
}

/// Converts engine time into an instant of the standard library.
pub fn instant(time: Time) -> Instant {
    *ORIGIN + Duration::from_micros(time.us())
}
