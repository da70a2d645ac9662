//! One run of a schedule: who gets what, and when.

use std::{
    io::{ErrorKind, Write},
    net::TcpStream,
};

use super::{Mode, RawSettings, ring::Ring};
use crate::{
    clock,
    load::Schedule,
    socket::{Poller, Ready},
};

/// Frames kept in all rooms together.
const FRAMES: usize = 65_536;
/// Readers that are this late when the schedule is over are given up.
const GRACE: u64 = 3_000_000_000;

/// A connection that gets messages.
#[derive(Debug)]
pub(super) struct Reader {
    /// Its socket.
    pub(super) socket: TcpStream,
    position: u64,
    blocked: bool,
}

impl Reader {
    /// One that is in no run yet.
    pub(super) fn new(socket: TcpStream) -> Self {
        Self { socket, position: 0, blocked: false }
    }
}

/// Writes one schedule's messages to `readers`, dealt out to rooms in turn; places of closed connections are empty.
/// `ready` tells of sockets: token `first_token + i` is reader `i`. Returns how many deliveries were lost.
///
/// # Errors
/// The system's, of the poller.
pub(super) fn run(
    settings: &RawSettings,
    schedule: &Schedule,
    readers: &mut [Option<Reader>],
    poller: &mut Poller,
    first_token: u64,
) -> std::io::Result<u64> {
    let rooms = settings.rooms.max(1);
    let frames = (FRAMES / rooms).clamp(64, 8_192);
    let mut rings: Vec<Ring> = (0..rooms).map(|_| Ring::new(settings.frame_bytes, frames)).collect();
    for reader in readers.iter_mut().flatten() {
        (reader.position, reader.blocked) = (0, false);
    }
    let (mut pushed, mut lost) = (0, 0);
    let mut blocked = 0_usize;
    let mut events: Vec<Ready> = Vec::new();
    loop {
        let round = pushed;
        match settings.mode {
            Mode::Raw => {
                if pushed < schedule.due_by(clock::now()) {
                    let room = room_of(pushed, rooms);
                    rings[room].push(schedule.due_at(pushed));
                    pushed += 1;
                    for place in readers.iter_mut().skip(room).step_by(rooms) {
                        write(place, &rings[room], settings.mode, &mut blocked, &mut lost);
                    }
                }
            }
            Mode::Coalescing => {
                for (i, place) in readers.iter_mut().enumerate() {
                    let due = schedule.due_by(clock::now());
                    while pushed < due {
                        rings[room_of(pushed, rooms)].push(schedule.due_at(pushed));
                        pushed += 1;
                    }
                    write(place, &rings[i % rooms], settings.mode, &mut blocked, &mut lost);
                }
            }
        }
        let idle = pushed == round;
        if pushed == schedule.count && idle && blocked == 0 {
            return Ok(lost);
        }
        let now = clock::now();
        if now > schedule.end() + GRACE {
            let late = readers.iter().flatten().filter(|reader| reader.blocked);
            // Their frames are cut off: those connections are of no more use.
            late.for_each(|reader| drop(reader.socket.shutdown(std::net::Shutdown::Both)));
            return Ok(lost + 1);
        }
        if idle || blocked > 0 {
            let until = match (idle, pushed < schedule.count) {
                (false, _) => 0,
                (true, true) => schedule.due_at(pushed),
                (true, false) => schedule.end() + GRACE + 1,
            };
            events.clear();
            poller.wait(until, &mut events)?;
            for event in events.iter().filter(|event| event.writable) {
                let Some(i) = event.token.checked_sub(first_token).and_then(|i| usize::try_from(i).ok())
                else {
                    continue;
                };
                let Some(place) = readers.get_mut(i) else { continue };
                if let Some(reader) = place.as_mut().filter(|reader| reader.blocked) {
                    reader.blocked = false;
                    blocked -= 1;
                    write(place, &rings[i % rooms], settings.mode, &mut blocked, &mut lost);
                }
            }
        }
    }
}

fn room_of(message: u64, rooms: usize) -> usize {
    usize::try_from(message % rooms as u64).unwrap_or(0)
}

/// Writes what waits for one reader, until there is no more or his socket is full.
fn write(place: &mut Option<Reader>, ring: &Ring, mode: Mode, blocked: &mut usize, lost: &mut u64) {
    let Some(reader) = place else { return };
    if reader.blocked {
        return;
    }
    let (missed, position) = ring.skip_lost(reader.position);
    *lost += missed;
    reader.position = position;
    while reader.position < ring.end() {
        let outcome = match mode {
            Mode::Raw => reader.socket.write(ring.one(reader.position)),
            Mode::Coalescing => reader.socket.write_vectored(&ring.all(reader.position)),
        };
        match outcome {
            Ok(written) => reader.position += written as u64,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                reader.blocked = true;
                *blocked += 1;
                return;
            }
            Err(_) => {
                *place = None;
                return;
            }
        }
    }
}
