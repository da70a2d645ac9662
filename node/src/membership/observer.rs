//! Follows all nodes' keys: list, watch from the list's revision, list again every few seconds.

use std::{sync::Arc, time::Duration};

use etcd_client::{EventType, GetOptions, KeyValue, WatchOptions, WatchResponse, WatchStream};
use rookery_core::ring::{Member, View};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior, timeout},
};

use super::{
    CatchUp,
    directory::{Change, Directory, Event},
    etcd::{Etcd, Line, why},
    metrics::MembershipMetrics,
    value::Value,
};

/// No cluster has more nodes; a list is not read further.
const MOST_NODES: i64 = 4096;
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
            self.directory.raise();
            self.publish();
        }
        for asked in all {
            let _ = asked.done.send(());
        }
        Ok(())
    }

    async fn list(&mut self) -> Result<(), String> {
        let asked_at = self.directory.known();
        let prefix = self.etcd.prefix().to_owned();
        let listed = async {
            let client = self.line.client().await?;
            client.get(prefix, Some(GetOptions::new().with_prefix().with_limit(MOST_NODES))).await
        };
        let listed = timeout(PATIENCE, listed).await.map_err(|_| "no answer to a list".to_owned())?;
        let listed = listed.map_err(|error| why(&error))?;
        let header = listed.header().ok_or("a list without a header")?;
        let members = listed.kvs().iter().filter_map(|pair| {
            let (name, member) = self.member(pair)?;
            Some((member.or_else(|why| self.unreadable(&name, &why)).ok()?, revision(pair.mod_revision())))
        });
        let members: Vec<(Member, u64)> = members.collect();
        self.metrics.lists.inc();
        let change = self.directory.list(header.cluster_id(), revision(header.revision()), asked_at, members);
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
            let (name, member) = self.member(pair)?;
            let member = match event.event_type() {
                EventType::Delete => None,
                EventType::Put => member.or_else(|why| self.unreadable(&name, &why)).ok(),
            };
            Some(Event { revision: revision(pair.mod_revision()), name, member })
        });
        let events: Vec<Event> = events.collect();
        if self.directory.events(events) != Change::Nothing {
            self.publish();
        }
        Ok(())
    }

    /// Name, and what the key says, or why it cannot be read. `None`: not a node's key.
    fn member(&self, pair: &KeyValue) -> Option<(String, Result<Member, String>)> {
        let name = pair.key_str().ok()?.strip_prefix(self.etcd.prefix())?;
        let value = Value::decode(pair.value());
        let member = value.map(|value| value.member(name, revision(pair.create_revision())));
        Some((name.to_owned(), member))
    }

    fn unreadable(&self, name: &str, why: &str) -> Result<Member, ()> {
        self.metrics.unreadable.inc();
        tracing::warn!(node = name, why, "what this node says of itself cannot be read; it is left out");
        Err(())
    }

    fn publish(&self) {
        let view = self.directory.view();
        self.metrics.view(&view);
        let members: Vec<_> = view
            .members()
            .iter()
            .map(|member| format!("{}={:?}/{}", member.name, member.state, member.incarnation))
            .collect();
        tracing::info!(revision = view.revision(), members = members.join(" "), "the members changed");
        self.show.send_replace(Arc::new(view));
    }
}

fn revision(of: i64) -> u64 {
    u64::try_from(of).unwrap_or(0)
}
