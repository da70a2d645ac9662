//! ChatRooms: one look at one of them (`look.rs`) is to find its ChatCluster (`near.rs`), to ask a node of that to make the room what is
//! declared (`calls.rs`), and to tell (`status.rs`). Each look begins anew and may end anywhere: the next one goes on.
//!
//! What a declaration makes of a room is the nodes' business: asking again changes nothing there, and says how the room is.

pub mod calls;
mod look;
mod near;
mod request;
mod status;
pub mod watch;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{ResourceExt, runtime::controller::Action};
use rookery_crds::ChatRoom;

pub use request::{key, request};

use crate::{
    cluster::{Context, LookError},
    metrics::Outcome,
};

/// Keeps a ChatRoom until its room is deleted. Only those with the policy Delete have it.
pub const FINALIZER: &str = "rookery.chat/room";

/// When to look again.
enum Next {
    Steady,
    /// Something that no watch tells is waited for.
    After(Duration),
    /// It did not work: later, and ever more so.
    Failed,
    Gone,
}

/// Looks at a ChatRoom, and says when to look again.
///
/// # Errors
/// [`LookError`]: the API server; it is tried again.
pub async fn reconcile(room: Arc<ChatRoom>, context: Arc<Context>) -> Result<Action, LookError> {
    let uid = room.uid().unwrap_or_default();
    let started = Instant::now();
    let outcome = look::look(&room, &context).await;
    context.metrics.room_seconds.observe(started.elapsed().as_secs_f64());
    let word = match &outcome {
        Ok(Next::Steady | Next::Gone) => "done",
        Ok(Next::After(_)) => "waiting",
        Err(_) | Ok(Next::Failed) => "failed",
    };
    context.metrics.rooms.get_or_create(&Outcome { outcome: word }).inc();
    Ok(match outcome? {
        Next::Steady => {
            context.worked(&uid);
            Action::requeue(context.settings.resync())
        }
        Next::After(pause) => {
            context.worked(&uid);
            Action::requeue(pause.min(context.settings.resync()))
        }
        Next::Failed => Action::requeue(again(&room, &context)),
        Next::Gone => {
            context.worked(&uid);
            Action::await_change()
        }
    })
}

/// When to look again after a look that failed.
pub fn again(room: &ChatRoom, context: &Context) -> Duration {
    context.failed(&room.uid().unwrap_or_default())
}
