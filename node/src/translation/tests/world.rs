//! A room that is followed on this node, and a translator that does as it is told.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use rookery_core::{
    record::{Body, Event, MemberChange, MemberChanged, Posted, Record, RoomChanged},
    room::{Profile, Update},
};
use rookery_protocol::{
    Subprotocol,
    client::{self, server_frame::Frame},
    id::{MessageId, RecordId, RoomId, UserId},
    translator::{Missing, TranslateReply, TranslateRequest, TranslatedText, missing::Reason},
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use super::super::{Allows, Asked, Lang, Translation, TranslationMetrics};
use crate::{
    accounts::{Accounts, AccountsMetrics, AccountsSettings},
    backend::{
        Append, Appended, Committed, Read, RoomLog, Unavailable,
        embedded::{Mailbox, Store, StoreMetrics, StoreSettings, SystemClock, Ttl},
    },
    live::{
        Hub, Joined, LiveMetrics, LiveSettings, Room,
        link::{Link, Mail, Sub},
    },
};

pub(super) const ROOM: RoomId = RoomId(7);

/// Nothing is missed here.
struct NoLog;

#[async_trait]
impl RoomLog for NoLog {
    async fn append(&self, _: Append) -> Appended {
        Appended::ConditionFailed
    }
    async fn tail(&self, _: RoomId) -> Result<Option<Committed>, Unavailable> {
        Ok(None)
    }
    async fn read(&self, _: RoomId, _: Read) -> Result<Vec<Committed>, Unavailable> {
        Ok(Vec::new())
    }
    async fn forget(&self, _: RoomId, _: u64) -> Result<(), Unavailable> {
        Ok(())
    }
    fn follow(&self, _: RoomId, _: bool) {}
}

/// What the room says: whether it may be translated, if that can be found out.
pub(super) struct Allowed {
    pub(super) may: Mutex<Option<bool>>,
    pub(super) asked: AtomicUsize,
}

#[async_trait]
impl Allows for Allowed {
    async fn allows(&self, _: RoomId) -> Option<bool> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.may.lock()
    }
}

/// What a translator says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// The text, with the language before it.
    Texts,
    /// Nothing: it is not there.
    Nothing,
    /// Its engines are away, for so many milliseconds.
    Away(u64),
    /// It has no engine for these languages.
    NoEngine,
}

/// A translator that does as it is told.
pub(super) struct Translator {
    says: Mutex<Says>,
    asked: Mutex<Vec<TranslateRequest>>,
    /// Who has asked is answered when he gets one of these.
    answers: Semaphore,
}

#[async_trait]
impl Asked for Translator {
    async fn translate(&self, request: TranslateRequest) -> Option<TranslateReply> {
        self.asked.lock().push(request.clone());
        self.answers.acquire().await.ok()?.forget();
        let missing = |reason: Reason, retry_after_ms| {
            let missing = |language: &String| Missing {
                language: language.clone(),
                reason: reason.into(),
                retry_after_ms,
            };
            let missing = request.targets.iter().map(missing).collect();
            Some(TranslateReply { missing, ..TranslateReply::default() })
        };
        match *self.says.lock() {
            Says::Nothing => None,
            Says::Away(retry_after_ms) => missing(Reason::Away, retry_after_ms),
            Says::NoEngine => missing(Reason::NoEngine, 0),
            Says::Texts => {
                let text = |language: &String| TranslatedText {
                    language: language.clone(),
                    text: format!("{language}: {}", request.text),
                    engine: "told".to_owned(),
                };
                Some(TranslateReply {
                    texts: request.targets.iter().map(text).collect(),
                    ..TranslateReply::default()
                })
            }
        }
    }
}

impl Translator {
    pub(super) fn says(&self, says: Says) {
        *self.says.lock() = says;
    }

    /// So many who have asked, or ask later, are answered.
    pub(super) fn answer(&self, count: usize) {
        self.answers.add_permits(count);
    }

    /// What it was asked for so far.
    pub(super) fn asked(&self) -> Vec<TranslateRequest> {
        self.asked.lock().clone()
    }
}

/// A connection that follows the room.
pub(super) struct Reader {
    pub(super) link: Arc<Link>,
    pub(super) sub: Arc<Sub>,
    tape: Arc<crate::live::Tape>,
}

impl Reader {
    /// It has written all that is on the tape.
    pub(super) fn catch_up(&self) {
        self.sub.cursor.store(self.tape.end(), Ordering::Release);
    }

    /// The frames that wait for it and others. (What is for it alone is not looked at: who is present.)
    pub(super) fn shared(&self) -> Vec<Arc<[u8]>> {
        let mut mail = Mail::default();
        self.link.collect(Waker::noop(), &mut mail);
        mail.shared
    }

    /// Texts of the translations that wait for it.
    pub(super) fn told(&self) -> Vec<String> {
        self.shared().iter().map(|frame| text(self.link.protocol, frame)).collect()
    }
}

/// The text in a short frame.
fn text(protocol: Subprotocol, frame: &[u8]) -> String {
    let from = if frame[1] == 126 { 4 } else { 2 };
    let frame = protocol.decode_server(&frame[from..], usize::MAX).unwrap();
    let Some(Frame::Translation(client::Translation { text, .. })) = frame.frame else { panic!("{frame:?}") };
    text
}

/// See the module's text.
pub(super) struct World {
    pub(super) hub: Arc<Hub>,
    pub(super) room: Arc<Room>,
    pub(super) translator: Arc<Translator>,
    pub(super) allowed: Arc<Allowed>,
    registry: Registry,
    next: Mutex<u64>,
    _dir: TempDir,
}

impl World {
    pub(super) async fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let stored = StoreSettings::default();
        let store =
            Store::open(dir.path(), &stored, StoreMetrics::register(&mut Registry::default())).unwrap();
        let ttl = Arc::new(Ttl::open(store.clone(), &stored, Arc::new(SystemClock)).await.unwrap());
        let mailbox = Arc::new(Mailbox::open(store.clone(), &stored, Arc::new(SystemClock)).await.unwrap());
        let metrics = AccountsMetrics::default();
        let accounts = Accounts::start(AccountsSettings::default(), store, ttl, mailbox, metrics);
        let mut registry = Registry::default();
        let translator = Arc::new(Translator {
            says: Mutex::new(Says::Texts),
            asked: Mutex::default(),
            answers: Semaphore::new(0),
        });
        let metrics = TranslationMetrics::register(&mut registry);
        let allowed = Arc::new(Allowed { may: Mutex::new(Some(true)), asked: AtomicUsize::new(0) });
        let accounts = accounts.await.unwrap();
        let translation = Translation::new(accounts, allowed.clone(), translator.clone(), metrics);
        let hub = Arc::new(Hub::new(LiveSettings::default(), LiveMetrics::default()));
        hub.start(Arc::new(NoLog));
        translation.start(&hub);
        let room = hub.open(ROOM);
        hub.begin(&room, 0);
        Self { hub, room, translator, allowed, registry, next: Mutex::new(1), _dir: dir }
    }

    /// Somebody who reads in a language, if he does.
    pub(super) fn reader(&self, user: u128, language: &str, protocol: Subprotocol) -> Reader {
        self.reader_but_for(user, language, protocol, &[])
    }

    /// The same, but for these rooms.
    pub(super) fn reader_but_for(
        &self,
        user: u128,
        language: &str,
        protocol: Subprotocol,
        except: &[RoomId],
    ) -> Reader {
        let link = Link::new(protocol, 0, u64::MAX);
        link.identify(Arc::new(user_of(user)));
        link.read_in(Lang::parse(language), except.into());
        match self.room.join(&link, 0, None, self.room.dismissals(), |_| {}, &self.hub.live) {
            Joined::Yes(following) => Reader { link, sub: following.sub, tape: following.tape },
            other => panic!("{other:?}"),
        }
    }

    /// An event is committed; its seq.
    pub(super) fn happens(&self, body: Body) -> u64 {
        let mut next = self.next.lock();
        let seq = *next;
        *next += 1;
        let record = Record {
            room: ROOM,
            epoch: 1,
            id: RecordId(seq.into()),
            first_seq: seq,
            messages_before: seq - 1,
            previous_checksum: 0,
            events: vec![Event { ts: 0, actor: UserId(1), body }],
            owner: "node".to_owned(),
        };
        self.hub.stored_here(&Arc::new(record));
        seq
    }

    pub(super) fn post(&self, text: &str) -> u64 {
        self.happens(Body::Posted(Box::new(Posted {
            id: MessageId(1),
            sender: user_of(1),
            text: text.to_owned(),
            client_msg_id: "m".to_owned(),
            reply_to: None,
            mentions: Vec::new(),
        })))
    }

    /// The room says whether it may be translated.
    pub(super) fn allow(&self, may: bool) {
        let update = Update { translation: Some(may), ..Update::default() };
        self.happens(Body::Room(Box::new(RoomChanged::Updated(update))));
    }

    pub(super) fn kick(&self, user: u128) {
        self.happens(Body::Member(Box::new(MemberChanged {
            user: user_of(user),
            change: MemberChange::Kicked,
            role: None,
            until: None,
        })));
    }

    /// Waits until the translator was asked so often.
    pub(super) async fn asked(&self, count: usize) -> Vec<TranslateRequest> {
        eventually(&format!("the translator is asked {count} times"), || {
            let asked = self.translator.asked();
            (asked.len() >= count).then_some(asked)
        })
        .await
    }

    /// A counter's value.
    pub(super) fn counted(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }
}

fn user_of(user: u128) -> Profile {
    Profile { id: UserId(user), username: format!("user-{user}"), display_name: format!("User {user}") }
}

/// Asks until there is an answer. The clock of the test stands still but for what is slept, so a moment here is none for people.
pub(super) async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
