//! The one clock of the server: monotonic time since the process started, in the engine's units.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mixer::Time;

static ORIGIN: LazyLock<Instant> = LazyLock::new(|| Instant::now() - Duration::from_secs(1));

/// The time now. Arrival stamps and mixer deadlines both come from here, so that they can be
/// compared.
pub fn now() -> Time {
    at(Instant::now())
}

/// A point of the standard library's clock as engine time.
pub fn at(instant: Instant) -> Time {
    Time::from_us(instant.saturating_duration_since(*ORIGIN).as_micros() as u64)
}

/// Engine time as a point of the standard library's clock.
pub fn instant(time: Time) -> Instant {
    *ORIGIN + Duration::from_micros(time.us())
}
