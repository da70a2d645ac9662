//! The owner of a room: gets commands into its log, one append at a time.
//!
//! Here belong takeover, batching, unknown outcomes, deadlines and snapshots: when something is done and when
//! it is answered. What a command means is `room`'s business; reading and writing are the shell's.
//!
//! The shell makes an `Owner::new(Identity, Settings)`, feeds it with `handle(Input, now, &mut Vec<Action>)`,
//! carries out the actions, and sends a [`Input::Tick`] when `wake_at()` has come. `state()` is what the room
//! is with all that was proposed, `committed_seq()` how much of it is stored.

mod types;

pub use types::*;
