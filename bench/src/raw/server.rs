//! The raw server's process: accepts, upgrades, welcomes, and runs schedules as ordered on standard input.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
};

use anyhow::Context;
use socket2::{Domain, Socket, Type};

use super::{
    RawSettings, parse_order,
    writer::{self, Reader},
};
use crate::socket::{Poller, Ready, frame};

const LISTENER: u64 = 0;
const ORDERS: u64 = 1;
const FIRST_READER: u64 = 2;

/// The answer to our own generator's handshake, whose key is always the same.
const UPGRADED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: rookery.v1.json\r\n\r\n";

/// About as long as a real one.
const WELCOME: &[u8] = br#"{"t":"welcome","re":1,"session":"01ARZ3NDEKTSV4RRFFQ69G5FAV","user":{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","username":"raw","display_name":"raw","language":"en","created_at":"2026-01-01T00:00:00.000Z"},"node":"raw","heartbeat_ms":25000,"limits":{"text_chars":4000,"frame_bytes":65536,"subscriptions":1000,"replay_events":10000},"rooms":[{"room":"01ARZ3NDEKTSV4RRFFQ69G5FAV","last_seq":1,"read_seq":1,"unread":0}]}"#;

/// Serves until standard input ends. Says its port in the first line of standard output, and `done LOST` after each run.
///
/// # Errors
/// The system's.
pub fn serve(settings: &RawSettings) -> anyhow::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
    socket.listen(4_096)?;
    let listener = TcpListener::from(socket);
    let mut output = std::io::stdout();
    writeln!(output, "{}", listener.local_addr()?)?;
    output.flush()?;

    let mut poller = Poller::new()?;
    poller.add_source(&listener, LISTENER)?;
    let orders = std::io::stdin();
    poller.add_source(&orders, ORDERS)?;
    let mut greeter = Greeter {
        upgraded: UPGRADED,
        welcome: frame::from_server(frame::TEXT, WELCOME),
        guests: Vec::new(),
        free: Vec::new(),
    };
    let mut ready: Vec<Ready> = Vec::new();
    let mut pending = String::new();
    loop {
        ready.clear();
        poller.wait(u64::MAX, &mut ready)?;
        for event in &ready {
            match event.token {
                LISTENER => greeter.accept(&listener, &poller)?,
                ORDERS => {
                    let mut bytes = [0; 1_024];
                    let read = rustix::io::read(&orders, &mut bytes)?;
                    if read == 0 {
                        return Ok(());
                    }
                    pending.push_str(std::str::from_utf8(&bytes[..read])?);
                }
                _ => greeter.serve(*event),
            }
        }
        while let Some((line, rest)) = pending.split_once('\n') {
            let schedule = parse_order(line).with_context(|| format!("not an order: {line}"))?;
            pending = rest.to_owned();
            let mut readers = greeter.readers();
            let lost = writer::run(settings, &schedule, &mut readers, &mut poller, FIRST_READER)?;
            greeter.take_back(readers);
            writeln!(output, "done {lost}")?;
            output.flush()?;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Greeting,
    Welcomed,
}

struct Guest {
    reader: Reader,
    stage: Stage,
}

/// The connections, and how they come in.
struct Greeter {
    upgraded: &'static [u8],
    welcome: Vec<u8>,
    /// By place; a place is used again once its connection is closed.
    guests: Vec<Option<Guest>>,
    free: Vec<usize>,
}

impl Greeter {
    fn accept(&mut self, listener: &TcpListener, poller: &Poller) -> anyhow::Result<()> {
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // Reset before it was accepted.
                Err(error) if error.kind() == ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error).context("cannot accept a connection"),
            };
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let place = self.free.pop().unwrap_or(self.guests.len());
            if place == self.guests.len() {
                self.guests.push(None);
            }
            poller.add(&socket, FIRST_READER + place as u64)?;
            self.guests[place] = Some(Guest { reader: Reader::new(socket), stage: Stage::Upgrading });
            // What came with the connection is reported as an event, since it was added just now.
        }
    }

    fn serve(&mut self, event: Ready) {
        let Ok(place) = usize::try_from(event.token - FIRST_READER) else { return };
        let Some(guest) = self.guests.get_mut(place).and_then(Option::as_mut) else { return };
        if event.readable && !converse(guest, self.upgraded, &self.welcome) {
            self.guests[place] = None;
            self.free.push(place);
        }
    }

    /// The welcomed connections, by place, for a run.
    fn readers(&mut self) -> Vec<Option<Reader>> {
        self.guests.iter_mut().map(|guest| guest.take().map(|guest| guest.reader)).collect()
    }

    fn take_back(&mut self, readers: Vec<Option<Reader>>) {
        self.guests = readers
            .into_iter()
            .map(|reader| {
                // Ends that were reported during the run are found by reading again.
                let mut guest = Guest { reader: reader?, stage: Stage::Welcomed };
                converse(&mut guest, self.upgraded, &self.welcome).then_some(guest)
            })
            .collect();
        self.free = (0..self.guests.len()).filter(|&place| self.guests[place].is_none()).collect();
    }
}

/// Reads what a client says and answers by turns; false: it is gone.
fn converse(guest: &mut Guest, upgraded: &[u8], welcome: &[u8]) -> bool {
    let mut bytes = [0; 4_096];
    let mut socket: &TcpStream = &guest.reader.socket;
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return false,
            Ok(read) => {
                // Our generator's handshake and hello are one small packet each.
                let answer = match guest.stage {
                    Stage::Upgrading if bytes[..read].ends_with(b"\r\n\r\n") => upgraded,
                    Stage::Greeting => welcome,
                    _ => continue,
                };
                guest.stage = if guest.stage == Stage::Upgrading { Stage::Greeting } else { Stage::Welcomed };
                if socket.write(answer).is_err() {
                    return false;
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}
