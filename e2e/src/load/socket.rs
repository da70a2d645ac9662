//! A client over WebSocket: sends without waiting for each answer, and after every loss of the connection resumes
//! where it was, learns from the replay which of its unanswered messages were stored, and sends the others again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Load, Manners, Request};
use crate::{
    history::{Body, What},
    user::User,
    ws::{Closed, Connect, ConnectError, Subprotocol, Ws},
};

/// Requests under way at once.
const WINDOW: usize = 8;
/// Messages that may be unanswered over all connections before nothing new is asked for.
const UNANSWERED: usize = 64;
/// What is stored must have come after so long; delivery that has stopped does not begin again by itself.
const STAYS: Duration = Duration::from_secs(20);

/// Sends and follows all rooms until the load finishes, all it sent is answered, and all that is stored has come.
pub async fn run(load: Arc<Load>, user: User, subprotocol: Subprotocol, manners: Manners, seed: u64) {
    load.sockets.fetch_add(1, Ordering::AcqRel);
    let mut client = Client {
        last: load.rooms.iter().map(|room| (room.clone(), 0)).collect(),
        random: StdRng::seed_from_u64(seed),
        unanswered: VecDeque::new(),
        own: Vec::new(),
        due: None,
        answered: false,
        over: false,
        load,
        user,
        subprotocol,
        manners,
    };
    while !client.over {
        let url = client.manners.any_url(&mut client.random);
        let connect = Connect::to(&url, client.subprotocol);
        client.user = client.user.at(&url);
        match timeout(client.manners.give_up, connect.open()).await {
            Ok(Ok(ws)) => {
                // How it ended does not matter: the next connection goes on.
                let mut connection = Connection::over(ws, &mut client);
                let _ = connection.run().await;
                connection.end().await;
                if let Some(due) = client.due {
                    tokio::time::sleep_until(due.into()).await;
                }
            }
            Err(_) | Ok(Err(ConnectError::Failed(_) | ConnectError::Timeout)) => {}
            // Of a node that is going; or not of a node at all, but of a proxy before it.
            Ok(Err(ConnectError::Refused(status, said)))
                if status.is_server_error() || said["code"].is_null() => {}
            Ok(Err(refused)) => panic!("no WebSocket: {refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Client {
    load: Arc<Load>,
    user: User,
    subprotocol: Subprotocol,
    manners: Manners,
    random: StdRng,
    /// When a draining node said that it may come back.
    due: Option<Instant>,
    /// It has said that it has all its answers.
    answered: bool,
    /// It has seen what there is to see.
    over: bool,
    /// The last seq had of each room.
    last: BTreeMap<String, u64>,
    /// Messages that may or may not be stored, in the order in which they were first sent.
    unanswered: VecDeque<Request>,
    /// Own messages that were not changed yet.
    own: Vec<(String, u64)>,
}

impl Client {
    fn is_done(&self) -> bool {
        self.load.is_finishing() && self.unanswered.is_empty()
    }

    /// Forgets a request that is decided; a message of one's own can be changed from now on.
    fn settled(&mut self, op: u64, seq: Option<u64>) {
        if let Some(at) = self.unanswered.iter().position(|request| request.op == op)
            && let Some(request) = self.unanswered.remove(at)
            && let Some(seq) = seq
        {
            self.own.push((request.room, seq));
        }
    }
}

struct Connection<'a> {
    number: u64,
    ws: Ws,
    client: &'a mut Client,
    /// Rooms whose replay is not over.
    behind: usize,
    /// By the id of the request.
    under_way: BTreeMap<u64, (Request, Instant)>,
    /// It was told that the service is away: better try elsewhere.
    is_away: bool,
}

impl<'a> Connection<'a> {
    fn over(ws: Ws, client: &'a mut Client) -> Self {
        let (number, behind) = (client.load.next_connection(), client.last.len());
        Self { number, ws, client, behind, under_way: BTreeMap::new(), is_away: false }
    }

    async fn run(&mut self) -> Result<(), Closed> {
        for (room, after) in &self.client.last {
            self.client.load.note(What::Attached {
                connection: self.number,
                room: room.clone(),
                after: *after,
            });
        }
        let hello = json!({"t": "hello", "token": self.client.user.token(), "resume": self.client.last});
        let hello = self.send(hello).await?;
        loop {
            let frame = self.read().await?;
            if frame["re"] == hello {
                match frame["code"].as_str() {
                    Some("unavailable") => return Err(gave_up("unavailable")),
                    // Sessions are where they may be lost; whoever has his password comes back.
                    Some("session_revoked") => {
                        let url = self.client.user.api.base().to_owned();
                        if let Some(user) = self.client.user.try_login(&url).await {
                            self.client.user = user;
                        }
                        return Err(gave_up("logs in again"));
                    }
                    _ => {}
                }
                assert_eq!(frame["t"], "welcome", "{frame}");
                break;
            }
        }
        while self.behind > 0 {
            let frame = self.read().await?;
            self.take(&frame);
        }
        if let Some(due) = self.client.due.take() {
            self.client.load.returned(due);
        }
        // What the replay did not show is not stored: again, in the old order.
        for request in self.client.unanswered.clone() {
            self.ask(request).await?;
        }
        let leaves_after = self.client.random.random_range(20..400);
        for _ in 0..leaves_after {
            if self.client.is_done() {
                return self.stay().await;
            }
            if self.is_away {
                return Err(gave_up("unavailable"));
            }
            if self.under_way.values().any(|(_, asked)| asked.elapsed() > self.client.manners.give_up) {
                return Err(gave_up("no answer"));
            }
            while !self.client.load.is_finishing()
                && self.under_way.len() < WINDOW
                && self.client.unanswered.len() < UNANSWERED
            {
                let client = &mut *self.client;
                let request = client.load.next_request(&mut client.random, &client.user, &mut client.own);
                if request.may_be_repeated() {
                    client.unanswered.push_back(request.clone());
                }
                self.ask(request).await?;
                if self.client.random.random_bool(0.5) {
                    break;
                }
            }
            let pause = self.client.manners.pause.mul_f64(self.client.random.random_range(0.0..1.0));
            let pausing = tokio::time::sleep(pause);
            tokio::pin!(pausing);
            loop {
                tokio::select! {
                    () = &mut pausing => break,
                    frame = self.ws.try_next() => self.take(&frame?),
                }
            }
        }
        Ok(())
    }

    /// Listens until the rooms' last events have come, or ought to have.
    async fn stay(&mut self) -> Result<(), Closed> {
        if !std::mem::replace(&mut self.client.answered, true) {
            self.client.load.answered.fetch_add(1, Ordering::AcqRel);
        }
        let load = self.client.load.clone();
        let mut until = None;
        loop {
            if let Some(ends) = load.ends.get() {
                let all = ends.iter().all(|(room, end)| self.client.last.get(room) >= Some(end));
                if all || Instant::now() > *until.get_or_insert_with(|| Instant::now() + STAYS) {
                    for (room, &last_seq) in ends {
                        let (connection, room) = (self.number, room.clone());
                        load.note(What::Stayed { connection, room, last_seq });
                    }
                    self.client.over = true;
                    return Ok(());
                }
            }
            if let Ok(frame) = timeout(Duration::from_millis(20), self.ws.try_next()).await {
                self.take(&frame?);
            }
        }
    }

    async fn end(self) {
        for (request, _) in self.under_way.values() {
            self.client.load.note(What::Unheard { op: request.op, away: self.is_away });
        }
        if self.client.random.random_bool(0.5) {
            let _ = timeout(self.client.manners.give_up, self.ws.close()).await;
        }
    }

    async fn read(&mut self) -> Result<Value, Closed> {
        let reading = timeout(self.client.manners.give_up, self.ws.try_next());
        reading.await.unwrap_or_else(|_| Err(gave_up("nothing comes")))
    }

    async fn ask(&mut self, request: Request) -> Result<(), Closed> {
        self.client.load.note(request.asked(self.number));
        let id = self.send(request.frame()).await?;
        self.under_way.insert(id, (request, Instant::now()));
        Ok(())
    }

    async fn send(&mut self, frame: Value) -> Result<u64, Closed> {
        let sending = timeout(self.client.manners.give_up, self.ws.try_send(frame));
        sending.await.unwrap_or_else(|_| Err(gave_up("it does not read")))
    }

    fn take(&mut self, frame: &Value) {
        let load = self.client.load.clone();
        if let Some(re) = frame["re"].as_u64() {
            let Some((request, _)) = self.under_way.remove(&re) else { panic!("answers nothing: {frame}") };
            let op = request.op;
            if frame["t"] == "ok" {
                let seq = frame["seq"].as_u64().filter(|_| request.may_be_repeated());
                assert!(seq.is_some() || !request.may_be_repeated(), "no seq: {frame}");
                load.note(What::Acked { op, seq });
                self.client.settled(op, seq);
            } else {
                let code = frame["code"].as_str().unwrap_or_default().to_owned();
                if code == "unavailable" {
                    self.client.load.refused(self.client.user.api.base());
                    // It stays unanswered: the next connection tries again.
                    self.is_away = true;
                } else {
                    self.client.settled(op, None);
                }
                load.note(What::Refused { op, code });
            }
            return;
        }
        let room = || frame["room"].as_str().unwrap_or_default().to_owned();
        let connection = self.number;
        if let Some((seq, body)) = Body::of(frame) {
            let message = match &body {
                Body::Message { user, client_msg_id, .. } if *user == self.client.user.id => {
                    Some(client_msg_id.clone())
                }
                _ => None,
            };
            load.note(What::Delivered { connection, room: room(), seq, body });
            self.client.last.insert(room(), seq);
            if self.behind > 0
                && let Some(name) = message
            {
                self.learn(&name, seq);
            }
        } else if frame["t"] == "caught_up" {
            let last_seq = frame["last_seq"].as_u64().unwrap_or_default();
            load.note(What::CaughtUp { connection, room: room(), last_seq });
            self.behind = self.behind.saturating_sub(1);
        } else if frame["t"] == "drain" {
            let delay = Duration::from_millis(frame["retry_after_ms"].as_u64().unwrap_or_default());
            self.client.due = Some(Instant::now() + delay);
        } else if frame["t"] == "resync" {
            // A fault here, as little is missed; the client goes on from where it is told.
            load.note(What::Resync { connection, room: room() });
            self.client.last.insert(room(), frame["last_seq"].as_u64().unwrap_or_default());
            self.behind = self.behind.saturating_sub(1);
        }
    }

    /// "after `caught_up` a client knows from its own replayed messages which of its unanswered sends were stored."
    fn learn(&mut self, name: &str, seq: u64) {
        let found = self.client.unanswered.iter().find(
            |request| matches!(&request.wanted, Body::Message { client_msg_id, .. } if client_msg_id == name),
        );
        if let Some(op) = found.map(|request| request.op) {
            self.client.settled(op, Some(seq));
        }
    }
}

/// How a connection ends that the client leaves.
fn gave_up(why: &str) -> Closed {
    Closed { code: 1006, reason: why.to_owned() }
}
