//! Following a room: is its reader a member, what did he miss, and from where does he read live.

use std::{sync::Arc, time::Duration};

use rookery_protocol::{
    client::{self, server_frame::Frame},
    id::RoomId,
};

use super::{
    answer::{answer, event, refusal},
    node::Edge,
};
use crate::{
    live::{
        Following, Joined,
        link::{Link, Signal},
    },
    problem::Problem,
};

/// Events read from the log at once.
const PAGE: usize = 256;
/// A replay waits as long as its connection has so many bytes to write.
const ENOUGH: usize = 128 * 1024;
/// How often it looks, and how often something is tried again that will be there in a moment.
const SOON: Duration = Duration::from_millis(2);
/// After so many tries it will not be there.
const PATIENCE: u32 = 2_500;

/// One attempt to follow a room.
pub(super) struct Follow {
    pub(super) room: RoomId,
    /// The connection's number for it.
    pub(super) index: u32,
    pub(super) after: Option<u64>,
    /// [`crate::live::Hub::dismissals`] when the user was known to be a member.
    pub(super) known: Option<u64>,
    pub(super) because: Because,
}

/// Why a room is followed: what the client is told.
#[derive(Debug, Clone, Copy)]
pub(super) enum Because {
    /// Request `re` asked for it: it is answered.
    Subscribe(Option<u64>),
    /// `hello` did, or its user came into the room: `caught_up` in any case.
    Hello,
}

/// Follows rooms for a connection, one after the other.
pub(super) async fn follow(edge: Arc<Edge>, link: Arc<Link>, follows: Vec<Follow>) {
    for follow in follows {
        if link.is_closed() {
            return;
        }
        let (index, because) = (follow.index, follow.because);
        let attempt = Attempt { edge: &edge, link: &link, follow, answered: false };
        let following = match attempt.run().await {
            Ok(following) => Some(following),
            Err(problem) => {
                if let Because::Subscribe(re) = because {
                    link.post(&refusal(re, &problem));
                }
                None
            }
        };
        if matches!(because, Because::Subscribe(_)) {
            link.done();
        }
        if let Err(Some(following)) = link.joined(index, following) {
            // The connection is gone meanwhile.
            following.room.leave(&following.sub, &edge.app.hub.live);
        }
    }
}

struct Attempt<'a> {
    edge: &'a Arc<Edge>,
    link: &'a Arc<Link>,
    follow: Follow,
    /// `ok` was posted.
    answered: bool,
}

impl Attempt<'_> {
    async fn run(mut self) -> Result<Following, Problem> {
        let hub = &self.edge.app.hub;
        let room_id = self.follow.room;
        let user = self.link.user().map(|user| user.id).ok_or_else(Problem::internal)?;
        let mut after = self.follow.after;
        let mut replayed = 0;
        let mut waited = 0;
        let mut permit = None;
        loop {
            // Followed first, then found to be a member: a dismissal in between is noticed by `join`.
            let room = hub.open(room_id);
            let dismissals = room.dismissals();
            let known = self.follow.known.take() == Some(hub.dismissals());
            if !known || !hub.has_begun(&room) {
                let tail = self.edge.app.rooms.readable(room_id, user).await?;
                hub.begin(&room, tail);
            }
            let last = room.last_seq();
            if let Some(missed) = after {
                if missed > last {
                    // Either the hub is a moment behind the client's own sends, or there is no such seq.
                    let tail = self.edge.app.rooms.readable(room_id, user).await?;
                    if missed > tail || waited > PATIENCE {
                        after = None;
                        self.follow.after = Some(0);
                    } else {
                        waited += 1;
                        tokio::time::sleep(SOON).await;
                        continue;
                    }
                } else if replayed == 0 && last - missed > self.edge.settings.replay_events {
                    after = None;
                }
            }
            let is_replay = after.is_some();
            let first = |last: u64| self.before_live(last, is_replay);
            let joined = room.join(self.link, self.follow.index, after, dismissals, first, &hub.live);
            match joined {
                Joined::Yes(following) => return Ok(following),
                Joined::NotNow => tokio::task::yield_now().await,
                Joined::Behind => {
                    if permit.is_none() {
                        self.edge.metrics.replays.inc();
                        permit = self.edge.replays.acquire().await.ok();
                    }
                    self.say_ok(last);
                    let from = after.unwrap_or_default() + 1;
                    let page = self.edge.app.rooms.events(room_id, from, u64::MAX, PAGE).await?;
                    if page.events.is_empty() {
                        waited += 1;
                        if waited > PATIENCE {
                            return Err(Problem::unavailable("The room's history cannot be read now."));
                        }
                        tokio::time::sleep(SOON).await;
                    }
                    replayed += page.events.len() as u64;
                    for (seq, frame) in &page.events {
                        self.link.post(frame);
                        after = Some(*seq);
                        // Not only after the page: one of long messages would be more than a reader may be behind.
                        self.wait_for_room_to_write().await?;
                    }
                    // Whoever reads more slowly than others write is too slow.
                    if replayed > self.edge.settings.replay_events.saturating_mul(2) {
                        self.link.signal(Signal::Lagging);
                        return Err(Problem::internal());
                    }
                }
            }
        }
    }

    /// What the client is told before its first live event; called when nothing can come in between.
    fn before_live(&self, last: u64, is_replay: bool) {
        if !self.answered {
            self.post_ok(last);
        }
        let room = self.follow.room.to_string();
        match self.follow.after {
            // The rest of the replay comes from the tape, and `caught_up` after it.
            Some(_) if is_replay => {}
            Some(from) => {
                self.link.post(&event(Frame::Resync(client::Resync { room, from, last_seq: last })));
            }
            None if matches!(self.follow.because, Because::Hello) => {
                self.link.post(&event(Frame::CaughtUp(client::CaughtUp { room, last_seq: last })));
            }
            None => {}
        }
    }

    fn say_ok(&mut self, last: u64) {
        if !self.answered {
            self.post_ok(last);
            self.answered = true;
        }
    }

    fn post_ok(&self, last_seq: u64) {
        if let Because::Subscribe(re) = self.follow.because {
            let ok = client::Ok { last_seq: Some(last_seq), ..Default::default() };
            self.link.post(&answer(re, Frame::Ok(ok)));
        }
    }

    async fn wait_for_room_to_write(&self) -> Result<(), Problem> {
        while self.link.backlog() > ENOUGH {
            tokio::time::sleep(SOON).await;
            if self.link.is_closed() {
                return Err(Problem::internal());
            }
        }
        Ok(())
    }
}
