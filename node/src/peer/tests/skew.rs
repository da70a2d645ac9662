//! Nodes of different versions in one cluster: neighbours work together, and what one of them does not know it refuses
//! or passes over, never takes for something else.

use std::{net::SocketAddr, pin::Pin, sync::Arc, time::Duration};

use bytes::{Buf, BufMut, Bytes};
use prost::Message as _;
use rookery_protocol::peer::{
    Answer, Ask, Command, FromOwner, Hello, Member, Members, NotTaken, Ping, Pong, ToOwner, Welcome,
    answer::Outcome,
    ask,
    calls_server::{Calls, CallsServer},
    not_taken::Reason,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};

use super::{
    crowd::Crowd,
    links::common,
    town::{Town, name, post, user},
};
use crate::{
    peer::{
        Ended, Link, PeerSettings, Request as Asked, State, VERSION, clock, codec, members, of_command, reply,
    },
    rooms::RoomsSettings,
};

/// A field of a number that no message has, with three bytes in it.
const UNKNOWN: &[u8] = &[0xFA, 0x3E, 3, 1, 2, 3];

async fn town(nodes: usize, versions: fn(usize) -> u32) -> Town {
    Town::speaking(nodes, PeerSettings::default(), RoomsSettings::default(), versions).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_in_the_middle_of_an_upgrade_fails_nothing() {
    let mut town = town(3, |node| if node == 0 { VERSION } else { VERSION + 1 }).await;
    let crowd = Crowd::start(&town, 0, &[0, 1, 2]).await;
    crowd.goes_on(100).await;
    for round in 0..4 {
        let owner = town.owner(crowd.room);
        town.change(|active| if round % 2 == 0 { active[owner] = false } else { active.fill(true) });
        crowd.goes_on(100).await;
        for node in &town.nodes {
            tokio::time::timeout(Duration::from_secs(10), node.rooms.moved_away()).await.unwrap();
        }
    }
    let sum = crowd.end(&town).await;
    assert_eq!(sum.unavailable, 0, "{sum:?}");
}

#[tokio::test]
async fn nodes_two_versions_apart_reach_each_other_by_one_between() {
    let town = town(3, |node| VERSION + u32::try_from(node).unwrap()).await;
    let ada = user(1);
    for (owner, edge) in [(0, 2), (2, 0)] {
        let room = town.room(owner, &ada, &[]).await;
        let posted = town.nodes[edge].rooms.command(room, &ada, post(&format!("over {edge}"))).await;
        assert!(posted.is_ok(), "{posted:?}");
    }
    for version in [0, VERSION + 2] {
        let mut wire = Newer::connect(town.nodes[0].address).await;
        let first = ToOwner { hello: Some(Hello { version, ..hello() }), ..ToOwner::default() };
        wire.send(first.encode_to_vec()).await;
        let status = wire.open().await.err().unwrap();
        assert_eq!(status.code(), tonic::Code::FailedPrecondition);
        for part in ["node-0", "newer", &format!("version {version}"), &format!("this node {VERSION}")] {
            assert!(status.message().contains(part), "{status:?}");
        }
    }
}

fn hello() -> Hello {
    let (cluster, from, to) = ("test".into(), "newer".into(), "node-0".into());
    Hello { version: VERSION + 1, cluster, from, to, process: 1, number: 1 }
}

/// A stream as a newer node opens it: messages as bytes, so that they can hold what this program has no name for.
struct Newer {
    client: tonic::client::Grpc<tonic::transport::Channel>,
    out: mpsc::Sender<Vec<u8>>,
    stream: Option<mpsc::Receiver<Vec<u8>>>,
}

struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = FromOwner;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = FromOwner;
    type Error = Status;
    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<FromOwner>, Status> {
        let all = from.copy_to_bytes(from.remaining());
        FromOwner::decode(all).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Newer {
    async fn connect(to: SocketAddr) -> Self {
        let channel = Endpoint::from_shared(format!("http://{to}")).unwrap().connect().await.unwrap();
        let (out, stream) = mpsc::channel(16);
        Self { client: tonic::client::Grpc::new(channel), out, stream: Some(stream) }
    }

    async fn send(&self, message: Vec<u8>) {
        self.out.send(message).await.unwrap();
    }

    async fn open(&mut self) -> Result<Streaming<FromOwner>, Status> {
        self.client.ready().await.unwrap();
        let path = "/rookery.peer.v1.Calls/Open".parse().unwrap();
        let stream = ReceiverStream::new(self.stream.take().unwrap());
        self.client.streaming(Request::new(stream), path, Raw).await.map(Response::into_inner)
    }
}

/// `message`, with a field more of a number below 16 that holds `part`.
fn with(mut message: Vec<u8>, field: u8, part: &[u8]) -> Vec<u8> {
    message.push(field << 3 | 2);
    prost::encode_length_delimiter(part.len(), &mut message).unwrap();
    message.extend_from_slice(part);
    message
}

#[tokio::test]
async fn what_a_newer_node_asks_is_done_as_far_as_it_is_known() {
    let town = Town::new(1).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let mut wire = Newer::connect(town.nodes[0].address).await;
    let first = ToOwner { hello: Some(hello()), ping: Some(Ping { sent: 1 }), ..ToOwner::default() };
    wire.send([&first.encode_to_vec(), UNKNOWN].concat()).await;
    let mut incoming = wire.open().await.unwrap();
    let mut clock = 0;
    while clock == 0 {
        clock = incoming.message().await.unwrap().unwrap().pong.map_or(0, |pong| pong.clock);
    }
    let ask = |id: u64, what: Option<ask::What>| Ask {
        id,
        room: codec::of_room(room),
        lane: id,
        not_after: clock + 60_000,
        instead: false,
        what,
    };
    let command = |id: &str| of_command(&ada, &post(id));
    // What it knows, with more in it; a command of a new kind, as field 90; a request of a new kind, as field 13.
    let known =
        with(ask(1, None).encode_to_vec(), 10, &[&command("known").encode_to_vec(), UNKNOWN].concat());
    let actor = Command { what: None, ..command("") }.encode_to_vec();
    let kind = with(ask(2, None).encode_to_vec(), 10, &[actor.as_slice(), &[0xD2, 0x05, 0]].concat());
    let request = with(ask(3, None).encode_to_vec(), 13, &[]);
    let nowhere = Ask { room: Bytes::from_static(b"room"), ..ask(4, Some(ask::What::Command(command("x")))) };
    let mut message = Vec::new();
    for asked in [[&known, UNKNOWN].concat(), kind, request, nowhere.encode_to_vec()] {
        message = with(message, 3, &asked);
    }
    wire.send(message).await;
    let mut outcomes = Vec::new();
    while outcomes.len() < 4 {
        let message = incoming.message().await.unwrap().unwrap();
        outcomes.extend(message.answers.into_iter().map(|answer| (answer.id, answer.outcome.unwrap())));
    }
    outcomes.sort_by_key(|(id, _)| *id);
    assert!(matches!(outcomes[0].1, Outcome::Posted(_)), "{outcomes:?}");
    for (_, outcome) in &outcomes[1..] {
        assert!(matches!(outcome, Outcome::NotTaken(not) if not.reason() == Reason::Unknown), "{outcomes:?}");
    }
    let events: usize = town.records(room).await.iter().map(|record| record.events.len()).sum();
    assert_eq!(events, 2, "the room, and one message");
}

/// An owner of a newer version: answers by the number of what it is asked.
struct NewerOwner;

#[tonic::async_trait]
impl Calls for NewerOwner {
    type OpenStream = Pin<Box<dyn tokio_stream::Stream<Item = Result<FromOwner, Status>> + Send>>;

    async fn open(&self, request: Request<Streaming<ToOwner>>) -> Result<Response<Self::OpenStream>, Status> {
        let mut incoming = request.into_inner();
        let (out, outgoing) = mpsc::channel(16);
        tokio::spawn(async move {
            let mut welcome = Some(Welcome { version: VERSION + 1, node: name(0), process: 1 });
            while let Ok(Some(message)) = incoming.message().await {
                let pong = message.ping.map(|ping| Pong { sent: ping.sent, clock: clock::now() });
                let answer = |ask: Ask| {
                    let outcome = match ask.lane {
                        1 => None,
                        2 => Some(Outcome::NotTaken(NotTaken { reason: 99, owner: String::new() })),
                        _ => {
                            let items = vec![Member { role: 9, ..Member::default() }];
                            Some(Outcome::Members(Members { items, next: Bytes::new() }))
                        }
                    };
                    Answer { id: ask.id, outcome }
                };
                let answers = message.asks.into_iter().map(answer).collect();
                let said = FromOwner { revision: 1, welcome: welcome.take(), answers, pong };
                let _ = out.send(Ok(said)).await;
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

#[tokio::test]
async fn what_a_newer_owner_answers_is_never_taken_for_an_answer_of_today() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let owner = tonic::transport::Server::builder().add_service(CallsServer::new(NewerOwner));
    let serving = tokio::spawn(owner.serve_with_incoming(TcpListenerStream::new(listener)));
    let link = Link::start(Arc::new(common()), &name(0), &address, 1);
    let (_, mut state) = link.look();
    let up = state.wait_for(|state| matches!(state, State::Up(_))).await.unwrap().clone();
    let State::Up(session) = up else { unreachable!() };
    let (back, mut ended) = mpsc::channel(8);
    let mut ends = Vec::new();
    for lane in 1..=3 {
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        let what = ask::What::Command(of_command(&user(1), &post("x")));
        let room = rookery_protocol::id::RoomId(7);
        let asked = Asked { room, lane, instead: false, deadline, what, token: lane, back: back.clone() };
        session.try_place().unwrap().send(asked);
        ends.push(ended.recv().await.unwrap().1);
    }
    assert!(matches!(ends[0], Ended::Lost { .. }), "it may have been done: {ends:?}");
    assert!(matches!(ends[1], Ended::NotTaken(Reason::Unknown, _)), "{ends:?}");
    let Some(Ended::Answered(answered)) = ends.pop() else { panic!("{ends:?}") };
    assert!(members(answered.clone()).is_none(), "a role of no known meaning");
    assert!(reply(answered).is_none(), "no answer to a command");
    serving.abort();
}
