//! Connections over sockets in memory, on the store that standalone uses.

mod admission;
mod limits;
mod neighbours;
mod wire;
pub(in crate::edge) mod world;

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use rookery_core::room::What;
use rookery_protocol::{
    Subprotocol,
    client::{self, client_frame::Frame as Ask, server_frame::Frame},
    id::RoomId,
};

use self::{
    wire::{Client, Got},
    world::{User, World},
};
use super::connection::Connection;
use crate::{edge::EdgeSettings, live::LiveSettings};

fn settings() -> EdgeSettings {
    EdgeSettings { sends_per_second: 0, frames_per_second: 0, ..EdgeSettings::default() }
}

fn connect(world: &World, protocol: Subprotocol, seed: u64) -> Client {
    let (socket, client) = wire::pair(protocol, seed);
    tokio::spawn(Connection::new(socket, world.edge.clone(), protocol, None, &[], ()));
    client
}

/// Says hello, to go on after these seqs.
async fn hello(client: &mut Client, user: &User, resume: &[(RoomId, u64)]) {
    let resume = resume.iter().map(|(room, seq)| (room.to_string(), *seq)).collect();
    client
        .ask(1, Ask::Hello(client::Hello { token: Some(user.token.clone()), resume, ..Default::default() }));
    client.until(|got| matches!(got, Got::Frame(Frame::Welcome(_)))).await;
}

fn event(got: &Got) -> Option<(&str, u64)> {
    match got {
        Got::Frame(Frame::Message(message)) => Some((&message.room, message.seq)),
        Got::Frame(Frame::Member(member)) => Some((&member.room, member.seq)),
        Got::Frame(Frame::Room(room)) => Some((&room.room, room.seq)),
        _ => None,
    }
}

/// Whatever parts of whatever lengths the socket takes: frames are never torn, each room's events come each once and
/// in order, also where the replay from the log, the tape and what is live meet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_once_over_a_socket_that_takes_little() {
    let world = Arc::new(World::new(settings(), LiveSettings::default()).await);
    let ada = Arc::new(world.user("ada").await);
    let rooms = [world.room(&ada).await, world.room(&ada).await, world.room(&ada).await];
    for room in rooms {
        for number in 0..20 {
            world.post(&ada, room, format!("before {number}")).await;
        }
    }
    let mut clients = Vec::new();
    for (seed, protocol) in (0..6).zip(Subprotocol::ALL.into_iter().cycle()) {
        let mut client = connect(&world, protocol, seed);
        hello(&mut client, &ada, &rooms.map(|room| (room, seed * 3))).await;
        clients.push((client, seed * 3));
    }
    let writers = rooms.map(|room| {
        let (world, ada) = (world.clone(), ada.clone());
        tokio::spawn(async move {
            let mut last = 0;
            for number in 0..150 {
                last = world.post(&ada, room, "é".repeat(1 + number * 7 % 900)).await;
            }
            (room.to_string(), last)
        })
    });
    let mut last = BTreeMap::new();
    for writer in writers {
        let (room, seq) = writer.await.unwrap();
        last.insert(room, seq);
    }
    for (mut client, after) in clients {
        // Requests and their answers in between disturb nothing.
        client.ask(2, Ask::Ping(client::Ping {}));
        let mut next: BTreeMap<String, u64> = last.keys().map(|room| (room.clone(), after + 1)).collect();
        let mut replayed = BTreeMap::new();
        client
            .until(|got| {
                if let Some((room, seq)) = event(got) {
                    let next = next.get_mut(room).unwrap();
                    assert_eq!(seq, *next, "in {room}");
                    *next += 1;
                }
                if let Got::Frame(Frame::CaughtUp(caught_up)) = got {
                    assert_eq!(next[&caught_up.room], caught_up.last_seq + 1);
                    assert!(replayed.insert(caught_up.room.clone(), caught_up.last_seq).is_none());
                }
                next.iter().all(|(room, next)| *next == last[room] + 1) && replayed.len() == last.len()
            })
            .await;
    }
}

/// A reader that stops is closed with 4409 at the end of a whole frame, and nobody else waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_stops_is_closed_and_resumes() {
    stops(LiveSettings { max_lag_bytes: 65_536, tape_max_bytes: 131_072, ..LiveSettings::default() }).await;
}

/// The same, when he notices only by himself that the tape has gone on without him.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_whose_place_is_gone_is_closed_and_resumes() {
    stops(LiveSettings { max_lag_bytes: u64::MAX, tape_max_bytes: 131_072, ..LiveSettings::default() }).await;
}

async fn stops(live: LiveSettings) {
    let world = World::new(settings(), live).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    let mut slow = connect(&world, Subprotocol::Json, 1);
    let mut other = connect(&world, Subprotocol::Proto, 2);
    for client in [&mut slow, &mut other] {
        hello(client, &ada, &[(room, 0)]).await;
        client.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
    }
    slow.open_window(1_000);
    let mut last = 0;
    for _ in 0..100 {
        last = world.post(&ada, room, "x".repeat(4_000)).await;
    }
    other.until(|got| event(got).is_some_and(|(_, seq)| seq == last)).await;
    slow.open_window(usize::MAX);
    let mut seen = 1;
    let got = slow.until(|got| matches!(got, Got::Close(_))).await;
    for (_, seq) in got.iter().filter_map(event) {
        assert_eq!(seq, seen + 1);
        seen = seq;
    }
    assert_eq!(got.last(), Some(&Got::Close(4409)));
    assert!(seen < last);
    let mut again = connect(&world, Subprotocol::Json, 3);
    hello(&mut again, &ada, &[(room, seen)]).await;
    let got = again.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
    let seqs: Vec<_> = got.iter().filter_map(event).map(|(_, seq)| seq).collect();
    assert_eq!(seqs, (seen + 1..=last).collect::<Vec<_>>());
}

/// Who leaves a room hears that he left, and nothing after it.
#[tokio::test]
async fn who_leaves_hears_that_and_nothing_more() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let room = world.room(&ada).await;
    world.app.rooms.join(room, &bob.profile).await.unwrap();
    let mut his = connect(&world, Subprotocol::Json, 1);
    hello(&mut his, &bob, &[(room, 2)]).await;
    his.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
    world.app.rooms.command(room, &bob.profile, What::Leave).await.unwrap();
    world.post(&ada, room, "without him".to_owned()).await;
    let left = |got: &Got| matches!(got, Got::Frame(Frame::Member(member)) if member.change == "left");
    his.until(left).await;
    his.ask(2, Ask::Subscribe(client::Subscribe { room: room.to_string(), after: None }));
    let got = his.until(|got| matches!(got, Got::Frame(Frame::Error(_)))).await;
    assert!(got.iter().all(|got| event(got).is_none()), "{got:?}");
    assert!(matches!(got.last(), Some(Got::Frame(Frame::Error(error))) if error.code == "not_a_member"));
}

/// Who missed what is no longer kept is told where the history begins, and follows from then on.
#[tokio::test]
async fn who_missed_what_is_gone_is_told_so() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    let mut last = 0;
    for number in 0..20 {
        last = world.post(&ada, room, format!("{number}")).await;
    }
    world.forget(room, 11).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    hello(&mut client, &ada, &[(room, 3)]).await;
    let resync = |got: &Got| matches!(got, Got::Frame(Frame::Resync(_)));
    let got = client.until(resync).await;
    assert!(got.iter().all(|got| event(got).is_none()), "{got:?}");
    let told = client::Resync { room: room.to_string(), from: 11, last_seq: last };
    assert_eq!(got.last(), Some(&Got::Frame(Frame::Resync(told))));
    let next = world.post(&ada, room, "live".to_owned()).await;
    client.until(|got| event(got).is_some_and(|(_, seq)| seq == next)).await;
    // Who has read up to there misses nothing.
    let mut other = connect(&world, Subprotocol::Json, 2);
    hello(&mut other, &ada, &[(room, 10)]).await;
    let got = other.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
    let seqs: Vec<_> = got.iter().filter_map(event).map(|(_, seq)| seq).collect();
    assert_eq!(seqs, (11..=next).collect::<Vec<_>>());
}

/// Who has seen more than the log shows is believed, if a proof says so: nothing is told twice, nothing is missed.
#[tokio::test]
async fn nobody_is_sent_back_to_the_beginning_by_a_log_that_shows_what_is_old() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    world.answers_with_what_is_old(room, true).await;
    let mut last = 0;
    for number in 0..5 {
        last = world.post(&ada, room, number.to_string()).await;
    }
    // Another node, which has not heard of the room yet.
    let other = world.beside("other", settings(), LiveSettings::default()).await;
    let mut client = connect(&other, Subprotocol::Json, 1);
    hello(&mut client, &ada, &[(room, last)]).await;
    let is_end = |got: &Got| matches!(got, Got::Frame(Frame::CaughtUp(_) | Frame::Resync(_)));
    let got = client.until(is_end).await;
    let told = client::CaughtUp { room: room.to_string(), last_seq: last };
    assert_eq!(got.last(), Some(&Got::Frame(Frame::CaughtUp(told))));
    assert!(got.iter().all(|got| event(got).is_none()), "{got:?}");
    // Who says that he has seen what was never there is told so.
    let mut liar = connect(&other, Subprotocol::Json, 2);
    hello(&mut liar, &ada, &[(room, last + 1)]).await;
    let got = liar.until(is_end).await;
    let told = client::Resync { room: room.to_string(), from: 1, last_seq: last };
    assert_eq!(got.last(), Some(&Got::Frame(Frame::Resync(told))));
    world.answers_with_what_is_old(room, false).await;
    let next = world.post(&ada, room, "live".to_owned()).await;
    client.until(|got| event(got).is_some_and(|(_, seq)| seq == next)).await;
}

/// What a connection held is given back when it goes, in whatever way.
#[tokio::test]
async fn nothing_is_left_of_a_connection() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    for seed in 0..3 {
        let mut client = connect(&world, Subprotocol::Json, seed);
        hello(&mut client, &ada, &[(room, 0)]).await;
        if seed > 0 {
            client.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
        }
        if seed == 2 {
            client.send(8, &1000u16.to_be_bytes());
            client.until(|got| *got == Got::Close(1000)).await;
        } else {
            client.vanish();
        }
    }
    let is_left = || world.edge.registry.count() > 0 || world.edge.metrics.websockets.get() > 0;
    eventually("nothing is left", async || !is_left()).await;
    assert!(world.edge.registry.links(ada.profile.id).is_empty());
    assert_eq!(world.app.hub.open(room).followers(), 0);
}

/// What a burst took is given back when all of it is read: an idle connection holds no buffers.
#[tokio::test]
async fn nothing_is_held_for_what_is_read() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    let (socket, mut client) = wire::pair(Subprotocol::Json, 1);
    let connection = Connection::new(socket, world.edge.clone(), Subprotocol::Json, None, &[], ());
    let connection = Arc::new(Mutex::new(connection));
    let polled = connection.clone();
    tokio::spawn(std::future::poll_fn(move |context| {
        let mut connection = polled.lock();
        std::pin::Pin::new(&mut *connection).poll(context)
    }));
    let holds = || connection.lock().buffers() > 0;
    hello(&mut client, &ada, &[(room, 0)]).await;
    client.until(|got| matches!(got, Got::Frame(Frame::CaughtUp(_)))).await;
    for _ in 0..2 {
        client.open_window(1_000);
        let mut last = 0;
        for _ in 0..20 {
            last = world.post(&ada, room, "x".repeat(4_000)).await;
        }
        eventually("something waits", async || holds()).await;
        client.open_window(usize::MAX);
        client.ask(2, Ask::Ping(client::Ping {}));
        let (mut read, mut answered) = (false, false);
        client
            .until(|got| {
                read |= event(got).is_some_and(|(_, seq)| seq == last);
                answered |= matches!(got, Got::Frame(Frame::Pong(_)));
                read && answered
            })
            .await;
        eventually("nothing is held", async || !holds()).await;
    }
}

async fn eventually(what: &str, is_so: impl AsyncFn() -> bool) {
    let waited = async {
        while !is_so().await {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), waited).await.expect(what);
}

/// An idle connection holds next to nothing.
#[test]
fn a_connection_is_small() {
    let size = size_of::<Connection<tokio::net::TcpStream, Arc<()>>>();
    assert!(size <= 384, "{size}");
}
