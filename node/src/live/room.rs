//! A room that somebody on this node follows: its tapes, who reads them, and who is present.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_core::{
    feed::{Feed, Gap, Ready},
    record::{Body, Event, MemberChange, Record, RoomChanged},
    room::Update,
};
use rookery_protocol::{
    Subprotocol,
    client::{self, server_frame::Frame},
    id::{RoomId, UserId},
};

use super::{
    Live, frame,
    link::{Link, Signal, Sub, opcode},
    presence::Attendance,
    readers::Readers,
    tape::{Batch, Tape},
    telling::{Telling, Told},
};
use crate::{
    backend::bus::{NodeRun, RoomNews},
    rooms,
    translation::{Lang, Spoken, Translates},
};

/// How many subprotocols there are: each has its own tape.
pub(super) const PROTOCOLS: usize = 2;
/// Records that a room holds behind a gap.
const HELD: usize = 64;
/// A tape is looked at for what can be cut off whenever it has grown by so many bytes.
const CUT_EVERY: u64 = 16 * 1024;
/// Messages whose newest edit is remembered, so that nobody is told a translation of what they said before.
const REVISIONS: usize = 1024;
/// Languages that a message is translated into, at most.
const LANGUAGES: usize = 32;

/// What a connection holds of a room that it follows.
#[derive(Debug)]
pub struct Following {
    /// The room.
    pub room: Arc<Room>,
    /// What it reads.
    pub tape: Arc<Tape>,
    /// How far it has come.
    pub sub: Arc<Sub>,
    /// When its reading reaches this position, the replay is over, at that seq.
    pub caught_up: Option<(u64, u64)>,
}

/// See the module's text.
#[derive(Debug)]
pub struct Room {
    /// Which.
    pub id: RoomId,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    /// `None`: where to begin is not known yet.
    feed: Option<Feed<Arc<Record>>>,
    /// Newest event seen before that.
    known: u64,
    pub(super) lanes: [Option<Lane>; PROTOCOLS],
    attendance: Attendance,
    /// Typing frames of the current second, and which second: of users here, and elsewhere.
    typing: [(u32, u64); 2],
    /// Other nodes must be asked who is there.
    ask: bool,
    /// How often somebody was dismissed.
    dismissals: u64,
    /// Languages that those who follow the room read.
    pub(super) readers: Readers,
    /// Whether messages may be translated, once that is known.
    translation: Option<bool>,
    /// Messages, and the seq of what last changed them.
    revisions: BTreeMap<u64, u64>,
    /// Nobody has followed the room since then.
    idle_since: Option<Instant>,
    /// Taken out of the hub: follow it anew.
    retired: bool,
}

/// The followers that speak one subprotocol.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) tape: Arc<Tape>,
    subs: Vec<Arc<Sub>>,
    looked_at: u64,
    /// Who begins before this seq must read the log: the tape still has the text of a message deleted since.
    floor: u64,
}

/// Memory that publishing works in, reused from one call to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    payload: Vec<u8>,
    batches: [Batch; PROTOCOLS],
    turns: Vec<Arc<Link>>,
}

/// How an attempt to follow a room went.
#[derive(Debug)]
pub enum Joined {
    /// Following; frames from the tape come after what was left in the connection's outbox.
    Yes(Following),
    /// The tape does not reach back so far, or not so far forward: read the log, then try again.
    Behind,
    /// The room is not known to begin anywhere yet, or was given up meanwhile, or somebody was dismissed: begin again.
    NotNow,
}

pub(super) fn lane(protocol: Subprotocol) -> usize {
    match protocol {
        Subprotocol::Json => 0,
        Subprotocol::Proto => 1,
    }
}

impl Room {
    /// `shares`: other nodes follow it too.
    pub(super) fn new(id: RoomId, shares: bool) -> Self {
        Self {
            id,
            inner: Mutex::new(Inner {
                feed: None,
                known: 0,
                lanes: [None, None],
                attendance: Attendance::new(shares),
                typing: [(0, 0); 2],
                ask: false,
                dismissals: 0,
                readers: Readers::default(),
                translation: None,
                revisions: BTreeMap::new(),
                idle_since: Some(Instant::now()),
                retired: false,
            }),
        }
    }

    /// The room's log has reached `seq`: what comes later is delivered. Returns what must be fetched.
    pub(super) fn begin(&self, seq: u64) -> Option<Gap> {
        let mut inner = self.inner.lock();
        let known = inner.known;
        let feed = inner.feed.get_or_insert_with(|| Feed::new(seq, HELD));
        feed.exists(known.max(feed.delivered()))
    }

    /// Seq of the newest event delivered; `None` before [`Self::begin`].
    pub(super) fn delivered(&self) -> Option<u64> {
        self.inner.lock().feed.as_ref().map(Feed::delivered)
    }

    /// Delivers what of `records` is new and in order. Returns what must be fetched.
    pub(super) fn offer(
        &self,
        records: &mut Vec<Arc<Record>>,
        scratch: &mut Scratch,
        live: &Live,
    ) -> Option<Gap> {
        let mut inner = self.inner.lock();
        let mut ready = Vec::with_capacity(records.len());
        let mut gap = None;
        for record in records.drain(..) {
            let last = record.last_seq();
            match &mut inner.feed {
                // An epoch record has no events, but says how many there are.
                Some(feed) if record.events.is_empty() => gap = feed.exists(last).or(gap),
                Some(feed) => gap = feed.offer(record.first_seq, last, record, &mut ready).or(gap),
                None => inner.known = inner.known.max(last),
            }
        }
        for Ready { from, payload, .. } in ready {
            inner.deliver(self.id, from, &payload, scratch, live);
        }
        inner.flush(scratch, live);
        gap
    }

    /// The room has events up to `last`, though their record may have been lost. Returns what must be fetched.
    pub(super) fn exists(&self, last: u64) -> Option<Gap> {
        self.inner.lock().feed.as_mut().and_then(|feed| feed.exists(last))
    }

    /// A fetch has ended. Returns what must be fetched still.
    pub(super) fn fetched(&self) -> Option<Gap> {
        let mut inner = self.inner.lock();
        let retired = inner.retired;
        inner.feed.as_mut().and_then(Feed::fetched).filter(|_| !retired)
    }

    /// Lets `link` follow the room as its number `index`: after seq `after`, or from now on (`None`).
    ///
    /// `dismissals` is from [`Self::dismissals`], before the user was found to be a member.
    /// `first` is called with the newest seq before anything can be read from the tape: what it posts comes first.
    pub fn join(
        self: &Arc<Self>,
        link: &Arc<Link>,
        index: u32,
        after: Option<u64>,
        dismissals: u64,
        first: impl FnOnce(u64),
        live: &Live,
    ) -> Joined {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let usable = !inner.retired && inner.dismissals == dismissals;
        let Some(newest) = inner.feed.as_ref().map(Feed::delivered).filter(|_| usable) else {
            return Joined::NotNow;
        };
        let lane = inner.lanes[lane(link.protocol)].get_or_insert_with(|| Lane {
            tape: Arc::new(Tape::new(newest)),
            subs: Vec::new(),
            looked_at: 0,
            floor: 0,
        });
        let tape = lane.tape.clone();
        let start = match after {
            None => None,
            Some(after) => match tape.position_after(after).filter(|_| after >= lane.floor) {
                Some(position) => Some(position),
                None => return Joined::Behind,
            },
        };
        first(newest);
        let away = link.away.load(Ordering::Acquire);
        // It is one of the readers before the others are told: what they are told may be the occasion to cut off what all
        // have read, and it has read nothing.
        let sub = Arc::new(Sub::new(link.clone(), index, start.unwrap_or_else(|| tape.end())));
        sub.away.store(away, Ordering::Relaxed);
        sub.slot.store(u32::try_from(lane.subs.len()).unwrap_or(u32::MAX), Ordering::Relaxed);
        lane.subs.push(sub.clone());
        if let Some(user) = link.user() {
            inner.attendance.greet(self.id, user, link, &live.settings);
            let news = inner.attendance.enter(self.id, user, away, &live.settings);
            inner.tell(news.as_slice(), live);
        }
        let end = tape.end();
        if start.is_none() {
            // It knows of itself.
            sub.cursor.store(end, Ordering::Relaxed);
        }
        inner.idle_since = None;
        inner.count_reader(&sub, link.reads(self.id));
        let caught_up = after.map(|_| (end, newest));
        Joined::Yes(Following { room: self.clone(), tape, sub, caught_up })
    }

    /// How often somebody stopped being a member, as far as was seen.
    pub fn dismissals(&self) -> u64 {
        self.inner.lock().dismissals
    }

    /// A connection stops following.
    pub fn leave(&self, sub: &Sub, live: &Live) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        if let Some(lane) = &mut inner.lanes[lane(sub.link.protocol)] {
            let slot = sub.slot.load(Ordering::Relaxed) as usize;
            lane.subs.swap_remove(slot);
            if let Some(moved) = lane.subs.get(slot) {
                moved.slot.store(u32::try_from(slot).unwrap_or(u32::MAX), Ordering::Relaxed);
            }
        }
        inner.readers.remove(sub);
        if inner.lanes.iter().flatten().all(|lane| lane.subs.is_empty()) {
            inner.idle_since = Some(Instant::now());
        } else {
            // Nobody speaks that subprotocol here any more: nothing is encoded in it.
            for lane in &mut inner.lanes {
                lane.take_if(|lane| lane.subs.is_empty());
            }
        }
        if let Some(user) = sub.link.user() {
            let away = sub.away.load(Ordering::Relaxed);
            let news = inner.attendance.leave(self.id, user, away, &live.settings);
            inner.tell(news.as_slice(), live);
        }
    }

    /// A connection that follows the room is away now, or back, or as before.
    pub fn presence(&self, sub: &Sub, away: bool, live: &Live) {
        if sub.away.load(Ordering::Relaxed) == away {
            return;
        }
        let mut inner = self.inner.lock();
        if let Some(user) = sub.link.user()
            && sub.away.swap(away, Ordering::Relaxed) != away
        {
            let news = inner.attendance.change(self.id, user, away, &live.settings);
            inner.tell(news.as_slice(), live);
        }
    }

    /// The user of a connection that follows the room reads it in another language now, or as before.
    pub fn reads(&self, sub: &Arc<Sub>) {
        let language = sub.link.reads(self.id);
        self.inner.lock().count_reader(sub, language);
    }

    /// Seq of the newest event delivered; 0 if there is none.
    pub fn last_seq(&self) -> u64 {
        self.delivered().unwrap_or_default()
    }

    /// A user who follows the room is typing. Dropped when many are.
    pub fn typing(&self, user: UserId, now: Duration, live: &Live) {
        if self.inner.lock().typing(self.id, user, (0, now), live) {
            live.news.tell_room(self.id, RoomNews::Typing { user });
        }
    }

    /// What another node tells of the room. `now`: time of this node.
    pub(super) fn heard(&self, from: NodeRun, news: RoomNews, now: Duration, live: &Live) {
        let mut inner = self.inner.lock();
        match news {
            RoomNews::Typing { user } => {
                inner.typing(self.id, user, (1, now), live);
            }
            RoomNews::WhoIsThere => inner.attendance.share_all(),
            RoomNews::Present { all, more, users } => {
                let news = inner.attendance.heard(self.id, from, (all, more, users), &live.settings);
                inner.tell(&news, live);
            }
            RoomNews::Unknown => {}
        }
    }

    /// A node is silent.
    pub(super) fn silent(&self, node: NodeRun, live: &Live) {
        let mut inner = self.inner.lock();
        let news = inner.attendance.forget(self.id, node, &live.settings);
        inner.tell(&news, live);
    }

    /// News of other nodes were lost.
    pub(super) fn missed(&self) {
        let mut inner = self.inner.lock();
        inner.ask = true;
        inner.attendance.share_all();
    }

    /// Whether a message may be translated that has the text that event `revision` gave it, as far as is known.
    pub fn may_translate(&self, seq: u64, revision: u64) -> bool {
        self.inner.lock().may_translate(seq, revision)
    }

    /// Whether it is known if messages may be translated.
    pub fn knows_translation(&self) -> bool {
        self.inner.lock().translation.is_some()
    }

    /// Messages may be translated or not, as was read; what an event has said since then is newer.
    pub fn learn_translation(&self, may: bool) {
        self.inner.lock().translation.get_or_insert(may);
    }

    /// Tells a translation to some of those who read its language and have been written the message.
    pub fn translated(&self, telling: &mut Telling) -> Told {
        telling.go_on(&self.inner.lock())
    }

    /// Connections that follow it.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        self.size().1
    }

    /// Once a second: presence that is due; whether the room is of no use any more, after which it takes nobody.
    pub(super) fn tick(&self, now: Instant, live: &Live) -> bool {
        let mut inner = self.inner.lock();
        if !inner.attendance.is_empty() {
            let news = inner.attendance.tick(self.id, now, &live.settings);
            inner.tell(&news, live);
        }
        if let Some(bus) = live.news.bus() {
            if std::mem::take(&mut inner.ask) {
                bus.tell_room(self.id, RoomNews::WhoIsThere);
            }
            if let Some(news) = inner.attendance.share(now, &live.settings) {
                bus.tell_room(self.id, news);
            }
        }
        inner.retired = inner
            .idle_since
            .is_some_and(|since| now.saturating_duration_since(since) >= live.settings.room_linger());
        inner.retired
    }

    /// Bytes on its tapes, and connections that follow it.
    pub(super) fn size(&self) -> (u64, usize) {
        let inner = self.inner.lock();
        inner
            .lanes
            .iter()
            .flatten()
            .fold((0, 0), |(bytes, subs), lane| (bytes + lane.tape.held(), subs + lane.subs.len()))
    }
}

impl Inner {
    /// Says that a user is typing, unless too many are; says whether it did. `lane`: those here, or those elsewhere.
    fn typing(&mut self, room: RoomId, user: UserId, (lane, now): (usize, Duration), live: &Live) -> bool {
        let (count, of) = &mut self.typing[lane];
        let second = now.as_secs();
        if *of != second {
            (*count, *of) = (0, second);
        }
        *count += 1;
        let told = *count <= live.settings.typing_per_second;
        if told {
            let typing = client::Typing { room: room.to_string(), user: user.to_string() };
            self.tell(&[client::ServerFrame { re: None, frame: Some(Frame::Typing(typing)) }], live);
        }
        told
    }

    fn deliver(&mut self, room: RoomId, from: u64, record: &Record, scratch: &mut Scratch, live: &Live) {
        for (seq, event) in record.numbered().skip_while(|(seq, _)| *seq < from) {
            self.put(&rooms::frame(room, seq, event), Some(seq), scratch);
            if let Some(translates) = live.translates.get() {
                self.speak(room, seq, event, translates);
            }
            if let Some(gone) = gone(&event.body) {
                self.flush(scratch, live);
                self.dismiss(gone);
                live.dismissals.fetch_add(1, Ordering::AcqRel);
            }
            if let Body::Deleted { message_seq } = event.body {
                for lane in self.lanes.iter_mut().flatten() {
                    lane.floor = lane.floor.max(message_seq);
                }
            }
            if scratch.batches.iter().any(|batch| batch.bytes.len() >= live.settings.batch_bytes) {
                self.flush(scratch, live);
            }
        }
    }

    /// Counts a connection among those who read a language, and no longer among those of another.
    fn count_reader(&mut self, sub: &Arc<Sub>, language: Option<Lang>) {
        if sub.reading.lock().map(|(language, _)| language) == language {
            return;
        }
        self.readers.remove(sub);
        if let Some(language) = language {
            self.readers.add(language, sub);
        }
    }

    pub(super) fn may_translate(&self, seq: u64, revision: u64) -> bool {
        let says_still = self.revisions.get(&seq).is_none_or(|newest| *newest <= revision);
        says_still && self.translation != Some(false)
    }

    /// Says what was said, if anybody here may need a translation; never waits.
    fn speak(&mut self, room: RoomId, seq: u64, event: &Event, translates: &Translates) {
        let (message, text) = match &event.body {
            Body::Posted(posted) => (seq, Some(&posted.text)),
            Body::Edited { message_seq, text, .. } => (*message_seq, Some(text)),
            Body::Deleted { message_seq } => (*message_seq, None),
            Body::Room(changed) => {
                if let RoomChanged::Updated(Update { translation: Some(may), .. }) = **changed {
                    self.translation = Some(may);
                }
                return;
            }
            _ => return,
        };
        if message != seq {
            self.revisions.insert(message, seq);
            if self.revisions.len() > REVISIONS {
                self.revisions.pop_first();
            }
        }
        let wanted = !self.readers.is_empty() && self.translation != Some(false);
        let Some(text) = text.filter(|_| wanted) else { return };
        translates.tell(Spoken {
            room,
            seq: message,
            revision: seq,
            sender: event.actor,
            text: text.clone(),
            languages: self.readers.languages(LANGUAGES),
        });
    }

    /// Writes a frame once for each subprotocol that is spoken here.
    fn put(&self, frame: &client::ServerFrame, seq: Option<u64>, scratch: &mut Scratch) {
        for protocol in Subprotocol::ALL {
            let lane = lane(protocol);
            if self.lanes[lane].is_some() {
                scratch.payload.clear();
                protocol.encode(frame, &mut scratch.payload);
                let batch = &mut scratch.batches[lane];
                frame::put_frame(&mut batch.bytes, opcode(protocol), &scratch.payload);
                batch.end_frame(seq);
            }
        }
    }

    /// Puts what is written on the tapes and wakes the readers.
    fn flush(&mut self, scratch: &mut Scratch, live: &Live) {
        for (lane, batch) in self.lanes.iter_mut().zip(&mut scratch.batches) {
            if batch.is_empty() {
                continue;
            }
            if let Some(lane) = lane {
                let end = lane.tape.append(batch);
                live.metrics.published(batch.len(), lane.subs.len());
                for sub in &lane.subs {
                    sub.mark_for(&mut scratch.turns);
                }
                lane.look(end, live);
            }
            batch.clear();
        }
        live.pacer.take(&mut scratch.turns);
    }

    /// Frames that are no durable events, for everybody here.
    fn tell(&mut self, frames: &[client::ServerFrame], live: &Live) {
        if frames.is_empty() {
            return;
        }
        let mut scratch = Scratch::default();
        for frame in frames {
            self.put(frame, None, &mut scratch);
        }
        self.flush(&mut scratch, live);
    }

    /// The connections of those who are gone read up to here and no further.
    fn dismiss(&mut self, gone: Gone) {
        self.dismissals += 1;
        for lane in self.lanes.iter().flatten() {
            let end = lane.tape.end();
            for sub in &lane.subs {
                let leaves = match gone {
                    Gone::All => true,
                    Gone::User(user) => sub.link.user() == Some(user),
                };
                if leaves {
                    sub.until.fetch_min(end, Ordering::AcqRel);
                    sub.mark();
                }
            }
        }
    }
}

impl Lane {
    /// Cuts off what all have read, but for a little; tells those who are too far behind.
    fn look(&mut self, end: u64, live: &Live) {
        if end - self.looked_at < CUT_EVERY {
            return;
        }
        self.looked_at = end;
        let settings = &live.settings;
        let mut slowest = end;
        for sub in &self.subs {
            let cursor = sub.cursor.load(Ordering::Relaxed);
            slowest = slowest.min(cursor);
            if end - cursor > settings.max_lag_bytes {
                sub.link.signal(Signal::Lagging);
            }
        }
        let kept = end.saturating_sub(settings.tape_keep_bytes).min(slowest);
        self.tape.cut(kept.max(end.saturating_sub(settings.tape_max_bytes)));
    }
}

/// Whom an event makes stop following the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gone {
    User(UserId),
    /// The room is removed.
    All,
}

fn gone(body: &Body) -> Option<Gone> {
    match body {
        Body::Member(member) => {
            let removed =
                matches!(member.change, MemberChange::Left | MemberChange::Kicked | MemberChange::Banned);
            removed.then_some(Gone::User(member.user.id))
        }
        Body::Room(changed) => matches!(**changed, RoomChanged::Removed).then_some(Gone::All),
        _ => None,
    }
}
