//! Follows the keys of all nodes and pins: list, watch from the list's revision, list again every few seconds.

use std::{sync::Arc, time::Duration};

use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use rookery_core::ring::View;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, timeout},
};

use super::{
    CatchUp,
    directory::{Change, Directory, Event, Key, Listed},
    etcd::{Etcd, Line, Whose, why},
    metrics::MembershipMetrics,
    pins::{self, MOST_PINS},
    value::Value,
};

/// No cluster has more nodes.
const MOST_NODES: usize = 4096;
/// A list is not read further.
const LONGEST: usize = MOST_NODES + MOST_PINS;
/// Time for a list, and for the first answer of a watch.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) struct Observer {
    etcd: Arc<Etcd>,
    line: Line,
    directory: Directory,
    show: watch::Sender<Arc<View>>,
    asked: mpsc::Receiver<CatchUp>,
    metrics: MembershipMetrics,
    complained: bool,
}

impl Observer {
    pub(super) fn new(
        etcd: Arc<Etcd>,
        show: watch::Sender<Arc<View>>,
        asked: mpsc::Receiver<CatchUp>,
        metrics: MembershipMetrics,
    ) -> Self {
        let line = Line::new(etcd.clone(), true);
        Self { etcd, line, directory: Directory::default(), show, asked, metrics, complained: false }
    }

    /// Until the membership is dropped.
    pub(super) async fn run(mut self) {
        loop {
            let Err(why) = self.follow().await else { return };
            self.metrics.observer_connected.set(0);
            let endpoint = self.line.endpoint().to_owned();
            let pause = self.line.failed();
            if self.complained || pause < Duration::from_millis(40) {
                tracing::debug!(
                    endpoint,
                    why,
                    "lost the watch of the members; trying the next member of etcd"
                );
            } else {
                self.complained = true;
                tracing::warn!(endpoint, why, "cannot follow the members in etcd; trying on");
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// Follows on one line until it breaks, and says why. `Ok`: nobody wants to know any more.
    async fn follow(&mut self) -> Result<(), String> {
        self.list().await?;
        let mut watch = self.watch().await?;
        self.line.answered();
        self.metrics.observer_connected.set(1);
        self.complained = false;
        let mut relist = tokio::time::interval_at(Instant::now() + self.etcd.relist, self.etcd.relist);
        relist.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                told = watch.message() => {
                    let told = told.map_err(|error| error.to_string())?.ok_or("the watch ended")?;
                    self.told(&told)?;
                }
                _ = relist.tick() => self.list().await?,
                asked = self.asked.recv() => {
                    let Some(first) = asked else { return Ok(()) };
                    self.catch_up(first).await?;
                    relist.reset();
                }
            }
        }
    }

    /// Answers all that ask, with one list.
    async fn catch_up(&mut self, first: CatchUp) -> Result<(), String> {
        let mut all = vec![first];
        while let Ok(next) = self.asked.try_recv() {
            all.push(next);
        }
        let newest = all.iter().map(|asked| asked.revision).max().unwrap_or(0);
        if self.directory.known() < newest {
            self.list().await?;
        }
        if self.show.borrow().revision() < newest {
            self.directory.raise(newest);
            self.publish();
        }
        for done in all.into_iter().filter_map(|asked| asked.done) {
            let _ = done.send(());
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<(), String> {
        let asked_at = self.directory.known();
        let prefix = self.etcd.prefix().to_owned();
        let listed = async {
            let client = self.line.client().await?;
            let most = i64::try_from(LONGEST).unwrap_or(i64::MAX);
            client.get(prefix, Some(GetOptions::new().with_prefix().with_limit(most))).await
        };
        let listed = timeout(PATIENCE, listed).await.map_err(|_| "no answer to a list".to_owned())?;
        let listed = listed.map_err(|error| why(&error))?;
        let header = listed.header().ok_or("a list without a header")?;
        let mut all = Listed::default();
        for pair in listed.kvs() {
            if let Some(key) = self.key(pair, true) {
                all.add(key, revision(pair.mod_revision()));
            }
        }
        self.metrics.lists.inc();
        let change = self.directory.list(header.cluster_id(), revision(header.revision()), asked_at, all);
        match change {
            Change::Nothing => return Ok(()),
            Change::View => {}
            Change::Missed => {
                self.metrics.missed.inc();
                tracing::info!("the list of members shows what the watch has not told (yet)");
            }
            Change::Reset => {
                tracing::error!("etcd has lost its history: taking the members that it knows now");
            }
        }
        self.publish();
        Ok(())
    }

    async fn watch(&mut self) -> Result<WatchStream, String> {
        let from = i64::try_from(self.directory.known() + 1).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(from);
        let prefix = self.etcd.prefix().to_owned();
        let watch = async { self.line.client().await?.watch(prefix, Some(options)).await };
        let watch = timeout(PATIENCE, watch).await.map_err(|_| "no answer to a watch".to_owned())?;
        watch.map_err(|error| why(&error))
    }

    fn told(&mut self, told: &WatchResponse) -> Result<(), String> {
        if told.canceled() {
            // Compacted, or the member lost its leader: a list and a new watch follow.
            return Err(format!("the watch was cancelled: {}", told.cancel_reason()));
        }
        let events = told.events().iter().filter_map(|event| {
            let pair = event.kv()?;
            let key = self.key(pair, event.event_type() == EventType::Put)?;
            Some(Event { revision: revision(pair.mod_revision()), key })
        });
        let events: Vec<Event> = events.collect();
        if self.directory.events(events) != Change::Nothing {
            self.publish();
        }
        Ok(())
    }

    /// What a key says, if it is there; one that cannot be read is left out. `None`: not a key of nodes or pins.
    fn key(&self, pair: &KeyValue, there: bool) -> Option<Key> {
        Some(match self.etcd.whose(pair.key_str().ok()?)? {
            Whose::Node(name) => {
                let value = there.then(|| Value::decode(pair.value()));
                let value =
                    value.and_then(|value| value.map_err(|why| self.unreadable("node", name, &why)).ok());
                let member = value.map(|value| value.member(name, revision(pair.create_revision())));
                Key::Node(name.to_owned(), member)
            }
            Whose::Room(room) => {
                let shard = there.then(|| pins::decode(pair.value()));
                let shard = shard.and_then(|shard| {
                    shard.map_err(|why| self.unreadable("pin of a room", &room.to_string(), &why)).ok()
                });
                Key::Pin(room, shard)
            }
        })
    }

    fn unreadable(&self, what: &str, name: &str, why: &str) {
        self.metrics.unreadable.inc();
        tracing::warn!(what, name, why, "what etcd holds for it cannot be read; it is left out");
    }

    fn publish(&self) {
        let view = self.directory.view();
        self.metrics.view(&view);
        if self.show.borrow().members() != view.members() {
            let members: Vec<_> = view
                .members()
                .iter()
                .map(|member| format!("{}={:?}/{}", member.name, member.state, member.incarnation))
                .collect();
            tracing::info!(revision = view.revision(), members = members.join(" "), "the members changed");
        }
        self.show.send_replace(Arc::new(view));
    }
}

fn revision(of: i64) -> u64 {
    u64::try_from(of).unwrap_or(0)
}
