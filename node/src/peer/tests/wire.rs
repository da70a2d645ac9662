//! What a node does with what comes over a stream, told by a node that is none: every message as it is wanted.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_core::room::Profile;
use rookery_protocol::{
    id::RoomId,
    peer::{
        Answer, Ask, FromOwner, Hello, Ping, Probe, ToOwner, answer::Outcome, ask, calls_client::CallsClient,
        not_taken::Reason,
    },
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::town::{Town, post, user};
use crate::peer::{codec, of_command};

struct Wire {
    out: mpsc::Sender<ToOwner>,
    incoming: Streaming<FromOwner>,
    answers: HashMap<u64, Outcome>,
    /// What the node's clock said.
    clock: u64,
}

fn hello(number: u64) -> Hello {
    let (cluster, from, to) = ("test".into(), "stranger".into(), "node-0".into());
    Hello { version: 1, cluster, from, to, process: 1, number }
}

impl Wire {
    async fn open(town: &Town, hello: Hello) -> Result<Self, tonic::Status> {
        let mut client = CallsClient::connect(format!("http://{}", town.nodes[0].address)).await.unwrap();
        let (out, stream) = mpsc::channel(16);
        let ping = Some(Ping { sent: 1 });
        out.send(ToOwner { hello: Some(hello), ping, ..ToOwner::default() }).await.unwrap();
        let incoming = client.open(ReceiverStream::new(stream)).await?.into_inner();
        let mut wire = Self { out, incoming, answers: HashMap::new(), clock: 0 };
        while wire.clock == 0 {
            let message = wire.incoming.message().await?.unwrap();
            wire.clock = message.pong.map_or(0, |pong| pong.clock);
        }
        Ok(wire)
    }

    async fn send(&self, revision: u64, asks: Vec<Ask>) {
        self.out.send(ToOwner { revision, asks, ..ToOwner::default() }).await.unwrap();
    }

    async fn answer(&mut self, id: u64) -> Outcome {
        while !self.answers.contains_key(&id) {
            let message = self.incoming.message().await.unwrap().unwrap();
            let answers = message.answers.into_iter();
            self.answers.extend(answers.map(|Answer { id, outcome }| (id, outcome.unwrap())));
        }
        self.answers.remove(&id).unwrap()
    }

    async fn not_taken(&mut self, id: u64) -> (Reason, String) {
        match self.answer(id).await {
            Outcome::NotTaken(not) => (not.reason(), not.owner),
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, id: u64, lane: u64, room: RoomId, by: &Arc<Profile>) -> Ask {
        let what = Some(ask::What::Command(of_command(by, &post(&format!("p{id}")))));
        let not_after = self.clock + 60_000;
        Ask { id, room: codec::of_room(room), lane, not_after, instead: false, what }
    }
}

#[tokio::test]
async fn a_lane_is_taken_in_order_or_not_at_all() {
    let town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let mut wire = Wire::open(&town, hello(1)).await.unwrap();
    let late = Ask { not_after: wire.clock.saturating_sub(1), ..wire.ask(2, 5, room, &ada) };
    let asks = vec![wire.ask(1, 5, room, &ada), late, wire.ask(3, 5, room, &ada), wire.ask(4, 6, room, &ada)];
    wire.send(1, asks).await;
    assert!(matches!(wire.answer(1).await, Outcome::Posted(_)));
    assert_eq!(wire.not_taken(2).await.0, Reason::Late);
    assert_eq!(wire.not_taken(3).await.0, Reason::Lane, "it comes after one that was not taken");
    assert!(matches!(wire.answer(4).await, Outcome::Posted(_)), "another lane");
    let stored: Vec<u64> = town.records(room).await.iter().map(|record| record.events.len() as u64).collect();
    assert_eq!(stored.iter().sum::<u64>(), 3);
}

#[tokio::test]
async fn a_new_stream_ends_the_one_before() {
    let town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let mut old = Wire::open(&town, hello(1)).await.unwrap();
    old.send(1, vec![old.ask(1, 1, room, &ada)]).await;
    assert!(matches!(old.answer(1).await, Outcome::Posted(_)));
    let mut new = Wire::open(&town, hello(2)).await.unwrap();
    old.send(1, vec![old.ask(2, 2, room, &ada)]).await;
    assert_eq!(old.not_taken(2).await.0, Reason::Late);
    new.send(1, vec![new.ask(1, 1, room, &ada)]).await;
    assert!(matches!(new.answer(1).await, Outcome::Posted(_)));
    assert!(Wire::open(&town, hello(1)).await.is_err(), "one that is older still");
}

#[tokio::test]
async fn who_is_wrong_is_told_so() {
    let town = Town::new(2).await;
    let ada = user(1);
    for wrong in [Hello { cluster: "other".into(), ..hello(1) }, Hello { to: "node-1".into(), ..hello(1) }] {
        let status = Wire::open(&town, wrong).await.err().unwrap();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
    }
    let room = town.room(1, &ada, &[]).await;
    let mut wire = Wire::open(&town, hello(1)).await.unwrap();
    let probe = Ask { what: Some(ask::What::Probe(Probe {})), ..wire.ask(1, 0, room, &ada) };
    let unknown = Ask { what: None, ..wire.ask(4, 3, room, &ada) };
    let asks = vec![probe, wire.ask(2, 1, room, &ada), wire.ask(3, 2, room, &ada), unknown];
    wire.send(1, asks).await;
    assert!(matches!(wire.answer(1).await, Outcome::Probed(probed) if !probed.takes));
    assert_eq!(wire.not_taken(2).await, (Reason::Moved, "node-1".to_owned()));
    assert_eq!(wire.not_taken(4).await.0, Reason::Unknown, "what a newer node asks");
    // A ring that this node has not heard of: it waits a moment for it, and tells then.
    let sent = Instant::now();
    wire.send(9, vec![wire.ask(5, 4, room, &ada)]).await;
    assert_eq!(wire.not_taken(5).await, (Reason::Moved, "node-1".to_owned()));
    assert!(sent.elapsed() >= Duration::from_millis(250), "{:?}", sent.elapsed());
    assert_eq!(*town.nodes[0].behind.lock(), [9], "it looks meanwhile");
}

#[tokio::test]
async fn what_is_too_long_ends_its_stream_and_no_other() {
    let town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let mut other = Wire::open(&town, Hello { from: "other".into(), ..hello(1) }).await.unwrap();
    let mut wire = Wire::open(&town, hello(1)).await.unwrap();
    wire.send(1, vec![wire.ask(1, 1, room, &ada)]).await;
    assert!(matches!(wire.answer(1).await, Outcome::Posted(_)));
    // 5 MiB; a node sends 4 at most.
    let long = Ask { room: vec![0; 5 << 20].into(), ..wire.ask(2, 2, room, &ada) };
    wire.send(1, vec![long]).await;
    let ended = async {
        while let Ok(Some(message)) = wire.incoming.message().await {
            assert_eq!(message.answers, [], "it is not read");
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the stream ends");
    other.send(1, vec![other.ask(1, 1, room, &ada)]).await;
    assert!(matches!(other.answer(1).await, Outcome::Posted(_)));
    // And who sent it may come again.
    let mut again = Wire::open(&town, hello(2)).await.unwrap();
    again.send(1, vec![again.ask(3, 1, room, &ada)]).await;
    assert!(matches!(again.answer(3).await, Outcome::Posted(_)));
}
