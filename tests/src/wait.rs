//! Waiting for what a test waits for, never for a time.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

/// How often something is looked at that does not tell of its changes.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
pub fn wait_until(what: &str, limit: Duration, condition: impl FnMut() -> bool) {
    assert!(holds_within(limit, condition), "{what}: not within {limit:?}");
}

/// Whether `condition` comes to hold within `limit`; it is waited for.
pub fn holds_within(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while !condition() {
        if begin.elapsed() > limit {
            return false;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    true
}

/// Waits until `child` has ended, at most for `limit`; None: it has not.
pub fn ended_within(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    if let Some(status) = child.try_wait().expect("a child") {
        return Some(status);
    }
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty()).expect("a child that was not waited for");
    let limit = Timespec::try_from(limit).expect("no age of the world");
    // Interrupted: as if the time were over; the child is looked at in any case.
    let _ = poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit));
    child.try_wait().expect("a child")
}
