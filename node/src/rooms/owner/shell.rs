//! Drives one room's owner: feeds it, does what it wants done, and answers.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::pending,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use rookery_core::{
    owner::{self, Action, Failed, Identity, Input, Legacy, LogSeq, Owner, Stopped, Stored},
    record::{Body, Record},
    room::{Command, Head, Profile, Refusal, Reply, Role},
};
use rookery_protocol::id::{RecordId, RoomId, UserId};
use tokio::{
    task::{JoinError, JoinSet},
    time::Sleep,
};

use super::{
    super::{Member, Page, history, log, marks::Riders, refusal, retention, rows},
    Asker, Begin, Doubt, End, Env, Item, Task, busy,
    commit::{self, Consequences},
    snapshots::{self, Snapshot, Snapshots},
};
use crate::{
    backend::{self, Expect, Row, Seen, Table, bus::News},
    problem::Problem,
};

/// Items taken from the mailbox at once.
const ITEMS: usize = 256;
/// Looks at members that wait until the room is served.
const LOOKS: usize = 1024;
/// How long the room's task sleeps at most; it wakes up earlier for whatever comes.
const FAR: Duration = Duration::from_secs(3600);
/// A room of which nobody asked anything for so long is handed over so much later than others, unless somebody does: those that somebody
/// waits for go first. Its next owner waits longer than that for what it is left.
const QUIET: Duration = Duration::from_secs(1);
const AFTER: Duration = Duration::from_millis(50);

async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => pending().await,
    }
}

/// Serves a room until it is put down, is another node's, or cannot go on.
///
/// What `left` holds is taken first, and what was taken and not done is in there afterwards.
pub(super) async fn serve(task: &mut Task, left: &mut VecDeque<Item>) -> End {
    let env = task.env.clone();
    while left.len() < ITEMS
        && let Ok(item) = task.waiting.try_recv()
    {
        left.push_back(item);
    }
    // What another owner has left is of use before anything is read.
    let mut begin = std::mem::take(&mut task.begin);
    left.iter_mut().for_each(|item| begin.inherit(item.legacy()));
    let mut shell = Shell::new(env.clone(), task.room, begin);
    let mut items = Vec::with_capacity(ITEMS.min(16));
    let mut sleep = Box::pin(tokio::time::sleep(FAR));
    let mut used = Instant::now();
    let mut moves_at = None;
    shell.take_all(left.drain(..));
    while !shell.stopped {
        if shell.is_idle() && shell.is_absent() && !shell.leaving {
            // An id that somebody made up: not worth waiting for more.
            shell.leave(Input::StepDown);
            continue;
        }
        shell.arm(sleep.as_mut(), used);
        tokio::select! {
            biased;
            appended = ended(&mut shell.flight) => {
                shell.flight = None;
                shell.feed(appended);
                shell.tell_of_fence();
            }
            read = shell.reads.join_next(), if !shell.reads.is_empty() => shell.read(read),
            saved = shell.saves.join_next(), if !shell.saves.is_empty() => shell.saved(saved),
            () = task.calls.put_down.notified(), if !shell.leaving => shell.leave(Input::StepDown),
            () = task.calls.look.notified(), if !shell.leaving => {
                if task.serves() {
                    moves_at = None;
                } else if used.elapsed() < QUIET {
                    shell.move_on();
                } else {
                    moves_at.get_or_insert_with(|| tokio::time::Instant::now() + AFTER);
                }
            }
            () = at(moves_at), if !shell.leaving => shell.move_on(),
            count = task.waiting.recv_many(&mut items, ITEMS), if !shell.leaving => {
                used = Instant::now();
                if count == 0 {
                    shell.leave(Input::StepDown);
                } else if moves_at.is_some() {
                    shell.move_on();
                    shell.held.extend(items.drain(..));
                }
                shell.take_all(items.drain(..));
            }
            () = sleep.as_mut() => {
                if used.elapsed() >= env.settings.idle() && shell.is_idle() {
                    shell.leave(Input::StepDown);
                } else {
                    shell.feed(Input::Tick);
                }
            }
        }
        shell.begin();
    }
    if shell.end == End::Moved {
        // Before a snapshot that may still be on its way is waited for.
        tracing::debug!(room = %task.room, legacy = shell.leaves.is_some(), "a room is handed over");
        task.hand_over(shell.leaves.take()).await;
    }
    // A record or a snapshot may still be on its way to the disk. What is still being read is of use to nobody, and not waited for: the
    // next owner here may have been left all there is to know.
    if shell.flight.is_some() {
        ended(&mut shell.flight).await;
    }
    while !shell.saves.is_empty() {
        let saved = shell.saves.join_next().await;
        shell.saved(saved);
    }
    if shell.end == End::Overtaken {
        task.begin = Begin { fencing_first: true, ..shell.next };
    }
    left.append(&mut shell.held);
    shell.end
}

/// A command that is not answered yet.
struct Asked {
    asker: Asker<Reply>,
    at: Instant,
    doubt: Doubt,
}

/// A look at a page of members.
struct Look {
    after: Option<UserId>,
    limit: usize,
    asker: Asker<Page<Member>>,
    at: Instant,
}

/// What was read for the owner.
enum Found {
    Told(Input),
    /// The room's snapshot, and what the next one replaces.
    Snapshot(Result<Option<Bytes>, Failed>, Option<Expect>),
}

/// How a task ended; `None`: there was none.
type Joined<T> = Option<Result<T, JoinError>>;

/// An append that is on its way, and what it ends with. Not a task of its own: each would cost a turn of the scheduler.
type Flight = Pin<Box<dyn Future<Output = Input> + Send>>;

/// Waits for the append on its way; for ever if there is none.
async fn ended(flight: &mut Option<Flight>) -> Input {
    match flight {
        Some(flight) => flight.await,
        None => pending().await,
    }
}

/// What is stored with a record, and what follows once it is.
struct Pending {
    id: RecordId,
    rows: Vec<Row>,
    known: Consequences,
    riders: Riders,
}

struct Shell {
    env: Arc<Env>,
    room: RoomId,
    owner: Owner,
    /// For the owner, which is told all of it at once.
    inputs: Vec<Input>,
    actions: Vec<Action>,
    /// Ends with the shell, wherever they are.
    reads: JoinSet<Found>,
    /// What the next snapshot replaces; `None`: this one could not be stored.
    saves: JoinSet<Option<Expect>>,
    flight: Option<Flight>,
    asked: HashMap<u64, Asked>,
    looks: BTreeMap<u64, Look>,
    /// Taken, and not begun: requests of other nodes while the room is not served yet; at the end, what was given back.
    held: VecDeque<Item>,
    /// How many of them were given back.
    given_back: usize,
    next_ticket: u64,
    /// Of the append in flight.
    pending: Option<Pending>,
    snapshots: Snapshots,
    /// What the next owner here begins with, if this one turns out to be overtaken.
    next: Begin,
    /// For the next owner elsewhere.
    leaves: Option<Legacy>,
    /// When it began, until it has fenced.
    begun: Option<Instant>,
    leaving: bool,
    stopped: bool,
    end: End,
}

impl Shell {
    fn new(env: Arc<Env>, room: RoomId, begin: Begin) -> Self {
        tracing::debug!(%room, legacy = begin.legacy.is_some(), begin.fencing_first, "a room is taken over");
        let identity = Identity { room, seed: rand::random() };
        let heir =
            begin.legacy.and_then(|legacy| Owner::heir(identity, env.core.clone(), *legacy, env.now()));
        if heir.is_some() {
            env.metrics.inherited.inc();
        }
        let owner = heir.unwrap_or_else(|| {
            let owner = Owner::new(identity, env.core.clone());
            if begin.fencing_first { owner.fencing_first() } else { owner }
        });
        let mut shell = Self {
            env,
            room,
            owner,
            inputs: Vec::new(),
            actions: Vec::new(),
            reads: JoinSet::new(),
            saves: JoinSet::new(),
            flight: None,
            asked: HashMap::new(),
            looks: BTreeMap::new(),
            held: VecDeque::new(),
            given_back: 0,
            next_ticket: 0,
            pending: None,
            snapshots: Snapshots::default(),
            next: Begin::default(),
            leaves: None,
            begun: Some(Instant::now()),
            leaving: false,
            stopped: false,
            end: End::PutDown,
        };
        shell.env.metrics.takeovers.inc();
        shell.feed(Input::Tick);
        shell
    }

    fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.looks.is_empty() && self.held.is_empty() && self.pending.is_none()
    }

    /// Whether there is no such room.
    fn is_absent(&self) -> bool {
        self.next_ticket > 0 && self.owner.serves() && self.owner.state().last_seq() == 0
    }

    /// Sets the timer to what comes first.
    fn arm(&self, mut sleep: Pin<&mut Sleep>, used: Instant) {
        let idle = if self.leaving { Instant::now() + FAR } else { used + self.env.settings.idle() };
        let wake = self.owner.wake_at().map(|at| self.env.started + Duration::from_millis(at));
        let at = wake.map_or(idle, |wake| wake.min(idle)).max(Instant::now() + Duration::from_millis(1));
        let (at, armed) = (tokio::time::Instant::from_std(at), sleep.deadline());
        // Moving a timer costs more than waking up once for nothing: it is only ever moved to be earlier,
        // or when it has gone off.
        if at < armed || sleep.is_elapsed() {
            sleep.as_mut().reset(at);
        }
    }

    fn take_all(&mut self, items: impl Iterator<Item = Item>) {
        items.for_each(|item| self.take(item));
        self.tell();
    }

    fn take(&mut self, item: Item) {
        // What another node asks is not begun before what is known of the room is as new as the condition of our next append: if
        // that node has asked another owner since, the log refuses what comes of it here. Its requests keep
        // their order.
        let early = item.caller().is_some() && !self.owner.serves();
        if self.stopped || early || (item.caller().is_some() && !self.held.is_empty()) {
            self.held.push_back(item);
        } else {
            self.start(item);
        }
    }

    fn tell_of_fence(&mut self) {
        if let Some(begun) = self.begun.filter(|_| self.owner.fenced()) {
            self.begun = None;
            let (room, took, epoch) = (self.room, begun.elapsed(), self.owner.epoch());
            tracing::debug!(%room, ?took, epoch, "a room is fenced");
        }
    }

    /// Begins what was held, once the room is served.
    fn begin(&mut self) {
        if !self.stopped && !self.leaving && self.owner.serves() {
            let held = std::mem::take(&mut self.held);
            self.take_all(held.into_iter());
        }
    }

    /// To be told to the owner with what else there is.
    fn start(&mut self, mut item: Item) {
        if let Some(reason) = item.caller().and_then(|caller| caller.may_begin().err()) {
            return item.refuse(busy(), reason, None);
        }
        if let Some(legacy) = item.legacy() {
            return self.inherit(legacy);
        }
        match item {
            Item::Command { actor, what, asker, at, doubt } => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.asked.insert(ticket, Asked { asker, at, doubt });
                let command =
                    Command { actor: (*actor).clone(), what, now: unix_millis(), random: rand::random() };
                self.inputs.push(Input::Command { ticket, command: Box::new(command) });
            }
            Item::Members { asker, .. } if self.looks.len() >= LOOKS => asker.members(Err(busy())),
            Item::Members { after, limit, asker, at } => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.looks.insert(ticket, Look { after, limit, asker, at });
                // One more than is shown: whether there are more.
                self.inputs.push(Input::Look { ticket, after, limit: limit.saturating_add(1) });
            }
            Item::Wake { .. } => {}
        }
    }

    /// The owner before has left the room, after this one began to read: what this one knows is old then, unless it has fenced.
    fn inherit(&mut self, legacy: Box<Legacy>) {
        let at = legacy.place.at;
        tracing::debug!(room = %self.room, serves = self.owner.serves(), "a room's owner before has left it");
        self.next.inherit(Some(legacy));
        // At once: what comes after it is for the next owner, if this ends this one.
        self.feed(Input::Behind { at });
    }

    /// The room is another node's now.
    fn move_on(&mut self) {
        tracing::debug!(room = %self.room, flight = self.flight.is_some(), "a room is to be handed over");
        self.end = End::Moved;
        self.leave(Input::HandOver);
    }

    /// `how`: `StepDown` or `HandOver`.
    fn leave(&mut self, how: Input) {
        self.leaving = true;
        self.feed(how);
    }

    fn read(&mut self, read: Joined<Found>) {
        match read {
            Some(Ok(Found::Told(input))) => self.feed(input),
            Some(Ok(Found::Snapshot(snapshot, stored))) => {
                self.snapshots.stored = stored;
                self.feed(Input::Snapshot(snapshot));
            }
            None => {}
            // The owner would wait for it for ever.
            Some(Err(error)) => self.fail(&error.to_string()),
        }
    }

    /// Tells the owner something, and what else it is to be told.
    fn feed(&mut self, input: Input) {
        self.inputs.push(input);
        self.tell();
    }

    /// Tells the owner what there is, and does what it wants done. A panic ends this owner, not the node.
    fn tell(&mut self) {
        if self.inputs.is_empty() {
            return;
        }
        let mut inputs = std::mem::take(&mut self.inputs);
        let fed = catch_unwind(AssertUnwindSafe(|| {
            self.owner.handle_all(inputs.drain(..), self.env.now(), &mut self.actions);
        }));
        self.inputs = inputs;
        if fed.is_err() {
            return self.fail("its owner panicked");
        }
        let mut actions = std::mem::take(&mut self.actions);
        for action in actions.drain(..) {
            self.act(action);
        }
        self.actions = actions;
    }

    /// Ends this owner after a mistake of ours; the next command starts another one from the log.
    fn fail(&mut self, why: &str) {
        tracing::error!(room = %self.room, why, "a room failed and is read again from its log");
        self.env.metrics.panics.inc();
        self.end = End::Failed;
        self.end();
    }

    fn end(&mut self) {
        self.stopped = true;
        for (_, asked) in self.asked.drain() {
            self.env.metrics.refused("unavailable");
            asked.asker.reply(Err(busy()));
        }
        for (_, Look { after, limit, asker, at }) in std::mem::take(&mut self.looks) {
            self.held.push_back(Item::Members { after, limit, asker, at });
        }
    }

    fn act(&mut self, action: Action) {
        let (env, room) = (self.env.clone(), self.room);
        match action {
            Action::LoadTail { sure } => {
                self.reads.spawn(async move {
                    let mut tail = env.log.tail(room).await;
                    if sure && matches!(tail, Ok(None)) {
                        tail = env.log.certain_tail(room).await;
                    }
                    Found::Told(Input::Tail(tail.map(|tail| tail.map(stored)).map_err(|_| Failed)))
                });
            }
            Action::LoadSnapshot => {
                self.reads.spawn(async move {
                    let row = env.rows.get(Table::Snapshots, &rows::of_room(room)).await;
                    let stored = row.as_ref().ok().map(|row| row.as_ref().map(|entry| entry.revision));
                    let snapshot = row.map(|row| row.map(|entry| entry.value)).map_err(|_| Failed);
                    Found::Snapshot(snapshot, stored.map(snapshots::replaces))
                });
            }
            Action::ReadFrom { from, to } => {
                self.reads.spawn(async move {
                    let read =
                        backend::Read { from, to, backwards: false, max_records: 1024, max_bytes: 4 << 20 };
                    let records = env.log.read(room, read).await;
                    let records =
                        records.map(|all| all.into_iter().map(stored).collect()).map_err(|_| Failed);
                    Found::Told(Input::Records(records))
                });
            }
            Action::LoadHead { seq, seen } => {
                let seen = Seen { room, at: backend::LogSeq(seen.at.0), first_seq: seen.first_seq };
                self.reads.spawn(async move {
                    let head = head(&env, room, seq, seen).await.map_err(|_| Failed);
                    Found::Told(Input::Head { seq, head })
                });
            }
            Action::Append(append) => self.append(append),
            Action::Committed { at, record } => self.committed(at, &record),
            Action::Answer { ticket, outcome } => self.answer(ticket, outcome),
            Action::Show { ticket, members } => self.show(ticket, members),
            Action::GiveBack { ticket, command } => self.give_back(ticket, *command),
            Action::SaveSnapshot { bytes, retention_days } => {
                let seq = self.owner.snapshot_seq();
                self.snapshots.next = Some(Snapshot { seq, bytes, retention_days });
                self.save();
            }
            Action::HandOver(legacy) => self.leaves = Some(legacy),
            Action::Stopped { why } => {
                match why {
                    Stopped::SteppedDown => {}
                    Stopped::Overtaken => {
                        tracing::debug!(%room, "a room is taken over again: its owner before went on meanwhile");
                        self.end = End::Overtaken;
                    }
                    Stopped::Fenced { .. } => {
                        tracing::info!(%room, %why, "a room moved to another owner");
                        self.end = End::Fenced;
                    }
                    _ => {
                        tracing::error!(%room, %why, "a room cannot be served");
                        self.end = End::Broken;
                    }
                }
                self.end();
            }
        }
    }

    /// Stores the next snapshot, if there is one and none is on its way.
    fn save(&mut self) {
        let Some((snapshot, stored)) = self.snapshots.begin() else { return };
        let (env, room) = (self.env.clone(), self.room);
        self.saves.spawn(async move {
            let saved = snapshots::store(&*env.rows, room, &snapshot, stored).await;
            match &saved {
                Ok(Some(_)) => retention::snapshot_stored(&env, room, snapshot.seq, snapshot.retention_days),
                Ok(None) => tracing::debug!(%room, "a newer snapshot of the room is there"),
                Err(why) => tracing::warn!(%room, %why, "the snapshot of a room could not be stored"),
            }
            saved.ok().flatten().map(Expect::Revision)
        });
    }

    fn saved(&mut self, saved: Joined<Option<Expect>>) {
        let Some(saved) = saved else { return };
        self.snapshots.storing = false;
        self.snapshots.stored = saved.unwrap_or_else(|error| {
            tracing::error!(room = %self.room, %error, "storing the snapshot of a room failed");
            self.env.metrics.panics.inc();
            None
        });
        self.save();
    }

    /// The rows to be stored with a record: the same at every try, for an earlier one may be stored.
    fn rows(&mut self, append: &owner::Append) -> Vec<Row> {
        if append.record.events.is_empty() {
            return Vec::new();
        }
        if let Some(pending) = self.pending.as_ref().filter(|pending| pending.id == append.id) {
            return pending.rows.clone();
        }
        let (mut rows, known) = commit::consequences(self.room, append, Some(self.owner.state()));
        let riders = self.env.marks.with_record(self.room, &known.marks);
        rows.extend(riders.rows(self.room));
        self.pending = Some(Pending { id: append.id, rows: rows.clone(), known, riders });
        rows
    }

    fn append(&mut self, append: owner::Append) {
        let rows = self.rows(&append);
        let (env, room, attempt) = (self.env.clone(), self.room, append.attempt);
        let append = backend::Append {
            room,
            expected: backend::LogSeq(append.expected.0),
            first_seq: append.first_seq,
            last_seq: append.last_seq,
            record: append.sealed,
            rows,
        };
        self.flight = Some(Box::pin(async move {
            let outcome = match env.log.append(append).await {
                backend::Appended::Committed(at) => owner::Appended::Committed(LogSeq(at.0)),
                backend::Appended::ConditionFailed => owner::Appended::ConditionFailed,
                backend::Appended::Unknown => owner::Appended::Unknown,
            };
            Input::AppendDone { attempt, outcome }
        }));
    }

    /// Remembers what a commit made known, and has its events delivered, before anybody is answered.
    fn committed(&mut self, LogSeq(at): LogSeq, record: &Arc<Record>) {
        if let Some(Pending { known, riders, .. }) = self.pending.take() {
            self.env.ends.moved(self.room, backend::LogSeq(at), known.end);
            self.env.marks.mentioned(self.room, known.mentioned);
            self.env.marks.stored_with_record(self.room, &riders);
            self.env.marks.raise(self.room, known.marks);
            if let Some(hook) = self.env.on_unread.get()
                && !known.addressed.is_empty()
            {
                hook(&known.addressed);
            }
            for (user, seq) in known.newcomers {
                if let Some(hook) = self.env.on_newcomer.get() {
                    hook(user, self.room, seq);
                }
                self.env.news.tell(News::Newcomer { user, room: self.room, seq });
            }
            self.env.metrics.sends.inc_by(known.messages);
            // An event count is far below 2^53.
            #[expect(clippy::cast_precision_loss)]
            self.env.metrics.batch.observe(known.events as f64);
        }
        if let Some(hook) = self.env.on_committed.get() {
            hook(record);
        }
    }

    fn answer(&mut self, ticket: u64, outcome: Result<Reply, Refusal>) {
        let Some(asked) = self.asked.remove(&ticket) else { return };
        self.env.metrics.answered(asked.at.elapsed());
        let outcome = asked.doubt.resolve(outcome.map_err(|refusal| refusal::problem(&refusal)));
        if let Err(problem) = &outcome {
            self.env.metrics.refused(problem.code);
        }
        asked.asker.reply(outcome);
    }

    /// Keeps what nothing was done of, before what came after it.
    fn give_back(&mut self, ticket: u64, command: Command) {
        let Some(Asked { asker, at, doubt }) = self.asked.remove(&ticket) else { return };
        let Command { actor, what, .. } = command;
        let item = Item::Command { actor: Arc::new(actor), what, asker, at, doubt };
        self.held.insert(self.given_back, item);
        self.given_back += 1;
    }

    fn show(&mut self, ticket: u64, members: Result<Vec<(Profile, Role)>, Refusal>) {
        let Some(Look { limit, asker, .. }) = self.looks.remove(&ticket) else { return };
        asker.members(
            members.map(|members| page(members, limit)).map_err(|refusal| refusal::problem(&refusal)),
        );
    }
}

/// A page of members, of which one more than are on it are given if there are more.
fn page(members: Vec<(Profile, Role)>, limit: usize) -> Page<Member> {
    let mut items: Vec<Member> = members.into_iter().map(|(user, role)| Member { user, role }).collect();
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|member| member.user.id.0);
    Page { items, next }
}

fn stored(committed: backend::Committed) -> Stored {
    Stored { at: LogSeq(committed.at.0), bytes: committed.record }
}

/// Unix milliseconds.
fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// What is known of a message; `None`: the event is none.
async fn head(env: &Env, room: RoomId, seq: u64, seen: Seen) -> Result<Option<Head>, Problem> {
    // The owner asks for what is in the log. A read that does not show it is old: a leader of the log that stood still
    // answers so for a moment.
    let Some(record) = log::first_from(&*env.log, room, seq).await? else { return Err(busy()) };
    if record.first_seq > seq {
        // It was there, and is older than what is kept.
        return Ok(None);
    }
    let event = record.numbered().find(|(at, _)| *at == seq).map(|(_, event)| event);
    let Some((sender, Body::Posted(_))) = event.map(|event| (event.actor, &event.body)) else {
        return Ok(None);
    };
    let row = env.rows.get_as_of(Table::Amendments, &rows::of_message(room, seq), seen).await;
    let row = row.map_err(|why| log::unavailable(&why))?;
    let amendment = row.map(|row| history::decode(room, seq, &row.value)).transpose()?.unwrap_or_default();
    Ok(Some(Head { sender, amendment }))
}
