//! With whom engines of this machine share its processors.
//!
//! They use whole cores for as long as there is something to translate. Chat may run beside them, in the same process even, and must
//! not wait for them: so they are put into the scheduler's idle class (`SCHED_IDLE`, sched(7)), which gets what nobody else wants, and
//! is interrupted at once by whoever does. Where they have a machine or a container's share for themselves that costs nothing.

use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy,
    thread_native_id, thread_schedule_policy,
};

const IDLE: ThreadSchedulePolicy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);

/// A class of the scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// That of whoever starts them.
    Usual,
    /// What nobody else wants.
    Idle,
}

impl Class {
    /// Puts this thread into it, and with it what it starts: threads and programs begin in the class of the thread that made them.
    pub(super) fn enter(self) {
        if self == Self::Usual {
            return;
        }
        // It also sets the niceness, which may be refused and does not matter in this class.
        let set = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, IDLE);
        if !matches!(thread_schedule_policy(), Ok(IDLE)) {
            let why = set.err().map(|error| error.to_string()).unwrap_or_default();
            tracing::warn!(
                why,
                "an engine shares the processors like all others: it cannot be put into the idle class"
            );
        }
    }
}
