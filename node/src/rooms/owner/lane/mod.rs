//! What is asked here of another node's room: one lane to its owner, in order, whatever fails.
//!
//! Requests go out without waiting for each other, and are taken in that order or not at all (see `peer/`). When one
//! was not taken, or the stream ended, nothing more is sent until all that was sent is resolved: then what is to be
//! asked again goes first, to whoever is the owner then.
//!
//! **What is asked again.** What was not taken or not sent: always. What was sent on a stream that ended: a post, because
//! its `client_msg_id` is stored once, the making of a room, because its id is new, and what only reads; of other commands
//! nothing is known then. An attempt is over before the next one begins elsewhere: the node refuses the connection, or has
//! a newer stream from here, or the time has passed in which it might have begun.
//!
//! What other nodes ask comes here only if they are behind, or this node is: they are told whose the room is.

mod choice;
mod foreign;

use std::{
    collections::{BTreeMap, VecDeque},
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_protocol::{
    id::RoomId,
    peer::{answer, ask, not_taken::Reason},
};
use tokio::sync::{mpsc, watch};

use self::{choice::Choice, foreign::Foreign};
use super::{Env, Item, Owner, Task, busy};
use crate::{
    peer::{self, Ended, Link, Links, Request, Session, State},
    problem::Problem,
};

/// A lane on which nothing happens for so long ends.
const LINGER: Duration = Duration::from_secs(2);
/// Items taken from the mailbox at once.
const ITEMS: usize = 256;
/// First pause after an answer that helped nothing; doubles up to [`MOST_PAUSE`].
const PAUSE: Duration = Duration::from_millis(2);
const MOST_PAUSE: Duration = Duration::from_millis(100);
/// How long the lane sleeps at most.
const FAR: Duration = Duration::from_secs(3600);
/// Another node than the owner is asked for so long before the owner is tried again.
const INSTEAD: Duration = Duration::from_secs(1);

/// Requests to one node over one session of it.
struct Attempt {
    node: String,
    link: Arc<Link>,
    session: Session,
    /// Its number as a lane.
    number: u64,
    /// The nodes before it are gone.
    instead: bool,
    since: Instant,
    /// Nothing more is sent.
    over: bool,
}

/// What was sent over a session that ended: until then it may still be begun.
struct Risk {
    link: Arc<Link>,
    session: u64,
    until: Instant,
}

struct Lane {
    env: Arc<Env>,
    links: Arc<Links>,
    room: RoomId,
    /// Requests sent and not resolved, at most.
    most: usize,
    /// To be sent.
    queue: VecDeque<Item>,
    /// Sent, by token.
    flight: BTreeMap<u64, Item>,
    /// Not taken, by token: to be sent again, before the queue.
    again: BTreeMap<u64, Item>,
    /// Sent, and no end known yet; some of them may be answered already, because their time was over.
    out: usize,
    next_token: u64,
    back: mpsc::Sender<(u64, Ended)>,
    ended: mpsc::Receiver<(u64, Ended)>,
    attempt: Option<Attempt>,
    risks: Vec<Risk>,
    /// Another node said that this one owns the room.
    hint: Option<String>,
    /// Nodes that said that the room is not theirs.
    refused_by: Vec<String>,
    pause: Duration,
    not_before: Instant,
}

/// What a lane waits for, besides answers.
struct Wait {
    until: Instant,
    /// A node's link changes.
    state: Option<watch::Receiver<State>>,
    /// A session has place again.
    full: Option<Session>,
}

impl Wait {
    fn earlier(&mut self, at: Option<Instant>) {
        self.until = at.map_or(self.until, |at| at.min(self.until));
    }
}

/// Forwards what waits for a room until it is this node's own, or nothing waits.
pub(super) async fn forward(task: &mut Task, left: &mut VecDeque<Item>) {
    let env = task.env.clone();
    let Some(links) = env.links.get().cloned() else {
        // A service of one node whose ring does not know it.
        while let Some(item) = left.pop_front().or_else(|| task.waiting.try_recv().ok()) {
            item.refuse(busy(), Reason::Moved, None);
        }
        return;
    };
    let mut lane = Lane::new(env.clone(), links.clone(), task.room);
    let mut foreign = Foreign::default();
    left.drain(..).for_each(|item| lane.take(item, &mut foreign));
    let mut items = Vec::new();
    let mut used = Instant::now();
    let mut closed = false;
    loop {
        let now = Instant::now();
        lane.expire(now);
        lane.settle();
        if !task.serves() && foreign.judge(&env, &links, task.room, now) {
            task.instead = lane.take_over();
        }
        lane.queue.extend(foreign.relayed());
        let mut wait = Wait { until: now + FAR, state: None, full: None };
        let leaving = task.serves();
        let empty = lane.is_empty() && foreign.is_empty();
        if leaving {
            lane.stop_sending();
            if lane.flight.is_empty() && !lane.is_risky(&mut wait, now) {
                break;
            }
            foreign.give_up(now);
        } else if lane.send(&mut wait, now, &mut task.instead) {
            continue;
        } else if empty {
            if closed || now.duration_since(used) >= LINGER {
                break;
            }
            wait.earlier(Some(used + LINGER));
        }
        wait.earlier(lane.deadline());
        wait.earlier(foreign.wake_at());
        // Also what cannot be sent now is taken: among it may be what another node asks, and that one may wait for this
        // node as this node waits for it.
        let place = env.settings.waiting_commands.saturating_sub(lane.queue.len()).min(ITEMS);
        let Wait { until, mut state, full } = wait;
        tokio::select! {
            biased;
            Some((token, ended)) = lane.ended.recv() => {
                used = Instant::now();
                lane.has_ended(token, ended);
                while let Ok((token, ended)) = lane.ended.try_recv() {
                    lane.has_ended(token, ended);
                }
            }
            () = task.calls.look.notified() => lane.look_again(),
            () = task.calls.put_down.notified(), if !closed => closed = true,
            () = foreign.verify() => {}
            count = task.waiting.recv_many(&mut items, place), if place > 0 && !closed => {
                used = Instant::now();
                closed |= count == 0;
                items.drain(..).for_each(|item| lane.take(item, &mut foreign));
            }
            () = changed(&mut state) => {}
            () = has_place(full) => {}
            () = tokio::time::sleep_until(until.into()) => {}
        }
    }
    left.extend(foreign.into_items());
    left.extend(lane.again.into_values());
    left.extend(lane.queue);
}

async fn changed(state: &mut Option<watch::Receiver<State>>) {
    if let Some(state) = state
        && state.changed().await.is_ok()
    {
        return;
    }
    // A link that is let go changes no more.
    pending::<()>().await;
}

async fn has_place(full: Option<Session>) {
    match full {
        Some(session) => session.has_place().await,
        None => pending().await,
    }
}

impl Lane {
    fn new(env: Arc<Env>, links: Arc<Links>, room: RoomId) -> Self {
        let most = links.settings().in_flight_per_room;
        let (back, ended) = mpsc::channel(most);
        Self {
            env,
            links,
            room,
            most,
            queue: VecDeque::new(),
            flight: BTreeMap::new(),
            again: BTreeMap::new(),
            out: 0,
            next_token: 0,
            back,
            ended,
            attempt: None,
            risks: Vec::new(),
            hint: None,
            refused_by: Vec::new(),
            pause: PAUSE,
            not_before: Instant::now(),
        }
    }

    fn take(&mut self, item: Item, foreign: &mut Foreign) {
        if item.is_ours() { self.queue.push_back(item) } else { foreign.take(item) }
    }

    fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.flight.is_empty() && self.again.is_empty()
    }

    /// When the next one has waited too long.
    fn deadline(&self) -> Option<Instant> {
        let first = |items: &BTreeMap<u64, Item>| items.first_key_value().and_then(|(_, item)| item.at());
        let all = [first(&self.flight), first(&self.again), self.queue.front().and_then(Item::at)];
        all.into_iter().flatten().min().map(|at| at + self.env.settings.deadline())
    }

    /// Answers what has waited too long: it may still be done.
    fn expire(&mut self, now: Instant) {
        let deadline = self.env.settings.deadline();
        let late = |item: &Item| item.at().is_some_and(|at| now.duration_since(at) >= deadline);
        let mut expired = Vec::new();
        for sent in [&mut self.flight, &mut self.again] {
            while sent.first_key_value().is_some_and(|(_, item)| late(item)) {
                expired.extend(sent.pop_first().map(|(_, item)| item));
            }
        }
        while self.queue.front().is_some_and(late) {
            expired.extend(self.queue.pop_front());
        }
        expired.into_iter().for_each(|item| self.unavailable(item));
    }

    fn unavailable(&self, item: Item) {
        self.env.metrics.refused("unavailable");
        item.fail(busy());
    }

    fn stop_sending(&mut self) {
        if let Some(attempt) = &mut self.attempt {
            attempt.over = true;
        }
    }

    /// Ends an attempt that is over and resolved: what is to be sent again comes first.
    fn settle(&mut self) {
        if self.out == 0 && self.attempt.as_ref().is_some_and(|attempt| attempt.over) {
            self.attempt = None;
            let again = std::mem::take(&mut self.again);
            self.links.metrics().retried.inc_by(again.len() as u64);
            again.into_values().rev().for_each(|item| self.queue.push_front(item));
        }
    }

    /// Whether something that was sent may still be begun elsewhere, and until when.
    fn is_risky(&mut self, wait: &mut Wait, now: Instant) -> bool {
        self.risks.retain(|risk| now < risk.until && !risk.link.is_over(risk.session));
        for risk in &self.risks {
            let (_, state) = risk.link.look();
            if risk.link.is_over(risk.session) {
                continue;
            }
            wait.state = Some(state);
            wait.earlier(Some(risk.until));
        }
        !self.risks.is_empty()
    }

    /// Sends what it can. Says whether something changed that is to be looked at before anything is waited for.
    fn send(&mut self, wait: &mut Wait, now: Instant, instead: &mut Option<Owner>) -> bool {
        if self.queue.is_empty() {
            return false;
        }
        if self.attempt.is_none() {
            match self.choose(now, wait) {
                Choice::Mine => return self.env.route.is_mine(self.room),
                Choice::Instead => {
                    *instead = self.take_over();
                    return instead.is_some();
                }
                Choice::Wait => return false,
                Choice::Node { node, link, session, instead } => {
                    let number = peer::lane_number();
                    self.attempt =
                        Some(Attempt { node, link, session, number, instead, since: now, over: false });
                }
            }
        }
        self.return_to_owner(now);
        let Some(attempt) = &mut self.attempt else { return false };
        if attempt.over {
            // When nothing of it is out, nothing would say so later.
            return self.out == 0;
        }
        while self.out < self.most
            && let Some(item) = self.queue.pop_front()
        {
            if let Some(reason) = item.caller().and_then(|caller| caller.may_begin().err()) {
                item.refuse(busy(), reason, None);
                continue;
            }
            let place = match attempt.session.try_place() {
                Ok(place) => place,
                Err(full) => {
                    self.queue.push_front(item);
                    if full {
                        wait.full = Some(attempt.session.clone());
                        return false;
                    }
                    attempt.over = true;
                    // What was sent over it ends one by one; if nothing was, it is over now.
                    return self.out == 0;
                }
            };
            let what = match &item {
                Item::Command { actor, what, .. } => ask::What::Command(peer::of_command(actor, what)),
                Item::Members { after, limit, .. } => ask::What::Members(peer::of_page(*after, *limit)),
                Item::Wake { .. } => continue,
            };
            let deadline = item.at().unwrap_or(now) + self.env.settings.deadline();
            self.next_token += 1;
            place.send(Request {
                room: self.room,
                lane: attempt.number,
                instead: attempt.instead,
                // Who asks has given up by then, and may have asked another node.
                deadline: item.caller().map_or(deadline, |caller| deadline.min(caller.not_after())),
                what,
                token: self.next_token,
                back: self.back.clone(),
            });
            self.flight.insert(self.next_token, item);
            self.out += 1;
        }
        false
    }

    fn has_ended(&mut self, token: u64, ended: Ended) {
        self.out -= 1;
        let item = self.flight.remove(&token);
        let over = matches!(&self.attempt, Some(attempt) if attempt.over);
        match ended {
            Ended::Answered(outcome) => {
                self.pause = PAUSE;
                self.refused_by.clear();
                if let Some(item) = item {
                    self.answer(item, outcome);
                }
                return;
            }
            Ended::Unsent if item.as_ref().is_some_and(|item| item.caller().is_some()) => {
                if let Some(item) = item {
                    item.refuse(busy(), Reason::Late, None);
                }
            }
            Ended::Unsent => self.again.extend(item.map(|item| (token, item))),
            Ended::NotTaken(Reason::Unknown, _) => {
                // It does not know what that is: nor will it next time.
                if let Some(item) = item {
                    self.unavailable(item);
                }
            }
            Ended::NotTaken(reason, owner) if item.as_ref().is_some_and(|item| item.caller().is_some()) => {
                // Who asked decides whom to ask next: it may be that node's own room by now.
                if let Some(item) = item {
                    item.refuse(busy(), reason, Some(&owner));
                }
                if !over {
                    self.refused(reason, owner);
                }
            }
            Ended::NotTaken(reason, owner) => {
                self.again.extend(item.map(|item| (token, item)));
                if !over {
                    self.refused(reason, owner);
                }
            }
            Ended::Lost { sent } => {
                let until = sent + self.links.settings().late();
                if let Some(attempt) = &self.attempt {
                    let (link, session) = (attempt.link.clone(), attempt.session.number);
                    self.risks.retain(|risk| risk.session != session || !Arc::ptr_eq(&risk.link, &link));
                    self.risks.push(Risk { link, session, until });
                }
                match item.map(Item::doubted) {
                    Some(Ok(item)) => drop(self.again.insert(token, item)),
                    Some(Err(item)) => self.unavailable(item),
                    None => {}
                }
            }
        }
        self.stop_sending();
    }

    fn answer(&self, item: Item, outcome: answer::Outcome) {
        if let Some(at) = item.at() {
            self.env.metrics.answered(at.elapsed());
        }
        match item {
            Item::Command { asker, doubt, .. } => {
                let outcome = peer::reply(outcome).unwrap_or_else(|| Err(Problem::internal()));
                let outcome = doubt.resolve(outcome);
                if let Err(problem) = &outcome {
                    self.env.metrics.refused(problem.code);
                }
                asker.reply(outcome);
            }
            Item::Members { asker, .. } => {
                asker.members(peer::members(outcome).unwrap_or_else(|| Err(Problem::internal())));
            }
            Item::Wake { .. } => {}
        }
    }
}
