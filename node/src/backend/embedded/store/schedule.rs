//! How the kernel schedules the writing thread.

/// Makes the calling thread one that does not push others off a core when it wakes up (`SCHED_BATCH`, see sched(7)).
///
/// On an idle core nothing changes: it runs at once. On a busy one it waits until a thread that serves connections has
/// done its turn, and finds the writes of many rooms instead of one: a sync for all of them, where each would
/// have had its own. On one core, 200 rooms of 10 members kept 190,000 deliveries/s with it and 45,000 without
/// (`rookery-bench rooms`, p99 below 100 ms).
#[cfg(target_os = "linux")]
pub(super) fn batch_scheduling() {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: the kernel reads the struct, which outlives the call, and writes nothing; 0 is the calling thread.
    // There is no safe wrapper in rustix or std, and one crate that has it changes the thread's niceness too.
    #[allow(unsafe_code)]
    let outcome = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameters) };
    if outcome != 0 {
        // A sandbox may forbid it: everything works, with smaller batches.
        let error = std::io::Error::last_os_error();
        tracing::debug!(%error, "the writing thread is scheduled like any other");
    }
    // When both have work without end, its share should be small (about a tenth of a core, weights of sched(7)): the fewer its
    // turns, the more writes share a sync. On Linux this is the calling thread's alone.
    if let Err(error) = rustix::process::nice(10) {
        tracing::debug!(%error, "the writing thread keeps its niceness");
    }
}

/// Other systems have no such thing.
#[cfg(not(target_os = "linux"))]
pub(super) fn batch_scheduling() {}
