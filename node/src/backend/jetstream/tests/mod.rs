//! JetStream against real servers: three of them, which most tests share.

mod accounts;
mod faults;
mod figures;
mod forget;
mod fresh;
mod live;
mod log;
mod mails;
mod model;
mod proof;
mod refusals;
mod reminders;
mod rows;
mod tls;

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use prometheus_client::registry::Registry;
use rookery_protocol::id::RoomId;
use rookery_testbed::{NatsCluster, PATIENCE};

use super::{JetStream, NatsMetrics, NatsSettings};
use crate::backend::{Append, Appended, LogSeq, RoomLog as _, Row, Table};

/// Three servers, started by the first test that wants them and ended by the last. `None`: not installed, said loudly.
fn servers() -> Option<Arc<NatsCluster>> {
    static RUNNING: Mutex<Weak<NatsCluster>> = Mutex::new(Weak::new());
    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(servers) = running.upgrade() {
        return Some(servers);
    }
    let servers = Arc::new(rookery_testbed::nats()?);
    *running = Arc::downgrade(&servers);
    Some(servers)
}

fn settings(servers: &NatsCluster) -> NatsSettings {
    NatsSettings {
        urls: servers.urls(),
        replicas: servers.len(),
        log_streams: 2,
        require_sync_always: false,
        // Machines that run tests are busy.
        read_timeout_ms: 30_000,
        ..NatsSettings::default()
    }
}

async fn open_with(settings: &NatsSettings, cluster: &str) -> Arc<JetStream> {
    let metrics = NatsMetrics::register(&mut Registry::default());
    JetStream::connect(settings, cluster, metrics).await.unwrap()
}

/// A node's connection to the servers, or to one of them.
async fn open(servers: &NatsCluster, cluster: &str, only: Option<usize>) -> Arc<JetStream> {
    let mut settings = settings(servers);
    if let Some(only) = only {
        settings.urls = vec![servers.urls()[only].clone()];
    }
    open_with(&settings, cluster).await
}

fn record(room: u128, expected: u64, seqs: std::ops::RangeInclusive<u64>, text: &str) -> Append {
    Append {
        room: RoomId(room),
        expected: LogSeq(expected),
        first_seq: *seqs.start(),
        last_seq: *seqs.end(),
        record: Bytes::copy_from_slice(text.as_bytes()),
        rows: vec![],
    }
}

/// Waits for something that ought to happen soon. Machines that run tests are busy.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(done) => done,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

async fn stored(log: &JetStream, append: Append) -> u64 {
    // As the core does: an outcome that is not known is looked up. Servers may change leaders when a machine is busy.
    let storing = async {
        loop {
            if let Appended::Committed(at) = log.append(append.clone()).await {
                return at.0;
            }
            let tail = log.tail(append.room).await.unwrap();
            let at = tail.as_ref().map_or(0, |tail| tail.at.0);
            if at != append.expected.0 {
                let tail = tail.unwrap();
                assert_eq!(tail.record, append.record, "another record is there");
                return at;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a record is stored", storing).await
}

fn row(table: Table, key: &[&[u8]], value: Option<&str>) -> Row {
    Row { table, key: key.concat().into(), value: value.map(|text| Bytes::copy_from_slice(text.as_bytes())) }
}

/// Runs a test in a runtime of its own, in which several things go on at once.
fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(future)
}
