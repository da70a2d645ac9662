//! What clients ask for once they are let in.

use std::sync::{Arc, atomic::Ordering};

use rookery_core::room::What;
use rookery_protocol::{
    client::{self, client_frame::Frame as Asked, server_frame::Frame},
    id::RoomId,
};

use super::{
    answer::{answer, ok, outcome, refusal},
    node::Edge,
};
use crate::{live::link::Link, problem::Problem};

/// The type of a frame, for metrics.
pub(super) fn kind(frame: &Asked) -> &'static str {
    match frame {
        Asked::Hello(_) => "hello",
        Asked::Subscribe(_) => "subscribe",
        Asked::Unsubscribe(_) => "unsubscribe",
        Asked::Send(_) => "send",
        Asked::Edit(_) => "edit",
        Asked::Delete(_) => "delete",
        Asked::React(_) => "react",
        Asked::Unreact(_) => "unreact",
        Asked::Read(_) => "read",
        Asked::Typing(_) => "typing",
        Asked::Presence(_) => "presence",
        Asked::Refresh(_) => "refresh",
        Asked::Ping(_) => "ping",
    }
}

/// The room and command of a request that its room's owner answers; other requests come back.
#[expect(
    clippy::result_large_err,
    reason = "a request is moved either way, and boxing it would allocate for each"
)]
pub(super) fn command(frame: Asked) -> Result<(String, What), Asked> {
    Ok(match frame {
        Asked::Send(client::Send { room, text, client_msg_id, reply_to }) => {
            (room, What::Post { text, client_msg_id, reply_to })
        }
        Asked::Edit(client::Edit { room, seq, text }) => (room, What::Edit { seq, text }),
        Asked::Delete(client::Delete { room, seq }) => (room, What::Delete { seq }),
        Asked::React(client::React { room, seq, emoji }) => (room, What::React { seq, emoji }),
        Asked::Unreact(client::Unreact { room, seq, emoji }) => (room, What::Unreact { seq, emoji }),
        other => return Err(other),
    })
}

/// A room's id as clients write it: what is none is no room.
pub(super) fn room_id(room: &str) -> Result<RoomId, Problem> {
    room.parse()
        .map_err(|_| Problem::new(404, "room_not_found", "There is no such room, or you are not in it."))
}

/// Hands a command to its room; the answer to request `re` goes to the connection. Counted in `in_flight`.
pub(super) fn submit(edge: &Edge, link: &Arc<Link>, re: Option<u64>, room: &str, what: What) {
    let profile = link.profile();
    let (Ok(room), Some(user)) = (room_id(room), &*profile) else {
        if let Err(problem) = room_id(room) {
            link.post(&refusal(re, &problem));
        }
        return;
    };
    link.in_flight.fetch_add(1, Ordering::AcqRel);
    let to = link.clone();
    edge.app.rooms.submit(room, user, what, Box::new(move |said| to.answer(&outcome(re, said))));
}

/// Moves the read mark, of which all the user's connections are told. Counted in `in_flight`.
pub(super) async fn read(edge: Arc<Edge>, link: Arc<Link>, re: Option<u64>, asked: client::MarkRead) {
    let moved = async {
        let room = room_id(&asked.room)?;
        let user = link.user().ok_or_else(Problem::internal)?;
        edge.app.rooms.mark_read(room, user, asked.seq).await
    };
    let frame = match moved.await {
        Ok(_) => ok(re),
        Err(problem) => refusal(re, &problem),
    };
    link.answer(&frame);
}

/// The answer to `ping`.
pub(super) fn pong(re: Option<u64>) -> client::ServerFrame {
    answer(re, Frame::Pong(client::Pong {}))
}
