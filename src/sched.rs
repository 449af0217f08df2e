//! Real-time scheduling (SCHED_FIFO) for the calling thread, where the system permits it.
//!
//! The order of the priorities matters more than their values. Mixers come first, because a late
//! tick is lost; then the network thread, because a late datagram waits in its socket; then the
//! media threads of headless clients.

use thiserror::Error;
use thread_priority::unix::{
    RealtimeThreadSchedulePolicy, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id,
};
use thread_priority::{ThreadPriority, ThreadPriorityValue};

/// Priority of a mixer thread: above the network thread, and below the usual priority of the
/// kernel's own real-time threads.
pub const MIXER: u8 = 40;

/// Priority of the network thread.
pub const NETWORK: u8 = 30;

/// Priority of a headless client's media threads.
pub const CLIENT: u8 = 20;

/// The system refused to run the thread under SCHED_FIFO at this priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the system does not permit SCHED_FIFO at priority {priority}")]
pub struct NotPermitted {
    /// The requested priority.
    pub priority: u8,
}

/// Puts the calling thread under SCHED_FIFO at `priority`, which must be `1..=99`.
///
/// # Errors
/// [`NotPermitted`]; the scheduling of the thread is then unchanged.
pub fn raise_priority(priority: u8) -> Result<(), NotPermitted> {
    let refused = NotPermitted { priority };
    let value = ThreadPriorityValue::try_from(priority).map_err(|_| refused)?;
    set_thread_priority_and_policy(
        thread_native_id(),
        ThreadPriority::Crossplatform(value),
        ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo),
    )
    .map_err(|_| refused)
}

#[cfg(test)]
mod tests {
    use thread_priority::unix::thread_schedule_policy;

    use super::*;

    #[test]
    fn thread_gets_sched_fifo_or_keeps_its_policy_if_the_system_refuses() {
        let raise = || (raise_priority(MIXER), thread_schedule_policy());
        let (raised, policy) = std::thread::spawn(raise)
            .join()
            .expect("asking for priority does not panic");
        let is_fifo = policy
            == Ok(ThreadSchedulePolicy::Realtime(
                RealtimeThreadSchedulePolicy::Fifo,
            ));
        match raised {
            Ok(()) => assert!(is_fifo, "{policy:?}"),
            Err(refused) => {
                println!("{refused} here");
                assert_eq!(refused, NotPermitted { priority: MIXER });
                assert!(!is_fifo, "it runs on as before");
            }
        }
    }

    #[test]
    fn thread_priority_out_of_range_is_refused() {
        assert_eq!(raise_priority(100), Err(NotPermitted { priority: 100 }));
    }
}
