//! A room: what may be done in it, and what its durable events make of it.
//!
//! Here belong commands, rules (roles, bans, mutes, slow mode, duplicates) and the state that events build.
//! How events get into the log is `owner`'s business; who reads them live is `feed`'s and `session`'s.

mod amendment;
mod apply;
mod change;
mod command;
mod decide;
mod declaration;
mod dedupe;
mod heads;
mod limits;
mod members;
mod mentions;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod text;
mod update;

pub use amendment::*;
pub use change::*;
pub use command::*;
pub use decide::Decision;
pub use declaration::{DECLARED_MEMBERS, DECLARER, Declaration};
pub use limits::*;
pub use members::MemberView;
pub use snapshot::Anchor;
pub use state::{Facts, State};
pub use update::Update;
