//! Real-time priority for the thread that merges, where the system grants it.

use thread_priority::{
    Error, RealtimeThreadSchedulePolicy, ThreadPriority, ThreadPriorityValue, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

/// Above ordinary programs, below the sound servers (which use 5 to 88): what they wait for must not be held up.
const PRIORITY: u8 = 4;

/// Raises the calling thread to `SCHED_FIFO`. Without the right to (`RLIMIT_RTPRIO`, see `ulimit -r`) it stays as it is,
/// which does no harm on a machine that is not busy.
pub(super) fn raise() {
    match try_raise() {
        Ok(()) => tracing::debug!("the merge runs with real-time priority {PRIORITY}"),
        Err(why) => tracing::debug!("the merge runs without real-time priority: {why}"),
    }
}

fn try_raise() -> Result<(), String> {
    let priority = ThreadPriorityValue::try_from(PRIORITY)?;
    let policy = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Crossplatform(priority), policy).map_err(|why| {
        match why {
            Error::OS(code) => std::io::Error::from_raw_os_error(code).to_string(),
            other => format!("{other:?}"),
        }
    })
}

/// Whether a thread of this program may have real-time priority; tried on one of its own.
///
/// # Errors
/// It may not; why.
pub fn available() -> Result<(), String> {
    let tried = std::thread::spawn(try_raise).join();
    tried.unwrap_or_else(|_| Err("the attempt failed".into()))
}
