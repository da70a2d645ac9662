//! Following a room: is its reader a member, what did he miss, and from where does he read live.

use std::{sync::Arc, time::Duration};

use rookery_core::session::{Step, Subscription};
use rookery_protocol::{
    client::{self, server_frame::Frame},
    id::RoomId,
};

use super::{
    answer::{answer, end, event, refusal, trouble},
    node::Edge,
};
use crate::{
    live::{
        Following, Joined,
        link::{Link, Signal},
    },
    problem::Problem,
    rooms::EventPage,
};

/// Events read from the log at once.
const PAGE: usize = 256;
/// A replay waits as long as its connection has so many bytes to write.
const ENOUGH: usize = 128 * 1024;
/// How often it looks, and how often something is tried again that will be there in a moment.
const SOON: Duration = Duration::from_millis(2);
/// After so many tries it will not be there.
const PATIENCE: u32 = 2_500;
/// Pages of one attempt are read one after the other: none is of another.
const ATTEMPT: u64 = 0;

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
        let mut attempt = Attempt { edge: &edge, link: &link, follow, answered: false, resync: None };
        let following = match attempt.run().await {
            Ok(following) => Some(following),
            Err(problem) => {
                attempt.give_up(&problem);
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
    /// More was missed than is replayed: the first event that is not.
    resync: Option<u64>,
}

impl Attempt<'_> {
    async fn run(&mut self) -> Result<Following, Problem> {
        let hub = &self.edge.app.hub;
        let room_id = self.follow.room;
        let user = self.link.user().ok_or_else(Problem::internal)?;
        let limit = self.edge.settings.replay_events;
        // What it has; `None`: it follows from now on.
        let mut after = self.follow.after;
        let mut replay: Option<Subscription> = None;
        let mut replayed = 0;
        let mut waited = 0;
        let mut reached = false;
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
            if let Some(has) = after.filter(|has| *has > last) {
                // Either the hub is a moment behind what the client has seen, or there is no such seq: which it is not told because of
                // a log that shows what is old.
                reached = reached || self.edge.app.rooms.has_reached(room_id, has).await?;
                if reached && waited < PATIENCE {
                    hub.reaches(&room, has);
                    waited += 1;
                    tokio::time::sleep(SOON).await;
                    continue;
                }
                (after, self.resync) = (None, Some(1));
            }
            let step = match (&mut replay, after) {
                (_, None) => Step::Join,
                (Some(replay), _) => replay.reach(last),
                (none, _) => {
                    let (begun, step) = Subscription::start(after, last, limit, ATTEMPT);
                    *none = Some(begun);
                    step
                }
            };
            if let Step::Resync { from, .. } = step {
                (after, self.resync) = (None, Some(from));
            }
            let first = |last: u64| self.before_live(last);
            match room.join(self.link, self.follow.index, after, dismissals, first, &hub.live) {
                Joined::Yes(following) => return Ok(following),
                Joined::NotNow => tokio::task::yield_now().await,
                Joined::Behind => {
                    let (Some(replay), Step::Read { from, to }) = (&mut replay, step) else {
                        // More has come since.
                        tokio::task::yield_now().await;
                        continue;
                    };
                    if replayed == 0 {
                        self.edge.metrics.replays.inc();
                    }
                    self.say_ok(last);
                    let page = self.page(from, to).await?;
                    if let Some((first, _)) = page.events.first().filter(|(first, _)| *first > from) {
                        // The log begins later: what was before is older than what is kept.
                        (after, self.resync) = (None, Some(*first));
                        continue;
                    }
                    if page.events.is_empty() {
                        waited += 1;
                        if waited > PATIENCE {
                            return Err(Problem::unavailable("The room's history cannot be read now."));
                        }
                        tokio::time::sleep(SOON).await;
                    }
                    replayed += page.events.len() as u64;
                    for (seq, frame) in &page.events {
                        replay.sent(ATTEMPT, *seq).ok_or_else(Problem::internal)?;
                        self.link.post(frame);
                        // Not only after the page: one of long messages would be more than a reader may be behind.
                        self.wait_for_room_to_write().await?;
                    }
                    after = Some(replay.last_seq());
                    // Whoever reads more slowly than others write is too slow.
                    if replayed > limit.saturating_mul(2) {
                        self.link.signal(Signal::Lagging);
                        return Err(Problem::internal());
                    }
                }
            }
        }
    }

    /// Events from seq `from` to `to`. Few pages are read at the same time, and none while its reader is waited for.
    async fn page(&self, from: u64, to: u64) -> Result<EventPage, Problem> {
        let _permit = self.edge.replays.acquire().await;
        self.edge.app.rooms.events(self.follow.room, from, to, PAGE).await
    }

    /// What the client is told before its first live event; called when nothing can come in between.
    fn before_live(&self, last: u64) {
        if !self.answered {
            self.post_ok(last);
        }
        let room = self.follow.room.to_string();
        if let Some(from) = self.resync {
            self.link.post(&event(Frame::Resync(client::Resync { room, from, last_seq: last })));
        } else if self.follow.after.is_none() && matches!(self.follow.because, Because::Hello) {
            self.link.post(&event(Frame::CaughtUp(client::CaughtUp { room, last_seq: last })));
        }
        // Else the rest of a replay comes from the tape, and `caught_up` after it.
    }

    /// The room is not followed. Each request gets one answer, and nobody is left to believe that he follows it.
    fn give_up(&self, problem: &Problem) {
        match self.follow.because {
            Because::Subscribe(re) if !self.answered => self.link.post(&refusal(re, problem)),
            // No member any more.
            _ if matches!(problem.status, 403 | 404) => self.link.post(&trouble(self.follow.room, problem)),
            _ => self.link.signal(end(problem)),
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
