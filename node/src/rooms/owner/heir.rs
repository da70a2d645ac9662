//! Waits a moment for what the last owner of a room leaves, before the log is read instead.
//!
//! When a planned move begins, somebody may ask the next owner before the last one has stored what it had in flight. What would be
//! read meanwhile is out of date when the legacy comes, and reading it takes from the processor and from the log what the move needs.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{Item, Task};
use crate::peer::State;

/// From the change of the ring on. Longer than storing what is in flight takes, and sending 700 KB for each of some rooms at once: of 720 handovers on
/// two busy cores 34 took longer than 50 ms until then. And a room that its last owner did not have in memory, which nobody leaves,
/// answers so much later, once.
const SOON: Duration = Duration::from_millis(100);
/// Items that are taken meanwhile; others wait in the mailbox.
const ITEMS: usize = 256;

/// Takes what comes for the room into `left`, until the last owner has said that it left it, or nothing is to be expected.
pub(super) async fn expect(task: &mut Task, left: &mut VecDeque<Item>) {
    let Some(until) = expected(task) else { return };
    let until = tokio::time::Instant::from_std(until);
    while left.len() < ITEMS && !left.iter().any(says_so) {
        tokio::select! {
            biased;
            item = task.waiting.recv() => match item {
                Some(item) => left.push_back(item),
                None => return,
            },
            () = task.calls.look.notified() => {
                if !task.serves() {
                    return;
                }
            }
            () = task.calls.put_down.notified() => {
                // It is the next one's to do.
                task.calls.put_down.notify_one();
                return;
            }
            () = tokio::time::sleep_until(until) => return,
        }
    }
}

fn says_so(item: &Item) -> bool {
    matches!(item, Item::Wake { .. })
}

/// Until when the last owner may be expected to say that it left the room: it is there, and had the room until just now.
fn expected(task: &Task) -> Option<Instant> {
    if task.instead.is_some() || task.begin.legacy.is_some() || task.begin.fencing_first {
        return None;
    }
    let (owner, changed) = task.env.route.moved_from(task.room)?;
    let until = changed + SOON;
    let link = task.env.links.get()?.get(&owner)?;
    (Instant::now() < until && !matches!(link.state(), State::Down { .. })).then_some(until)
}
