//! Threads that have time: what they do is not waited for.

use std::{panic, thread};

use rustix::process::{getpriority_process, setpriority_process};

/// How much nicer than the caller. A thread of that weight gets a tenth of a core that others would have whole, and what is left
/// of it otherwise. The engine needs a twentieth for all that one core can bring.
const NICER: i32 = 10;

/// Runs it on a thread of low weight. The threads that it starts are of the same: Linux keeps niceness by thread, and a new
/// one has that of the thread which started it (sched(7)). Looking for them afterwards would be too early: a thread names itself.
pub(super) fn run<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    let low = || {
        lower();
        what()
    };
    thread::scope(|scope| match scope.spawn(low).join() {
        Ok(result) => result,
        Err(why) => panic::resume_unwind(why),
    })
}

/// Runs it on a thread of low weight, which nobody waits for. Where there can be no thread it is not run.
pub(super) fn later(name: &str, what: impl FnOnce() + Send + 'static) {
    let low = || {
        lower();
        what();
    };
    if let Err(error) = thread::Builder::new().name(name.into()).spawn(low) {
        tracing::warn!(%error, name, "no thread for work in the background");
    }
}

/// Gives this thread its low weight.
fn lower() {
    let now = getpriority_process(None).unwrap_or(0);
    if let Err(error) = setpriority_process(None, now + NICER) {
        tracing::warn!(%error, "background threads have the weight of all others");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_it_starts_are_nicer_and_the_caller_is_not() {
        let before = getpriority_process(None).unwrap();
        let started = || thread::spawn(|| getpriority_process(None).unwrap()).join().unwrap();
        assert_eq!(run(started), (before + NICER).min(19));
        assert_eq!(getpriority_process(None).unwrap(), before);
    }
}
