//! The hub over a log in memory, between which records get lost, repeated and mixed up.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rookery_core::{
    record::{Body, Event, Posted, Record},
    room::Profile,
};
use rookery_protocol::{
    Subprotocol,
    client::server_frame::Frame,
    id::{MessageId, RecordId, RoomId, UserId},
};

use super::{Hub, Joined, LiveMetrics, LiveSettings, link::Link};
use crate::backend::{Append, Appended, CommitSink, Committed, LogSeq, Read, RoomLog, Unavailable};

const ROOM: RoomId = RoomId(7);

/// A log that is only read; now and then it cannot be.
struct Log {
    records: Mutex<Vec<(u64, u64, Committed)>>,
    random: Mutex<StdRng>,
}

#[async_trait]
impl RoomLog for Log {
    async fn append(&self, _: Append) -> Appended {
        Appended::ConditionFailed
    }
    async fn tail(&self, _: RoomId) -> Result<Option<Committed>, Unavailable> {
        Ok(self.records.lock().last().map(|(_, _, record)| record.clone()))
    }
    async fn read(&self, _: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        if self.random.lock().random_ratio(1, 3) {
            return Err(Unavailable("not now".into()));
        }
        let records = self.records.lock();
        let found = records.iter().filter(|(first, last, _)| *first <= read.to && *last >= read.from);
        Ok(found.take(3).map(|(_, _, record)| record.clone()).collect())
    }
    async fn forget(&self, _: RoomId, _: u64) -> Result<(), Unavailable> {
        Err(Unavailable("it never forgets".into()))
    }
    fn follow(&self, _: RoomId, _: bool) {}
}

impl Log {
    fn commit(&self, first_seq: u64, events: u64) -> Committed {
        let sender = Profile { id: UserId(1), username: "ada".to_owned(), display_name: "Ada".to_owned() };
        let post = |number| Event {
            ts: 0,
            actor: sender.id,
            body: Body::Posted(Box::new(Posted {
                id: MessageId(number),
                sender: sender.clone(),
                text: "hello".to_owned(),
                client_msg_id: "m".to_owned(),
                reply_to: None,
                mentions: Vec::new(),
            })),
        };
        let record = Record {
            room: ROOM,
            epoch: 1,
            id: RecordId(first_seq.into()),
            first_seq,
            messages_before: first_seq - 1,
            previous_checksum: 0,
            events: (0..events).map(|number| post(number.into())).collect(),
            owner: "node".to_owned(),
        };
        let mut records = self.records.lock();
        let at = LogSeq(records.len() as u64 + 1);
        let committed = Committed { room: ROOM, at, record: record.seal().bytes };
        records.push((first_seq, first_seq + events - 1, committed.clone()));
        committed
    }
}

/// Each event is on the tape once and in order, whatever the sink is told, as long as it is told of the last one, or that
/// something may be missing.
#[tokio::test]
async fn the_tape_has_every_event_once() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let log = Arc::new(Log {
            records: Mutex::default(),
            random: Mutex::new(StdRng::seed_from_u64(seed + 1000)),
        });
        // So small an inbox overflows, too.
        let settings = LiveSettings {
            workers: 1,
            inbox_records: 5,
            tape_keep_bytes: 1 << 20,
            ..LiveSettings::default()
        };
        let hub = Arc::new(Hub::new(settings, LiveMetrics::default()));
        hub.start(log.clone());
        let room = hub.open(ROOM);
        let mut next = 1;
        let mut late: Vec<Committed> = Vec::new();
        for _ in 0..random.random_range(0..4) {
            let events = random.random_range(1..4);
            hub.committed(&log.commit(next, events));
            next += events;
        }
        hub.begin(&room, 0);
        let link = Link::new(Subprotocol::Proto, 0, u64::MAX);
        let dismissals = room.dismissals();
        let joined = room.join(&link, 0, Some(0), dismissals, |_| {}, &hub.live);
        let Joined::Yes(following) = joined else { panic!("{joined:?}") };
        for _ in 0..60 {
            let events = random.random_range(1..4);
            let committed = log.commit(next, events);
            next += events;
            match random.random_range(0..6) {
                0 => {}
                1 => late.push(committed),
                2 => {
                    hub.committed(&committed);
                    hub.committed(&committed);
                }
                _ => hub.committed(&committed),
            }
            if random.random_ratio(1, 5) {
                late.drain(..).for_each(|late| hub.committed(&late));
            }
            if random.random_ratio(1, 3) {
                tokio::task::yield_now().await;
            }
        }
        let last = log.commit(next, 1);
        if seed % 2 == 0 {
            hub.committed(&last);
        } else {
            // Lost, and nothing comes after it: all that is told is that something may be missing.
            hub.missed(ROOM);
        }
        let tape = &following.tape;
        let all = async {
            while tape.last_seq() < next {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), all).await.expect("what is missed is fetched");
        let mut chunks = Vec::new();
        tape.read(0, tape.end(), usize::MAX, &mut chunks).unwrap();
        let bytes: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect();
        assert_eq!(seqs(&bytes), (1..=next).collect::<Vec<_>>(), "seed {seed}");
    }
}

/// Who comes finds on the tape what he came for, also when it is his coming that lets the tape be cut.
#[tokio::test]
async fn who_comes_is_a_reader_before_anything_is_cut() {
    let log = Arc::new(Log { records: Mutex::default(), random: Mutex::new(StdRng::seed_from_u64(1)) });
    // All are told of each who comes.
    let settings = LiveSettings { tape_keep_bytes: 0, presence_members: 10_000, ..LiveSettings::default() };
    let hub = Arc::new(Hub::new(settings, LiveMetrics::default()));
    hub.start(log.clone());
    let room = hub.open(ROOM);
    hub.begin(&room, 0);
    let join = |number: u128, after: u64| {
        let link = Link::new(Subprotocol::Proto, 0, u64::MAX);
        let name = format!("user-{number}");
        link.identify(Arc::new(Profile { id: UserId(number), username: name.clone(), display_name: name }));
        match room.join(&link, 0, Some(after), room.dismissals(), |_| {}, &hub.live) {
            Joined::Yes(following) => following,
            other => panic!("{other:?}"),
        }
    };
    let first = join(1, 0);
    let tape = first.tape.clone();
    let mut cut = 0;
    for seq in 1..600 {
        let record = Record::open(&log.commit(seq, 1).record, ROOM).expect("it was just sealed").record;
        hub.stored_here(&Arc::new(record));
        first.sub.cursor.store(tape.end(), Ordering::Relaxed);
        let held = tape.held();
        let next = join(1 + u128::from(seq), seq - 1);
        cut += u64::from(tape.held() < held);
        let mut chunks = Vec::new();
        let cursor = next.sub.cursor.load(Ordering::Relaxed);
        tape.read(cursor, tape.end(), usize::MAX, &mut chunks).expect("it is there for who came for it");
        room.leave(&next.sub, &hub.live);
    }
    assert!(cut > 0, "nothing was cut when somebody came");
}

/// The seqs of messages in short binary frames.
fn seqs(mut bytes: &[u8]) -> Vec<u64> {
    let mut seqs = Vec::new();
    while let &[first, len, ..] = bytes {
        assert_eq!(first, 0x82);
        let (from, len) = match len {
            126 => (4, usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))),
            short => (2, usize::from(short)),
        };
        let frame = Subprotocol::Proto.decode_server(&bytes[from..from + len], usize::MAX).unwrap();
        let Some(Frame::Message(message)) = frame.frame else { panic!("{frame:?}") };
        seqs.push(message.seq);
        bytes = &bytes[from + len..];
    }
    seqs
}
