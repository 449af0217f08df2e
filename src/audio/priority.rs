//! Real-time priority for the calling thread, where the system permits it.

use thiserror::Error;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// The mixer's SCHED_FIFO priority: above the network thread's, below what the kernel's own
/// threads usually have.
pub const MIXER: u8 = 40;

/// The system does not permit real-time priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("SCHED_FIFO at priority {MIXER} is not permitted")]
pub struct NotPermitted;

/// Puts the calling thread under SCHED_FIFO at [`MIXER`].
///
/// # Errors
/// [`NotPermitted`]; the thread then runs on as before.
pub fn raise() -> Result<(), NotPermitted> {
    let value = ThreadPriorityValue::try_from(MIXER).map_err(|_| NotPermitted)?;
    set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(value),
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
    )
    .map_err(|_| NotPermitted)
}

#[cfg(test)]
mod tests {
    use thread_priority::unix::thread_schedule_policy;

    use super::*;

    #[test]
    fn where_it_is_permitted_it_is_fifo() {
        let policy = std::thread::spawn(|| raise().map(|()| thread_schedule_policy()))
            .join()
            .expect("asking for priority does not panic");
        if let Ok(policy) = policy {
            let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
            assert_eq!(policy, Ok(fifo));
        }
    }
}
