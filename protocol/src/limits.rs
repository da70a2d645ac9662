//! What decoding allows besides the length of a frame, and the checks that both subprotocols share.

use std::borrow::Cow;

use crate::{
    client::{ClientFrame, client_frame::Frame},
    error::Reason,
};

/// Greatest `id` of a request: what every JSON reader holds exactly (RFC 8259, section 6).
pub const MAX_ID: u64 = (1 << 53) - 1;
/// Rooms that `hello` may name in `resume`, and as many again in `rooms`.
pub const MAX_ROOMS: usize = 10_000;
/// Bytes of a room's id in a frame. Ours have 26; clients must not rely on that.
pub const MAX_ROOM_BYTES: usize = 64;

pub(crate) const ROOM: &str = "must be a room's id";
pub(crate) const TOO_MANY_ROOMS: &str = "names more than 10,000 rooms";
pub(crate) const ID: &str = "must be an integer from 0 to 9007199254740991";

pub(crate) fn is_room(room: &str) -> bool {
    (1..=MAX_ROOM_BYTES).contains(&room.len())
}

/// What a frame's types alone do not say. Whether a text, a seq or a room is one, its room knows.
pub(crate) fn check(frame: &ClientFrame) -> Result<(), Reason> {
    let wrong = |field, why| Err(Reason::Invalid { field: Cow::Borrowed(field), why: Cow::Borrowed(why) });
    if frame.id.is_some_and(|id| id > MAX_ID) {
        return wrong("id", ID);
    }
    let room = match &frame.frame {
        None | Some(Frame::Ping(_)) => return Ok(()),
        Some(Frame::Hello(hello)) => {
            if hello.token.is_some() && hello.ticket.is_some() {
                return wrong("ticket", "must not come together with a token");
            }
            if hello.resume.len() > MAX_ROOMS {
                return wrong("resume", TOO_MANY_ROOMS);
            }
            if !hello.resume.keys().all(|room| is_room(room)) {
                return wrong("resume", "must have rooms' ids as keys");
            }
            if let Some(rooms) = &hello.rooms {
                if rooms.rooms.len() > MAX_ROOMS {
                    return wrong("rooms", TOO_MANY_ROOMS);
                }
                if !rooms.rooms.iter().all(|room| is_room(room)) {
                    return wrong("rooms", "must be \"all\" or a list of rooms' ids");
                }
            }
            return Ok(());
        }
        Some(Frame::Presence(presence)) => {
            return match presence.status.as_str() {
                "online" | "away" => Ok(()),
                _ => wrong("status", "must be \"online\" or \"away\""),
            };
        }
        Some(Frame::Refresh(refresh)) => {
            return if refresh.token.is_empty() { wrong("token", "is required") } else { Ok(()) };
        }
        Some(Frame::Subscribe(frame)) => &frame.room,
        Some(Frame::Unsubscribe(frame)) => &frame.room,
        Some(Frame::Send(frame)) => &frame.room,
        Some(Frame::Edit(frame)) => &frame.room,
        Some(Frame::Delete(frame)) => &frame.room,
        Some(Frame::React(frame)) => &frame.room,
        Some(Frame::Unreact(frame)) => &frame.room,
        Some(Frame::Read(frame)) => &frame.room,
        Some(Frame::Typing(frame)) => &frame.room,
    };
    if is_room(room) { Ok(()) } else { wrong("room", ROOM) }
}
