//! An SMTP server that takes every mail and keeps none: at once, so that the mailer is what is measured, or as late as a real one.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// A line or a mail is no longer, bytes.
const LONGEST: u64 = 1 << 20;

/// A running server. It ends with the process.
pub(super) struct Sink {
    pub(super) address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    /// Mails taken so far.
    taken: AtomicU64,
    /// Milliseconds until a mail is answered.
    answers_after: AtomicU64,
}

impl Sink {
    /// With the niceness of the mailer: a real one takes no CPU from chat.
    pub(super) fn start(nice: u8) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let counts = Arc::<Counts>::default();
        let counter = counts.clone();
        std::thread::spawn(move || {
            // Of this thread, and of those that it starts. Refused, it is as nice as chat.
            let _ = rustix::process::setpriority_process(None, nice.into());
            for socket in listener.incoming().flatten() {
                let counter = counter.clone();
                std::thread::spawn(move || serve(&socket, &counter));
            }
        });
        Ok(Self { address, counts })
    }

    /// Mails taken so far.
    pub(super) fn taken(&self) -> u64 {
        self.counts.taken.load(Ordering::Acquire)
    }

    /// From now on each mail is answered so much later.
    pub(super) fn answer_after(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.counts.answers_after.store(time, Ordering::Release);
    }
}

/// Speaks with one client until it leaves (RFC 5321).
fn serve(mut socket: &TcpStream, counts: &Counts) -> std::io::Result<()> {
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
                std::thread::sleep(Duration::from_millis(counts.answers_after.load(Ordering::Acquire)));
                counts.taken.fetch_add(1, Ordering::Release);
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
