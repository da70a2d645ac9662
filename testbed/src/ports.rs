//! Ports for servers.

use std::{
    fs::{self, File},
    net::TcpListener,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

/// Below the range that the system picks clients' ports from: a client that tries to reach a server that is down
/// could otherwise be given that very port, and meet itself.
const FROM: u32 = 12_000;
const COUNT: u32 = 20_000;

/// A port of 127.0.0.1 that nobody listens on, and that no other test that asks here is given, of this process or
/// another, while this process lives.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // A lock per port, kept as long as the process: between finding a port free and listening on it there is time.
    static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let user = rustix::process::getuid().as_raw();
    let dir = std::env::temp_dir().join(format!("rookery-ports-{user}"));
    fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
    let start = std::process::id().wrapping_mul(97);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let number = FROM + start.wrapping_add(step) % COUNT;
        let port = u16::try_from(number).expect("the range is one of ports");
        let Ok(lock) = File::create(dir.join(port.to_string())) else { continue };
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            TAKEN.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return port;
        }
    }
    panic!("none of {COUNT} ports is free");
}
