//! An SMTP server that takes every mail and keeps none: faster than a real one, so that the mailer is what is measured.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A line or a mail is no longer, bytes.
const LONGEST: u64 = 1 << 20;

/// A running server. It ends with the process.
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    taken: Arc<AtomicU64>,
}

impl Sink {
    pub(super) fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let taken = Arc::new(AtomicU64::new(0));
        let counter = taken.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                let counter = counter.clone();
                std::thread::spawn(move || serve(&socket, &counter));
            }
        });
        Ok(Self { address, taken })
    }

    /// Mails taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.taken.load(Ordering::Acquire)
    }
}

/// Speaks with one client until it leaves (RFC 5321).
fn serve(mut socket: &TcpStream, taken: &AtomicU64) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    socket.write_all(b"220 sink\r\n")?;
    let mut reader = BufReader::new(socket);
    let (mut line, mut in_mail) = (Vec::new(), false);
    loop {
        line.clear();
        if reader.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if in_mail {
            if line == b".\r\n" {
                in_mail = false;
                taken.fetch_add(1, Ordering::Release);
                socket.write_all(b"250 taken\r\n")?;
            }
            continue;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        in_mail = verb == b"DATA";
        let answer: &[u8] = match &verb[..] {
            b"EHLO" => b"250-sink\r\n250 8BITMIME\r\n",
            b"DATA" => b"354 go on\r\n",
            b"QUIT" => b"221 bye\r\n",
            _ => b"250 ok\r\n",
        };
        socket.write_all(answer)?;
    }
}
