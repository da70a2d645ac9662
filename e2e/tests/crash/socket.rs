//! A client over WebSocket: sends without waiting for each answer, and after every loss of the connection resumes
//! where it was, learns from the replay which of its unanswered messages were stored, and sends the others again.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rookery_e2e::{
    PATIENCE,
    history::{Body, What},
    user::User,
    ws::{Closed, Connect, ConnectError, Subprotocol, Ws},
};
use serde_json::{Value, json};

use crate::record::{Load, Request};

/// Requests under way at once.
const WINDOW: usize = 8;

pub(crate) async fn run(load: Arc<Load>, user: User, subprotocol: Subprotocol, seed: u64) {
    let mut client = Client {
        last: load.rooms.iter().map(|room| (room.clone(), 0)).collect(),
        random: StdRng::seed_from_u64(seed),
        unanswered: VecDeque::new(),
        own: Vec::new(),
        load,
        user,
        subprotocol,
    };
    while !client.is_done() {
        match Connect::to(client.user.api.base(), client.subprotocol).open().await {
            Ok(ws) => {
                // How it ended does not matter: the next connection goes on.
                let _ = Connection::over(ws, &mut client).run().await;
            }
            Err(ConnectError::Failed(_)) => {}
            Err(refused) => panic!("no WebSocket: {refused:?}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

struct Client {
    load: Arc<Load>,
    user: User,
    subprotocol: Subprotocol,
    random: StdRng,
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
    under_way: BTreeMap<u64, Request>,
}

impl<'a> Connection<'a> {
    fn over(ws: Ws, client: &'a mut Client) -> Self {
        let (number, behind) = (client.load.next_connection(), client.last.len());
        Self { number, ws, client, behind, under_way: BTreeMap::new() }
    }

    async fn run(mut self) -> Result<(), Closed> {
        for (room, after) in &self.client.last {
            self.client.load.note(What::Attached {
                connection: self.number,
                room: room.clone(),
                after: *after,
            });
        }
        let hello = json!({"t": "hello", "token": self.client.user.token(), "resume": self.client.last});
        let hello = self.ws.try_send(hello).await?;
        loop {
            let frame = self.read().await?;
            if frame["re"] == hello {
                assert_eq!(frame["t"], "welcome", "{frame}");
                break;
            }
        }
        while self.behind > 0 {
            let frame = self.read().await?;
            self.take(&frame);
        }
        // What the replay did not show is not stored: again, in the old order.
        for request in self.client.unanswered.clone() {
            self.ask(request).await?;
        }
        let leaves_after = self.client.random.random_range(20..400);
        for _ in 0..leaves_after {
            if self.client.is_done() {
                break;
            }
            while !self.client.load.is_finishing() && self.under_way.len() < WINDOW {
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
            let pause = Duration::from_millis(self.client.random.random_range(0..15));
            let pausing = tokio::time::sleep(pause);
            tokio::pin!(pausing);
            loop {
                tokio::select! {
                    () = &mut pausing => break,
                    frame = self.ws.try_next() => self.take(&frame?),
                }
            }
        }
        if self.client.random.random_bool(0.5) {
            self.ws.close().await;
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<Value, Closed> {
        match tokio::time::timeout(PATIENCE, self.ws.try_next()).await {
            Ok(frame) => frame,
            Err(_) => panic!("nothing comes for {PATIENCE:?}; behind in {} rooms", self.behind),
        }
    }

    async fn ask(&mut self, request: Request) -> Result<(), Closed> {
        self.client.load.note(request.asked(self.number));
        let id = self.ws.try_send(request.frame()).await?;
        self.under_way.insert(id, request);
        Ok(())
    }

    fn take(&mut self, frame: &Value) {
        let load = self.client.load.clone();
        if let Some(re) = frame["re"].as_u64() {
            let Some(request) = self.under_way.remove(&re) else { panic!("answers nothing: {frame}") };
            let op = request.op;
            if frame["t"] == "ok" {
                let seq = frame["seq"].as_u64().filter(|_| request.may_be_repeated());
                assert!(seq.is_some() || !request.may_be_repeated(), "no seq: {frame}");
                load.note(What::Acked { op, seq });
                self.client.settled(op, seq);
            } else {
                let code = frame["code"].as_str().unwrap_or_default().to_owned();
                if code != "unavailable" {
                    self.client.settled(op, None);
                }
                // Else it stays unanswered: the next connection tries again.
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
