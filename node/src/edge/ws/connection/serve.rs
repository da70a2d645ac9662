//! Requests that a connection serves itself or hands to a room.

use std::sync::atomic::Ordering;

use rookery_protocol::client;
use rookery_protocol::client::client_frame::Frame as Asked;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::super::answer::error;
use super::super::answer::ok;
use super::super::answer::refusal;
use super::super::follow::Because;
use super::super::follow::Follow;
use super::super::follow::follow;
use super::super::hello::hello;
use super::super::hello::refresh;
use super::super::requests;
use super::{Connection, Slot, State, TYPING_EVERY};
use crate::live::Following;
use crate::problem::Problem;

impl<S: AsyncRead + AsyncWrite + Unpin, G> Connection<S, G> {
    pub(super) fn request(&mut self, id: Option<u64>, asked: Asked) {
        if let Asked::Hello(asked) = asked {
            if self.state == State::New {
                self.state = State::Greeting;
                let credentials = self.credentials.take().map(|credentials| *credentials);
                tokio::spawn(hello(self.edge.clone(), self.link.clone(), id, asked, credentials));
            } else {
                self.post(&error(id, "already_welcome", "hello comes once, as the first frame."));
            }
            return;
        }
        if self.state == State::New {
            self.post(&error(id, "hello_required", "Say hello with a token or ticket first."));
            return;
        }
        self.limited = 0;
        let asked = match requests::command(asked) {
            Ok((room, what)) => {
                if matches!(what, rookery_core::room::What::Post { .. })
                    && let Err(retry_after_ms) =
                        self.sends.take(self.edge.now_ms(), self.edge.settings.sends_per_second)
                {
                    self.limit(id, retry_after_ms);
                    return;
                }
                requests::submit(&self.edge, &self.link, id, &room, what);
                return;
            }
            Err(other) => other,
        };
        match asked {
            Asked::Subscribe(asked) => self.subscribe(id, &asked),
            Asked::Unsubscribe(asked) => self.unsubscribe(id, &asked.room),
            Asked::Read(asked) => {
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(requests::read(self.edge.clone(), self.link.clone(), id, asked));
            }
            Asked::Typing(asked) => self.typing(&asked.room),
            Asked::Presence(asked) => self.presence(id, asked.status == "away"),
            Asked::Refresh(asked) => {
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(refresh(self.edge.clone(), self.link.clone(), id, asked.token));
            }
            Asked::Ping(_) => self.post(&requests::pong(id)),
            // `command` and `hello` took these.
            _ => self.post(&refusal(id, &Problem::internal())),
        }
    }

    /// A room that is followed already is followed anew, with a replay of its own.
    pub(super) fn subscribe(&mut self, id: Option<u64>, asked: &client::Subscribe) {
        let index = requests::room_id(&asked.room).and_then(|room| {
            match self.index_of(room).map(|index| (index, &self.slots[index])) {
                Some((_, Slot::Joining { .. })) => {
                    return Err(Problem::new(
                        409,
                        "conflict",
                        "This connection is about to follow that room.",
                    ));
                }
                Some((index, _)) => self.leave(index),
                None => {}
            }
            Ok((room, self.slot_for(room)?))
        });
        match index {
            Ok((room, index)) => {
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                let because = Because::Subscribe(id);
                let wanted = Follow { room, index, after: asked.after, known: None, because };
                tokio::spawn(follow(self.edge.clone(), self.link.clone(), vec![wanted]));
            }
            Err(problem) => self.post(&refusal(id, &problem)),
        }
    }

    /// Not to follow the room is what was wanted: that it was not followed is no error.
    pub(super) fn unsubscribe(&mut self, id: Option<u64>, room: &str) {
        let index = requests::room_id(room).ok().and_then(|room| self.index_of(room));
        if let Some(index) = index {
            if let Slot::Joining { leave, .. } = &mut self.slots[index]
                && leave.is_none()
            {
                *leave = Some(id);
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                return;
            }
            self.leave(index);
        }
        self.post(&ok(id));
    }

    pub(super) fn typing(&mut self, room: &str) {
        let now = self.edge.now_seconds();
        let index = requests::room_id(room).ok().and_then(|room| self.index_of(room));
        if let Some(Slot::Live(followed)) = index.map(|index| &mut self.slots[index])
            && let Some(user) = self.link.user()
            && (followed.typed == 0 || now.saturating_sub(followed.typed) >= TYPING_EVERY)
        {
            followed.typed = now.max(1);
            followed.following.room.typing(user, self.edge.now(), &self.edge.app.hub.live);
        }
    }

    pub(super) fn presence(&mut self, id: Option<u64>, away: bool) {
        self.link.away.store(away, Ordering::Release);
        for slot in &self.slots {
            if let Slot::Live(followed) = slot {
                let Following { room, sub, .. } = &followed.following;
                room.presence(sub, away, &self.edge.app.hub.live);
            }
        }
        self.post(&ok(id));
    }
}
