//! Connections that are kept for the next mail.
//!
//! Who uses a connection owns it. It comes back only when both sides have said all that they had to say; dropped in the middle of a
//! mail, it is closed, because the answers that are still to come would be taken for those to the next mail.

use std::{
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use lettre::transport::smtp::client::AsyncSmtpConnection;
use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::timeout,
};

/// Goodbyes take no longer.
const GOODBYE: Duration = Duration::from_secs(2);

/// A connection that is logged in and at the beginning of a mail.
pub(super) struct Link {
    pub(super) connection: AsyncSmtpConnection,
    /// By which of the passwords that there have been it is logged in.
    pub(super) login: u64,
    _open: Arc<()>,
}

/// Leave to have one mail under way.
pub struct Turn<'a>(#[allow(dead_code)] SemaphorePermit<'a>);

struct Idle {
    link: Link,
    since: Instant,
}

/// The connections of this process to one server.
pub(super) struct Pool {
    places: Semaphore,
    /// The one used last is at the end, and is used first.
    idle: Mutex<Vec<Idle>>,
    keep: Duration,
    /// As often as there are connections, and once more.
    open: Arc<()>,
}

impl Pool {
    /// One of `places` connections, of which each is closed when it was not used for `keep`. In a Tokio runtime.
    pub(super) fn new(places: u32, keep: Duration) -> Arc<Self> {
        let places = Semaphore::new(places as usize);
        let pool = Arc::new(Self { places, idle: Mutex::default(), keep, open: Arc::default() });
        tokio::spawn(close_old(Arc::downgrade(&pool), keep / 4));
        pool
    }

    /// Waits until one more connection may be open.
    pub(super) async fn turn(&self) -> Turn<'_> {
        Turn(self.places.acquire().await.expect("it is never closed"))
    }

    /// A new one.
    pub(super) fn link(&self, connection: AsyncSmtpConnection, login: u64) -> Link {
        Link { connection, login, _open: self.open.clone() }
    }

    /// Whether there are any.
    pub(super) fn is_connected(&self) -> bool {
        Arc::strong_count(&self.open) > 1
    }

    /// One that is open and logged in by the password in force.
    pub(super) fn take(&self, login: u64) -> Option<Link> {
        let mut idle = self.idle.lock();
        let at =
            idle.iter().rposition(|idle| idle.link.login == login && idle.since.elapsed() < self.keep)?;
        Some(idle.remove(at).link)
    }

    /// Keeps one for the next mail.
    pub(super) fn put_back(&self, link: Link) {
        self.idle.lock().push(Idle { link, since: Instant::now() });
    }

    /// Says goodbye on those that were not used for so long.
    pub(super) async fn close(&self, unused_for: Duration) {
        let old: Vec<_> = {
            let mut idle = self.idle.lock();
            let (old, young) = idle.drain(..).partition(|idle| idle.since.elapsed() >= unused_for);
            *idle = young;
            old
        };
        join_all(old.into_iter().map(|mut idle| async move {
            let _ = timeout(GOODBYE, idle.link.connection.quit()).await;
        }))
        .await;
    }
}

async fn close_old(pool: Weak<Pool>, every: Duration) {
    loop {
        tokio::time::sleep(every).await;
        let Some(pool) = pool.upgrade() else { return };
        pool.close(pool.keep).await;
    }
}
